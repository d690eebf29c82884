"""The least-squares line through the optima of an arm: log2 lr* against log2 width, or log2 of whatever else varies.

It goes through the minima of the pooled fit (pooled.py). Where an optimum has no fitted curve, it goes through the
optima one by one; of their shape variances B half is then taken as each one's own and half as common to all, whose
curves have about one shape: the common half moves the line up or down and leaves its slope alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mutransfer.analysis.curve import Array
from mutransfer.analysis.interval import Estimate
from mutransfer.analysis.optimum import Optimum
from mutransfer.analysis.pooled import Located, common_df, pool

OWN_SHAPE = 0.5
"""The part of B that is a width's own."""
WOBBLE = 0.07
"""Scatter of true optima about a straight line before any is seen, octaves."""
WOBBLE_DF = 4.0
"""Degrees of freedom of that."""


def octaves(optima: Sequence[Optimum]) -> Array:
    """log2 size of each."""
    return np.log2([optimum.size for optimum in optima])


def weights_along(x: Array) -> Array:
    """The k of the least-squares slope over x, sum k y."""
    centred = x - x.mean()
    weights: Array = centred / (centred @ centred)
    return weights


def slope_weights(optima: Sequence[Optimum]) -> Array:
    """The k_w of the slope over log2 size, sum k_w log2_lr_w."""
    return weights_along(octaves(optima))


def apart(optima: Sequence[Optimum]) -> Located:
    """The optima one by one; a censored one counts as a number."""
    noise, shape = (np.array([getattr(optimum, name) for optimum in optima]) for name in ("noise", "shape"))
    return Located(
        log2_lr=np.array([optimum.log2_lr for optimum in optima]),
        noise=np.diag(noise),
        df=common_df(noise, np.array([optimum.df for optimum in optima])),
        shape=OWN_SHAPE * np.diag(shape) + (1 - OWN_SHAPE) * shape.mean(),
    )


def located(optima: Sequence[Optimum]) -> Located:
    """The optima as the line takes them, the interior ones by the pooled fit; a censored one counts as a number."""
    inside = np.array([optimum.interior for optimum in optima])
    quartics = [optimum.quartic for optimum in optima if optimum.interior and optimum.quartic is not None]
    pooled = pool(quartics) if len(quartics) == inside.sum() >= 2 else None
    if pooled is None:
        return apart(optima)
    log2_lr = np.array([optimum.log2_lr for optimum in optima])
    noise, shape = np.zeros((2, len(optima), len(optima)))
    log2_lr[inside] = pooled.log2_lr
    noise[np.ix_(inside, inside)], shape[np.ix_(inside, inside)] = pooled.noise, pooled.shape
    return Located(log2_lr, noise, pooled.df, shape)


def combination(weights: Array, optima: Sequence[Optimum]) -> Estimate:
    """sum weights * log2_lr."""
    return located(optima).combination(weights)


def slope(optima: Sequence[Optimum]) -> Estimate | None:
    """d log2 lr* / d log2 width through the interior optima; None where fewer than two are."""
    interior = [optimum for optimum in optima if optimum.interior]
    return combination(slope_weights(interior), interior) if len(interior) >= 2 else None


def prediction(optima: Sequence[Optimum], width: int) -> Estimate:
    """log2 lr* at a width that need not be measured: the line there, with the variance of a new optimum about it.

    With l_w = 1/W + k_w (x - mean x), V the covariance of the optima, and the wobble tau^2 (1 + sum l_w^2) of true
    optima about the line, tau^2 = (4 * .07^2 + excess) / (4 + W - 2), where excess is that of the squares about the
    line over what V explains, the variance is l' V l + wobble. Needs two interior optima.
    """
    interior = [optimum for optimum in optima if optimum.interior]
    x, joint = octaves(interior), located(interior)
    weights = 1 / len(interior) + slope_weights(interior) * (math.log2(width) - x.mean())
    line = joint.combination(weights)
    # Residuals about the line are R y; what is known of y explains tr(R V R') of their squares.
    centred = np.eye(len(x)) - 1 / len(x)
    remover = centred - np.outer(x - x.mean(), slope_weights(interior))
    residuals = remover @ joint.log2_lr
    explained = float(np.trace(remover @ (joint.noise + joint.shape) @ remover.T))
    spare = len(interior) - 2
    excess = max(0.0, float(residuals @ residuals) - explained)
    wobble = (WOBBLE_DF * WOBBLE**2 + excess) / (WOBBLE_DF + spare) * (1 + float(weights @ weights))
    return Estimate(line.value, (*line.parts, (wobble, WOBBLE_DF + spare)))
