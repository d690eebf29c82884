"""The slope when the number of steps grows with the square of the width, against the slope at a fixed number.

An arm has one number of steps, because the optimal rate depends on it. So each width is a sweep of its own over numbers
of steps, and the two lines are put through optima of different sweeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from gates import Measurement
from place import Place

from measures.intervals import quantity
from measures.transfer import optimum_text
from mutransfer import SweepConfig
from mutransfer.analysis import Optimum
from mutransfer.analysis.line import slope
from mutransfer.config.scale import Scale


@dataclass(frozen=True)
class GrowingHorizon:
    """`sweeps` have one width each, ascending, and numbers of steps; `fixed` is the number that all of them have. The
    numbers that grow are those in proportion to the square of the width, `fixed` at the middle width."""

    sweeps: tuple[SweepConfig, ...]
    arm: str
    fixed: int

    def measure(self, place: Place) -> Measurement:
        middle = self.sweeps[len(self.sweeps) // 2].widths[0]
        steady, growing, words = [], [], []
        for sweep in self.sweeps:
            (width,) = sweep.widths
            optima = {optimum.scale["steps"]: optimum for optimum in place.result(sweep).analysis.arm(self.arm).optima}
            steps = self.fixed * width**2 // middle**2
            steady.append(_at(optima, self.fixed, width))
            growing.append(_at(optima, steps, width))
            words += [
                f"{optimum_text(optima[n])} at width {width} after {n} steps" for n in sorted({self.fixed, steps})
            ]
        lines = {"slope at fixed steps": slope(steady), "slope at steps in proportion to width^2": slope(growing)}
        fixed, grown = lines.values()
        difference = None if fixed is None or grown is None else grown.minus(fixed)
        lines["difference of the slopes, growing - fixed"] = difference
        found = {name: quantity(None if line is None else line.interval) for name, line in lines.items()}
        return Measurement(found, f"log2 lr* {', '.join(words)}; {self.sweeps[0].seeds} seeds")


def _at(optima: Mapping[int, Optimum], steps: int, width: int) -> Optimum:
    """The optimum after some number of steps, as that of a width."""
    return replace(optima[steps], scale=Scale(width))
