"""How likely a study that goes on will decide, from what it knows now (the predictive power of Spiegelhalter, Freedman
and Blackburn 1986, Controlled Clinical Trials 7, 8).

The interval to come has a half-width h' and the variance V'. Its estimate moves from e, the present one of variance V,
by a normal step of variance V - V', because what is added is independent of what there is. So it decides with the
probability

    P(|e + sqrt(V - V') z| <= tolerance - h') + P(|e + sqrt(V - V') z| >= tolerance + h')

in the mean over what the noise may truly be: its estimate has few degrees of freedom, and the true variance is
df / chi^2 times it.
"""

from __future__ import annotations

import math
from statistics import NormalDist, fmean

from scipy.special import chdtri

from mutransfer.analysis.interval import Estimate

LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Levels of the noise variance that are averaged over."""
LEAST_MOVE = 1e-9
"""A standard deviation that is none."""


def assurance(now: Estimate, then: Estimate, df: float, tolerance: float) -> float:
    """The probability that the interval of `then`, the present estimate with the variance to come, will lie within or
    outside +-tolerance. The parts of both with finite degrees of freedom are noise, known to `df` of them."""
    factors = [_noise_factor(df, level) for level in LEVELS]
    return fmean(_decides(_noisier(now, factor), _noisier(then, factor), tolerance) for factor in factors)


def _decides(now: Estimate, then: Estimate, tolerance: float) -> float:
    half = then.interval.ci_high - then.value
    to_come = NormalDist(now.value, max(LEAST_MOVE, math.sqrt(max(0.0, now.variance - then.variance))))
    inside, outside = tolerance - half, tolerance + half
    within = to_come.cdf(inside) - to_come.cdf(-inside) if inside > 0 else 0.0
    return within + to_come.cdf(-outside) + 1 - to_come.cdf(outside)


def _noise_factor(df: float, level: float) -> float:
    """df / chi^2 at a level of its probability."""
    return 1.0 if math.isinf(df) else df / float(chdtri(df, level))


def _noisier(estimate: Estimate, factor: float) -> Estimate:
    """With its noise times a factor."""
    parts = tuple((variance * factor if math.isfinite(df) else variance, df) for variance, df in estimate.parts)
    return Estimate(estimate.value, parts)
