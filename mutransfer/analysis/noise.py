"""How noisy the runs of an arm are, pooled over its widths: a few runs at one width cannot say.

* sigma^2, the variance of one run about its seed's curve: two-way (seed x rate) residuals near the optimum; with one
  seed everywhere, the fit's own weighted residuals. Shrunk to a typical run's by two degrees of freedom.
* kappa^2, how much more a seed moves the optimum than sigma^2 says, because it tilts its whole curve: squared shifts of
  the minimum by single seeds over what sigma^2 predicts, shrunk to 1.2 by six degrees of freedom. The residuals of a
  single seed contain no tilt, so there it is 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mutransfer.analysis.curve import two_way
from mutransfer.analysis.quartic import Quartic, Window

NEAR = 0.1
"""Runs at rates with at most this excess loss tell the noise near the optimum, nats."""
PRIOR_DF = 2.0
"""Degrees of freedom of what is known of sigma before the first run."""
SEEDS_SIGMA = 0.005
"""sigma before the first run, where seeds were repeated, nats."""
SINGLE_SIGMA = 0.006
"""The same where none was."""
TILT = 1.2
"""kappa^2 before the first seed."""
SINGLE_TILT = 2.0
"""kappa^2 where no seed was repeated. Measured with a two-layer transformer (two parametrizations, two texts, three
seeds), two-way residuals had 0.9 to 3.7 times the variance of one seed's residuals about its fit."""
TILT_DF = 6.0
"""Degrees of freedom of either."""


@dataclass(frozen=True)
class Noise:
    """A variance (nats^2) or a ratio of variances, with its degrees of freedom."""

    variance: float
    df: float


def repeated_noise(windows: Sequence[Window]) -> Noise | None:
    """sigma^2 from seeds that were run at the same rates; None where there are none."""
    squares, df = 0.0, 0
    for points in windows:
        _, residuals, residual_df = two_way(points.losses[:, points.excess <= NEAR])
        squares, df = squares + float(np.nansum(residuals**2)), df + residual_df
    return Noise((PRIOR_DF * SEEDS_SIGMA**2 + squares) / (PRIOR_DF + df), PRIOR_DF + df) if df > 0 else None


def residual_noise(quartics: Sequence[Quartic]) -> Noise:
    """sigma^2 from the residuals of fits; from none, what is known before the first run."""
    squares = sum(quartic.weighted_squares for quartic in quartics)
    df = max(0.0, sum(quartic.residual_df for quartic in quartics))
    return Noise((PRIOR_DF * SINGLE_SIGMA**2 + squares) / (PRIOR_DF + df), PRIOR_DF + df)


def tilt(quartics: Sequence[Quartic], noise: Noise) -> Noise:
    """kappa^2 from the seeds that were run at all rates of their window."""
    total, df = TILT_DF * TILT, TILT_DF
    for quartic in quartics:
        points = quartic.points
        complete = points.losses[np.isfinite(points.losses).all(axis=1)]
        if len(complete) < 2 or quartic.minimum is None:
            continue
        by_run = quartic.minimum_gradient() @ quartic.influence
        by_rate = np.bincount(points.rate, by_run, len(points.z))
        shifts = (complete - complete.mean(axis=0)) @ by_rate
        total += float(shifts @ shifts) / (noise.variance * float(by_rate @ by_rate))
        df += len(complete) - 1
    return Noise(total / df, df)
