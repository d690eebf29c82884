"""The best learning rate over size, tokens and batch, in octaves: a surface with two regimes.

    y_i = c + sum_k size_k n_ik + tokens d_i + bends - batch softplus(knee_i - b_i) + u_size + v_(size, d) + w_i + e_i
    knee_i = knee + knee_tokens d_i + sum_k knee_size_k n_ik,   softplus(z) = log2(1 + 2^(3z)) / 3

y is log2 lr*, n sizes, d tokens, b batch, all log2 and from their means; bends are small second powers of n and d.
Below the knee (b < knee_i) the optimum rises with the batch; above it the batch no longer matters.
u, v and w are how optima scatter about any such law: by size (shape, initialization), by run, by cell. The errors e
have the covariance `scale` * V, V that of the measured optima and `scale` as sure as its degrees of freedom:
integrating over it is what makes intervals Student's. Without regimes it is the line
y_i = c + sum_k size_k n_ik + u + v + w + e.

For given knees, standard deviations of the scatter and scale, everything else is linear and Gaussian, so it is
integrated in closed form; over these few it is integrated by weighted points (importance.py). No bootstrap: resampling
curves or cells covered 50% to 61% on real runs, because what is not known is not among the cells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from mutransfer.analysis.curve import Array
from mutransfer.analysis.importance import explore, resampled, uniform
from mutransfer.analysis.interval import CONFIDENCE
from mutransfer.theory.lr_priors import SCATTER_SD, Prior, Scatter

SHARPNESS = 3.0
"""How sharp the knee is: of 167 cells of real runs."""
LEVEL_SD = 5.0
"""Of c about the median optimum, octaves: it is not known."""
LEAST_SD = 0.03
"""An optimum is never known better, octaves."""
MOST_DF = 1e4
"""Degrees of freedom of a variance from which on it counts as known."""
DRAWS = 400
"""Of the posterior that predictions are made of."""
THINNED = 4
"""Every so many of them tell covariances over many cells."""
STRATA = 16
"""Quantiles of each draw's own Gaussian."""
BEND = 0.03
"""Standard deviation of the second derivatives over sizes and tokens, octaves per octave squared: published laws bend
(upward beyond 300M parameters and 20B tokens in arXiv 2606.29158)."""
VARIANCES = 4
"""Curved parameters that are the logarithms of the three scatters and of the scale: the last of each draw."""


@dataclass(frozen=True)
class Regimes:
    """What is expected of tokens and batch before the first run."""

    tokens: Prior
    batch: Prior
    knee: tuple[Prior, ...]
    """knee, knee_tokens, and knee_size of every size."""


@dataclass(frozen=True)
class Beliefs:
    """What is expected before the first run; without `regimes` the law is the line in the sizes."""

    sizes: tuple[Prior, ...]
    regimes: Regimes | None
    scatter: Scatter


@dataclass(frozen=True, eq=False)
class Cells:
    """What was measured: of each cell its sizes (n x k), tokens and batch, all log2, its optimum log2_lr, and the
    covariance of those with its degrees of freedom."""

    sizes: Array
    tokens: Array
    batch: Array
    log2_lr: Array
    covariance: Array
    df: float


@dataclass(frozen=True)
class Predicted:
    """log2 of the best learning rate of a cell that need not be measured."""

    log2_lr: float
    """The median."""
    ci_low: float
    ci_high: float
    sd: float
    above_knee: float | None
    """Probability that the batch no longer matters there; None without regimes."""
    log2_knee: float | None
    """log2 of the batch from which on it does not."""


