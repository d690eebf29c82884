"""The least-squares law through the optima of an arm: log2 lr* against log2 of the sizes that vary, a line where one
does; where several do its slopes are partial ones.

It goes through the minima of the pooled fit (pooled.py). Where there is none (`together` says when), it goes through
the optima one by one; of their shape variances B half is then taken as each one's own and half as common to all, whose
curves have about one shape: the common half moves the line up or down and leaves its slope alone.

The size law is the best rate against the number of parameters: lr* ~ N^exponent, the least-squares line of log2 lr* on
log2 N.

Rules of thumb for SP are exponents of it: -1/2 (lr ~ 1/sqrt(N)) and -1 (lr ~ 1/N). N grows with the square of the width
where the blocks outweigh the embeddings, so that a slope of -1 per doubling of width is -1/2 here; in small models it
grows slower. Variance and interval are those of the transfer slope, with log2 N in the place of log2 size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mutransfer.analysis.curve import Array
from mutransfer.analysis.interval import Estimate, Interval
from mutransfer.analysis.optimum import Optimum
from mutransfer.analysis.pooled import Located, common_df, pool
from mutransfer.analysis.quartic import Quartic
from mutransfer.config.scale import Scale, varying

OWN_SHAPE = 0.5
"""The part of B that is a width's own."""
WOBBLE = 0.07
"""Scatter of true optima about a straight line before any is seen, octaves."""
WOBBLE_DF = 4.0
"""Degrees of freedom of that."""


def octaves(scales: Sequence[Scale], dimensions: Sequence[str]) -> Array:
    """log2 size of each scale along each dimension: scale x dimension."""
    return np.array([[scale.log2(name) for name in dimensions] for scale in scales]).reshape(-1, len(dimensions))


def weights_along(x: Array) -> Array:
    """The k of the least-squares slopes over the columns of x, slope_d = sum_w k_dw y_w: column x row. Of one column
    alone x may be a vector, and so is k."""
    centred = x - x.mean(axis=0)
    weights: Array = (
        centred / (centred @ centred) if centred.ndim == 1 else np.linalg.solve(centred.T @ centred, centred.T)
    )
    return weights


def determined(scales: Sequence[Scale], dimensions: Sequence[str]) -> bool:
    """Whether the scales tell the slopes along all these dimensions apart: each varies beside the others."""
    x = octaves(scales, dimensions)
    return len(x) > len(dimensions) and np.linalg.matrix_rank(x - x.mean(axis=0)) == len(dimensions)


def slope_weights(optima: Sequence[Optimum], dimension: str = "width", dimensions: Sequence[str] = ()) -> Array:
    """The k_w of the slope along a dimension, sum k_w log2_lr_w: the partial one beside the other `dimensions`."""
    beside = tuple(dimensions) or (dimension,)
    x = octaves([optimum.scale for optimum in optima], beside)
    weights: Array = weights_along(x[:, 0]) if len(beside) == 1 else weights_along(x)[beside.index(dimension)]
    return weights


def apart(optima: Sequence[Optimum]) -> Located:
    """The optima one by one; a censored one counts as a number."""
    noise, shape = (np.array([getattr(optimum, name) for optimum in optima]) for name in ("noise", "shape"))
    return Located(
        log2_lr=np.array([optimum.log2_lr for optimum in optima]),
        noise=np.diag(noise),
        df=common_df(noise, np.array([optimum.df for optimum in optima])),
        shape=OWN_SHAPE * np.diag(shape) + (1 - OWN_SHAPE) * shape.mean(),
    )


JOINT, ALONE = "joint", "alone"
"""How the optima of an arm are estimated: by one fit of all their curves, or each from its own."""


def together(own: Sequence[Optimum]) -> tuple[tuple[Optimum, ...], str]:
    """The optima of an arm as every result has them, from those of their own curves alone, and how they were estimated.

    JOINT: each interior one is that of the pooled fit, with the fitted curve; `own` is kept beside it. ALONE: as given,
    because fewer than two are interior, they differ in several dimensions, one has no fitted curve, or the pooled fit
    does not converge.
    """
    joint = _pooled(own)
    if joint is None:
        return tuple(own), ALONE
    fits = zip(joint.estimates, joint.quartics, joint.covariances, strict=True)
    return tuple(
        _jointly(optimum.own or optimum, *next(fits)) if optimum.interior else optimum for optimum in own
    ), JOINT


