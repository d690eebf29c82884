"""What a bracket search knows of each scale by the word of the analysis, and which seeds it repeats, at which rates,
once every scale has its bracket: pairs at the scales that narrow the slope most for their cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mutransfer.analysis.curve import Array, Curve
from mutransfer.analysis.line import determined, located, octaves, slopes, weights_along
from mutransfer.analysis.noise import run_noise
from mutransfer.analysis.optimum import FLAT, Optimum, curvatures, optima
from mutransfer.analysis.quartic import TYPICAL_CURVATURE
from mutransfer.config.scale import Scale

CLEARLY = 0.02
"""Least loss above the best, in nats, that closes a side."""
SIGMAS = 3.0
"""The same in standard deviations of a run."""
SINGLE_SIGMA = 0.006
"""Standard deviation of a run before anything says so, nats."""

PAIR_EXCESS = 0.035
"""Loss of a pair's rates above the optimum, in nats: far enough to weigh the sides, near enough to be fitted."""
DISCREPANCY = 0.15
"""The same is at least the standard deviation of a run over this: there a fit trusts far points as little as noise."""
PAIR_REACH = (0.75, 2.5)
"""Least and most octaves of a pair's rates from the optimum."""
SPREAD = 1.25
"""Pairs take turns among the rates up to this times as far: at one rate they would soon tell nothing new."""
NEAREST = 0.4
"""Octaves from the optimum within which a rate does not weigh the sides."""
PAIRS_AT_ONCE = 2
"""Most pairs of a later round."""
MOST_SEEDS = 9
"""Most seeds at one scale."""

Losses = Mapping[tuple[float, int], float]
"""Of one scale, by log2 of the rate and seed; inf where a trial diverged."""


@dataclass(frozen=True)
class Task:
    """What is searched: `scales` of one arm, the cheapest first, with the `costs` of a trial at each in any unit; rates
    from `low` to `high`, in log2. It ends at a standard error of `target_se` of the slope, where several `dimensions`
    vary of each partial slope, or when `budget` is spent, in trials at every scale."""

    scales: tuple[Scale, ...]
    costs: tuple[float, ...]
    low: float
    high: float
    target_se: float
    budget: float
    dimensions: tuple[str, ...] = ("width",)

    def price(self, scale: Scale) -> float:
        """What a trial costs, in trials at every scale."""
        return self.costs[self.scales.index(scale)] / sum(self.costs)

    def slopes_of(self, scales: Sequence[Scale]) -> Array | None:
        """The weights of the optima at these scales in each slope, dimension x scale; None where they do not tell the
        dimensions apart."""
        if not determined(scales, self.dimensions):
            return None
        x = octaves(scales, self.dimensions)
        return weights_along(x[:, 0])[None] if len(self.dimensions) == 1 else weights_along(x)


class Ask(NamedTuple):
    """A trial to run."""

    scale: Scale
    log2_lr: float
    seed: int


@dataclass(frozen=True)
class Known:
    """What is known of one scale."""

    losses: Losses
    curve: Curve
    optimum: Optimum
    sigma: float
    """Standard deviation of a run, nats."""

    @property
    def excess(self) -> list[float]:
        """Mean loss of every rate above the best."""
        means = self.curve.means
        return [float(mean - means.min()) if np.isfinite(mean) else math.inf for mean in means]

    @property
    def clearly(self) -> float:
        """The excess loss that closes a side."""
        return max(CLEARLY, SIGMAS * self.sigma)

    @property
    def span(self) -> slice:
        """The rates about the best one, up to the first on either side that is clearly worse."""
        excess, first = self.excess, int(np.argmin(self.curve.means))
        last = first
        while first > 0 and excess[first] < self.clearly:
            first -= 1
        while last < len(excess) - 1 and excess[last] < self.clearly:
            last += 1
        return slice(first, last + 1)

    @property
    def repeated(self) -> list[int]:
        """Seeds that were run at two rates or more."""
        seeds = [seed for _, seed in self.losses]
        return [seed for seed in sorted(set(seeds)) if seeds.count(seed) > 1]

    def new_seeds(self, count: int) -> list[int]:
        """The first seeds that are none of these."""
        used = self.repeated
        return [seed for seed in range(len(used) + count) if seed not in used][:count]