@dataclass(frozen=True, eq=False)
class Surface:
    """Draws of the posterior: of the curved parameters, and for each the mean and covariance of the linear ones."""

    center: Array
    """Mean sizes, tokens and batch."""
    groups: Groups
    curved: Array
    """draw x (knee, knee_tokens, knee_sizes.., log scatters of size, length and cell, log scale)."""
    mean: Array
    """draw x (c, sizes.., tokens, batch, bends.., u.., v..)."""
    covariance: Array

    def at(self, sizes: Sequence[float], tokens: float, batch: float) -> Predicted:
        """The optimum at a scale, log2 of each."""
        point = np.array([[*sizes, tokens, batch]]) - self.center
        design = _design(point, self.curved, self.groups.columns(point))[:, 0]
        means = (design * self.mean).sum(axis=1)
        known = np.einsum("mi,mij,mj->m", design, self.covariance, design)
        variances = known + np.exp(2 * self.curved[:, -VARIANCES:-1]) @ self.groups.new(point)
        median, low, high = _quantiles(means, variances)
        above = knee = None
        if self.curved.shape[1] > VARIANCES:
            knees = _knee(point, self.curved)[:, 0]
            above, knee = float((point[0, -1] > knees).mean()), float(np.median(knees) + self.center[-1])
        return Predicted(median, low, high, math.sqrt(float(variances.mean() + means.var())), above, knee)

    def covariance_of(self, where: Array) -> tuple[Array, Array]:
        """Mean and covariance of the optima at scales, rows of log2 (sizes.., tokens, batch), as they are known."""
        points = where - self.center
        some = slice(None, None, THINNED)
        design = _design(points, self.curved[some], self.groups.columns(points))
        means = np.einsum("mni,mi->mn", design, self.mean[some])
        # Draw by draw: all at once would be as many matrices as there are draws.
        known = np.zeros((len(points), len(points)))
        for each, covariance in zip(design, self.covariance[some], strict=True):
            known += each @ covariance @ each.T / len(design)
        alike = [
            np.abs(points[:, None, :count] - points[None, :, :count]).max(axis=2, initial=0.0) < 1e-5
            for count in (points.shape[1] - 2, points.shape[1] - 1, points.shape[1])
        ]
        new = np.array([self.groups.new(point[None]) for point in points])
        scatter = np.exp(2 * self.curved[:, -VARIANCES:-1]).mean(axis=0)
        shared = sum(scatter[at] * same * np.outer(new[:, at], new[:, at]) for at, same in enumerate(alike))
        return means.mean(axis=0), known + np.cov(means.T, bias=True).reshape(known.shape) + shared


def expected(center: Array, beliefs: Beliefs) -> Surface:
    """What is known before any cell, about a scale, log2 of (sizes.., tokens, batch); the level is about log2_lr 0."""
    nothing = np.empty((0, len(center)))
    groups = Groups(nothing[:, :-2], nothing[:, :-1])
    middle, spread = _curved_beliefs(beliefs, math.inf)
    curved = middle + spread * ndtri(uniform(DRAWS, len(middle), 0))
    cells = Cells(nothing[:, :-2], nothing[:, -2], nothing[:, -1], np.zeros(1), np.empty((0, 0)), math.inf)
    linear = _linear(cells, beliefs, nothing, groups)
    mean = np.repeat(linear.middle[None], DRAWS, axis=0)
    covariance = np.repeat(np.diag(1 / linear.precision)[None], DRAWS, axis=0)
    return Surface(center, groups, curved, mean, covariance)


def _curved_beliefs(beliefs: Beliefs, df: float) -> tuple[Array, Array]:
    """Means and standard deviations of the curved parameters."""
    knees = () if beliefs.regimes is None else beliefs.regimes.knee
    scatters = (beliefs.scatter.size, beliefs.scatter.length, beliefs.scatter.cell)
    middle = np.array([*(prior.mean for prior in knees), *np.log(scatters), 0.0])
    # The log of a variance with df degrees of freedom has about the variance 2 / df, next to none if it is known.
    df = min(max(df, 1.0), MOST_DF)
    return middle, np.array([*(prior.sd for prior in knees), *[SCATTER_SD] * 3, math.sqrt(2 / df)])


def surface(cells: Cells, beliefs: Beliefs) -> Surface:
    """The posterior of the law given the cells."""
    where = np.column_stack([cells.sizes, cells.tokens, cells.batch])
    center = where.mean(axis=0)
    groups = Groups.of(where - center)
    linear = _linear(cells, beliefs, where - center, groups)
    middle, spread = _curved_beliefs(beliefs, cells.df)

    def log_density(curved: Array) -> Array:
        beyond = (curved - middle) / spread
        density: Array = linear.solve(curved)[0] - 0.5 * (beyond**2).sum(axis=1)
        return density

    points, weights = explore(log_density, middle, spread)
    curved = points[resampled(weights, DRAWS)]
    _, mean, covariance = linear.solve(curved)
    return Surface(center, groups, curved, mean, covariance)


@dataclass(frozen=True, eq=False)
class Groups:
    """The sizes, and the (size, tokens), that have cells: a row each, from the center."""

    sizes: Array
    lengths: Array

    @classmethod
    def of(cls, points: Array) -> Groups:
        """Those of cell x (sizes.., tokens, batch)."""
        return cls(np.unique(np.round(points[:, :-2], 6), axis=0), np.unique(np.round(points[:, :-1], 6), axis=0))

    def columns(self, points: Array) -> Array:
        """cell x group, the sizes first: 1 where the cell is of the group."""
        found = [
            np.abs(points[:, None, : rows.shape[1]] - rows).max(axis=2, initial=0.0) < 1e-5
            for rows in (self.sizes, self.lengths)
        ]
        return np.concatenate(found, axis=1).astype(np.float64)

    def new(self, point: Array) -> Array:
        """1 or 0: whether the size, the size with its tokens, and the cell (always) are none of those measured."""
        columns, sizes = self.columns(point)[0], len(self.sizes)
        return np.array([1 - columns[:sizes].sum(), 1 - columns[sizes:].sum(), 1.0])


