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
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mutransfer.analysis.curve import Array, Curve
from mutransfer.analysis.interval import t_quantile
from mutransfer.config.scale import Scale

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
TYPICAL_CURVATURE = 0.02
"""The curvature a that scales these two, before any curve is seen: our small models have 0.015 to 0.04, Step Law's
large runs (Li et al. 2025, arXiv 2503.04715) 0.005 to 0.022, nats/octave^2."""
CURVATURE_SPREAD = 0.8
"""Standard deviation of its logarithm from one table of trials to another."""
OWN_CURVATURE = 0.35
"""Standard deviation of a curve's curvature about its table's, as a part of that: 0.1 over five measured curves of one
arm, 0.45 over 80 of Step Law's, which differ in size, tokens and batch."""
LEAST_CURVATURE = 0.2
"""Least part of its table's curvature that a curve is taken to have, whatever its losses say."""
LANGUAGE_MODELS = (0.004, 0.04)
"""The curvatures of losses in nats per token, nats/octave^2; one beyond is of a loss in another unit."""
SEED_OFFSET = 0.02
"""Prior standard deviation of a seed's offset, nats; it matters only where seeds were not run at all rates."""
STEP = 0.005
"""Chance by which a smooth curve's next rate is taken to lie beyond a step."""
LASTING = 0.7
"""Least excess loss beyond a step, over that at it: what falls again was no step."""
SUSPICIOUS = 2.0
"""Where no step is looked for: the loss bends less than this many times as much as elsewhere."""
WIDTH_POWER = 0.44
MEASURED_WIDTH = 128.0
MEASURED_PARAMS = 4.6e5
"""Of our two-layer transformer of width 128."""
DEGREE = 4
CURVATURES = 241
"""Curvatures among which a table's is looked for."""
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
    least: float
    most: float
    """Where a minimum may lie, in octaves from the best rate: among the rates, and where a divergence or a step closes
    a side, up to the rate that closed it."""
    unit: float = 1.0
    """What one nat of a language model is in the unit of these losses."""
    curvature: float = TYPICAL_CURVATURE
    """The curvature that its table's curves have, in that unit."""
    typical_noise: float = 1.0
    """How noisy a run of this scale is expected to be, over one of width 128."""
    noise: float | None = None
    """Standard deviation of one run where the user gave it, in the unit of the losses."""

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


def window(curve: Curve, unit: float = 1.0, step: int | None = None, noise: float | None = None) -> Window | None:
    """The contiguous points around the best rate, its two neighbours always among them; None where these are too few.
    A rate that diverged ends it, and so does one beyond a step (`step_of`)."""
    means = curve.means
    best = int(np.argmin(means))
    if not np.isfinite(means[best]):
        return None
    # Rounded, so that a grid shifted by a constant keeps the points that lie just at WINDOW_REACH.
    z, excess = np.round(curve.log2_lr - curve.log2_lr[best], 9), means - means[best]
    near = (np.abs(z) <= WINDOW_REACH) & ((excess <= unit * WINDOW_EXCESS) | (np.abs(z) <= WINDOW_ALWAYS))
    near[max(best - 1, 0) : best + 2] = True
    closed = ~np.isfinite(means)
    if step is not None:
        closed[step] = True
    near &= ~closed
    left, right = best, best
    while left > 0 and near[left - 1]:
        left -= 1
    while right < len(z) - 1 and near[right + 1]:
        right += 1
    if right - left + 1 < FEWEST_RATES:
        return None
    ends = [float(z[at]) if 0 <= at < len(z) and closed[at] else None for at in (left - 1, right + 1)]
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
        least=float(z[0]) if ends[0] is None else ends[0],
        most=float(z[-1]) if ends[1] is None else ends[1],
        unit=unit,
        curvature=unit * TYPICAL_CURVATURE,
        typical_noise=typical_noise(curve.scale),
        noise=noise,
    )


def fit(points: Window, variance: float, previous: Quartic | None = None) -> Quartic:
    """One iteration of the fit; the previous one gives the excess loss and the curvature that weights and penalties
    need. `variance` is that of one run about its seed's curve, nats^2."""
    excess, curvature, pressure = points.excess, points.curvature, 1.0
    if previous is not None:
        excess = _fitted_excess(previous)
        curvature = expected_curvature(previous)
        pressure = previous.pressure
    weights = 1 / (variance + points.runs_at * (DISCREPANCY * excess) ** 2)[points.rate]
    penalties = np.zeros(points.design.shape[1])
    penalties[: -DEGREE - 1] = (points.unit * SEED_OFFSET) ** -2
    bends = np.array([SKEW * curvature, PEAKEDNESS * curvature])
    penalties[-2:] = bends**-2 / pressure
    weighted = points.design.T * weights
    posterior = np.asarray(np.linalg.inv(weighted @ points.design + np.diag(penalties)), dtype=np.float64)
    influence = posterior @ weighted
    response = points.losses[points.seed, points.rate] - points.level
    solution = influence @ response
    residuals = response - points.design @ solution
    coefficients = solution[-DEGREE - 1 :]
    minimum = _minimum(coefficients, points.least, points.most)
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


