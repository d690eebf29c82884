"""Planted studies over size, tokens and batch: loss curves whose best rates lie on a surface, and a target beyond.

Surfaces (octaves; n size, d tokens, b batch, of the smallest cell 0):

    two regimes          al n + be d - ka softplus(p0 + p1 d + p2 n - b), the knee among the batches
    knee above, below    the same, its knee 4 octaves beyond the batches run, or below them
    log-linear           al n + be d + ga b
    quadratic            the same less q (b - 0.6 d)^2 / 2, with second powers of n and d
    bent                 two regimes with second powers of n and d
    curvature            two regimes; the curvature of the loss falls with tokens and grows with batch, by up to 8 times
    one batch, one length, uneven, ladder     two regimes; fewer cells: half of them, or tokens that grow with the size

The exponents are uniform over wide ranges, not drawn from the priors. True optima scatter about the surface by size,
length and cell: as one family of models or as a collection. Noise is that of language models, 0.001 to 0.004 nats a run
of curvature 0.0095 nats/octave^2; a quarter of its variance tilts a seed's whole curve.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mutransfer.analysis.curve import Curve
from mutransfer.analysis.law import measured, predict
from mutransfer.analysis.optimum import optima
from mutransfer.config.scale import Scale
from mutransfer.theory.lr_priors import COLLECTION, FAMILY, SP, Scatter

Array = NDArray[np.float64]
Surface = Callable[[float, float, float], float]

KINDS = (
    "two regimes", "knee above", "knee below", "log-linear", "quadratic", "bent", "curvature", "one batch",
    "one length", "uneven", "ladder",
)  # fmt: skip
SEEDS = (1, 2, 3)
CURVATURE = 0.0095
STEP = 1.2
"""Octaves between tokens and batches."""
RATES = np.arange(-3.0, 4.0)


@dataclass(frozen=True)
class Study:
    """What was run, as curves, and what is asked."""

    curves: tuple[Curve, ...]
    target: Scale
    truth: float
    """log2 of the best rate at the target."""
    scatter: Scatter


def surface(rng: np.random.Generator, kind: str) -> Surface:
    """A surface of a kind."""
    al, be, ka = rng.uniform(-0.85, -0.25), rng.uniform(-0.1, 0.45), rng.uniform(0.45, 1.05)
    p1, p2, ga = rng.uniform(0.3, 0.8), rng.uniform(-0.45, 0.2), rng.uniform(0.0, 0.8)
    p0 = {"knee above": 7.0, "knee below": -4.0}.get(kind, rng.uniform(-1.0, 3.0))
    second = rng.normal(0, 0.04, 3) if kind in ("quadratic", "bent") else np.zeros(3)
    q = rng.uniform(0.02, 0.12)

    def at(n: float, d: float, b: float) -> float:
        level = -9 + al * n + be * d + second @ [n * n / 2, d * d / 2, n * d]
        if kind == "log-linear":
            return float(level + ga * b)
        if kind == "quadratic":
            return float(level + ga * b - q * (b - 0.6 * d) ** 2 / 2)
        return float(level - ka * np.logaddexp2(0, 3 * (p0 + p1 * d + p2 * n - b)) / 3)

    return at


def cells(rng: np.random.Generator, kind: str) -> Array:
    """cell x (n, d, b)."""
    if kind == "ladder":
        rungs = rng.integers(3, 6)
        return np.array([(0.8 * i, 0.9 * i, 0.5 * i + b) for i in range(rungs) for b in (0, STEP, 2 * STEP)])
    sizes, lengths, batches = rng.integers(2, 4), rng.integers(2, 4), rng.integers(2, 5)
    grid = np.array([(n, d, b) for n in range(sizes) for d in range(lengths) for b in range(batches)]) * [1, STEP, STEP]
    if kind == "one batch":
        return grid[grid[:, 2] == 0]
    if kind == "one length":
        return grid[grid[:, 1] == 0]
    if kind == "uneven":
        return grid[np.sort(rng.permutation(len(grid))[: max(4, len(grid) // 2)])]
    return grid


def study(rng: np.random.Generator, kind: str, seeds: int, scatter: Scatter) -> Study:
    """A study of a kind, with a target up to 2.5 octaves larger and longer."""
    mean, where = surface(rng, kind), cells(rng, kind)
    spread = rng.uniform(0.5, 1.5, 3) * [scatter.size, scatter.length, scatter.cell]
    of_size: dict[float, float] = {}
    of_length: dict[tuple[float, float], float] = {}

    def true(n: float, d: float, b: float) -> float:
        u = of_size.setdefault(n, rng.normal(0, spread[0]))
        v = of_length.setdefault((n, d), rng.normal(0, spread[1]))
        return mean(n, d, b) + u + v + rng.normal(0, spread[2])

    changing = rng.uniform(-0.6, -0.2) if kind == "curvature" else 0.0
    noise, skew = rng.uniform(0.001, 0.004), rng.uniform(-0.15, 0.15)
    curves = []
    for n, d, b in where.tolist():
        bend = CURVATURE * 2 ** (changing * d - changing / 2 * b + rng.normal(0, 0.2))
        curves.append(_curve(rng, _scale(n, d, b), true(n, d, b), bend, skew, seeds, noise))
    n, d, b = where.max(axis=0) + rng.uniform((0.5, 0, -1.5), (2.5, 2.5, 1.5))
    b = 0.0 if kind == "one batch" else b
    return Study(tuple(curves), _scale(n, d, b), true(n, d, b), scatter)


def _scale(n: float, d: float, b: float) -> Scale:
    return Scale(params=2.0 ** (27 + n), tokens=2.0 ** (32 + d), batch_size=2.0 ** (6 + b))


def _curve(
    rng: np.random.Generator, scale: Scale, optimum: float, bend: float, skew: float, seeds: int, noise: float
) -> Curve:
    """Seven rates an octave apart about the optimum, in any phase; steeper to one side by `skew`."""
    log2_lr = np.round(optimum) + rng.integers(-1, 2) * 0.5 + RATES
    t = log2_lr - optimum
    excess = bend * t**2 * (1 + skew * np.tanh(t))
    tilt = rng.normal(0, noise / 2, (seeds, 1)) * np.clip(t, -1, 1)
    return Curve(scale, log2_lr, 2.5 + excess + tilt + rng.normal(0, noise * 0.75**0.5, (seeds, len(t))))


def run(rng: np.random.Generator, kind: str, seeds: int, scatter: Scatter) -> dict[str, object]:
    """A study through curves, optima and law: the error of the prediction, half its interval, whether it held."""
    planted = study(rng, kind, seeds, scatter)
    found = measured(optima(planted.curves))
    (prediction,) = predict(found, [planted.target], SP, scatter)
    return {
        "kind": kind,
        "seeds": seeds,
        "family": scatter is FAMILY,
        "cells": len(planted.curves),
        "error": prediction.log2_lr - planted.truth,
        "half": (prediction.ci_high - prediction.ci_low) / 2,
        "held": prediction.ci_low <= planted.truth <= prediction.ci_high,
        "supported": prediction.supported,
    }


def studies(each: int, seed: int = 0) -> pd.DataFrame:
    """`each` studies of every kind, number of seeds and scatter."""
    strata = [(kind, seeds, scatter) for kind in KINDS for seeds in SEEDS for scatter in (FAMILY, COLLECTION)]
    return pd.DataFrame(
        [
            run(np.random.default_rng((seed, at, again)), *stratum)
            for at, stratum in enumerate(strata)
            for again in range(each)
        ]
    )