def _knee(points: Array, curved: Array) -> Array:
    """draw x cell: log2 batch of the knee, from the mean batch."""
    sizes = points.shape[1] - 2
    knee: Array = curved[:, :1] + curved[:, 1:2] * points[:, -2] + curved[:, 2 : 2 + sizes] @ points[:, :-2].T
    return knee


def _design(points: Array, curved: Array, groups: Array) -> Array:
    """draw x cell x (1, sizes.., tokens, -softplus, bends.., u.., v..); without regimes 1, sizes, u and v."""
    regimes = curved.shape[1] > VARIANCES
    where = points[:, :-1] if regimes else points[:, :-2]
    fixed = np.column_stack([np.ones(len(points)), where, _bends(where) if regimes else where[:, :0], groups])
    design = np.repeat(fixed[None], len(curved), axis=0)
    if not regimes:
        return design
    z = _knee(points, curved) - points[:, -1]
    softplus = np.logaddexp2(0, SHARPNESS * z) / SHARPNESS
    return np.insert(design, points.shape[1], -softplus, axis=2)


def _bends(where: Array) -> Array:
    """Half the square of every column, and the product of every two."""
    one, other = np.triu_indices(where.shape[1])
    bends: Array = where[:, one] * where[:, other] * np.where(one == other, 0.5, 1.0)
    return bends


@dataclass(frozen=True, eq=False)
class _Linear:
    """The Gaussian part, in the axes in which V is diagonal: there scale * V + scatter^2 is so for every draw."""

    points: Array
    groups: Array
    sizes: int
    """Groups of one size, which stand before those of one size and tokens."""
    axes: Array
    variances: Array
    response: Array
    middle: Array
    """Prior means of the linear parameters; 0 for the groups."""
    precision: Array
    """Of those but the groups."""

    def solve(self, curved: Array) -> tuple[Array, Array, Array]:
        """For each draw the log density of the optima with the linear parameters integrated out, less a constant, and
        the mean and covariance of those."""
        size, length, cell, scale = np.exp(curved[:, -VARIANCES:] * [2, 2, 2, 1]).T[:, :, None]
        noise = scale * self.variances + cell  # draw x cell
        parts = ((self.precision, 1.0), (np.ones(self.sizes), 1 / size))
        rest = np.ones(self.groups.shape[1] - self.sizes)
        precision = np.concatenate([one * np.ones_like(size) * each for each, one in (*parts, (rest, 1 / length))], 1)

        design = self.axes.T @ _design(self.points, curved, self.groups)
        residual = self.axes.T @ self.response - design @ self.middle
        weighted = np.swapaxes(design / noise[:, :, None], 1, 2)
        information = weighted @ design
        diagonal = np.arange(len(self.middle))
        information[:, diagonal, diagonal] += precision
        covariance = np.linalg.inv(information)
        gradient = np.einsum("mij,mj->mi", weighted, residual)
        step = np.einsum("mij,mj->mi", covariance, gradient)
        determinants = np.log(noise).sum(axis=1) + np.linalg.slogdet(information)[1] - np.log(precision).sum(axis=1)
        squares = (residual**2 / noise).sum(axis=1) - (gradient * step).sum(axis=1)
        return -0.5 * (determinants + squares), self.middle + step, covariance


def _linear(cells: Cells, beliefs: Beliefs, points: Array, groups: Groups) -> _Linear:
    variances, axes = np.linalg.eigh(cells.covariance)
    regimes = beliefs.regimes
    priors = (*beliefs.sizes, *(() if regimes is None else (regimes.tokens, regimes.batch)))
    columns = groups.columns(points)
    bends = 0 if regimes is None else _bends(points[:, :-1]).shape[1]
    return _Linear(
        points=points,
        groups=columns,
        sizes=len(groups.sizes),
        axes=axes,
        variances=np.maximum(variances, LEAST_SD**2),
        response=cells.log2_lr,
        middle=np.array(
            [np.median(cells.log2_lr), *(prior.mean for prior in priors), *[0.0] * (bends + columns.shape[1])]
        ),
        precision=np.array([LEVEL_SD**-2, *(prior.sd**-2 for prior in priors), *[BEND**-2] * bends]),
    )


def _quantiles(means: Array, variances: Array) -> tuple[float, float, float]:
    """Median and interval of an equal mixture of Gaussians."""
    strata = ndtri((np.arange(STRATA) + 0.5) / STRATA)
    values = np.sort((means[:, None] + np.sqrt(variances)[:, None] * strata).ravel())
    at = (0.5, (1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)
    median, low, high = np.interp(at, (np.arange(len(values)) + 0.5) / len(values), values)
    return float(median), float(low), float(high)
