"""The minima of an arm's curves fitted together, as curves of one shape:

    loss = u_s + c_w + a_w (t^2 + (b + b_w) t^3 + d t^4),   t = log2 lr - m_w,   a_w = typical exp(alpha + alpha_w)

with seed offsets u_s as in the quartic, by Gauss and Newton's method from the quartics' minima, with their weights.
What a width says of skew and peakedness serves all, so that slopes have 17% to 30% less error than through
minima fitted one by one (results/calibration/methods.md). A single width's minimum is safer by itself: where curves
have a cliff, a wrong shape moves all minima alike, which leaves the slope alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mutransfer.analysis.curve import Array
from mutransfer.analysis.interval import Estimate
from mutransfer.analysis.noise import SINGLE_TILT, TILT_DF, Noise, repeated_noise, residual_noise, tilt
from mutransfer.analysis.optimum import SHAPE
from mutransfer.analysis.quartic import (
    DISCREPANCY,
    OBSERVED_EXCESS,
    SEED_OFFSET,
    WINDOW_ALWAYS,
    Quartic,
    expected_curvature,
)

OWN_CURVATURE = 0.25
"""Prior standard deviation of alpha_w: 0.1 over five measured curves, more over others."""
OWN_SKEW = 0.04
"""Prior standard deviation of b_w, 1/octave."""
CURVATURE_SPREAD = 0.6
"""Prior standard deviation of alpha."""
SKEW = 0.15
"""Prior standard deviation of b, 1/octave."""
PEAKEDNESS = 0.05
"""Prior standard deviation of d, 1/octave^2."""
STEPS = 6
LONGEST_STEP = 0.5
"""Of a minimum, octaves."""


@dataclass(frozen=True, eq=False)
class Located:
    """The optima of several sizes and how sure they are together."""

    log2_lr: Array
    noise: Array
    """Covariance from noise, size x size."""
    df: float
    """Degrees of freedom of that."""
    shape: Array
    """Covariance from the curves' shape."""
    quartics: tuple[Quartic, ...] = ()
    """The fitted curves, where these were fitted together."""
    covariances: tuple[Array, ...] = ()
    """Of the coefficients of each."""

    @property
    def estimates(self) -> tuple[Estimate, ...]:
        """Each of them by itself."""
        return tuple(self.combination(one) for one in np.eye(len(self.log2_lr)))

    def planned(self, more: float, added: Array) -> Located:
        """With `more` times the seeds, and with sizes whose optima are expected at `added`, as sure as those here."""
        old, new = len(self.log2_lr), len(added)

        def widened(covariance: Array) -> Array:
            own = float(np.trace(covariance)) / old
            common = (float(covariance.sum()) - own * old) / max(1, old * (old - 1))
            wide = np.full((old + new, old + new), common)
            np.fill_diagonal(wide, own)
            wide[:old, :old] = covariance
            return wide

        df = self.df * more
        return Located(np.append(self.log2_lr, added), widened(self.noise) / more, df, widened(self.shape))

    def combination(self, weights: Array) -> Estimate:
        """sum weights * log2_lr."""
        noise, shape = (float(weights @ covariance @ weights) for covariance in (self.noise, self.shape))
        return Estimate(float(weights @ self.log2_lr), ((noise, self.df), (max(0.0, shape), math.inf)))


def common_df(variances: Array, df: Array) -> float:
    """Degrees of freedom of a sum of variances that are as good as one estimate, because they share most of it."""
    total = float(variances.sum())
    return 1 / float(variances / total @ (1 / df)) if total > 0 and not np.isinf(df).all() else math.inf


