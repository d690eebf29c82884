"""How noisy the runs of an arm are: a few runs at one width cannot say, so its widths tell it together.

* sigma^2, the variance of one run about its seed's curve: two-way (seed x rate) residuals near the optimum; with one
  seed everywhere, or seeds that were not run at all rates, the fit's own weighted residuals. Each width's own, because
  narrow models are noisier, shrunk to that of the other widths by six degrees of freedom, and they to a typical run's
  by two.
* kappa^2, how much more a seed moves the optimum than sigma^2 says: squared shifts of the minimum by single seeds over
  what sigma^2 predicts, shrunk to 1 by six degrees of freedom. The residuals of a single seed contain neither its tilt
  nor its bend, so there it is 1.7, and also where seeds were not run at all rates.

experiments/calibration/noise.py measures them on eight seeds of real runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mutransfer.analysis.curve import Array, two_way
from mutransfer.analysis.quartic import Quartic, Window

NEAR = 0.1
"""Runs at rates with at most this excess loss tell the noise near the optimum, nats."""
PRIOR_DF = 2.0
"""Degrees of freedom of what is known of sigma before the first run."""
SEEDS_SIGMA = 0.005
"""sigma before the first run, where seeds were repeated, nats."""
SINGLE_SIGMA = 0.006
"""The same where none was."""
SHARED_DF = 6.0
"""Most degrees of freedom that the other widths' sigma has for one. Measured, sigma fell by 1.2 to 1.5 per doubling
of width (results/calibration/noise.json), so that one sigma for all would be too small for the narrowest."""
REPEATED = 0.7
"""Least part of the rates at which further seeds were run, that these tell the noise by themselves. Pairs of runs, as
a bracket places them, say less than the residuals of the fit do."""
LOWEST_LEVEL = 0.01
"""Least sigma^2 of a table's runs, over what is known beforehand."""
TILT = 1.0
"""kappa^2 before the first seed. Measured over eight seeds: 0.4 to 1.1 at five widths of two arms."""
SINGLE_TILT = 2.0
"""kappa^2 where no seed was repeated. Measured, minima of eight seeds alone scattered by 0.9 to 1.3 times the variance
that their residuals predict at four widths of two arms, by 5 at another."""
TILT_DF = 6.0
"""Degrees of freedom of either."""
SINGLE_SEED_COVERAGE = {0.3: 0.99, 1.0: 0.95, 3.0: 0.91}
"""The share of 95% intervals from one seed that held the truth in simulation, by noise over that of real runs
(results/calibration/README.md)."""


@dataclass(frozen=True)
class Noise:
    """A variance (nats^2) or a ratio of variances, with its degrees of freedom."""

    variance: float
    df: float


UNKNOWN = Noise(SINGLE_SIGMA**2, PRIOR_DF)
"""sigma^2 where nothing was fitted."""


def repeated_noise(windows: Sequence[Window]) -> tuple[Noise, ...] | None:
    """sigma^2 of every window, from seeds that were run at the same rates; None where these are so few that the fit's
    residuals say more."""
    further = sum(len(points.rate) - len(points.z) for points in windows)
    enough = further >= REPEATED * sum((len(points.losses) - 1) * len(points.z) for points in windows)
    squares, df = [], []
    for points in windows:
        _, residuals, residual_df = two_way(points.losses[:, points.excess <= points.unit * NEAR])
        squares.append(float(np.nansum(residuals**2)))
        df.append(float(residual_df))
    return _shared(windows, squares, df, SEEDS_SIGMA) if enough and sum(df) > 0 else None


def run_noise(quartics: Sequence[Quartic]) -> tuple[Noise, ...]:
    """sigma^2 of every width, as it is best known."""
    return repeated_noise([quartic.points for quartic in quartics]) or residual_noise(quartics)


def expected_noise(windows: Sequence[Window]) -> tuple[Noise, ...]:
    """sigma^2 of every window before its first fit."""
    none = [0.0] * len(windows)
    return _shared(windows, none, none, SINGLE_SIGMA)


def residual_noise(quartics: Sequence[Quartic]) -> tuple[Noise, ...]:
    """sigma^2 of every width, from the residuals of its fit."""
    df = [max(0.0, quartic.residual_df) for quartic in quartics]
    squares = [quartic.weighted_squares for quartic in quartics]
    return _shared([quartic.points for quartic in quartics], squares, df, SINGLE_SIGMA)


def _shared(
    windows: Sequence[Window], squares: Sequence[float], df: Sequence[float], sigma: float
) -> tuple[Noise, ...]:
    """sigma^2 of every curve: what a run of its scale has, times a level that all tell together, and its own squares.
    The level is a mean of what the squares say and of 1, by their degrees of freedom: the geometric one where they
    say less, because the arithmetic one could not fall below what was expected."""
    typical = [(points.unit * points.typical_noise * sigma) ** 2 for points in windows]
    told = sum(df)
    over = sum(own / expected for own, expected in zip(squares, typical, strict=True)) / told if told > 0 else 1.0
    weight = told / (told + PRIOR_DF)
    level = max(over, LOWEST_LEVEL) ** weight if over < 1 else weight * over + 1 - weight
    found = []
    for points, own_squares, own_df, expected in zip(windows, squares, df, typical, strict=True):
        if points.noise is not None:
            found.append(Noise(points.noise**2, math.inf))
            continue
        weight = min(SHARED_DF, PRIOR_DF + told - own_df)
        found.append(Noise((weight * level * expected + own_squares) / (weight + own_df), weight + own_df))
    return tuple(found)


def tilt(widths: Iterable[tuple[Window, Array, Noise]]) -> Noise:
    """kappa^2 from the seeds that were run at the same rates; each width with the derivative g of its minimum by every
    run, and its sigma^2.

    A seed moves the minimum by D_s = sum_j g_sj r_sj, r the two-way residuals, whose variance is sigma^2 q_s, with
    q_s = sum_j g_sj^2 (1 - 1/n_j) and n_j the seeds at a rate. Over complete seeds each width has S - 1 degrees of
    freedom; else as many as seeds count, (sum q)^2 / sum q^2, less the part that the rate means took."""
    total, df = TILT_DF * TILT, TILT_DF
    for points, by_run, noise in widths:
        _, residuals, _ = two_way(points.losses)
        told = 1 - 1 / points.runs_at[points.rate]
        seeds = len(points.losses)
        moves = np.bincount(points.seed, by_run * residuals[points.seed, points.rate], seeds)
        expected = np.bincount(points.seed, by_run**2 * told, seeds)
        if expected.sum() <= 0:
            continue
        free = float(expected.sum() ** 2 / (expected @ expected) * expected.sum() / (by_run @ by_run))
        total += free * float(moves @ moves) / (noise.variance * float(expected.sum()))
        df += free
    return Noise(total / df, df)


def single_seed_note(seeds: int) -> str | None:
    """What an interval from so many seeds cannot know, in one sentence; None from two on."""
    if seeds != 1:
        return None
    coverage = ", ".join(f"{held:.0%} at {factor:g}" for factor, held in SINGLE_SEED_COVERAGE.items())
    return (
        "one seed cannot see how far another would tilt or bend the curve, and hardly how noisy it is: its intervals "
        "take the noise of small language models for granted, and held the truth in simulation in "
        f"{coverage} times that noise; a second seed measures it"
    )
