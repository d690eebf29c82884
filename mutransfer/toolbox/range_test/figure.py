"""The figure of range tests: each curve with what is read off it, beside the optimum of a width study."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from mutransfer.analysis.optimum import Optimum
from mutransfer.report.style import FULL_PAGE, HALF_PAGE, INK, RULE, THEME, literal, rate_axis
from mutransfer.toolbox.range_test.rates import BELOW_EDGE, RATE_RULES, RangeTest, suggest_lrs

CURVE = "#0173b2"
"""The first colour of the arms' palette."""
STUDY = "#de8f05"
ABOVE_START = 0.25
"""How far above the loss at initialization a panel goes, as a part of the way down to the least one."""
LABELS = {"minimum": "minimum/10"}


@dataclass(frozen=True)
class RangePanel:
    """A range test, and the optimum that a study found of the same model; None where there is no study."""

    title: str
    test: RangeTest
    optimum: Optimum | None = None


def range_test_data(panel: RangePanel) -> pd.DataFrame:
    """What a panel draws, a row for each mark. `mark` is seed (a loss as it was), smoothed (the mean over seeds, from
    `low` to `high` among them, where all have one), suggestion (`name`, with the range over seeds; without a rate where
    there is none), advised (the rates from `low` to `high` below the edge) or optimum (with its interval and status).
    """
    rates, smoothed = np.log2(panel.test.lrs), panel.test.smoothed
    rows: list[dict[str, Any]] = [
        {"mark": "seed", "seed": seed, "log2_lr": log2_lr, "loss": loss}
        for seed, losses in enumerate(panel.test.losses)
        for log2_lr, loss in zip(rates, losses, strict=True)
        if math.isfinite(loss)
    ]
    for log2_lr, losses in zip(rates, smoothed.T, strict=True):
        if np.isfinite(losses).all():
            ends = {"low": losses.min(), "high": losses.max()}
            rows.append({"mark": "smoothed", "log2_lr": log2_lr, "loss": losses.mean()} | ends)
    for name, found in suggest_lrs(panel.test).items():
        ends = {} if found is None else {"log2_lr": found.log2_lr, "low": found.low, "high": found.high}
        rows.append({"mark": "suggestion", "name": name} | ends)
        if name == "edge" and found is not None:
            rows.append({"mark": "advised", "low": found.log2_lr + math.log2(BELOW_EDGE), "high": found.log2_lr})
    if panel.optimum is not None:
        best = panel.optimum
        ends = {"log2_lr": best.log2_lr, "low": best.ci_low, "high": best.ci_high}
        rows.append({"mark": "optimum", "status": best.status} | ends)
    columns = ["mark", "name", "seed", "log2_lr", "loss", "low", "high", "status"]
    numbers = dict.fromkeys(("seed", "log2_lr", "loss", "low", "high"), "float64")
    return pd.DataFrame(rows, columns=columns).astype(numbers)


def range_tests(panels: Sequence[RangePanel], unit: str, columns: int = 4) -> Figure:
    """Range tests side by side: the curves above, what each rule suggests below, and through both the optimum.

    Args:
        panels: in the order of reading.
        unit: of the losses, as `nats per token`.
        columns: of panels, at most.
    """
    columns = min(columns, len(panels))
    rows = math.ceil(len(panels) / columns)
    data = [range_test_data(panel) for panel in panels]
    shown = pd.concat([each[each["mark"] == "seed"] for each in data])
    start = shown[shown["log2_lr"] == shown["log2_lr"].min()]["loss"].max()
    least = pd.concat([each["loss"] for each in data]).min()
    with matplotlib.rc_context(THEME):
        size = (FULL_PAGE if columns > 1 else HALF_PAGE, 3.1 * rows + 0.4)
        figure = Figure(figsize=size, layout="constrained")
        heights = {"height_ratios": [1.6, 1] * rows}
        grid = figure.subplots(2 * rows, columns, sharex=True, sharey="row", squeeze=False, gridspec_kw=heights)
        pairs = [(grid[2 * row, column], grid[2 * row + 1, column]) for row in range(rows) for column in range(columns)]
        for at, (panel, table, (upper, lower)) in enumerate(zip(panels, data, pairs, strict=False)):
            _draw_curve(upper, table)
            _draw_suggestions(lower, table)
            for axes in (upper, lower):
                _draw_optimum(axes, table)
            upper.set_title(literal(panel.title))
            upper.set_ylim(least - 0.05 * (start - least), start + ABOVE_START * (start - least))
            if at % columns == 0:
                upper.set_ylabel(f"loss ({unit})")
            if at + columns >= len(panels):
                lower.set_xlabel("learning rate")
                lower.tick_params(labelbottom=True)
        for axes in (axes for pair in pairs[len(panels) :] for axes in pair):
            axes.set_visible(False)
        left, right = shown["log2_lr"].min(), shown["log2_lr"].max()
        grid[0, 0].set_xlim(left - 0.03 * (right - left), right + 0.03 * (right - left))
        rate_axis(grid[0, 0].xaxis, most=5 if columns > 1 else 8)
        figure.legend(handles=_key(pd.concat(data)), loc="outside upper left", ncols=3 if columns > 1 else 2)
    return figure