def pool(quartics: Sequence[Quartic]) -> Located | None:
    """The minima of curves of one shape. None where the fit leaves the rates that were run; every quartic must have a
    minimum."""
    windows = [quartic.points for quartic in quartics]
    repeated = repeated_noise(windows)
    noises = repeated or residual_noise(quartics)
    width = np.repeat(np.arange(len(windows)), [len(points.rate) for points in windows])
    sigma2 = np.array([noise.variance for noise in noises])[width]
    loss = np.concatenate([points.losses[points.seed, points.rate] for points in windows])
    x = np.concatenate([points.center + points.z[points.rate] for points in windows])
    observed = np.concatenate(
        [(OBSERVED_EXCESS * points.excess * (abs(points.z) > WINDOW_ALWAYS))[points.rate] for points in windows]
    )
    runs = np.concatenate([points.runs_at[points.rate] for points in windows])
    own = (width[:, None] == np.arange(len(windows))).astype(np.float64)
    seeds = np.concatenate([points.seed for points in windows])
    offsets = np.concatenate([own * (seeds == seed)[:, None] for seed in range(int(seeds.max()) + 1)], axis=1)

    levels, minima, curvatures, skews = np.arange(4 * len(windows)).reshape(4, -1)
    theta = np.zeros(4 * len(windows) + 3 + offsets.shape[1])
    theta[minima] = [quartic.minimum for quartic in quartics]
    theta[levels] = [float(quartic(minimum)) for quartic, minimum in zip(quartics, theta[minima], strict=True)]
    expected = windows[0].curvature
    bends = [quartic.derivative(minimum, 2) / 2 for quartic, minimum in zip(quartics, theta[minima], strict=True)]
    typical = float(np.exp(np.log(np.clip(bends, expected / 2, 2 * expected)).mean()))
    theta[curvatures] = np.log([expected_curvature(quartic) / typical for quartic in quartics])
    shared = slice(4 * len(windows), 4 * len(windows) + 3)
    theta[shared.start] = theta[curvatures].mean()
    theta[curvatures] -= theta[shared.start]
    precision = np.zeros(len(theta))
    precision[curvatures], precision[skews] = OWN_CURVATURE**-2, OWN_SKEW**-2
    precision[shared] = CURVATURE_SPREAD**-2, SKEW**-2, PEAKEDNESS**-2
    precision[shared.stop :] = (windows[0].unit * SEED_OFFSET) ** -2

    for _ in range(STEPS):
        alpha, b, d = theta[shared]
        t = x - theta[minima][width]
        a = typical * np.exp(alpha + theta[curvatures])[width]
        skew = (b + theta[skews])[width]
        excess = a * t**2 * (1 + skew * t + d * t**2)
        by_minimum = -a * (2 * t + 3 * skew * t**2 + 4 * d * t**3)
        columns = [own, own * by_minimum[:, None], own * excess[:, None], own * (a * t**3)[:, None]]
        jacobian = np.column_stack([*columns, excess, a * t**3, a * t**4, offsets])
        weights = 1 / (sigma2 + runs * (DISCREPANCY * np.maximum(excess, observed)) ** 2)
        posterior = np.linalg.inv((jacobian.T * weights) @ jacobian + np.diag(precision))
        influence = posterior @ (jacobian.T * weights)
        residuals = loss - theta[levels][width] - excess - offsets @ theta[shared.stop :]
        step = influence @ residuals - posterior @ (precision * theta)
        step[minima] = np.clip(step[minima], -LONGEST_STEP, LONGEST_STEP)
        theta += step
    if not all(
        points.least < m - points.center < points.most for points, m in zip(windows, theta[minima], strict=True)
    ):
        return None

    by_run = influence[minima]
    of_noise = by_run * sigma2 @ by_run.T
    kappa = Noise(SINGLE_TILT, TILT_DF)
    if repeated:
        kappa = tilt(
            (points, by_run[w, width == w], noise)
            for w, (points, noise) in enumerate(zip(windows, noises, strict=True))
        )
    df = common_df(np.diag(of_noise), np.array([noise.df for noise in noises]))
    # The same two parts for all parameters give the covariance of every curve's coefficients.
    of_runs = influence * sigma2 @ influence.T
    covariance = kappa.variance * of_runs + SHAPE * (posterior - of_runs)
    fitted = [
        _as_quartic(
            quartic, typical, theta[own_terms], influence[own_terms][:, width == w], posterior, covariance, own_terms
        )
        for w, quartic in enumerate(quartics)
        for own_terms in [[levels[w], minima[w], curvatures[w], skews[w], *range(shared.start, shared.stop)]]
    ]
    return Located(
        log2_lr=theta[minima],
        noise=kappa.variance * of_noise,
        df=1 / (1 / df + 1 / kappa.df),
        shape=SHAPE * (posterior[np.ix_(minima, minima)] - of_noise),
        quartics=tuple(quartic for quartic, _ in fitted),
        covariances=tuple(of_coefficients for _, of_coefficients in fitted),
    )


def _as_quartic(
    quartic: Quartic,
    typical: float,
    theta: Array,
    influence: Array,
    posterior: Array,
    covariance: Array,
    terms: list[int],
) -> tuple[Quartic, Array]:
    """A curve of the pooled fit as a quartic in z over the same points, with the covariance of its coefficients.

    With `theta` = (c, m, alpha_w, b_w, alpha, b, d), a = typical exp(alpha + alpha_w) and s = b + b_w the curve is
    c + a (t^2 + s t^3 + d t^4) in t = z - (m - center). `terms` are the places of theta in both covariances.
    """
    c, m, alpha_own, b_own, alpha, b, d = theta
    a, s = typical * math.exp(alpha + alpha_own), b + b_own
    by = m - quartic.points.center
    # (z - by)^k = sum_j binomial(k, j) (-by)^(k - j) z^j
    shift = np.array([[math.comb(k, j) * (-by) ** (k - j) if k >= j else 0.0 for k in range(5)] for j in range(5)])
    by_curvature, by_skew = np.array([0, 0, a, a * s, a * d]), np.array([0, 0, 0, a, 0])
    by_minimum = -np.array([0, 2 * a, 3 * a * s, 4 * a * d, 0])
    by_theta = np.column_stack(
        [np.eye(5)[0], by_minimum, by_curvature, by_skew, by_curvature, by_skew, a * np.eye(5)[4]]
    )
    jacobian = shift @ by_theta
    coefficients = shift @ np.array([c - quartic.points.level, 0, a, a * s, a * d])
    here = np.ix_(terms, terms)
    joint = replace(
        quartic,
        coefficients=coefficients,
        minimum=float(m),
        influence=jacobian @ influence,
        posterior=jacobian @ posterior[here] @ jacobian.T,
    )
    return joint, jacobian @ covariance[here] @ jacobian.T
