"""The ridge quartic: a loss curve near its optimum as a polynomial in log2 of the learning rate.

    loss = u_s + c + b1 z + a z^2 + b3 z^3 + b4 z^4,   z = log2 lr - log2 (best rate tried), in octaves

with an offset u_s for each seed, fitted to single runs by weighted ridge least squares. A parabola through the same
points is biased, not noisy: a cubic term b3 shifts the vertex of one over +-2 octaves by -1.7 b3/a octaves (the slope
of the least squares line through z^3 at z = -2..2 is 3.4), and more seeds do not help. The penalties keep skew and
quartic small against the curvature a, and the weights let the fit miss far points, where no quartic is true, by a
fraction of their excess loss. Over complete seeds this is the fit to the seed means. Where a fit presses against the
penalties, the curve is of no shape that they expect: they then yield, and the shape is less sure (`pressure`).

The numbers, in nats and octaves, fit cross-entropy per token of a language model, whose curvature is a = 0.015 to 0.04
nats/octave^2 near its best rate. They were tuned by simulation, for intervals that hold the truth as often as they say
over the planted shapes (tests/analysis/test_coverage.py measures it). Over shapes on which nothing was tuned they hold
less often, and far less where the loss turns sharply up within about 0.6 octaves of the optimum, which no smooth curve
through rates an octave apart can see (results/calibration/holdout.md). For a loss in a larger unit, so that its
curvature is less, intervals are too wide; in a smaller one, see the same page.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mutransfer.analysis.curve import Array, Curve

WINDOW_EXCESS = 0.25
"""Points with at most this excess loss over the best are fitted, nats."""
WINDOW_ALWAYS = 1.0
"""Points at most this far from the best rate are fitted whatever their excess, octaves."""
WINDOW_REACH = 3.0
"""Points further than this from the best rate are not fitted, octaves."""
FEWEST_RATES = 3
"""Fewest rates in a window that say where a minimum is."""
DISCREPANCY = 0.15
"""How far the true curve may be from a quartic, as a fraction of its excess loss."""
OBSERVED_EXCESS = 0.7
"""Beyond WINDOW_ALWAYS a point's excess is at least this part of the observed one, so that no fit talks it away."""
SKEW = 0.12
"""Prior standard deviation of b3/a, 1/octave."""
PEAKEDNESS = 0.04
"""Prior standard deviation of b4/a, 1/octave^2."""
CURVATURE = (0.008, 0.15)
"""Range of the curvature a that scales these two, nats/octave^2."""
TYPICAL_CURVATURE = 0.025
"""The curvature before the first iteration, nats/octave^2."""
SHARPEST = 0.04
"""The largest of a language model, nats/octave^2."""
SEED_OFFSET = 0.02
"""Prior standard deviation of a seed's offset, nats; it matters only where seeds were not run at all rates."""
DEGREE = 4
LATTICE = 257
"""Points over the window among which the lowest is looked for; the minimum is then found to rounding."""
NEWTON_STEPS = 8


@dataclass(frozen=True, eq=False)
class Window:
    """The runs that a quartic is fitted to: those at rates around the best one."""

    center: float
    """log2 of the best rate tried."""
    z: Array
    """Rates, in octaves from the best one."""
    losses: Array
    """seed x rate; NaN where none was run."""
    excess: Array
    """Mean loss per rate over the least."""
    level: float
    """The least mean loss."""
    seed: NDArray[np.intp]
    rate: NDArray[np.intp]
    """Of every run, its row and column in `losses`."""
    design: Array
    """run x (seed offsets, 1, z, z^2, z^3, z^4)."""

    @property
    def low(self) -> float:
        """log2 of the lowest rate fitted."""
        return self.center + float(self.z[0])

    @property
    def high(self) -> float:
        """log2 of the highest rate fitted."""
        return self.center + float(self.z[-1])

    @property
    def runs_at(self) -> Array:
        """Number of runs at each rate."""
        return np.bincount(self.rate, minlength=len(self.z)).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Quartic:
    """A fitted quartic in z = log2 lr - center, over the points it was fitted to."""

    points: Window
    coefficients: Array
    """c - level, b1, a, b3, b4."""
    minimum: float | None
    """log2 lr of the lowest point, where that has positive curvature and lies inside the window."""
    influence: Array
    """Derivative of the coefficients by the loss of every run."""
    posterior: Array
    """Covariance of the coefficients: noise, discrepancy and prior."""
    weighted_squares: float
    """Sum of residual^2, each by its weight over the weight of a run at the bottom."""
    residual_df: float
    """Number of runs less the trace of the hat matrix."""
    pressure: float
    """Mean of (b3 / its prior's sd)^2 and (b4 / its prior's sd)^2, at least 1: over the planted shapes seldom more."""

    def __call__(self, log2_lr: Array | float) -> Array:
        """The fitted loss, nats."""
        values: Array = self.points.level + powers(np.asarray(log2_lr) - self.points.center) @ self.coefficients
        return values

    def derivative(self, log2_lr: float, order: int) -> float:
        """Derivative of the fitted loss, nats per octave^order."""
        return float(powers(np.asarray(log2_lr - self.points.center), order) @ self.coefficients)

    def minimum_gradient(self) -> Array:
        """Derivative of the minimum by the coefficients: p'(m) = 0 stays true, so dm = -phi'(m)' dbeta / p''(m)."""
        assert self.minimum is not None
        slope: Array = powers(np.asarray(self.minimum - self.points.center), 1)
        return -slope / self.derivative(self.minimum, 2)

    def minimum_by_rate(self) -> Array:
        """Derivative of the minimum by the losses of all runs at each rate."""
        by_run = self.minimum_gradient() @ self.influence
        return np.bincount(self.points.rate, by_run, len(self.points.z)).astype(np.float64)


