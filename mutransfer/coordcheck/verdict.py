"""From slopes to verdicts: which module's output, change or update grows or vanishes with width beyond what muP allows.

| quantity | powers of width under muP |
|---|---|
| size at initialization | 0; down to -1/2 where a wide space is mapped to a fixed one inside the model; of readouts and
  attention logits 0 or below |
| effective update | 0, or down to -1/2 where width sums terms that have not aligned yet |
| change | the same; of logits, and where updates are in proportion to gradients, 0 or below: there both factors fall |
| aligned | 0, or down to -1/2 |
| pull | 0: what is not aligned yet does not count; -1/4 to 1/4 of gains and biases |
| fit | -0.15 to 0 |

What falls because a module's input or the gradient it receives falls is not held against the module.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mutransfer.analysis.interval import Interval
from mutransfer.coordcheck.coordinates import Coordinates, Key

TOLERANCE = 0.25
"""Half of the smallest power that a rule can be off by. Powers of width within this of their bounds pass. muP's lie
outside by what width has not averaged out yet (at widths of 32 to 256 by up to 0.15), those of a broken rule by 1/2 or
1."""
UNALIGNED = -0.5
"""The power with which a sum over width falls, relative to that of aligned terms, while its terms are independent."""

UNSETTLED = -0.15
"""How much the fit of a right model still falls where a few steps at small widths have not settled it: measured -0.27
on Llama and -0.32 on Mixtral under muP (tests/models), with a readout that starts at random. A rule that is off by half
a power downwards lies beyond it and the tolerance; upwards, such a model hides half a power."""

OK, GROWS, VANISHES = "ok", "grows", "vanishes"
JUDGED = ("size", "pull", "effective", "aligned", "change", "fit")
"""In the order in which a module's quantities are looked at."""
FREE_TO_FALL = ("output", "logits", "after the readout")


@dataclass(frozen=True)
class Slope:
    """One quantity of one module at one step.

    Attributes:
        power: of width, d log2 value / d log2 width, with its 95% interval over seeds; None where a value is zero or
            not finite. A multiplier outside the module counts where this brings the power nearer to its bounds: it may
            be meant for the module's output, or for another use of it.
        outer: the power of the multiplier that is counted.
        status: ok, grows or vanishes.
        seen: whether the values stand out of the rounding noise at the narrowest width.
    """

    module: str
    quantity: str
    step: int
    power: Interval | None
    outer: float
    status: str
    seen: bool


@dataclass(frozen=True)
class ModuleVerdict:
    """A module's role and status, and the slope that says so: the first that is not ok, by step and then as in JUDGED;
    None where all are."""

    module: str
    role: str
    status: str
    worst: Slope | None


@dataclass(frozen=True)
class Judgement:
    """The judged slopes by key, and every module's verdict in the order of data flow."""

    coordinates: Coordinates
    slopes: Mapping[Key, Slope]
    modules: tuple[ModuleVerdict, ...]


