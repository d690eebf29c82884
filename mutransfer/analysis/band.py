"""How wide the target is: the rates whose loss is within a part of the best one, about 0.25% (DeepSeek LLM, Bi et al.
2024, arXiv 2401.02954, section 3.1, calls these near-optimal) or 1%.

    band = the rates about the best one at which loss <= (1 + within) * best loss, up to the first that is above

The loss is the fitted quartic, and beyond the rates it was fitted to, straight lines between mean losses; where there
is no fitted optimum it is those lines alone, about the best rate tried. For a parabola of curvature a the band is
lr* +- sqrt(within * best / a) in octaves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mutransfer.analysis.curve import Array, Curve
from mutransfer.analysis.optimum import Optimum
from mutransfer.config.scale import Scale

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
