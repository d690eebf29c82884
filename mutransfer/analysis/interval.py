"""A number and how sure it is: an estimate whose variance has parts, each known to its own degrees of freedom."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import stdtrit

CONFIDENCE = 0.95
"""Confidence of every interval."""


def t_quantile(probability: float, df: float) -> float:
    """The t of Student's distribution with P(T <= t) = probability, at df > 0 degrees of freedom, also infinitely many.
    Raises ValueError outside 0 < probability < 1."""
    if not (0 < probability < 1 and df > 0):
        raise ValueError(f"expected 0 < probability < 1 and df > 0, got probability {probability}, df {df}")
    return float(stdtrit(df, probability))


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95% confidence interval."""

    estimate: float
    ci_low: float
    ci_high: float


@dataclass(frozen=True)
class Estimate:
    """A value and the independent parts of its variance, as pairs of (variance, degrees of freedom)."""

    value: float
    parts: tuple[tuple[float, float], ...]

    @property
    def variance(self) -> float:
        return sum(variance for variance, _ in self.parts)

    @property
    def df(self) -> float:
        """Degrees of freedom of the whole variance (Satterthwaite 1946, Biometrics Bulletin 2, 110)."""
        spread = sum(variance**2 / df for variance, df in self.parts)
        return self.variance**2 / spread if spread > 0 else math.inf

    @property
    def interval(self) -> Interval:
        half = t_quantile((1 + CONFIDENCE) / 2, self.df) * math.sqrt(self.variance)
        return Interval(self.value, self.value - half, self.value + half)

    def minus(self, other: Estimate) -> Estimate:
        """The difference of two independent estimates."""
        return Estimate(self.value - other.value, self.parts + other.parts)
