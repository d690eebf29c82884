"""A few thousand weighted points of a density known up to a factor: importance sampling that adapts itself, from
quasi-random points, so that the same density always gives the same points.

Each round draws points of a Student's t proposal (Genz and Bretz 2009, section 4.1), weighs all points so far against
the mixture of all proposals (Cornuet, Marin, Mira and Robert 2012, Scandinavian J. Statistics 39, 798), and fits the
next proposal to them. While few points carry the weight, the density is flattened for that fit (its power T < 1), so
that the proposals walk towards a narrow mode step by step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv, ndtri

Array = NDArray[np.float64]

POINTS = 256
"""A round."""
ROUNDS = 8
DF = 6.0
"""Degrees of freedom of the proposals: their tails are to be longer than the density's."""
EFFECTIVE = 0.2 * POINTS
"""Fewest effective points that a proposal is fitted to."""
COOLING = 0.8


PRIMES = np.array([2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37])
"""One a dimension, so that there are at most so many, the stretch of the t among them."""


@lru_cache(maxsize=64)
def uniform(count: int, dimensions: int, first: int) -> Array:
    """Points `first` to `first + count` of Richtmyer's sequence, whose steps are the square roots of the primes, and
    which fills the unit cube evenly (Genz and Bretz 2009, section 4.2.2); count x dimensions."""
    index = np.arange(first + 1, first + count + 1)[:, None]
    points: Array = (0.5 + index * np.sqrt(PRIMES[:dimensions])) % 1.0
    return points


def explore(log_density: Callable[[Array], Array], mean: Array, sd: Array) -> tuple[Array, Array]:
    """Points (n x dimensions) and their weights, which sum to 1. `log_density` maps n x dimensions to n; `mean` and
    `sd` are where to look first, such as those of the prior."""
    dimensions = len(mean)
    center: Array = mean
    factor: Array = np.diag(sd)
    points, values = np.empty((0, dimensions)), np.empty(0)
    proposals: list[tuple[Array, Array]] = []
    log_weights = np.empty(0)
    for turn in range(ROUNDS):
        drawn = uniform(POINTS, dimensions + 1, turn * POINTS)
        stretch = np.sqrt(2 * gammaincinv(DF / 2, drawn[:, -1:]) / DF)  # chi / sqrt(df)
        fresh = center + (ndtri(drawn[:, :-1]) / stretch) @ factor.T
        proposals.append((center, factor))
        points, values = np.concatenate([points, fresh]), np.concatenate([values, log_density(fresh)])
        proposed = np.logaddexp.reduce([_log_t(points, *each) for each in proposals]) - math.log(len(proposals))
        log_weights = values - proposed
        log_weights -= log_weights.max()
        power, weights = 1.0, normalized(log_weights)
        while 1 / (weights @ weights) < EFFECTIVE and power > 1e-3:
            power *= COOLING
            weights = normalized(power * log_weights)
        center = weights @ points
        apart = points - center
        factor = np.asarray(np.linalg.cholesky((apart.T * weights) @ apart + np.diag(1e-4 * sd**2)), dtype=np.float64)
    return points, normalized(log_weights)


def normalized(log_weights: Array) -> Array:
    """The weights, with sum 1."""
    weights = np.exp(log_weights - log_weights.max())
    scaled: Array = weights / weights.sum()
    return scaled


def resampled(weights: Array, count: int) -> NDArray[np.intp]:
    """`count` indices, each point as often as its weight says to within one (systematic resampling)."""
    at = np.searchsorted(np.cumsum(weights), (np.arange(count) + 0.5) / count)
    return np.minimum(at, len(weights) - 1)


def _log_t(points: Array, center: Array, factor: Array) -> Array:
    """Log density of the t at each point, less what is the same for all proposals."""
    z = np.linalg.solve(factor, (points - center).T)
    density: Array = -(DF + len(center)) / 2 * np.log1p((z * z).sum(axis=0) / DF) - np.log(np.diag(factor)).sum()
    return density
