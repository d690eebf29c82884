"""The learning-rate range test (Smith 2015, arXiv 1506.01186, section 3.3; in fastai's form, `lr_find`): one short run
whose rate rises at every step, and the rates that are read off its loss. Pure: numpy, no torch.

The loss is smoothed by an exponential mean s_t = 0.98 s_(t-1) + 0.02 loss_t, divided by 1 - 0.98^t, and the test stops
where that is above four times its least. The rates, as fastai's functions of these names define them (but `edge`), over
the smoothed losses without the first tenth of the ramp and the last five steps:

    valley   the middle of the longest falling subsequence, taken to be as long as its number of points: with its last
             point at i and n points, the rate at i - n + [n/3] + [n/6], or the first
    steep    where the loss falls fastest per ln lr, at the first of the two points of that difference
    minimum  a tenth of the rate of the least loss
    slide    a window of 16 points, from the right, moves left while the loss changes per step at its two ends by rates
             more than 0.005 apart; the rate at the left end of the last one that did (of the first if that did not)
    edge     of stability, over the losses as they are: the last rate before the loss, after its least, is above the one
             at initialization, which is what this project calls diverged, or the last rate of a test that stopped.
             What it advises are the rates from 0.3 of it to itself; Smith's are from a third or a quarter. A loss that
             went to nearly nothing must grow long before it is above its start: there the edge is told by how much it
             grows. On a parabola of curvature c a step of gradient descent at rate r multiplies the loss by
             (1 - r c)^2, so that 2/c = 2 r / (1 + sqrt(growth))

One rate is recommended (`recommend_lr`): a tenth of the rate of the least loss, the one rule whose level held on our
models (0.36 octaves low, +- 0.20; results/range_test/table.md), but never above 0.3 of the edge.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mutransfer.checks import of_its_types, one_of, positive

Array = NDArray[np.float64]

SEEDS = 3
"""Initializations and orders of the data that are each tested, unless told."""
SMOOTHING = 0.98
SKIPPED_LAST = 5
SLIDE_WINDOW = 15
SLIDE_THRESHOLD = 0.005
NEAR_ZERO = 1e-2
"""Of the first loss: a loss so small takes long to grow above it again."""
TURN = 5
"""Steps by whose growth the edge is told then: the last before the loss is above its start."""
BELOW_EDGE = 0.3
"""Of the edge, the lowest rate that it advises."""

RAMPS: Mapping[str, Callable[[float, float, int], Array]] = {"exponential": np.geomspace, "linear": np.linspace}


@dataclass(frozen=True)
class Ramp:
    """How the rate rises. The defaults are fastai's."""

    low: float = 1e-7
    """The first rate."""
    high: float = 10.0
    """The last rate."""
    steps: int = 100
    """Steps from the first rate to the last."""
    shape: str = "exponential"
    """exponential, or linear (as in Smith's paper)."""
    stop: float = 4.0
    """The test stops where the smoothed loss is above this many times its least."""

    def validate(self) -> None:
        """Raises ValueError on what is no ramp."""
        of_its_types("ramp.", self)
        one_of("ramp.shape", self.shape, RAMPS)
        positive("ramp.low", self.low)
        positive("ramp.high", self.high)
        if self.low >= self.high:
            raise ValueError(f"found a ramp from {self.low:g} to {self.high:g}; wanted it to rise: set ramp.high")
        if self.steps < 2:
            raise ValueError(f"found ramp.steps {self.steps}; wanted 2 or more, a first rate and a last")
        if not self.stop > 1:
            raise ValueError(f"found ramp.stop {self.stop:g}; wanted above 1, as a multiple of the least loss")

    @property
    def lrs(self) -> Array:
        """The rate of each step."""
        return RAMPS[self.shape](self.low, self.high, self.steps)


@dataclass(frozen=True)
class RangeTest:
    """What a range test measured: `lrs` (steps), and `losses` (seeds, steps), each before the update at its rate, NaN
    from where a seed's test stopped or its loss was not finite."""

    lrs: Array
    losses: Array

    @property
    def smoothed(self) -> Array:
        """The smoothed losses, NaN where there are none, shape (seeds, steps)."""
        return np.array([_padded(smooth(losses[np.isfinite(losses)]), len(losses)) for losses in self.losses])


@dataclass(frozen=True)
class Suggestion:
    """A rate as log2: the median of what the seeds suggest, with the least and the greatest of it."""

    log2_lr: float
    low: float
    high: float


