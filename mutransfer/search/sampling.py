"""Optuna's samplers and its importances, as functions: a seed, the ranges and what is known give what to try. Here and
in the journal (sweep/journal.py) Optuna is told losses, by `told`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec

import optuna
import pandas as pd
from optuna import create_study
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import create_trial

from mutransfer.config import SweepConfig
from mutransfer.search.protocol import Values

PENALTY = 1e3
"""What stands for a loss that is not finite, in nats per token: worse than any loss."""
GOOD = 0.25
"""The part of the settings that counts as good."""
FEWEST = 16
"""Settings below which nothing is said: too few of them are good."""


def told(loss: float) -> float:
    """A loss as Optuna is told it: finite, because it takes infinity as a value and fails a trial of NaN."""
    return loss if math.isfinite(loss) else PENALTY


def distributions(config: SweepConfig) -> dict[str, BaseDistribution]:
    """The ranges of a sweep: of its rate, and of its `space`."""
    return {
        "lr": FloatDistribution(min(config.lrs), max(config.lrs), log=True),
        **{each.name: FloatDistribution(each.low, each.high, log=each.log) for each in config.space},
    }


def sample(
    config: SweepConfig, seed: int, startup: int, size: int, known: Sequence[tuple[Values, float]]
) -> list[Values]:
    """`size` settings to try.

    Args:
        config: its search, lrs and space.
        seed: of the sampler.
        startup: settings that must be known before it is more than random.
        size: how many are tried at once.
        known: settings and their losses, in an order that is a function of themselves; those outside the ranges are
            left out.

    Raises ValueError where the search needs a package that is not installed.
    """
    space = distributions(config)
    study = create_study(sampler=_sampler(config.search, seed, startup))
    if config.search != "random":
        inside = [(dict(zip(space, values, strict=True)), loss) for values, loss in known]
        inside = [(params, loss) for params, loss in inside if all(_holds(space[n], v) for n, v in params.items())]
        worst = _ceiling([loss for _, loss in inside]) if config.search == "gp" else None
        for params, loss in inside:
            value = told(loss if worst is None else min(loss, worst))
            study.add_trial(create_trial(params=params, distributions=dict(space), value=value))
    asked = [study.ask(dict(space)).params for _ in range(size)]
    return [tuple(float(params[name]) for name in space) for params in asked]


def _sampler(search: str, seed: int, startup: int) -> BaseSampler:
    if search == "random":
        return RandomSampler(seed=seed)
    if search == "tpe":
        return TPESampler(seed=seed, n_startup_trials=startup)
    if find_spec("scipy") is None:
        raise ValueError("found search gp without scipy; wanted it installed: pip install 'mutransfer[gp]', or use tpe")
    from optuna.samplers import GPSampler  # it loads torch, which the others need not

    return GPSampler(seed=seed, n_startup_trials=startup)


def _holds(distribution: BaseDistribution, value: float) -> bool:
    return isinstance(distribution, FloatDistribution) and distribution.low <= value <= distribution.high


def _ceiling(losses: Sequence[float]) -> float | None:
    """What a Gaussian process is told at most. A few very high losses, and more so what stands for divergence, would
    flatten all others: above the median of what was trained they count by no more than the best lies below it."""
    ordered = sorted(filter(math.isfinite, losses))
    if not ordered:
        return None
    median = ordered[len(ordered) // 2]
    return median + (median - ordered[0])


def importances(config: SweepConfig, settings: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Which hyperparameters of a search tell its good settings from the others: PED-ANOVA (Watanabe et al. 2304.10255).

    By arm, each hyperparameter's part in telling the best quarter of its settings from all; they sum to 1. Only an
    order of the losses enters, so divergence may stand for any high loss. Arms with too few settings are left out.

    Args:
        config: the search.
        settings: as `analysis.settings.rank` has them.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = distributions(config)
    found = {}
    for arm, rows in settings.groupby("arm", sort=False):
        study = create_study()
        for row in rows.to_dict("records"):
            params = {name: row[name] for name in space}
            if all(_holds(each, params[name]) for name, each in space.items()):
                value = told(math.inf if row["diverged"] else row["loss"])
                study.add_trial(create_trial(params=params, distributions=dict(space), value=value))
        if len(study.trials) >= FEWEST:
            evaluator = PedAnovaImportanceEvaluator(target_quantile=GOOD)
            found[str(arm)] = get_param_importances(study, evaluator=evaluator)
    return found
