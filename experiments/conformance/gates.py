"""A measurement, the bounds that a claim puts on it, and whether it keeps them. Pure: no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from place import Place

HOLDS, FAILS = "holds", "fails"


@dataclass(frozen=True)
class Quantity:
    """A number with its 95% interval; None where there is none (no optimum inside the rates, a single run)."""

    estimate: float | None
    ci_low: float | None = None
    ci_high: float | None = None

    def __str__(self) -> str:
        if self.estimate is None:
            return "none" if self.ci_low is None else f"at least {self.ci_low:.3f}"
        if self.ci_low is None or self.ci_high is None:
            return f"{self.estimate:.4g}"
        return f"{self.estimate:+.3f} [{self.ci_low:+.3f}, {self.ci_high:+.3f}]"


@dataclass(frozen=True)
class Measurement:
    """What was measured, by name, and under which conditions."""

    quantities: Mapping[str, Quantity]
    conditions: str


class Measure(Protocol):
    """A frozen dataclass: its fields are the settings, all that decides what is measured."""

    def measure(self, place: Place) -> Measurement: ...


@dataclass(frozen=True)
class Bound:
    """`low` <= the quantity's estimate (or an end of its interval) <= `high`. A quantity without that number, or a
    NaN, keeps no bound."""

    quantity: str
    low: float = -math.inf
    high: float = math.inf
    part: str = "estimate"

    def kept_by(self, quantities: Mapping[str, Quantity]) -> bool:
        value = getattr(quantities[self.quantity], self.part) if self.quantity in quantities else None
        return value is not None and self.low <= value <= self.high

    def __str__(self) -> str:
        of = {"estimate": "", "ci_low": "lower end of ", "ci_high": "upper end of "}[self.part] + self.quantity
        if self.low == self.high:
            return f"{of} = {self.low:g}"
        if math.isinf(self.low):
            return f"{of} ≤ {self.high:g}"
        if math.isinf(self.high):
            return f"{of} ≥ {self.low:g}"
        return f"{self.low:g} ≤ {of} ≤ {self.high:g}"


def within(quantity: str, size: float) -> Bound:
    """The estimate is at most `size` away from 0."""
    return Bound(quantity, -size, size)


def contains_zero(quantity: str) -> tuple[Bound, Bound]:
    """0 lies in the interval."""
    return Bound(quantity, high=0.0, part="ci_low"), Bound(quantity, low=0.0, part="ci_high")


def judge(gate: Sequence[Bound], quantities: Mapping[str, Quantity]) -> str:
    """`holds` if every bound is kept by what was measured; an empty gate is a mistake, not a pass."""
    return HOLDS if gate and all(bound.kept_by(quantities) for bound in gate) else FAILS