def typical_noise(scale: Scale) -> float:
    """How noisy a run is expected to be, over one of width 128: sigma falls as width^-0.44, measured at widths 32 to
    128 (results/calibration/noise.json), which at width 1,024 gives the 0.002 nats that Step Law's public runs have
    (Li et al. 2025, arXiv 2503.04715). Where only the number of parameters is known, as params^(-0.44/3): depth grows
    with width. 1 where neither is."""
    if scale.width is not None:
        return float((scale.width / MEASURED_WIDTH) ** -WIDTH_POWER)
    return 1.0 if scale.params is None else float((scale.params / MEASURED_PARAMS) ** (-WIDTH_POWER / 3))


def step_of(curve: Curve, points: Window, variance: float, df: float) -> int | None:
    """Where the loss makes a step that no smooth curve explains, a place in `curve.log2_lr`; None where it makes none.

    It is the first rate on a side of the best one whose loss is above what the quartic through all rates before it says
    there, but for a chance STEP; of two sides the surer one. `variance` is that of one run, known to `df` degrees of
    freedom."""
    found, surest = None, 0.0
    first = int(np.searchsorted(curve.log2_lr, points.low - 1e-9))
    best = int(np.argmin(abs(points.z)))
    slopes = np.diff(points.excess) / np.diff(points.z)
    bends = np.append(np.append(0.0, np.diff(slopes) / (points.z[2:] - points.z[:-2])), 0.0)
    for side in (1, -1):
        at = best + side
        while 0 <= at < len(points.z):
            inner = np.arange(len(points.z)) * side < at * side
            inside = inner[1:-1] & (np.arange(1, len(points.z) - 1) != at - side)
            usual = max(points.curvature / 2, float(np.median(bends[1:-1][inside])) if inside.any() else 0.0)
            if inner.sum() >= FEWEST_RATES and bends[at - side] > SUSPICIOUS * usual:
                before = part(points, inner)
                told = fit(before, variance)
                for _ in range(2):
                    told = fit(replace(before, curvature=max(points.curvature, told.coefficients[2])), variance, told)
                here = powers(points.z[at])
                expected = float(here @ told.coefficients)
                excess = max(0.0, expected - float(told.coefficients[0]))
                error = here @ told.posterior @ here + variance / points.runs_at[at] + (DISCREPANCY * excess) ** 2
                known = df + max(0.0, told.residual_df)
                rough = max(1.0, (df + told.weighted_squares / variance) / known) if math.isfinite(df) else 1.0
                rough *= told.pressure
                over = (points.excess[at] - expected) / math.sqrt(rough * error) / t_quantile(1 - STEP, known)
                stays = bool(np.all(points.excess[~inner] >= LASTING * points.excess[at]))
                if over > 1 and stays:
                    found, surest = (first + at, over) if over > surest else (found, surest)
                    break
            at += side
    return found


def part(points: Window, kept: NDArray[np.bool_]) -> Window:
    """The window over some of its rates."""
    runs = kept[points.rate]
    return replace(
        points,
        z=points.z[kept],
        losses=points.losses[:, kept],
        excess=points.excess[kept],
        seed=points.seed[runs],
        rate=np.cumsum(kept)[points.rate[runs]] - 1,
        design=points.design[runs],
        least=float(points.z[kept][0]),
        most=float(points.z[kept][-1]),
    )


def expected_curvature(quartic: Quartic) -> float:
    """The curvature of a fitted curve, drawn towards that of its table as far as it is uncertain itself."""
    own, typical = quartic.posterior[2, 2], quartic.points.curvature
    common = (OWN_CURVATURE * typical) ** 2
    drawn = (common * quartic.coefficients[2] + own * typical) / (common + own)
    return float(max(drawn, LEAST_CURVATURE * typical))


def table_curvature(quartics: Sequence[Quartic]) -> float:
    """The curvature that the curves of a table have, from all of them: the mean of its logarithm, known beforehand to
    CURVATURE_SPREAD about TYPICAL_CURVATURE."""
    logs = np.log(TYPICAL_CURVATURE) + CURVATURE_SPREAD * np.linspace(-6, 6, CURVATURES)
    typical = np.exp(logs)[:, None]
    found, own = (
        np.array(each) for each in zip(*((q.coefficients[2], q.posterior[2, 2]) for q in quartics), strict=True)
    )
    variance = own + (OWN_CURVATURE * typical) ** 2
    likely = -((np.log(typical[:, 0] / TYPICAL_CURVATURE) / CURVATURE_SPREAD) ** 2) / 2
    likely = likely - ((found - typical) ** 2 / variance + np.log(variance)).sum(axis=1) / 2
    weights = np.exp(likely - likely.max())
    return float(np.exp(weights @ logs / weights.sum()))


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