@dataclass(frozen=True)
class Context:
    """What a module's powers are to be seen in the light of.

    Attributes:
        role: of the module.
        gradient_power: p, how its update answers to the gradient's size.
        source: the power of the size of its input; 0 where it has none.
        pushed: by how many powers the gradient it receives exceeds what muP leads to: -1 at a wide output, else 0.
    """

    role: str
    gradient_power: float
    source: float
    pushed: float

    def own(self, quantity: str, power: float) -> float:
        """What of a power neither the module's input nor its gradient explains."""
        if quantity == "size":
            return power - self.source
        return power - (1 + self.gradient_power) * self.source - self.gradient_power * self.pushed

    def bounds(self, quantity: str) -> tuple[float, float]:
        """The powers between which muP has a quantity, but for the tolerance."""
        source, p = max(UNALIGNED, min(0.0, self.source)), self.gradient_power
        if quantity == "size":
            least = -math.inf if self.role in FREE_TO_FALL else UNALIGNED if self.role == "bottleneck" else 0.0
            return least + source, 0.0
        if quantity == "fit":
            return UNSETTLED, 0.0
        if quantity == "pull":
            explained = (1 + p) * self.source + p * self.pushed
            # a gain's or bias's sums over the batch align more or less as width grows; where updates are in proportion
            # to gradients, what has not aligned yet counts twice
            low, high = (-0.25, 0.25) if self.role in ("vector", "scalar") else (UNALIGNED if p >= 0.5 else 0.0, 0.0)
            return low + min(0.0, explained), high + max(0.0, explained)
        if quantity == "effective":
            # an entrywise update of what reads no wide space is as large as its rate says
            exact = self.role in ("input", "vector") and p < 0.5
            return (0.0 if exact else UNALIGNED) + (1 + p) * source + p * min(0.0, self.pushed), 0.0
        both_fall = quantity == "change" and (self.role == "logits" or p >= 0.5)
        return (-math.inf if both_fall else UNALIGNED), 0.0


def context(coordinates: Coordinates, module: str, step: int, outer: float) -> Context:
    """Of a module at a step, with the power of a multiplier outside it that is counted with its output."""

    def power(quantity: str) -> float:
        slope = coordinates.slope(module, quantity, step)
        return 0.0 if math.isnan(slope) else slope

    expected = -1.0 if coordinates.is_wide(module, "out_size") else 0.0
    received = (module, "gradient", step) in coordinates.slopes
    pushed = power("gradient") - outer - expected if received else 0.0
    return Context(coordinates.roles[module], coordinates.gradient_powers[module], power("input"), pushed)


def judge(coordinates: Coordinates, tolerance: float) -> Judgement:
    """The verdict of every module.

    A slope is flagged where it lies beyond its bound by more than the tolerance and its interval does not reach 0; and
    so is what is not finite (grows), or zero at the widest width but not at the narrowest (vanishes).
    """
    slopes = {
        key: _judged(coordinates, key, tolerance)
        for key in coordinates.values
        if key[1] in JUDGED and (key[1] != "size" or key[2] == 0)
    }
    verdicts = []
    for module in coordinates.modules:
        off = [slope for key, slope in slopes.items() if key[0] == module and slope.status != OK]
        worst = min(off, key=lambda slope: (slope.step, JUDGED.index(slope.quantity)), default=None)
        verdicts.append(ModuleVerdict(module, coordinates.roles[module], worst.status if worst else OK, worst))
    return Judgement(coordinates, slopes, tuple(verdicts))


def _judged(coordinates: Coordinates, key: Key, tolerance: float) -> Slope:
    module, quantity, step = key
    values, interval = coordinates.values[key], coordinates.slopes.get(key)
    noise = coordinates.values.get((module, "noise", step))
    seen = quantity in ("size", "aligned") or noise is None or bool((values >= noise)[:, 0].all())
    if not np.isfinite(values).all():
        return Slope(*key, None, 0.0, GROWS, True)
    if interval is None:
        nothing = (values == 0).all(axis=0)
        status = VANISHES if nothing[-1] and not nothing[0] else OK
        return Slope(*key, None, 0.0, status, seen and not nothing[0])

    def beyond(outer: float) -> float:
        low, high = context(coordinates, module, step, outer).bounds(quantity)
        return max(interval.estimate + outer - high, low - interval.estimate - outer)

    multiplier = coordinates.slope(module, "outer", step)
    others = [] if math.isnan(multiplier) or quantity == "fit" else [multiplier]
    outer = min((0.0, *others), key=beyond)
    power = Interval(interval.estimate + outer, interval.ci_low + outer, interval.ci_high + outer)
    status = OK
    if seen and beyond(outer) > tolerance:
        status = GROWS if power.ci_low > 0 else VANISHES if power.ci_high < 0 else OK
    return Slope(*key, power, outer, status, seen)