def smooth(losses: Iterable[float]) -> Array:
    """The debiased exponential mean of finite losses at each step."""
    mean, smoothed = 0.0, []
    for count, loss in enumerate(losses, 1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        smoothed.append(mean / (1 - SMOOTHING**count))
    return np.array(smoothed)


def take_until_it_leaves(losses: Iterable[float], ramp: Ramp) -> Array:
    """A seed's losses, padded with NaN to the ramp's length: drawn one by one up to the first that is not finite (left
    out) or that takes their smoothed value above `ramp.stop` times its least. Nothing is drawn after that."""
    kept: list[float] = []
    least = math.inf
    for loss in losses:
        if not math.isfinite(loss):
            break
        kept.append(loss)
        smoothed = smooth(kept)[-1]
        least = min(least, smoothed)
        if smoothed > ramp.stop * least > 0:
            break
    return _padded(np.array(kept), ramp.steps)


def suggest_lrs(test: RangeTest) -> dict[str, Suggestion | None]:
    """The rate that each rule suggests, by its name; None where some seed has none: too few points, or for `edge` a
    loss that never left."""
    return {name: _over_seeds([rule(test.lrs, losses) for losses in test.losses]) for name, rule in RATE_RULES.items()}


@dataclass(frozen=True)
class Recommendation:
    """One rate to begin with, and why; None where the test saw too little."""

    lr: float | None
    reason: str


def recommend_lr(test: RangeTest) -> Recommendation:
    """The rate that a range test recommends, with its reason."""
    found = suggest_lrs(test)
    minimum, edge = found["minimum"], found["edge"]
    if minimum is None:
        return Recommendation(None, "the loss was lost before a tenth of the ramp: begin it lower (ramp.low)")
    lr = 2**minimum.log2_lr
    if edge is not None and lr > BELOW_EDGE * 2**edge.log2_lr:
        return Recommendation(
            BELOW_EDGE * 2**edge.log2_lr,
            f"{BELOW_EDGE:g} of the edge {2**edge.log2_lr:.3g}, above which the loss leaves; a tenth of the rate of "
            f"the least loss, {lr:.3g}, is nearer to it",
        )
    seen = "no edge was reached: raise ramp.high to see it" if edge is None else f"the edge is {2**edge.log2_lr:.3g}"
    return Recommendation(lr, f"a tenth of the rate of the least loss, {10 * lr:.3g}; {seen}")


def _valley(lrs: Array, losses: Array) -> float | None:
    lrs, smoothed = _analysed(lrs, losses)
    if not len(smoothed):
        return None
    tails: list[float] = []  # of the longest falling subsequences of each length, the least last loss, negated
    lengths = []
    for loss in smoothed:
        at = bisect_left(tails, -loss)
        tails[at : at + 1] = [-loss]
        lengths.append(at + 1)
    last = int(np.argmax(lengths))
    n = lengths[last]
    return float(lrs[max(last - n + n // 3 + n // 6, 0)])


def _steep(lrs: Array, losses: Array) -> float | None:
    lrs, smoothed = _analysed(lrs, losses)
    return float(lrs[np.argmin(np.diff(smoothed) / np.diff(np.log(lrs)))]) if len(smoothed) > 1 else None


def _minimum(lrs: Array, losses: Array) -> float | None:
    lrs, smoothed = _analysed(lrs, losses)
    return float(lrs[np.argmin(smoothed)]) / 10 if len(smoothed) else None


def _slide(lrs: Array, losses: Array) -> float | None:
    lrs, smoothed = _analysed(lrs, losses)
    left = len(smoothed) - 1 - SLIDE_WINDOW
    if left < 0:
        return None
    change = np.gradient(smoothed)
    apart = np.abs(change[SLIDE_WINDOW:] - change[:-SLIDE_WINDOW]) > SLIDE_THRESHOLD
    while left > 0 and apart[left] and apart[left - 1]:
        left -= 1
    return float(lrs[left])


def _edge(lrs: Array, losses: Array) -> float | None:
    kept = losses[np.isfinite(losses)]
    if not len(kept):
        return None
    least = int(np.argmin(kept))
    above = np.flatnonzero(kept[least:] > kept[0]) + least
    end = int(above[0]) if len(above) else len(kept) - 1
    if 0 < kept[least] < NEAR_ZERO * kept[0]:
        last = slice(max(least, end - TURN), end)
        growth = kept[last.start + 1 : end + 1] / kept[last]
        if len(growth) and (growth > 1).all():
            return float(np.median(2 * lrs[last] / (1 + np.sqrt(growth))))
    if len(above):
        return float(lrs[end - 1])
    return float(lrs[end]) if len(kept) < len(losses) else None


RATE_RULES: Mapping[str, Callable[[Array, Array], float | None]] = {
    "valley": _valley,
    "steep": _steep,
    "minimum": _minimum,
    "slide": _slide,
    "edge": _edge,
}
"""Each takes the rates and the losses of one seed, NaN from where they end."""


def _analysed(lrs: Array, losses: Array) -> tuple[Array, Array]:
    """The part of a seed's curve that fastai looks at, smoothed."""
    smoothed = smooth(losses[np.isfinite(losses)])
    part = slice(len(lrs) // 10, max(len(smoothed) - SKIPPED_LAST, 0))
    return lrs[part], smoothed[part]


def _over_seeds(lrs: list[float | None]) -> Suggestion | None:
    found = [math.log2(lr) for lr in lrs if lr is not None]
    if len(found) < len(lrs):
        return None
    return Suggestion(float(np.median(found)), min(found), max(found))


def _padded(values: Array, length: int) -> Array:
    padded = np.full(length, np.nan)
    padded[: len(values)] = values
    return padded
