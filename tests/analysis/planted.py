"""Planted sweeps: loss curves of many shapes with a known optimum, and noise like that of real runs.

Shapes: 20% pseudo-Huber, 30% skewed double exponentials, 15% with a cliff 0.8 to 2.2 octaves above the optimum, 10%
flat (a weak parabola and a fourth power), 25% measured (quartics through curves of a two-layer byte-level transformer).
Curvature a = 0.015 to 0.04 nats/octave^2; in 20% of the sweeps it varies over the widths. Noise of one run: sd 0.003 to
0.02 nats; half of its variance is common to all rates of a seed, a fifth tilts the curve of the seed, the rest is
independent; it grows by 40% an octave above the optimum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mutransfer.analysis.curve import Curve

Array = NDArray[np.float64]
Shape = Callable[[Array], Array]

MEASURED = (
    (3.0651, 2.7262, 2.5585, 2.4604, 2.4025, 2.3941, 2.4369),
    (2.6013, 2.4757, 2.3957, 2.3554, 2.3513, 2.3995, 2.4949),
    (2.4314, 2.3638, 2.3242, 2.3192, 2.3483, 2.4226, 2.5321),
    (2.6051, 2.5071, 2.4479, 2.4297, 2.4522, 2.5907, 2.7167),
    (2.4862, 2.4118, 2.3695, 2.3583, 2.4006, 2.4854, 2.6029),
    (2.4109, 2.3505, 2.3190, 2.3122, 2.3471, 2.4116, 2.5001),
    (2.6877, 2.5515, 2.4851, 2.4478, 2.4419, 2.4674, 2.5094),
    (2.6581, 2.5523, 2.5034, 2.4882, 2.5042, 2.5543, 2.7304),
)
"""Mean losses of three seeds at rates 2^-10 to 2^-4: widths 32 to 256, two parametrizations and two texts."""

KINDS = ("huber", "exponential", "cliff", "flat", "measured")
SHARES = (0.20, 0.30, 0.15, 0.10, 0.25)


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


def shape(rng: np.random.Generator, kind: str) -> Shape:
    """A curve of excess loss over octaves from its minimum: 0 at 0."""
    a = rng.uniform(0.015, 0.04)
    if kind == "huber":
        reach = rng.uniform(1.0, 3.0)
        return lambda x: 2 * a * reach**2 * (np.sqrt(1 + (x / reach) ** 2) - 1)
    if kind == "exponential":
        return _exponential(a, rng.uniform(0.6, 1.4), rng.uniform(-0.45, 0.45))
    if kind == "cliff":
        smooth, foot, height = (
            _exponential(a, rng.uniform(0.6, 1.2), rng.uniform(-0.3, 0.3)),
            rng.uniform(0.8, 2.2),
            rng.uniform(0.15, 0.6),
        )
        return lambda x: smooth(x) + height * np.maximum(x - foot, 0)
    if kind == "flat":
        return lambda x: 0.45 * a * x**2 + 0.06 * a * x**4
    return _measured(np.array(MEASURED[rng.integers(len(MEASURED))]))


def _exponential(a: float, total: float, skew: float) -> Shape:
    """Curvature a, third derivative over second `skew`."""
    up, down = (total + skew) / 2, (total - skew) / 2
    scale = 2 * a / (up + down)
    return lambda x: scale * (np.expm1(up * x) / up + np.expm1(-down * x) / down)


def _measured(losses: Array) -> Shape:
    x = np.arange(7.0) - float(np.argmin(losses))
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
    sd: float | None = None,
    wobble: float = 0.0,
) -> World:
    """A planted sweep: `slope` octaves of rate per doubling of width, `wobble` octaves of scatter by width, rates
    `step` octaves apart from three below the lowest optimum to three above the highest."""
    kind = kind or str(rng.choice(KINDS, p=SHARES))
    sd = sd if sd is not None else float(np.exp(rng.uniform(np.log(0.003), np.log(0.02))))
    octaves = np.log2(np.array(widths, dtype=np.float64))
    optima = -7 + slope * (octaves - octaves.mean()) + wobble * rng.standard_normal(len(widths))
    grid = np.arange(optima.min() - 3, optima.max() + 3 + step, step) - rng.uniform(0, step)
    one = shape(rng, kind)
    jitter = 0.2 if rng.random() < 0.2 else 0.0
    shapes, curves = [], []
    for width, optimum in zip(widths, optima, strict=True):
        factor = float(np.exp(jitter * rng.standard_normal()))
        shapes.append(lambda z, factor=factor: factor * one(z))
        z = grid - optimum
        mean = 2.3 + 4 / width + shapes[-1](z)
        curves.append(Curve(width, grid, mean + noise(rng, z, seeds, sd)))
    centred = octaves - octaves.mean()
    return World(tuple(curves), kind, optima, float(centred @ optima / (centred @ centred)), tuple(shapes))


def noise(rng: np.random.Generator, z: Array, seeds: int, sd: float) -> Array:
    """seed x rate: half of the variance common to a seed, a fifth a tilt (of unit mean square over +-2 octaves), the
    rest independent."""
    common = np.sqrt(0.5) * rng.standard_normal((seeds, 1))
    tilt = np.sqrt(0.2) * rng.standard_normal((seeds, 1)) * np.clip(z, -3, 3) / np.sqrt(2)
    own = np.sqrt(0.3) * rng.standard_normal((seeds, len(z)))
    return sd * (common + (tilt + own) * (1 + 0.4 * np.maximum(z, 0)))


FIELDS = {
    "experiment": "planted",
    "base_width": 128,
    "depth": 2,
    "optimizer": "adamw",
    "weight_decay": 0.0,
    "schedule": "linear",
    "warmup": 15,
    "batch_size": 16,
    "context": 64,
    "steps": 150,
    "tokens": 150 * 16 * 64,
    "dtype": "float32",
    "data": "stdlib",
    "data_fingerprint": "f" * 16,
    "setting": '{"model.activation": "gelu", "optimizer.beta2": 0.95}',
}


def frame(arms: dict[str, tuple[Curve, ...]], **fields: object) -> pd.DataFrame:
    """The frame that `records.to_frame` would give for these curves: inf is a diverged trial, NaN one not run."""
    rows = [
        {
            **FIELDS,
            **fields,
            "arm": arm,
            "parametrization": arm,
            "width": curve.width,
            "seed": seed,
            "log2_lr": float(rate),
            "lr": float(2.0**rate),
            "final_loss": float(loss) if np.isfinite(loss) else np.nan,
            "diverged": bool(np.isinf(loss)),
        }
        for arm, curves in arms.items()
        for curve in curves
        for seed, losses in enumerate(curve.losses)
        for rate, loss in zip(curve.log2_lr, losses, strict=True)
        if not np.isnan(loss)
    ]
    return pd.DataFrame(rows)


def parabola(width: int, optimum: float, rates: Array, seeds: int = 2, a: float = 0.025) -> Curve:
    """A parabola without noise, its seeds apart by an offset."""
    return Curve(width, rates, 2.3 + a * (rates - optimum) ** 2 + 0.01 * np.arange(seeds)[:, None])
