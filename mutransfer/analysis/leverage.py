"""Does one size decide the slope? What the slope is without it (Belsley, Kuh and Welsch 1980, Regression Diagnostics,
section 2.1; Cook 1977, Technometrics 19, 15):

    hat      h_w = 1/W + (x_w - mean x)^2 / sum (x - mean x)^2,  x = log2 size
    dfbeta   slope - slope without w = k_w e_w / (1 - h_w),      e_w the residual, k_w the least-squares weight

A size is named where it matters: leaving it out moves the slope by more than the half-width of the slope's interval,
turns its sign or takes it across the tolerance; where its dfbeta is more than the noise of the optima explains, so that
its own 95% interval leaves out 0 (else one clean line of three sizes in four would have a size named: an end's dfbeta
has 1.73 times the slope's standard error there); and where it is the odd one, without which the others lie closest to a
line: the squares fall by e_w^2 / (1 - h_w), the most of all. So an outlier in the middle does not accuse the ends. Of
three sizes all are equally odd, and the one with the largest dfbeta is named. Of two there is nothing to leave out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mutransfer.analysis.curve import Array
from mutransfer.analysis.interval import Estimate
from mutransfer.analysis.line import located, octaves, slope_weights
from mutransfer.analysis.optimum import Optimum
from mutransfer.config.scale import Scale

FEWEST_SIZES = 3
"""Fewest interior sizes among which one can be left out."""
TIE = 1e-6
"""Squares that differ by less than this part of them are equal but for rounding."""


@dataclass(frozen=True)
class Leverage:
    """The size that the slope rests on, and the slope without it, octaves of rate per doubling."""

    scale: Scale
    slope_without: float
    hat: float
    dfbeta: float


def leverage(optima: Sequence[Optimum], tolerance: float, dimension: str = "width") -> Leverage | None:
    """The size that alone decides the slope of an arm along the one dimension that varies, where there is one."""
    interior = [optimum for optimum in optima if optimum.interior]
    if len(interior) < FEWEST_SIZES:
        return None
    joint, weights = located(interior), slope_weights(interior, dimension)
    line = joint.combination(weights)
    x, y = octaves([optimum.scale for optimum in interior], (dimension,))[:, 0], joint.log2_lr
    x, y = x - x.mean(), y - y.mean()
    hat = 1 / len(x) + x**2 / (x @ x)
    fall = (y - line.value * x) ** 2 / (1 - hat)
    changes = [joint.combination(weights - _without(interior, at, dimension)) for at in range(len(interior))]
    named = [
        at
        for at, change in enumerate(changes)
        if fall[at] >= (1 - TIE) * fall.max() and _decides(line, change, tolerance)
    ]
    if not named:
        return None
    at = max(named, key=lambda each: abs(changes[each].value))
    return Leverage(interior[at].scale, line.value - changes[at].value, float(hat[at]), changes[at].value)


def _without(interior: Sequence[Optimum], left_out: int, dimension: str) -> Array:
    """The weights of the slope through all but one."""
    rest = [optimum for at, optimum in enumerate(interior) if at != left_out]
    return np.insert(slope_weights(rest, dimension), left_out, 0.0)


def _decides(line: Estimate, change: Estimate, tolerance: float) -> bool:
    if change.interval.ci_low <= 0 <= change.interval.ci_high:
        return False
    without = line.value - change.value
    half = line.interval.ci_high - line.value
    turned = math.copysign(1.0, without) != math.copysign(1.0, line.value)
    crossed = (abs(without) <= tolerance) != (abs(line.value) <= tolerance)
    return abs(change.value) > half or turned or crossed
