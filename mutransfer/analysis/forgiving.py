"""How forgiving the learning rate is, at every scale of an arm: the sensitivity, the near-optimal band, and the lowest
learning rate at which training fails.

Learning rate sensitivity (Wortsman et al. 2023, arXiv 2309.14322, section 2.2): what a rate from a range costs.

    sensitivity = E over lr in [a, b] of min(loss(lr), loss at initialization) - best loss in [a, b]

with log2 lr uniform over [a, b], the range that was tried at all sizes of an arm. Between rates the capped loss is
taken as a straight line in log2 lr: the trapezoid rule, which serves a grid and the rates of a search alike, while the
paper's plain mean over its grid gives the ends double weight. A trial that diverged or ended above the loss at
initialization counts as that loss.

The interval is paired: at every rate a seed is compared with itself at the best rate, so its offset cancels, and the
costs of single seeds give a t interval. Their variance is pooled over the sizes at which no trial was capped, because
few seeds at one size cannot say it; where one was, the seeds part by nats and the size speaks for itself. A best rate
chosen from noisy means has a loss a little too low, by less than their noise. No interval reaches above what a range
costs in which nothing else trains: the largest loss at initialization less the best.

How wide the target is: the rates whose loss is within a part of the best one, about 0.25% (DeepSeek LLM, Bi et al.
2024, arXiv 2401.02954, section 3.1, calls these near-optimal) or 1%.

    band = the rates about the best one at which loss <= (1 + within) * best loss, up to the first that is above

The loss is the fitted quartic, and beyond the rates it was fitted to, straight lines between mean losses; where there
is no fitted optimum it is those lines alone, about the best rate tried. For a parabola of curvature a the band is
lr* +- sqrt(within * best / a) in octaves.

The lowest rate at which training fails: the smallest lr, at or above the best one tried, whose mean loss is above
the best by more than 1 nat per token, or at which a trial diverged (Haas et al. 2025, arXiv 2505.22491).

A grid only brackets it. With the true edge of size w in (s_w, u_w], both in log2, and k_w the least-squares weights,
the slope of the edges is

    sum k_w (s_w + u_w)/2  +-  sum |k_w| (u_w - s_w)/2

and these ends are bounds, whatever lies within the brackets (the identified set of Manski 2003, Partial Identification
of Probability Distributions). A smaller interval from errors uniform in their brackets and independent of each other
would not be honest: on one grid for all sizes they are one function of the grid's phase. Over four widths an octave
apart, an edge that falls 0.26 octaves a doubling stays in one bracket in 22% of all phases of a grid of octaves: then
all midpoints are equal and the slope is missed by 0.26, where independent errors would give a half-width of 0.25.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mutransfer.analysis.curve import SEED_SHRINKAGE, Array, Curve, two_way
from mutransfer.analysis.interval import Estimate, Interval
from mutransfer.analysis.line import weights_along
from mutransfer.analysis.optimum import Optimum
from mutransfer.config.scale import Scale

FEWEST_RATES = 2
"""Fewest rates that have a mean over a range."""


@dataclass(frozen=True)
class Sensitivity:
    """Mean excess loss over the rates 2^low..2^high at one size, nats per token. Without two seeds that were run at all
    of them there is no interval."""

    scale: Scale
    low: float
    high: float
    estimate: float
    ci_low: float | None
    ci_high: float | None


@dataclass(frozen=True, eq=False)
class _Capped:
    """The losses of one size within the range, at most the loss at initialization."""

    scale: Scale
    estimate: float
    by_seed: Array
    """The cost of every seed that was run at all rates."""
    touched: bool
    """Whether a loss was capped."""
    most: float
    """What it can cost at most."""

    @property
    def squares(self) -> float:
        return float(np.sum((self.by_seed - self.by_seed.mean()) ** 2)) if len(self.by_seed) else 0.0

    @property
    def df(self) -> int:
        return max(0, len(self.by_seed) - 1)


def lr_sensitivity(curves: Sequence[Curve], init_losses: Sequence[Array]) -> tuple[Sensitivity, ...]:
    """The sensitivity at every size of an arm at which some trial did better than its initialization, over the range of
    rates tried at all sizes; none where fewer than two rates of a size lie in it. `init_losses` has the loss at
    initialization of every seed of every curve, nats."""
    low = max(float(curve.log2_lr[0]) for curve in curves)
    high = min(float(curve.log2_lr[-1]) for curve in curves)
    if any(np.sum(_within(curve, low, high)) < FEWEST_RATES for curve in curves):
        return ()
    capped = [
        _cap(curve, init, low, high)
        for curve, init in zip(curves, init_losses, strict=True)
        if (curve.losses[:, _within(curve, low, high)] < init[:, None]).any()
    ]
    calm = [each for each in capped if not each.touched]
    return tuple(_sensitivity(each, [each] if each.touched else calm, low, high) for each in capped)


def _within(curve: Curve, low: float, high: float) -> NDArray[np.bool_]:
    return np.asarray((curve.log2_lr >= low) & (curve.log2_lr <= high))


def _cap(curve: Curve, init: Array, low: float, high: float) -> _Capped:
    inside = _within(curve, low, high)
    rates, losses = curve.log2_lr[inside], curve.losses[:, inside]
    ceiling = np.broadcast_to(init[:, None], losses.shape)
    capped = np.where(np.isnan(losses), np.nan, np.minimum(losses, ceiling))
    means = two_way(capped, SEED_SHRINKAGE)[0]
    best = int(np.argmin(means))
    complete = capped[np.isfinite(capped).all(axis=1)]
    return _Capped(
        scale=curve.scale,
        estimate=float(_mean(rates, means) - means[best]),
        by_seed=np.array([_mean(rates, seed) - seed[best] for seed in complete]),
        touched=bool((losses > ceiling).any()),
        most=float(init.max() - means[best]),
    )


def _mean(rates: Array, losses: Array) -> float:
    """Mean over the range; straight lines between rates."""
    return float(np.sum(np.diff(rates) * (losses[1:] + losses[:-1]) / 2) / (rates[-1] - rates[0]))


def _sensitivity(capped: _Capped, pool: Sequence[_Capped], low: float, high: float) -> Sensitivity:
    df = sum(each.df for each in pool)
    if not capped.df:
        return Sensitivity(capped.scale, low, high, capped.estimate, None, None)
    variance = sum(each.squares for each in pool) / df / len(capped.by_seed)
    interval = Estimate(capped.estimate, ((variance, df),)).interval
    ends = max(0.0, interval.ci_low), min(capped.most, interval.ci_high)
    return Sensitivity(capped.scale, low, high, capped.estimate, *ends)


WITHIN = (0.0025, 0.01)
"""Loss above the best, as a part of it."""
STEPS = 2001
"""Points from the best rate to the last known one, between which the crossing is taken as straight."""


@dataclass(frozen=True)
class Band:
    """The rates 2^low..2^high whose loss is at most (1 + within) times the best at one scale. An end is open
    where it is the last rate tried and the band may go on; where the next rate diverged, it ends at the last that
    trained."""

    scale: Scale
    within: float
    low: float
    high: float
    low_open: bool
    high_open: bool


def bands(optimum: Optimum, curve: Curve) -> tuple[Band, ...]:
    """The bands of one scale for every part of WITHIN; none where every trial diverged."""
    if optimum.loss is None:
        return ()
    return tuple(_band(optimum, curve, optimum.loss, within) for within in WITHIN)


def _band(optimum: Optimum, curve: Curve, best: float, within: float) -> Band:
    start = float(np.clip(optimum.log2_lr, curve.log2_lr[0], curve.log2_lr[-1]))
    (low, low_open), (high, high_open) = (
        _end(optimum, curve, start, side, (1 + within) * best) for side in (-1.0, 1.0)
    )
    return Band(curve.scale, within, low, high, low_open, high_open)


def _end(optimum: Optimum, curve: Curve, start: float, side: float, ceiling: float) -> tuple[float, bool]:
    """The first rate from `start` to one side whose loss is above the ceiling, or the last rate that trained; and
    whether it is the last one tried."""
    diverged = curve.log2_lr[curve.diverged & (side * (curve.log2_lr - start) > 0)]
    tried = curve.log2_lr[~curve.diverged & (side * (curve.log2_lr - start) >= 0)]
    if len(diverged):
        nearest = diverged[np.argmin(side * diverged)]
        tried = tried[side * tried < side * nearest]
    last = float(side * np.max(side * tried, initial=side * start))
    rates = np.linspace(start, last, STEPS)
    losses = _losses(optimum, curve, rates)
    above = np.flatnonzero(losses > ceiling)
    if not len(above):
        return last, not len(diverged)
    after = max(1, int(above[0]))
    part = (ceiling - losses[after - 1]) / (losses[after] - losses[after - 1])
    return float(rates[after - 1] + part * (rates[after] - rates[after - 1])), False


def _losses(optimum: Optimum, curve: Curve, log2_lr: Array) -> Array:
    finite = ~curve.diverged
    measured = np.interp(log2_lr, curve.log2_lr[finite], curve.means[finite])
    fitted = optimum.fitted(log2_lr) if optimum.interior else np.full(len(log2_lr), np.nan)
    return np.where(np.isnan(fitted), measured, fitted)


EXCESS = 1.0
"""Loss above the best one that counts as failed training, nats per token."""


@dataclass(frozen=True)
class Unstable:
    """The bracket of the lowest unstable rate at one scale, as log2: the last `stable` rate (None: the lowest tried
    failed too) and the first `unstable` one (None: none was found up to the highest tried, which is `stable`)."""

    scale: Scale
    stable: float | None
    unstable: float | None

    @property
    def found(self) -> bool:
        """Whether both ends of the bracket are known."""
        return self.stable is not None and self.unstable is not None


def lowest_unstable(curve: Curve) -> Unstable:
    """The lowest unstable rate of a curve."""
    means, rates = curve.means, curve.log2_lr
    best = int(np.argmin(means))
    failed = np.flatnonzero(means[best:] > means[best] + EXCESS) + best if np.isfinite(means[best]) else np.array([0])
    if not len(failed):
        return Unstable(curve.scale, float(rates[-1]), None)
    first = int(failed[0])
    return Unstable(curve.scale, float(rates[first - 1]) if first else None, float(rates[first]))


def unstable_slope(found: Sequence[Unstable], dimension: str = "width") -> Interval | None:
    """d log2 (lowest unstable lr) / d log2 size along the one dimension that varies, through the scales with both
    ends of a bracket; None with fewer than two."""
    brackets = [(each.stable, each.unstable) for each in found if each.stable is not None and each.unstable is not None]
    if len(brackets) < 2:
        return None
    weights = weights_along(np.array([each.scale.log2(dimension) for each in found if each.found]))
    low, high = np.array(brackets).T
    estimate, half = float(weights @ (low + high) / 2), float(np.abs(weights) @ (high - low) / 2)
    return Interval(estimate, estimate - half, estimate + half)