def spent(task: Task, seen: Mapping[Scale, Losses]) -> float:
    """What the trials so far cost, in trials at every scale."""
    return sum(len(seen[scale]) * task.price(scale) for scale in task.scales if scale in seen)


def standard_error(task: Task, seen: Mapping[Scale, Losses]) -> float | None:
    """Of the slope through the scales that have an optimum, of several the largest; None where these do not tell."""
    found = optima([curve_of(scale, seen[scale]) for scale in sorted(task.scales) if scale in seen])
    return max((math.sqrt(each.variance) for each in slopes(found, task.dimensions).values()), default=None)


def curve_of(scale: Scale, losses: Losses) -> Curve:
    """The losses of one scale as the analysis takes them."""
    rates = sorted({rate for rate, _ in losses})
    seeds = sorted({seed for _, seed in losses})
    table = np.full((len(seeds), len(rates)), np.nan)
    for (rate, seed), loss in losses.items():
        table[seeds.index(seed), rates.index(rate)] = loss
    return Curve(scale, np.array(rates), table)


def describe(scales: Sequence[Scale], seen: Mapping[Scale, Losses]) -> dict[Scale, Known]:
    """What is known of each of these scales, together."""
    curves = [curve_of(scale, seen[scale]) for scale in sorted(scales)]
    found = optima(curves)
    fitted = {optimum.scale: optimum.quartic for optimum in found if optimum.quartic is not None}
    noise = dict(zip(fitted, run_noise(list(fitted.values())), strict=True))
    largest = max((each.variance for each in noise.values()), default=SINGLE_SIGMA**2)
    return {
        scale: Known(seen[scale], curve, optimum, math.sqrt(noise[scale].variance if scale in noise else largest))
        for scale, curve, optimum in zip(sorted(scales), curves, found, strict=True)
    }


def repeat(task: Task, known: Mapping[Scale, Known], left: float) -> list[Ask]:
    """Seeds for the next round, that cost no more than what is left: at a scale whose seeds do not tell its optimum
    from its neighbours, else pairs where they tell most until the slopes are expected to be as sure as wanted."""
    for scale in task.scales:
        asked = whole_seed(scale, known[scale]) if known[scale].optimum.status == FLAT else []
        if asked and len(known[scale].repeated) < MOST_SEEDS and len(asked) * task.price(scale) <= left:
            return asked
    inside = [scale for scale in sorted(known) if known[scale].optimum.interior]
    weights = task.slopes_of(inside)
    if weights is None:
        return []
    joint = located([known[scale].optimum for scale in inside])
    seeds = {scale: len(known[scale].repeated) for scale in inside}
    wanted = _choose(task, weights, joint.noise + joint.shape, seeds, left, PAIRS_AT_ONCE)
    return [ask for scale, count in wanted.items() for ask in new_pairs(task, known, scale, count)]


def expect_pairs(task: Task, known: Mapping[Scale, Known], left: float) -> dict[Scale, int] | None:
    """How many pairs are to come at each scale; None where the optima do not tell the slopes yet.

    A scale that has none yet is put on the line, its curve as sure as the others' and its one seed as noisy as theirs.
    """
    inside = [scale for scale in sorted(known) if known[scale].optimum.interior]
    if task.slopes_of(inside) is None:
        return None
    joint = located([known[scale].optimum for scale in inside])
    seeds = {scale: len(known[scale].repeated) for scale in inside}
    new = [scale for scale in task.scales if scale not in seeds]
    then, old = joint.planned(1.0, np.zeros(len(new))), len(inside)
    noise = then.noise.copy()
    of_a_seed = float(np.mean(np.diag(joint.noise) * np.maximum(1, list(seeds.values()))))
    noise[range(old, old + len(new)), range(old, old + len(new))] = of_a_seed
    seeds |= dict.fromkeys(new, 1)
    weights = task.slopes_of(list(seeds))
    assert weights is not None  # more scales tell no less
    return _choose(task, weights, noise + then.shape, seeds, left, len(seeds) * MOST_SEEDS)


