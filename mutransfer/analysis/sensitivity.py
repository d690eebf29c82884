"""Learning rate sensitivity (Wortsman et al. 2023, arXiv 2309.14322, section 2.2): what a rate from a range costs.

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
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mutransfer.analysis.curve import SEED_SHRINKAGE, Array, Curve, two_way
from mutransfer.analysis.interval import Estimate
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
