"""What would settle an inconclusive verdict: more seeds, more sizes, more rates, and what they cost.

A plan is judged by the formulas of the slope itself (`Located.planned`): with S' seeds in place of S the noise of the
optima becomes S/S' of it on S'/S times the degrees of freedom, and what their shapes leave open stays; a size to be
added, or one that has no optimum yet, is put on the line and is as sure as the others on average. It is offered where
the slope to come is likely to decide (assurance.py), the estimate of now being what it is.
Costs are those of one arm; the command runs its others too.

Further rates that are drawn are drawn from the whole of a wider range: so many that they are as dense there as before.
An adaptive search decides itself which trials it needs: it is told the standard error of the slope to reach. How many
it takes is a guess here; where the sweep is known, study/settling.py has the search's own count, and a budget for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from mutransfer.analysis.assurance import assurance
from mutransfer.analysis.interval import Estimate
from mutransfer.analysis.line import slope_weights, weights_along
from mutransfer.analysis.optimum import CENSORED_HIGH, CENSORED_LOW, TOO_FEW, Optimum
from mutransfer.analysis.study import Study, study_of
from mutransfer.config.scale import DIMENSIONS
from mutransfer.trials.table import Trials

ASSURANCE = 0.85
"""Least probability of deciding with which a plan is offered, the cheapest first."""
EVEN = 0.5
"""The same where no plan has that one."""
MOST_SEEDS = 8
MOST_SIZES = 2
"""Most sizes to add."""
MOST_PLANS = 3
"""Most plans to offer, the cheapest first."""
MARGIN = 2.0
"""Octaves of rates wanted on either side of an optimum."""
COST_POWER = {"width": 2.0, "depth": 1.0, "batch_size": 1.0, "steps": 1.0, "params": 1.0, "tokens": 1.0}
"""FLOPs of a trial by the size, where they were not measured."""


@dataclass(frozen=True)
class Settling:
    """One plan: what the whole sweep has then, None where it stays. `trials` and `flops` are what it adds to this arm
    (flops None: not known)."""

    what: str
    """All of it in words."""
    seeds: int | None = None
    dimension: str | None = None
    sizes: tuple[float, ...] | None = None
    """Along that dimension."""
    lrs: tuple[float, ...] | None = None
    """Of rates that are drawn, the two ends of their range."""
    trials: int = 0
    flops: float | None = None
    chance: float | None = None
    """Probability that it decides; None where there is no slope yet to tell it from."""
    target_se: float | None = None
    """The standard error of the slope that an adaptive search is told to reach."""
    budget: float | None = None
    """What an adaptive search may spend, in trials at every size."""
    search: str | None = None
    """The name of what is to place the trials, as the table has it."""
    n_trials: int | None = None
    """Of rates that are drawn, how many."""
    adaptive: bool = False
    """Whether it is for an adaptive search, of whose trials this is a guess."""

    @property
    def adds(self) -> bool:
        """Whether there is anything to do."""
        return any(each is not None for each in (self.seeds, self.sizes, self.lrs, self.target_se))

    @property
    def cost(self) -> str:
        """What it adds to the arm, in words."""
        return f"{'about ' * self.adaptive}{self.trials} more trials"


@dataclass(frozen=True)
class _Plan:
    seeds: int
    added: tuple[float, ...]
    lower: int
    """Rates to add below the lowest."""
    higher: int

    def within(self, other: _Plan) -> bool:
        """Whether the other does all of this and more."""
        return self.seeds <= other.seeds and set(self.added) <= set(other.added)


def settle(optima: Sequence[Optimum], trials: Trials, tolerance: float, axis: str) -> tuple[Settling, ...]:
    """The cheapest plans that would decide an inconclusive arm, in whose `trials` one dimension varies; one that says
    so where none would. No plan of those given does all that another does and more. Of trials of several searches it
    counts those that `study_of` does."""
    study = study_of(optima, trials, tolerance, axis)
    joint = study.joint
    if joint is None:
        # Nothing to predict from: rates for the sizes that have no optimum, or sizes where there are too few.
        added = _above(study)[-1] if len(optima) == 1 else ()
        return (_offer(study, _plan(study, study.seeds, added), "a slope needs two optima"),)
    line = joint.combination(slope_weights(study.interior, study.axis))
    plans = [
        _plan(study, seeds, added)
        for seeds, added in product(range(study.seeds, max(study.seeds, MOST_SEEDS) + 1), _additions(study))
    ]
    chances = {plan: _assurance(study, line, plan) for plan in plans}
    offered = _cheapest(study, chances, ASSURANCE) or _cheapest(study, chances, EVEN)
    if offered:
        return tuple(
            _offer(study, plan, _promise(line, _then(study, plan), chances[plan]), chances[plan])
            for plan in offered[:MOST_PLANS]
        )
    bound = math.copysign(tolerance, line.value)
    near = (
        f"the slope {line.value:+.2f} lies so near {bound:+g} that no plan up to {MOST_SEEDS} seeds and {MOST_SIZES} "
        f"further {DIMENSIONS[axis].words} is likely to decide"
    )
    return (_offer(study, _plan(study, study.seeds, ()), near),)


def _cheapest(study: Study, chances: Mapping[_Plan, float], least: float) -> list[_Plan]:
    """The plans with at least that chance, by cost, but for those that do all of a cheaper one and more."""
    found: list[_Plan] = []
    for plan in sorted(chances, key=lambda each: _cost(study, each)):
        if chances[plan] >= least and not any(other.within(plan) for other in found):
            found.append(plan)
    return found


def _promise(now: Estimate, then: Estimate, chance: float) -> str:
    wide, narrow = (estimate.interval.ci_high - estimate.value for estimate in (now, then))
    return f"narrows the slope's CI from +-{wide:.2f} to about +-{narrow:.2f}, decides with probability {chance:.2f}"


def _additions(study: Study) -> list[tuple[float, ...]]:
    return [(), *_below(study), *_above(study)]


def _above(study: Study) -> list[tuple[float, ...]]:
    """The largest size doubled, once and more often."""
    largest = study.optima[-1].scale[study.axis]
    return [tuple(largest * 2**power for power in range(1, count + 1)) for count in range(1, MOST_SIZES + 1)]


def _below(study: Study) -> list[tuple[float, ...]]:
    """The smallest size halved, where all sizes are multiples of that: a width must be one of head_dim."""
    sizes = [optimum.scale[study.axis] for optimum in study.optima]
    half, odd = divmod(sizes[0], 2)
    return [(half,)] if not odd and half % math.gcd(*map(int, sizes)) == 0 else []


def _plan(study: Study, seeds: int, added: tuple[float, ...]) -> _Plan:
    """With as many rates as the sizes without an optimum and those to be added need."""
    tried = np.log2(study.lrs)
    low, high = tried[0], tried[-1]
    for optimum in study.optima:
        if optimum.interior:
            continue
        at = _expected(study, optimum.scale[study.axis])
        toward_low, toward_high = optimum.status != CENSORED_HIGH, optimum.status != CENSORED_LOW
        if optimum.status == TOO_FEW and study.diverged:
            toward_high = False
        low = min(low, (tried[0] if at is None else min(at, tried[0])) - MARGIN) if toward_low else low
        high = max(high, (tried[-1] if at is None else max(at, tried[-1])) + MARGIN) if toward_high else high
    for size in added:
        at = _expected(study, size)
        if at is not None:
            low, high = min(low, at - MARGIN), max(high, at + MARGIN)
    lower, higher = (math.ceil(round(octave / study.step, 6)) for octave in (tried[0] - low, high - tried[-1]))
    return _Plan(seeds, added, lower, higher)


def _expected(study: Study, size: float) -> float | None:
    """log2 lr* on the line."""
    if study.joint is None:
        return None
    weights, centre = (
        slope_weights(study.interior, study.axis),
        np.mean([optimum.scale.log2(study.axis) for optimum in study.interior]),
    )
    along = weights @ study.joint.log2_lr * (math.log2(size) - centre)
    return float(study.joint.log2_lr.mean() + along)


def _then(study: Study, plan: _Plan) -> Estimate:
    """The slope once the plan is done, if its estimate stays."""
    # An optimum without a fit is known to its bracket, which seeds do not narrow.
    fitted = all(optimum.quartic is not None for optimum in study.interior)
    assert study.joint is not None
    new = [*(optimum.scale[study.axis] for optimum in study.optima if not optimum.interior), *plan.added]
    placed = np.array([_expected(study, size) for size in new], dtype=np.float64)
    sizes = [*(optimum.scale[study.axis] for optimum in study.interior), *new]
    more = plan.seeds / study.seeds if fitted else 1.0
    return study.joint.planned(more, placed).combination(weights_along(np.log2(sizes)))


def _assurance(study: Study, now: Estimate, plan: _Plan) -> float:
    """The probability that the plan decides."""
    assert study.joint is not None
    return assurance(now, _then(study, plan), study.joint.df, study.tolerance)


def _cost(study: Study, plan: _Plan) -> tuple[float, int]:
    """FLOPs (0 where not known) and trials that the plan adds to the arm."""
    if study.adaptive:
        return _bracket_cost(study, plan)
    all_alike = study.drawn or plan.lower + plan.higher > 0
    rates = study.rates + _more(study, plan)
    counts = {
        size: (rates if all_alike else each.rates) * plan.seeds - each.trials for size, each in study.tried.items()
    }
    flops = sum(count * study.tried[size].flops for size, count in counts.items())
    usual = round(float(np.mean([each.rates for each in study.tried.values()])))
    for size in plan.added:
        nearest = min(study.tried, key=lambda known: abs(math.log2(known / size)))
        counts[size] = (rates if all_alike else usual) * plan.seeds
        flops += counts[size] * study.tried[nearest].flops * (size / nearest) ** COST_POWER[study.axis]
    return flops if math.isfinite(flops) else 0.0, sum(counts.values())


def _bracket_cost(study: Study, plan: _Plan) -> tuple[float, int]:
    """About: as many times the trials as there are seeds, and at a new size as many as at the one with the fewest."""
    counts = {
        size: each.trials * (plan.seeds - study.seeds) // study.seeds + plan.lower + plan.higher
        for size, each in study.tried.items()
    }
    flops = sum(count * study.tried[size].flops for size, count in counts.items())
    fewest = min(each.trials for each in study.tried.values())
    for size in plan.added:
        nearest = min(study.tried, key=lambda known: abs(math.log2(known / size)))
        counts[size] = fewest
        flops += fewest * study.tried[nearest].flops * (size / nearest) ** COST_POWER[study.axis]
    return flops if math.isfinite(flops) else 0.0, sum(counts.values())


def _more(study: Study, plan: _Plan) -> int:
    """Rates that every size gets beside those tried."""
    beyond = plan.lower + plan.higher
    return beyond + study.rates - 1 if study.drawn and beyond else beyond


def _offer(study: Study, plan: _Plan, why: str, chance: float | None = None) -> Settling:
    names, word = DIMENSIONS[study.axis], DIMENSIONS[study.axis].word
    flops, trials = _cost(study, plan)
    seeds = plan.seeds if plan.seeds > study.seeds else None
    sizes = (
        tuple(sorted([*(optimum.scale[study.axis] for optimum in study.optima), *plan.added])) if plan.added else None
    )
    lrs = _rates(study, plan) if plan.lower or plan.higher else None
    n_trials = study.rates + _more(study, plan) if study.drawn and not study.adaptive else None
    changes, target = [], None
    if seeds is not None and study.adaptive:
        # Rounded up to what the plan is sure to reach, if it goes as expected.
        target = math.ceil(1e3 * math.sqrt(_then(study, plan).variance)) / 1e3
        changes.append(f"a standard error of {target:g} of the slope")
    elif seeds is not None:
        changes.append(f"{seeds} seeds in place of {study.seeds}")
    if sizes is not None:
        added = " and ".join(f"{size:.15g}" for size in plan.added)
        changes.append(f"{word if len(plan.added) == 1 else names.words} {added} as well")
    if lrs is not None:
        drawn = "" if n_trials is None else f"{n_trials} "
        changes.append(f"{drawn}rates from 2^{math.log2(lrs[0]):.4g} to 2^{math.log2(lrs[-1]):.4g}")
    if not changes:
        return Settling(why)
    found = Settling(
        what="",
        seeds=None if study.adaptive else seeds,
        dimension=None if sizes is None else study.axis,
        sizes=sizes,
        lrs=lrs,
        trials=trials,
        flops=flops or None,
        chance=chance,
        target_se=target,
        search=study.search or None,
        n_trials=n_trials,
        adaptive=study.adaptive,
    )
    return replace(found, what=f"{', '.join(changes)} ({found.cost}): {why}")


def _rates(study: Study, plan: _Plan) -> tuple[float, ...]:
    """All of a grid; the two ends of a search, at powers of two."""
    factor, lrs = 2.0**study.step, study.lrs
    if study.drawn:
        low, high = math.log2(lrs[0]) - plan.lower * study.step, math.log2(lrs[-1]) + plan.higher * study.step
        return 2.0 ** math.floor(low), 2.0 ** math.ceil(high)
    below = [lrs[0] / factor**power for power in range(plan.lower, 0, -1)]
    return (*below, *lrs, *(lrs[-1] * factor**power for power in range(1, plan.higher + 1)))
