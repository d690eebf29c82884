"""Planted sweeps: loss curves of many shapes with a known optimum, and the noise of real runs.

Shapes: symmetric (pseudo-Huber), skewed_right and skewed_left (double exponentials that rise faster above or below the
optimum), cliff (0.8 to 2.2 octaves above it), flat (a weak parabola and a fourth power), measured (quartics through
curves of a two-layer byte-level transformer). Curvature a = 0.015 to 0.04 nats/octave^2; it varies over the widths of a
sweep, and runs diverge some octaves above the optimum.

Noise: `Noise` below, as fitted to 8 seeds of real runs by experiments/calibration/noise.py, times a factor.

On these shapes the constants of the analysis were also chosen. HELD_OUT are shapes on which they were not: only
experiments/calibration/holdout.py plants them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mutransfer.analysis.curve import Curve, curves
from mutransfer.config.scale import Scale
from mutransfer.trials.table import from_frame

Array = NDArray[np.float64]
Shape = Callable[[Array], Array]

MEASURED = (
    ((3.0651, 2.7262, 2.5585, 2.4604, 2.4025, 2.3941, 2.4369),),
    ((2.6013, 2.4757, 2.3957, 2.3554, 2.3513, 2.3995, 2.4949),),
    ((2.4314, 2.3638, 2.3242, 2.3192, 2.3483, 2.4226, 2.5321),),
    ((2.6051, 2.5071, 2.4479, 2.4297, 2.4522, 2.5907, 2.7167),),
    ((2.4862, 2.4118, 2.3695, 2.3583, 2.4006, 2.4854, 2.6029),),
    ((2.4109, 2.3505, 2.3190, 2.3122, 2.3471, 2.4116, 2.5001),),
    ((2.6877, 2.5515, 2.4851, 2.4478, 2.4419, 2.4674, 2.5094),),
    ((2.6581, 2.5523, 2.5034, 2.4882, 2.5042, 2.5543, 2.7304),),
    (
        (3.0443, 2.7272, 2.5394, 2.4346, 2.3721, 2.3457, 2.3609, 2.4134),
        (2.6898, 2.5012, 2.3910, 2.3302, 2.3032, 2.3202, 2.3815),
        (2.4697, 2.3637, 2.3027, 2.2808, 2.2910, 2.3472, 2.4916),
    ),
    (
        (2.5474, 2.4423, 2.3835, 2.3654, 2.3793, 2.4322, 2.6755),
        (2.5032, 2.3930, 2.3329, 2.3072, 2.3284, 2.3871),
        (2.4697, 2.3637, 2.3027, 2.2808, 2.2910, 2.3472, 2.4916),
    ),
)
"""Mean losses at rates an octave apart. Eight curves of three seeds, widths 32 to 256, two parametrizations and two
texts, each for all widths of a planted sweep; then two arms of eight seeds at widths 32, 64 and 128 (sp and mup of the
default experiment), whose curves differ by width."""

SHARES = {
    "symmetric": 0.20,
    "skewed_right": 0.15,
    "skewed_left": 0.15,
    "cliff": 0.15,
    "flat": 0.10,
    "measured": 0.25,
}
"""The mixture: how much each shape counts."""

CURVATURE_SPREAD = 0.1
"""Standard deviation of log curvature over the widths of a sweep: 0.1 over the five measured curves."""
EDGE = (2.75, 4.0)
"""Octaves above the optimum from which on every run diverges: measured, the first rate at which some did was 2.9 to 3.9
above."""


@dataclass(frozen=True)
class Noise:
    """What a seed does to a curve, z octaves from the optimum of its width: loss(z) + u + t z + q z^2 + e(z), nats.

    Standard deviations; u, t and q have a correlation over the widths of one seed, e has none."""

    offset: float
    offset_correlation: float
    tilt: float
    tilt_correlation: float
    bend: float
    bend_correlation: float
    own: float
    """e of width 128 at and below the optimum."""
    width_power: float
    """e falls as width^-power up to width 128; wider ones were not measured and are planted no quieter."""
    growth: float
    """e grows by this part of itself with every octave above the optimum."""
    length: float
    """e is smooth: its correlation over d octaves is exp(-(d / length)^2 / 2)."""
    tail_df: float = np.inf
    """e is Student's t with these degrees of freedom, scaled to the same variance."""


REAL = Noise(
    offset=0.024,
    offset_correlation=0.97,
    tilt=0.0018,
    tilt_correlation=0.4,
    bend=0.0021,
    bend_correlation=0.4,
    own=0.0052,
    width_power=0.44,
    growth=0.05,
    length=0.23,
)
"""Eight seeds of the default experiment, widths 32, 64 and 128 in sp and mup, rates an octave apart
(results/calibration/noise.json); `length` from eight seeds at rates a quarter and half an octave apart, mup at widths
32 and 64."""

