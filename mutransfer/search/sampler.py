"""The bracket search at one size as a sampler for anyone's Optuna study of a learning rate."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from mutransfer.analysis.optimum import Optimum, optima
from mutransfer.config.scale import Scale
from mutransfer.search.bracket_rates import next_at_one_scale
from mutransfer.search.bracket_seeds import Losses, curve_of

ROUND = "bracket:round:"
"""The attribute of a study that numbers the round of a trial, by the trial's number."""


class BracketSampler(BaseSampler):
    """Suggests a learning rate: a bracket of powers of two about the best one, then repetitions on either side of it.

        study = optuna.create_study(sampler=BracketSampler())
        study.optimize(lambda trial: train(lr=trial.suggest_float("lr", 2**-12, 2**-3, log=True)), n_trials=16)
        found = study.sampler.optimum(study)
        print(found.log2_lr, found.ci_low, found.ci_high)

    For a study of one logarithmic float, in nats per token or a loss of that size. Trials of one rate should differ in
    their seed (`trial.number` will do). A round is computed from the finished rounds before it, so trials may run side
    by side; what is asked for while all of a round is under way repeats a rate of it. A value that is not finite, and
    a pruned trial, count as diverged; a failed trial is asked for again.
    """

    def __init__(self, start: float | None = None) -> None:
        """`start`: the best rate of a smaller model, where the search begins; None: it begins in the middle."""
        if start is not None and not (math.isfinite(start) and start > 0):
            raise ValueError(f"found start {start:g}; wanted a rate above 0, or None")
        self._start = None if start is None else math.log2(start)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> float:
        """Raises ValueError where the study is not one of a single logarithmic float."""
        if len(study.directions) > 1:
            raise ValueError(f"expected a study of one objective, got {len(study.directions)}; give one direction")
        log = isinstance(param_distribution, FloatDistribution) and param_distribution.log
        others = set(trial.params) - {param_name}
        if not isinstance(param_distribution, FloatDistribution) or not log or others:
            raise ValueError(
                f"found {param_name} {param_distribution} beside {sorted(others)}; wanted one float of a logarithmic "
                "scale alone: suggest_float(..., log=True)"
            )
        number, log2_lr = self._next(study, trial, param_name, param_distribution)
        study.set_user_attr(f"{ROUND}{trial.number}", number)
        return float(min(max(2.0**log2_lr, param_distribution.low), param_distribution.high))

    def optimum(self, study: Study) -> Optimum:
        """Where the optimum is, with its interval, as log2 of the rate. Raises ValueError where no trial has ended."""
        finished = [trial for trial in study.get_trials(deepcopy=False) if _ended(trial)]
        names = {name for trial in finished for name in trial.params}
        if len(names) != 1:
            raise ValueError(f"found {len(names)} parameters in finished trials; wanted one: run some trials first")
        (found,) = optima([curve_of(Scale(width=1), _losses(finished, names.pop(), study.direction))])
        return found

    def _next(self, study: Study, trial: FrozenTrial, name: str, space: FloatDistribution) -> tuple[int, float]:
        """The number of the round, and log2 of the rate."""
        low, high = math.log2(space.low), math.log2(space.high)
        trials = [
            each for each in study.get_trials(deepcopy=False) if name in each.params and each.number != trial.number
        ]
        numbers = study.user_attrs
        rounds = {each.number: int(numbers.get(f"{ROUND}{each.number}", -1)) for each in trials}
        last = max(rounds.values(), default=0)
        ended = [each for each in trials if _ended(each)]

        def ask(known: Sequence[FrozenTrial]) -> list[float]:
            return next_at_one_scale(low, high, _losses(known, name, study.direction), self._start)

        current = ask([each for each in ended if rounds[each.number] < last])
        given = Counter(
            round(math.log2(each.params[name]), 9)
            for each in trials
            if rounds[each.number] == last and each.state != TrialState.FAIL
        )
        for rate in current:
            if not given[round(rate, 9)]:
                return last, rate
            given[round(rate, 9)] -= 1
        if all(each.state.is_finished() for each in trials):
            following = ask(ended)
            if following:
                return last + 1, following[0]
        return last, current[0] if current else (low + high) / 2


def _ended(trial: FrozenTrial) -> bool:
    return trial.state in (TrialState.COMPLETE, TrialState.PRUNED)


def _losses(trials: Sequence[FrozenTrial], name: str, direction: StudyDirection) -> Losses:
    """By log2 of the rate and the number of times that it was run before."""
    found: dict[tuple[float, int], float] = {}
    times: Counter[float] = Counter()
    sign = -1.0 if direction == StudyDirection.MAXIMIZE else 1.0
    for trial in sorted(trials, key=lambda each: each.number):
        rate = round(math.log2(trial.params[name]), 9)
        value = trial.value if trial.state == TrialState.COMPLETE else None
        found[rate, times[rate]] = sign * value if value is not None and math.isfinite(value) else math.inf
        times[rate] += 1
    return found