def _choose(
    task: Task, weights: Array, covariance: Array, seeds: Mapping[Scale, int], left: float, most: int
) -> dict[Scale, int]:
    """New pairs, at most so many, each at the scale where it narrows the least sure slope most for its cost, until all
    are expected to be as sure as wanted. `weights` (slope x optimum) and `covariance` of the optima, as `seeds` has
    their scales."""
    variances = [float(each @ covariance @ each) for each in weights]
    own = [each**2 * np.diag(covariance) for each in weights]
    parts = [{scale: float(part) for scale, part in zip(seeds, each, strict=True)} for each in own]
    order = {scale: place for place, scale in enumerate(sorted(seeds))}
    wanted = dict.fromkeys(seeds, 0)
    for _ in range(most):
        repeated = {scale: seeds[scale] + wanted[scale] for scale in seeds}
        free = [scale for scale in seeds if repeated[scale] < MOST_SEEDS and 2 * task.price(scale) <= left]
        worst = int(np.argmax(variances))
        if variances[worst] <= task.target_se**2 or not free:
            break
        gains = {scale: parts[worst][scale] / (repeated[scale] + 1) / task.price(scale) for scale in free}
        _, _, scale = max((gain, -order[scale], scale) for scale, gain in gains.items())
        for along, each in enumerate(parts):
            variances[along] -= each[scale] / (repeated[scale] + 2)
            each[scale] *= (repeated[scale] + 1) / (repeated[scale] + 2)
        wanted[scale], left = wanted[scale] + 1, left - 2 * task.price(scale)
    return wanted


def _weighing(rates: list[float], center: float) -> list[float]:
    """Those of one side that weigh it; all of them where none lies far enough out, as below a cliff."""
    return [rate for rate in rates if abs(rate - center) >= NEAREST] or rates


def whole_seed(scale: Scale, known: Known) -> list[Ask]:
    """A new seed at every rate up to those that are clearly worse."""
    (seed,) = known.new_seeds(1)
    rates = zip(known.curve.log2_lr[known.span].tolist(), known.excess[known.span], strict=True)
    wanted = [rate for rate, excess in rates if math.isfinite(excess)]
    return [Ask(scale, rate, seed) for rate in wanted if (rate, seed) not in known.losses]


def new_pairs(task: Task, known: Mapping[Scale, Known], scale: Scale, count: int) -> list[Ask]:
    """New seeds on either side of an optimum, at the rates that were run least; of an optimum that no curve tells, at
    all rates about it."""
    own = known[scale]
    if count and (own.optimum.quartic is None or own.optimum.quartic.minimum is None):
        return whole_seed(scale, own)
    bends = curvatures(each.optimum for each in known.values())
    bend = math.exp(float(np.mean(np.log(bends)))) if bends else TYPICAL_CURVATURE
    reach = min(max(math.sqrt(max(PAIR_EXCESS, own.sigma / DISCREPANCY) / bend), PAIR_REACH[0]), PAIR_REACH[1])
    center = own.optimum.log2_lr
    runs = {
        rate: sum(other == rate for other, _ in own.losses)
        for rate, excess in zip(own.curve.log2_lr.tolist(), own.excess, strict=True)
        if math.isfinite(excess)
    }
    sides = [_weighing([rate for rate in runs if side * (rate - center) > 0], center) for side in (-1, 1)]
    if not all(sides):
        return whole_seed(scale, own) if count else []
    asked = []
    for seed in own.new_seeds(count):
        for side in sides:
            near = [rate for rate in side if abs(rate - center) <= SPREAD * reach]
            off = {rate: abs(abs(rate - center) - reach) for rate in side}
            rate = min(near, key=lambda each: (runs[each], off[each])) if near else min(side, key=off.__getitem__)
            runs[rate] += 1
            if (rate, seed) not in own.losses:
                asked.append(Ask(scale, rate, seed))
    return asked