REACH = 3.0
"""Bends and tilts go no further than this many octaves from the optimum."""


@dataclass(frozen=True)
class World:
    """One planted sweep: its curves and the truth."""

    curves: tuple[Curve, ...]
    kind: str
    optima: Array
    slope: float
    shapes: tuple[Shape, ...]

    def regret(self) -> float:
        """True cost of the first width's optimum at the last width."""
        return float(self.shapes[-1](np.array([self.optima[0] - self.optima[-1]]))[0])


def shapes(rng: np.random.Generator, kind: str, widths: int) -> list[Shape]:
    """For every width a curve of excess loss over octaves from its minimum: 0 at 0."""
    if kind == "measured":
        arm = MEASURED[rng.integers(len(MEASURED))]
        each = [_measured(np.array(losses)) for losses in arm]
        return [each[width * len(arm) // widths] for width in range(widths)]
    one = _shape(rng, kind)
    factors = np.exp(CURVATURE_SPREAD * rng.standard_normal(widths))
    return [lambda z, factor=factor: factor * one(z) for factor in factors]


def _shape(rng: np.random.Generator, kind: str) -> Shape:
    a = rng.uniform(0.015, 0.04)
    if kind == "symmetric":
        reach = rng.uniform(1.0, 3.0)
        return lambda x: 2 * a * reach**2 * (np.sqrt(1 + (x / reach) ** 2) - 1)
    if kind == "flat":
        return lambda x: 0.45 * a * x**2 + 0.06 * a * x**4
    if kind == "cliff":
        smooth = _exponential(a, rng.uniform(0.6, 1.2), rng.uniform(-0.3, 0.3))
        foot, height = rng.uniform(0.8, 2.2), rng.uniform(0.15, 0.6)
        return lambda x: smooth(x) + height * np.maximum(x - foot, 0)
    if kind in HELD_OUT:
        return HELD_OUT[kind](rng, a)
    side = {"skewed_right": 1, "skewed_left": -1}[kind]
    return _exponential(a, rng.uniform(0.6, 1.4), side * rng.uniform(0, 0.45))


def _exponential(a: float, total: float, skew: float) -> Shape:
    """Curvature a, third derivative over second `skew`."""
    up, down = (total + skew) / 2, (total - skew) / 2
    scale = 2 * a / (up + down)
    return lambda x: scale * (np.expm1(up * x) / up + np.expm1(-down * x) / down)


def _skewed(rng: np.random.Generator, a: float, skew: float) -> Shape:
    # A total above the skew keeps both sides rising.
    return _exponential(a, skew + rng.uniform(0.1, 0.5), skew * rng.choice([-1, 1]))


def _steeper(rng: np.random.Generator, a: float, times: float) -> Shape:
    smooth, side = _exponential(a, rng.uniform(0.6, 1.2), 0.0), rng.choice([-1, 1])
    return lambda x: smooth(x) * np.where(side * x > 0, times, 1.0)


def _foot(rng: np.random.Generator, a: float, foot: float) -> Shape:
    smooth = _exponential(a, rng.uniform(0.6, 1.2), rng.uniform(-0.3, 0.3))
    return lambda x: smooth(x) + 0.3 * np.maximum(x - foot, 0)


HELD_OUT: dict[str, Callable[[np.random.Generator, float], Shape]] = {
    "skew 0.45": partial(_skewed, skew=0.45),
    "skew 1.0": partial(_skewed, skew=1.0),
    "one side 2x steeper": partial(_steeper, times=2.0),
    "one side 3x steeper": partial(_steeper, times=3.0),
    "cliff 0.6 octaves above": partial(_foot, foot=0.6),
    "cliff 0.4 octaves above": partial(_foot, foot=0.4),
}
"""Shapes that no constant was chosen on, by curvature; the first is the edge of the family that they were. A cliff is
0.3 nats per octave."""


def _measured(losses: Array) -> Shape:
    x = np.arange(len(losses)) - float(np.argmin(losses))
    near = losses - losses.min() <= 0.3
    quartic = np.polynomial.Polynomial.fit(x[near], losses[near], min(4, int(near.sum()) - 1), domain=[-1, 1])
    low, high = float(x[near][0]), float(x[near][-1])
    inner = np.linspace(max(low, -1.5), min(high, 1.5), 3001)
    minimum = float(inner[np.argmin(quartic(inner))])
    slope = quartic.deriv()

    def excess(z: Array) -> Array:
        at = np.clip(z + minimum, low, high)
        return quartic(at) - quartic(minimum) + slope(at) * (z + minimum - at)

    return excess


def world(
    rng: np.random.Generator,
    *,
    slope: float = 0.0,
    seeds: int = 3,
    widths: tuple[int, ...] = (32, 64, 128, 256),
    step: float = 1.0,
    kind: str | None = None,
    factor: float | None = None,
    wobble: float = 0.0,
    above: float = np.inf,
    real: Noise = REAL,
) -> World:
    """A planted sweep: `slope` octaves of rate per doubling of width, `wobble` octaves of scatter by width, rates
    `step` octaves apart from three below the lowest optimum to three above the highest, but none more than `above` over
    their mean, `real` noise times `factor` (log-uniform from 0.3 to 3 unless given)."""
    kind = kind or str(rng.choice(list(SHARES), p=list(SHARES.values())))
    factor = factor if factor is not None else float(np.exp(rng.uniform(np.log(0.3), np.log(3))))
    octaves = np.log2(np.array(widths, dtype=np.float64))
    optima = -7 + slope * (octaves - octaves.mean()) + wobble * rng.standard_normal(len(widths))
    grid = np.arange(optima.min() - 3, optima.max() + 3 + step, step) - rng.uniform(0, step)
    grid = grid[grid <= optima.mean() + above]
    planted = shapes(rng, kind, len(widths))
    z = grid - optima[:, None]
    losses = np.array([2.3 + 4 / width + shape(at) for width, shape, at in zip(widths, planted, z, strict=True)])
    runs = losses[:, None] + factor * noise(rng, z, np.array(widths), seeds, real)
    runs[np.broadcast_to((z > rng.uniform(*EDGE))[:, None], runs.shape)] = np.inf
    centred = octaves - octaves.mean()
    return World(
        curves=tuple(Curve(Scale(width), grid, run) for width, run in zip(widths, runs, strict=True)),
        kind=kind,
        optima=optima,
        slope=float(centred @ optima / (centred @ centred)),
        shapes=tuple(planted),
    )


def noise(rng: np.random.Generator, z: Array, widths: NDArray[np.int64], seeds: int, real: Noise = REAL) -> Array:
    """width x seed x rate, for z of width x rate."""

    def by_seed(correlation: float) -> Array:
        shared, own = rng.standard_normal((1, seeds, 1)), rng.standard_normal((len(widths), seeds, 1))
        both: Array = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own
        return both

    near = np.clip(z, -REACH, REACH)[:, None]
    smooth = np.exp(-(((z[0][:, None] - z[0]) / real.length) ** 2) / 2) + 1e-9 * np.eye(z.shape[1])
    sd = real.own * np.maximum(128 / widths, 1)[:, None, None] ** real.width_power
    draws = rng.standard_normal((len(widths), seeds, z.shape[1]))
    if np.isfinite(real.tail_df):
        draws = rng.standard_t(real.tail_df, draws.shape) * np.sqrt(1 - 2 / real.tail_df)
    own = draws @ np.linalg.cholesky(smooth).T
    return np.asarray(
        real.offset * by_seed(real.offset_correlation)
        + real.tilt * by_seed(real.tilt_correlation) * near
        + real.bend * by_seed(real.bend_correlation) * near**2
        + sd * (1 + real.growth * np.maximum(near, 0)) * own
    )


FIELDS = {
    "depth": 2,
    "batch_size": 16,
    "steps": 150,
    "context": 64,
    "tokens_seen": 150 * 16 * 64,
    "data": "stdlib",
    "unit": "nats",
    "init_loss": 5.545,
    "n_params": 100_000,
    "flops": 1e11,
    "setting": '{"model.activation": "gelu", "optimizer.beta2": 0.95}',
}


def frame(arms: dict[str, tuple[Curve, ...]], **fields: object) -> pd.DataFrame:
    """The trials that these curves are of: inf is a diverged trial, NaN one not run."""
    rows = [
        {
            **FIELDS,
            **fields,
            "arm": arm,
            "parametrization": arm,
            "width": curve.scale.width,
            "seed": seed,
            "log2_lr": float(rate),
            "lr": float(2.0**rate),
            "loss": float(loss),
            "diverged": bool(np.isinf(loss)),
        }
        for arm, curves in arms.items()
        for curve in curves
        for seed, losses in enumerate(curve.losses)
        for rate, loss in zip(curve.log2_lr, losses, strict=True)
        if not np.isnan(loss)
    ]
    return pd.DataFrame(rows)


def curves_of(trials: pd.DataFrame) -> tuple[Curve, ...]:
    """The curves of an arm's trials."""
    return curves(from_frame(trials))


def along(trials: pd.DataFrame, dimension: str) -> pd.DataFrame:
    """The same trials, their widths as sizes along another dimension."""
    return trials.assign(**{dimension: trials["width"], "width": 128})


def parabola(width: int, optimum: float, rates: Array, seeds: int = 2, a: float = 0.025) -> Curve:
    """A parabola without noise, its seeds apart by an offset."""
    return Curve(Scale(width), rates, 2.3 + a * (rates - optimum) ** 2 + 0.01 * np.arange(seeds)[:, None])
