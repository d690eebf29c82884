"""Published tables as input of the analysis: does it find what is known to be in them?"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gates import Measurement, Quantity
from place import ROOT, Place

from measures.intervals import quantity
from mutransfer import SweepConfig
from mutransfer.analysis import Curve, Optimum, optima
from mutransfer.analysis.leverage import leverage
from mutransfer.analysis.line import slope
from mutransfer.analysis.regret import regret
from mutransfer.analysis.verdict import DOES_NOT_TRANSFER, judge, reason, sentence
from mutransfer.config.scale import Scale

TABLES = ROOT / "tests" / "data" / "published.json"


def read_tables() -> dict[str, Any]:
    """The published tables, each with its source."""
    tables: dict[str, Any] = json.loads(TABLES.read_text())
    return tables


@dataclass(frozen=True)
class LossTable:
    """A table of losses by width and rate, one seed: its slope and its verdict. "nan" is a run that diverged, null one
    that the source does not have."""

    table: str

    def measure(self, place: Place) -> Measurement:
        table = read_tables()[self.table]
        measured = [_curve(int(width), table["log2_lr"], losses) for width, losses in table["loss"].items()]
        found = optima(measured)
        line = slope(found)
        interval = None if line is None else line.interval
        lines = {} if interval is None else {"width": interval}
        verdict = judge(found, SweepConfig.tolerance)
        why = reason(found, SweepConfig.tolerance)
        refused = Quantity(float(verdict == DOES_NOT_TRANSFER))
        return Measurement(
            {"slope": quantity(interval), "says that it does not transfer (1: yes)": refused},
            sentence(self.table, verdict, found, lines, regret(found[0], found[-1], measured[-1]), why),
        )


@dataclass(frozen=True)
class OptimaTable:
    """Optimal rates as printed: the least-squares slope of each series. `series` are pairs of (name in the table, name
    here). Where the rates are those of a grid of `step` octaves, each is uniform within its step, a variance of
    step^2/12; then the slope has an interval, and the analysis says whether it rests on one width."""

    table: str
    series: tuple[tuple[str, str], ...]
    step: float | None = None

    def measure(self, place: Place) -> Measurement:
        found: dict[str, Quantity] = {}
        words = []
        for key, name in self.series:
            widths, rates = _series(read_tables()[self.table], key)
            printed = [self._optimum(width, math.log2(rate)) for width, rate in zip(widths, rates, strict=True)]
            line = slope(printed)
            assert line is not None
            found[f"{name} slope"] = Quantity(line.value) if self.step is None else quantity(line.interval)
            if self.step is not None:
                carried = leverage(printed, SweepConfig.tolerance)
                found[f"width that the {name} slope rests on (0: none)"] = Quantity(
                    carried.scale.width if carried else 0
                )
                found[f"{name} slope without it"] = Quantity(carried.slope_without if carried else None)
            words.append(f"{name}: {', '.join(f'{rate:g}' for rate in rates)} at widths {', '.join(map(str, widths))}")
        return Measurement(found, "; ".join(words))

    def _optimum(self, width: int, log2_lr: float) -> Optimum:
        return Optimum(Scale(width), log2_lr, None, None, None, "interior", noise=(self.step or 0.0) ** 2 / 12)


def _series(table: dict[str, Any], key: str) -> tuple[Sequence[int], Sequence[float]]:
    """Widths and rates of one series: of the arm so named, or of the column."""
    if "arms" in table:
        (arm,) = (arm for arm in table["arms"] if arm["name"] == key)
        return arm["widths"], arm["optimal_lr"]
    return table["widths"], table[key]


def _curve(width: int, log2_lr: Sequence[float], losses: Sequence[float | str | None]) -> Curve:
    run = sorted(
        (rate, math.inf if loss == "nan" else float(loss))
        for rate, loss in zip(log2_lr, losses, strict=True)
        if loss is not None
    )
    return Curve(Scale(width), np.array([float(rate) for rate, _ in run]), np.array([[loss for _, loss in run]]))
