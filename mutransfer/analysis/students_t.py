"""Student's t: its quantile at any degrees of freedom, whole or fractional."""

from __future__ import annotations

import math
from statistics import NormalDist

EXPANSION_DF = 200.0
"""From here on the first four terms of Abramowitz and Stegun 26.7.5 are within 1e-8 of the 97.5% quantile."""


def t_quantile(probability: float, df: float) -> float:
    """The t with P(T <= t) = probability at df > 0 degrees of freedom (infinity: the normal quantile).

    Newton's method from the normal quantile: above the median the distribution function is concave and the normal
    quantile lies below the root, so every step ends between the two. Raises ValueError outside 0 < probability < 1.
    """
    if not (0 < probability < 1 and df > 0):
        raise ValueError(f"found probability {probability}, df {df}; wanted 0 < probability < 1 and df > 0")
    if probability < 0.5:
        return -t_quantile(1 - probability, df)
    z = NormalDist().inv_cdf(probability)
    if df >= EXPANSION_DF:
        first = z * (z**2 + 1) / 4
        second = z * (5 * z**4 + 16 * z**2 + 3) / 96
        third = z * (3 * z**6 + 19 * z**4 + 17 * z**2 - 15) / 384
        return z + first / df + second / df**2 + third / df**3
    log_scale = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - math.log(df * math.pi) / 2
    t = z
    for _ in range(100):
        density = math.exp(log_scale - (df + 1) / 2 * math.log1p(t**2 / df))
        step = (t_tail(t, df) - (1 - probability)) / density
        t += step
        if abs(step) <= 1e-12 * (1 + t):
            break
    return t


def t_tail(t: float, df: float) -> float:
    """P(T > t) for t >= 0: half the regularized incomplete beta I_x(df/2, 1/2) at x = df / (df + t^2)."""
    return _incomplete_beta(df / (df + t**2), df / 2, 0.5) / 2


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """I_x(a, b) by its continued fraction (Abramowitz and Stegun 26.5.8), evaluated by Lentz's method."""
    if x in (0, 1):
        return x
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(1 - x, b, a)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, 500):
        for coefficient in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / (1 + coefficient * d)
            c = 1 + coefficient / c
            fraction *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return math.exp(log_front) * fraction / a