def powers(z: Array, order: int = 0) -> Array:
    """(1, z, z^2, z^3, z^4), or its derivative of the given order, along a new last axis."""
    columns = np.zeros((*z.shape, DEGREE + 1))
    column = np.ones_like(z, dtype=np.float64)
    for exponent in range(order, DEGREE + 1):
        columns[..., exponent] = math.perm(exponent, order) * column
        column = column * z
    return columns


def window(curve: Curve) -> Window | None:
    """The contiguous points around the best rate, its two neighbours always among them; None where these are too few.
    A rate that diverged ends it."""
    means = curve.means
    best = int(np.argmin(means))
    if not np.isfinite(means[best]):
        return None
    # Rounded, so that a grid shifted by a constant keeps the points that lie just at WINDOW_REACH.
    z, excess = np.round(curve.log2_lr - curve.log2_lr[best], 9), means - means[best]
    near = (np.abs(z) <= WINDOW_REACH) & ((excess <= WINDOW_EXCESS) | (np.abs(z) <= WINDOW_ALWAYS))
    near[max(best - 1, 0) : best + 2] = True
    near &= np.isfinite(means)
    left, right = best, best
    while left > 0 and near[left - 1]:
        left -= 1
    while right < len(z) - 1 and near[right + 1]:
        right += 1
    if right - left + 1 < FEWEST_RATES:
        return None
    kept = slice(left, right + 1)
    z, losses = z[kept], curve.losses[:, kept]
    seed, rate = np.nonzero(np.isfinite(losses))
    offsets = (seed[:, None] == np.arange(len(losses))).astype(np.float64)
    return Window(
        center=float(curve.log2_lr[best]),
        z=z,
        losses=losses,
        excess=excess[kept],
        level=float(means[best]),
        seed=seed,
        rate=rate,
        design=np.concatenate([offsets, powers(z[rate])], axis=1),
    )


def fit(points: Window, variance: float, previous: Quartic | None = None) -> Quartic:
    """One iteration of the fit; the previous one gives the excess loss and the curvature that weights and penalties
    need. `variance` is that of one run about its seed's curve, nats^2."""
    excess, curvature, pressure = points.excess, TYPICAL_CURVATURE, 1.0
    if previous is not None:
        excess = _fitted_excess(previous)
        curvature = float(np.clip(previous.coefficients[2], *CURVATURE))
        pressure = previous.pressure
    weights = 1 / (variance + points.runs_at * (DISCREPANCY * excess) ** 2)[points.rate]
    penalties = np.zeros(points.design.shape[1])
    penalties[: -DEGREE - 1] = SEED_OFFSET**-2
    bends = np.array([SKEW * curvature, PEAKEDNESS * curvature])
    penalties[-2:] = bends**-2 / pressure
    weighted = points.design.T * weights
    posterior = np.asarray(np.linalg.inv(weighted @ points.design + np.diag(penalties)), dtype=np.float64)
    influence = posterior @ weighted
    response = points.losses[points.seed, points.rate] - points.level
    solution = influence @ response
    residuals = response - points.design @ solution
    coefficients = solution[-DEGREE - 1 :]
    minimum = _minimum(coefficients, points.z[0], points.z[-1])
    return Quartic(
        points=points,
        coefficients=coefficients,
        minimum=None if minimum is None else points.center + minimum,
        influence=influence[-DEGREE - 1 :],
        posterior=posterior[-DEGREE - 1 :, -DEGREE - 1 :],
        weighted_squares=float(variance * weights @ residuals**2),
        residual_df=len(response) - float(np.sum(influence.T * points.design)),
        pressure=max(1.0, float(np.mean((coefficients[-2:] / bends) ** 2))),
    )


def _fitted_excess(quartic: Quartic) -> Array:
    points = quartic.points
    values = powers(points.z) @ quartic.coefficients
    bottom = float(values.min())
    if quartic.minimum is not None:
        bottom = min(bottom, float(quartic(quartic.minimum)) - points.level)
    observed = np.where(np.abs(points.z) > WINDOW_ALWAYS, OBSERVED_EXCESS * points.excess, 0.0)
    return np.maximum(values - bottom, observed)


def _minimum(coefficients: Array, low: float, high: float) -> float | None:
    """The lowest point of the polynomial over low..high, where it is inside: the lowest of a fine lattice, then
    Newton's method between its neighbours."""
    c, b1, a, b3, b4 = coefficients.tolist()
    lattice = np.linspace(low, high, LATTICE)
    lowest = int(np.argmin(c + lattice * (b1 + lattice * (a + lattice * (b3 + lattice * b4)))))
    if lowest in (0, LATTICE - 1):
        return None
    left, z, right = lattice[lowest - 1 : lowest + 2].tolist()
    for _ in range(NEWTON_STEPS):
        bend = 2 * a + z * (6 * b3 + z * 12 * b4)
        if bend <= 0:
            return None
        z = min(max(z - (b1 + z * (2 * a + z * (3 * b3 + z * 4 * b4))) / bend, left), right)
    return float(z)
