"""Many planted sweeps through the analysis, stratum by stratum: do intervals and verdicts hold as often as they say?

A cell is (seeds, widths, octaves between rates); its strata are shape x slope x noise factor, each with as many sweeps.
In half of a stratum's sweeps the true optima scatter by 0.1 octaves about their line. "Truth" is the true optimum of a
width, and the least-squares line through the true optima of the measured widths. Figures of "the mixture" weigh shapes
by SHARES, cliffs 15%.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd

from analysis.planted import HELD_OUT, SHARES, World, world
from mutransfer.analysis.interval import Interval
from mutransfer.analysis.line import slope, together
from mutransfer.analysis.optimum import optima
from mutransfer.analysis.verdict import DOES_NOT_TRANSFER, TRANSFERS, judge

TOLERANCE = 0.25
SLOPES = (0.0, -0.1, -0.25, -0.5, -1.0)
FACTORS = (0.3, 1.0, 3.0)
STRATA = tuple(product(SHARES, SLOPES, FACTORS))
WOBBLE = 0.1
WEIGHTS = SHARES | dict.fromkeys(HELD_OUT, 1.0)
NARROWEST = 32

LR_HALF = {1: 0.27, 2: 0.18, 3: 0.155, 5: 0.13}
SLOPE_HALF = {1: 0.125, 2: 0.078, 3: 0.065, 5: 0.053}
"""Median half-widths, octaves, by seeds, at four widths and rates an octave apart, that a good method reached in
simulation with weaker noise; 1.2 times as wide is still good."""


@dataclass(frozen=True)
class Cell:
    """What a sweep spends."""

    seeds: int
    widths: int
    step: float


CELLS = tuple(Cell(*cell) for cell in product((1, 2, 3, 5), (3, 4, 5, 6), (1.0, 0.5)))


@dataclass(frozen=True)
class Studied:
    """A row for every sweep, and a row for every width of one."""

    sweeps: pd.DataFrame
    widths: pd.DataFrame

    def where(self, **fields: object) -> Studied:
        """The rows with these values."""
        kept = [
            frame[np.logical_and.reduce([frame[name] == value for name, value in fields.items()])] for frame in self
        ]
        return Studied(*kept)

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter((self.sweeps, self.widths))


def study(
    cell: Cell,
    repeats: int,
    strata: tuple[tuple[str, float, float], ...] = STRATA,
    plant: Callable[..., World] = world,
) -> Studied:
    """`repeats` sweeps of every stratum; the same cell gives the same sweeps."""
    rng = np.random.default_rng([cell.seeds, cell.widths, int(2 * cell.step)])
    sizes = tuple(NARROWEST * 2**octave for octave in range(cell.widths))
    sweeps, widths = [], []
    for repeat, (kind, intended, factor) in product(range(repeats), strata):
        planted = plant(
            rng,
            slope=intended,
            seeds=cell.seeds,
            widths=sizes,
            step=cell.step,
            kind=kind,
            factor=factor,
            wobble=WOBBLE * (repeat % 2),
        )
        found, _ = together(optima(planted.curves))
        line = slope(found)
        verdict = judge(found, TOLERANCE)
        within = abs(planted.slope) <= TOLERANCE
        stratum = (cell.seeds, cell.widths, cell.step, kind, intended, factor, WEIGHTS[kind])
        wrong = verdict == (DOES_NOT_TRANSFER if within else TRANSFERS)
        sweeps.append((*stratum, *_held(None if line is None else line.interval, planted.slope), verdict, wrong))
        for optimum, true in zip(found, planted.optima, strict=True):
            known = optimum.interior and optimum.ci_low is not None and optimum.ci_high is not None
            interval = Interval(optimum.log2_lr, optimum.ci_low, optimum.ci_high) if known else None
            widths.append((*stratum, *_held(interval, true), optimum.scale.width, optimum.status))
    names = ["seeds", "widths", "step", "shape", "slope", "factor", "weight", "held", "half"]
    return Studied(
        pd.DataFrame(sweeps, columns=[*names, "verdict", "wrong"]),
        pd.DataFrame(widths, columns=[*names, "width", "status"]),
    )


def _held(interval: Interval | None, truth: float) -> tuple[float, float]:
    """Whether it holds the truth, and its half-width; NaN where there is none."""
    if interval is None:
        return np.nan, np.nan
    return float(interval.ci_low <= truth <= interval.ci_high), (interval.ci_high - interval.ci_low) / 2


def coverage(frame: pd.DataFrame) -> float:
    """The share of intervals that hold the truth, shapes weighed as in the mixture."""
    known = frame.dropna(subset="held")
    return float(np.average(known["held"], weights=known["weight"])) if len(known) else float("nan")


def share(frame: pd.DataFrame, rows: pd.Series) -> float:
    """The share of rows, shapes weighed as in the mixture."""
    return float(np.average(rows, weights=frame["weight"]))


def half(frame: pd.DataFrame) -> float:
    """Median half-width, shapes weighed as in the mixture."""
    known = frame.dropna(subset="half").sort_values("half")
    if known.empty:
        return float("nan")
    below = known["weight"].cumsum() / known["weight"].sum()
    return float(known["half"].iloc[int(np.searchsorted(below, 0.5))])


@dataclass(frozen=True)
class Goal:
    """What was wanted of a figure, and what it is."""

    name: str
    value: float
    least: float
    most: float

    @property
    def met(self) -> bool:
        return self.least <= self.value <= self.most


def goals(studied: Studied) -> list[Goal]:
    """Every goal that the cells studied speak of."""
    found = [
        Goal("coverage of lr* over the mixture", coverage(studied.widths), 0.92, 0.98),
        Goal("coverage of the slope over the mixture", coverage(studied.sweeps), 0.92, 0.98),
    ]
    for shape in SHARES:
        alone = studied.where(shape=shape)
        found.append(Goal(f"coverage of lr*, {shape}", coverage(alone.widths), 0.85, 1))
        found.append(Goal(f"coverage of the slope, {shape}", coverage(alone.sweeps), 0.85, 1))
    found.append(Goal("wrong verdicts", share(studied.sweeps, studied.sweeps["wrong"]), 0, 0.05))
    powered = studied.where(widths=4, seeds=3)
    for intended, verdict in ((0.0, TRANSFERS), (-0.5, DOES_NOT_TRANSFER)):
        for step in (1.0, 0.5):
            sweeps = powered.where(slope=intended, step=step).sweeps
            if len(sweeps):
                name = f"{verdict} at slope {intended:g}, 4 widths, 3 seeds, octaves between rates {step:g}"
                found.append(Goal(name, share(sweeps, sweeps["verdict"] == verdict), 0.85, 1))
    for seeds in LR_HALF:
        four = studied.where(widths=4, seeds=seeds, step=1.0)
        if len(four.sweeps):
            at = f"4 widths, {seeds} seeds, octaves between rates 1"
            found.append(Goal(f"half-width of lr*, {at}", half(four.widths), 0, 1.2 * LR_HALF[seeds]))
            found.append(Goal(f"half-width of the slope, {at}", half(four.sweeps), 0, 1.2 * SLOPE_HALF[seeds]))
    return found