def _jointly(own: Optimum, estimate: Estimate, quartic: Quartic, covariance: Array) -> Optimum:
    (noise, df), (shape, _) = estimate.parts
    interval = estimate.interval
    return replace(
        own,
        log2_lr=estimate.value,
        ci_low=interval.ci_low,
        ci_high=interval.ci_high,
        loss=float(quartic(estimate.value)),
        noise=noise,
        shape=shape,
        df=df,
        quartic=quartic,
        covariance=covariance,
        own=own,
    )


def _pooled(optima: Sequence[Optimum]) -> Located | None:
    """The pooled fit of the interior optima; None where there is none, and where they differ in several dimensions:
    curves at other tokens or batches are of other shapes (by the pooled fit the larger of Step Law's runs were
    predicted to 0.24 octaves, by each one's own curve to 0.20)."""
    interior = [optimum.own or optimum for optimum in optima if optimum.interior]
    if len(varying(optimum.scale for optimum in interior)) > 1:
        return None
    quartics = [optimum.quartic for optimum in interior if optimum.quartic is not None]
    return pool(quartics) if len(quartics) == len(interior) >= 2 else None


def located(optima: Sequence[Optimum]) -> Located:
    """The optima as the line takes them, the interior ones by the pooled fit; a censored one counts as a number."""
    pooled, inside = _pooled(optima), np.array([optimum.interior for optimum in optima])
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


def slopes(optima: Sequence[Optimum], dimensions: Sequence[str]) -> dict[str, Estimate]:
    """d log2 lr* / d log2 size along each dimension, through the interior optima: where several vary, the partial one
    with the others held. Empty where the interior optima are too few, or do not tell the dimensions apart."""
    interior = [optimum for optimum in optima if optimum.interior]
    if not determined([optimum.scale for optimum in interior], dimensions):
        return {}
    joint = located(interior)
    return {name: joint.combination(slope_weights(interior, name, dimensions)) for name in dimensions}


def slope(optima: Sequence[Optimum], dimension: str = "width") -> Estimate | None:
    """The slope along the one dimension that varies; None where fewer than two optima are interior."""
    return slopes(optima, (dimension,)).get(dimension)


def prediction(optima: Sequence[Optimum], scale: Scale, dimensions: Sequence[str] = ("width",)) -> Estimate:
    """log2 lr* at a scale that need not be measured: the law there, with the variance of a new optimum about it.

    With l the weights of the law at the scale, l_w = 1/W + sum_d k_dw (x_d - mean x_d), V the covariance of the optima,
    and the wobble tau^2 (1 + sum l_w^2) of true optima about the law, tau^2 = (4 * .07^2 + excess) / (4 + W - p), where
    p is the number of its coefficients and excess is that of the squares about it over what V explains, the variance is
    l' V l + wobble. Needs interior optima that tell the dimensions apart.
    """
    interior = [optimum for optimum in optima if optimum.interior]
    x, joint = octaves([optimum.scale for optimum in interior], dimensions), located(interior)
    slopes_of = np.array([slope_weights(interior, name, dimensions) for name in dimensions])
    beyond = octaves([scale], dimensions)[0] - x.mean(axis=0)
    weights = 1 / len(interior) + beyond @ slopes_of
    line = joint.combination(weights)
    # Residuals about the law are R y; what is known of y explains tr(R V R') of their squares.
    remover = np.eye(len(x)) - 1 / len(x) - (x - x.mean(axis=0)) @ slopes_of
    residuals = remover @ joint.log2_lr
    explained = float(np.trace(remover @ (joint.noise + joint.shape) @ remover.T))
    spare = len(interior) - 1 - len(dimensions)
    excess = max(0.0, float(residuals @ residuals) - explained)
    wobble = (WOBBLE_DF * WOBBLE**2 + excess) / (WOBBLE_DF + spare) * (1 + float(weights @ weights))
    return Estimate(line.value, (*line.parts, (wobble, WOBBLE_DF + spare)))


RULES = (-0.5, -1.0)
"""Exponents of the rules of thumb."""


@dataclass(frozen=True)
class SizeLaw:
    """d log2 lr* / d log2 N with its 95% interval, and the rules of thumb that the interval leaves out."""

    exponent: Interval
    excludes: tuple[float, ...]


def size_law(optima: Sequence[Optimum], n_params: Sequence[float]) -> SizeLaw | None:
    """The law through the interior optima, `n_params` the number of parameters at each scale; None where fewer than two
    of them differ in it, as along batch size and steps."""
    counted = [replace(optimum, scale=Scale(params=count)) for optimum, count in zip(optima, n_params, strict=True)]
    line = slope(counted, "params")
    if line is None:
        return None
    exponent = line.interval
    excludes = tuple(rule for rule in RULES if not exponent.ci_low <= rule <= exponent.ci_high)
    return SizeLaw(exponent, excludes)