def _draw_curve(axes: Axes, data: pd.DataFrame) -> None:
    losses, smoothed = data[data["mark"] == "seed"], data[data["mark"] == "smoothed"]
    for _, seed in losses.groupby("seed"):
        axes.plot(seed["log2_lr"], seed["loss"], color=CURVE, lw=0.5, alpha=0.45, zorder=2)
    axes.fill_between(smoothed["log2_lr"], smoothed["low"], smoothed["high"], color=INK, alpha=0.2, lw=0, zorder=3)
    axes.plot(smoothed["log2_lr"], smoothed["loss"], color=INK, lw=1.4, zorder=4)


def _draw_suggestions(axes: Axes, data: pd.DataFrame) -> None:
    """A row for each rule; under the edge, the rates that it advises."""
    names = list(RATE_RULES)
    for found in data[data["mark"] == "advised"].to_dict("records"):
        height = names.index("edge")
        axes.fill_between([found["low"], found["high"]], height - 0.28, height + 0.28, color=RULE, lw=0, zorder=1)
    for found in data[data["mark"] == "suggestion"].dropna(subset="log2_lr").to_dict("records"):
        height = names.index(str(found["name"]))
        axes.plot([found["low"], found["high"]], [height, height], color=INK, lw=2.4, alpha=0.35, zorder=3)
        axes.plot(found["log2_lr"], height, color=INK, marker="o", ms=3.6, mec="white", mew=0.4, zorder=4)
    axes.set_yticks(range(len(names)), [LABELS.get(name, name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)


def _draw_optimum(axes: Axes, data: pd.DataFrame) -> None:
    for best in data[data["mark"] == "optimum"].to_dict("records"):
        dashes = "-" if best["status"] == "interior" else (0, (2, 2))
        axes.axvline(best["log2_lr"], color=STUDY, lw=1.1, ls=dashes, zorder=1.6)
        if math.isfinite(best["low"] + best["high"]):
            axes.axvspan(best["low"], best["high"], color=STUDY, alpha=0.22, lw=0, zorder=1.5)


def _key(data: pd.DataFrame) -> list[Line2D | Patch]:
    """What the marks mean, for those that occur."""
    marks, key = set(data["mark"]), list[Line2D | Patch]()
    if "seed" in marks:
        key.append(Line2D([], [], color=CURVE, lw=0.8, alpha=0.7, label="loss of a seed"))
    if "smoothed" in marks:
        key.append(Line2D([], [], color=INK, lw=1.4, label="smoothed, all seeds"))
    if "suggestion" in marks:
        key.append(Line2D([], [], color=INK, marker="o", ms=3.6, lw=2.4, alpha=0.6, label="suggested, over seeds"))
    if "advised" in marks:
        key.append(Patch(color=RULE, lw=0, label=f"{BELOW_EDGE:g} to 1 of the edge"))
    statuses = set(data["status"].dropna())
    if "interior" in statuses:
        key.append(Line2D([], [], color=STUDY, lw=1.1, label="study’s optimum, 95%"))
    if statuses - {"interior"}:
        key.append(Line2D([], [], color=STUDY, lw=1.1, ls=(0, (2, 2)), label="study’s best, no optimum"))
    return key
