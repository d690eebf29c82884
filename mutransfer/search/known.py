"""What a bracket search is asked, and what it knows of each size by the word of the analysis."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mutransfer.analysis.curve import Curve
from mutransfer.analysis.line import slope
from mutransfer.analysis.noise import run_noise
from mutransfer.analysis.optimum import Optimum, optima
from mutransfer.config.scale import Scale

CLEARLY = 0.02
"""Least loss above the best, in nats, that closes a side."""
SIGMAS = 3.0
"""The same in standard deviations of a run."""
SINGLE_SIGMA = 0.006
"""Standard deviation of a run before anything says so, nats."""

Losses = Mapping[tuple[float, int], float]
"""Of one size, by log2 of the rate and seed; inf where a trial diverged."""


@dataclass(frozen=True)
class Task:
    """What is searched: `sizes` of one arm, the cheapest first, with the `costs` of a trial at each in any unit; rates
    from `low` to `high`, in log2. It ends at a standard error of the slope of `target_se`, or when `budget` is spent,
    in trials at every size."""

    sizes: tuple[int, ...]
    costs: tuple[float, ...]
    low: float
    high: float
    target_se: float
    budget: float

    def price(self, size: int) -> float:
        """What a trial costs, in trials at every size."""
        return self.costs[self.sizes.index(size)] / sum(self.costs)


class Ask(NamedTuple):
    """A trial to run."""

    size: int
    log2_lr: float
    seed: int


@dataclass(frozen=True)
class Size:
    """What is known of one size."""

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


def spent(task: Task, seen: Mapping[int, Losses]) -> float:
    """What the trials so far cost, in trials at every size."""
    return sum(len(seen[size]) * task.price(size) for size in task.sizes if size in seen)


def standard_error(task: Task, seen: Mapping[int, Losses]) -> float | None:
    """Of the slope through the sizes that have an optimum; None where fewer than two have."""
    line = slope(optima([curve_of(size, seen[size]) for size in sorted(task.sizes) if size in seen]))
    return None if line is None else math.sqrt(line.variance)


def curve_of(size: int, losses: Losses) -> Curve:
    """The losses of one size as the analysis takes them. Here one dimension varies, and is called width
    whatever it is."""
    rates = sorted({rate for rate, _ in losses})
    seeds = sorted({seed for _, seed in losses})
    table = np.full((len(seeds), len(rates)), np.nan)
    for (rate, seed), loss in losses.items():
        table[seeds.index(seed), rates.index(rate)] = loss
    return Curve(Scale(width=size), np.array(rates), table)


def describe(sizes: Sequence[int], seen: Mapping[int, Losses]) -> dict[int, Size]:
    """What is known of each of these sizes, together."""
    curves = [curve_of(size, seen[size]) for size in sorted(sizes)]
    found = optima(curves)
    fitted = {optimum.scale: optimum.quartic for optimum in found if optimum.quartic is not None}
    noise = dict(zip(fitted, run_noise(list(fitted.values())), strict=True))
    largest = max((each.variance for each in noise.values()), default=SINGLE_SIGMA**2)
    return {
        size: Size(
            seen[size], curve, optimum, math.sqrt(noise[curve.scale].variance if curve.scale in noise else largest)
        )
        for size, curve, optimum in zip(sorted(sizes), curves, found, strict=True)
    }
