"""The least-squares line through the optima of an arm: log2 lr* against log2 width.

Half of an optimum's shape variance B is taken as its own and half as common to all widths of an arm, whose curves have
one shape: the common half moves the line up or down and leaves its slope alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mutransfer.analysis.curve import Array
from mutransfer.analysis.interval import Estimate
from mutransfer.analysis.optimum import Optimum

OWN_SHAPE = 0.5
"""The part of B that is a width's own."""
WOBBLE = 0.07
"""Scatter of true optima about a straight line before any is seen, octaves."""
WOBBLE_DF = 4.0
"""Degrees of freedom of that."""


def octaves(optima: Sequence[Optimum]) -> Array:
    """log2 width of each."""
    return np.log2([optimum.width for optimum in optima])


def slope_weights(optima: Sequence[Optimum]) -> Array:
    """The k_w of the least-squares slope, sum k_w log2_lr_w."""
    centred = octaves(optima) - octaves(optima).mean()
    weights: Array = centred / (centred @ centred)
    return weights


def combination(weights: Array, optima: Sequence[Optimum]) -> Estimate:
    """sum weights * log2_lr, with noise and own shape of each width; a censored optimum counts as a number."""
    noise: dict[float, float] = {}
    for weight, optimum in zip(weights, optima, strict=True):
        noise[optimum.df] = noise.get(optimum.df, 0.0) + float(weight**2) * optimum.noise
    shape = OWN_SHAPE * float(weights**2 @ [optimum.shape for optimum in optima])
    value = float(weights @ [optimum.log2_lr for optimum in optima])
    return Estimate(value, (*((variance, df) for df, variance in noise.items()), (shape, math.inf)))


def slope(optima: Sequence[Optimum]) -> Estimate | None:
    """d log2 lr* / d log2 width through the interior optima; None where fewer than two are."""
    interior = [optimum for optimum in optima if optimum.interior]
    return combination(slope_weights(interior), interior) if len(interior) >= 2 else None


def prediction(optima: Sequence[Optimum], width: int) -> Estimate:
    """log2 lr* at a width that need not be measured: the line there, with the variance of a new optimum about it.

    With l_w = 1/W + k_w (x - mean x), the sum over w of l_w^2 (v_w + B_w/2), the common half of the mean B, and
    the wobble tau^2 (1 + sum l_w^2) of true optima about the line, tau^2 = (4 * .07^2 + excess) / (4 + W - 2) with the
    excess of the squares about the line over what v + B/2 explains. Needs two interior optima.
    """
    interior = [optimum for optimum in optima if optimum.interior]
    x = octaves(interior)
    weights = 1 / len(interior) + slope_weights(interior) * (math.log2(width) - x.mean())
    line = combination(weights, interior)
    y = np.array([optimum.log2_lr for optimum in interior])
    residuals = y - y.mean() - (slope_weights(interior) @ y) * (x - x.mean())
    explained = np.mean([optimum.noise + OWN_SHAPE * optimum.shape for optimum in interior])
    spare = len(interior) - 2
    excess = max(0.0, float(residuals @ residuals - spare * explained))
    wobble = (WOBBLE_DF * WOBBLE**2 + excess) / (WOBBLE_DF + spare) * (1 + float(weights @ weights))
    common = (1 - OWN_SHAPE) * float(np.mean([optimum.shape for optimum in interior]))
    return Estimate(line.value, (*line.parts, (common, math.inf), (wobble, WOBBLE_DF + spare)))
