"""The figure of loss curves, drawn from `marks`: a panel per arm and a line per size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import matplotlib
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from mutransfer.analysis import Analysis, Trials
from mutransfer.config.scale import DIMENSIONS
from mutransfer.report.marks import Panel, loss_curves_data, place
from mutransfer.report.style import (
    BAND,
    FULL_PAGE,
    HALF_PAGE,
    INK,
    RING,
    STATUS_MARKS,
    THEME,
    columns_of,
    estimate,
    literal,
    rate_axis,
    size_colours,
)
from mutransfer.report.words import LOSS_WORDS, loss_unit


def loss_curves(analysis: Analysis, trials: Trials) -> Figure:
    """Loss against learning rate, a panel per arm and a line per size, each optimum with its interval."""
    data, panel = place(loss_curves_data(analysis, trials))
    arms, colours = [result.arm for result in analysis.arms], size_colours(data["size"])
    label = f"{LOSS_WORDS[analysis.loss]} ({loss_unit(trials)})"
    columns = columns_of(len(arms))
    rows = math.ceil(len(arms) / columns)
    with matplotlib.rc_context(THEME):
        size = (FULL_PAGE if columns > 1 else HALF_PAGE, 2.7 * rows + 0.6)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
        panels[0].set(xlim=(panel.left, panel.right), ylim=(panel.low, panel.top))
        for i, (axes, arm) in enumerate(zip(panels, arms, strict=False)):
            _draw(axes, data[data["arm"] == arm], colours, panel)
            left, lowest = i % columns == 0, i + columns >= len(arms)
            axes.set_title(literal(arm))
            axes.set(xlabel="learning rate" if lowest else "", ylabel=label if left else "")
            axes.tick_params(labelbottom=lowest)
            axes.xaxis.label.set_visible(lowest)  # shared axes hide all but the last row's
        for axes in panels[len(arms) :]:
            axes.set_visible(False)
        panels[0].set_yticks([tick for tick in panels[0].get_yticks() if panel.low <= tick <= panel.high])
        rate_axis(panels[0].xaxis, most=9 if columns < 3 else 6)
        sizes = [Line2D([], [], ls="none", label=DIMENSIONS[analysis.dimensions[0]].word)]
        sizes += [Line2D([], [], color=colour, lw=2.5, label=str(size)) for size, colour in colours.items()]
        figure.legend(handles=sizes, loc="outside upper left", ncols=min(len(sizes), 9))
        key = _key(data)
        lines = math.ceil(len(key) / (3 if columns == 1 else 6))
        figure.legend(handles=key, loc="outside lower left", ncols=math.ceil(len(key) / lines))
    return figure


def _draw(axes: Axes, data: pd.DataFrame, colours: Mapping[int, str], panel: Panel) -> None:
    if panel.failed:
        axes.axhspan(panel.high, panel.top, color=BAND, lw=0, zorder=0.6)
    share = (panel.high - panel.low) / (panel.top - panel.low)
    below_band = Rectangle((0, 0), 1, share, transform=axes.transAxes)
    for size, colour in colours.items():
        marks = data[data["size"] == size]
        kinds = {str(mark): rows for mark, rows in marks.groupby("mark")}
        look: dict[str, Any] = {"x": "x", "y": "y", "color": colour, "ax": axes}
        if "trial" in kinds:
            trials, above = kinds["trial"], kinds["trial"]["above"]
            sns.scatterplot(trials[~above], s=9, alpha=0.5, linewidth=0, zorder=2, **look)
            sns.scatterplot(trials[above], s=20, marker="^", linewidth=0, clip_on=False, **look)
        lines: dict[str, dict[str, Any]] = {
            "mean": {"linewidth": 0.8, "alpha": 0.6, "zorder": 3},
            "fitted": {"linewidth": 1.8, "zorder": 4},
        }
        for name, line in lines.items():
            if name in kinds:
                sns.lineplot(kinds[name], estimator=None, **line, **look)
                axes.lines[-1].set_clip_path(below_band)
        if "diverged" in kinds:
            sns.scatterplot(kinds["diverged"], marker="x", s=11, linewidth=1.1, zorder=5, **look)
        for point in marks[marks["mark"] == "optimum"].dropna(subset="loss").to_dict("records"):
            estimate(axes, point["loss"], "log2_lr", point, colour, "o", sideways=True)
        for ring in marks[marks["mark"] == "leverage"].to_dict("records"):
            axes.plot(ring["x"], ring["y"], zorder=7, **RING)


def _key(data: pd.DataFrame) -> list[Line2D]:
    """What the marks of a loss panel mean, for those that occur."""
    marks, statuses = set(data["mark"]), set(data["status"].dropna())
    grey: dict[str, Any] = {"color": INK, "ls": "none"}
    key = [Line2D([], [], marker=".", ms=5, alpha=0.6, label="one seed", **grey)]
    if "mean" in marks:
        key.append(Line2D([], [], color=INK, lw=0.8, alpha=0.6, label="mean"))
    if "fitted" in marks:
        key.append(Line2D([], [], color=INK, lw=1.8, label="fit"))
    if "interior" in statuses:
        key.append(Line2D([], [], marker="o", ms=5, label="optimum, 95%", **grey))
    for status, mark in STATUS_MARKS.items():
        if status in statuses:
            key.append(Line2D([], [], marker=mark.sideways, ms=5, mfc="white", label=mark.label, **grey))
    if "leverage" in marks:
        key.append(Line2D([], [], label="decides the slope", **(RING | {"ms": 8})))
    if data["above"].any():
        key.append(Line2D([], [], marker="^", ms=4.5, mec="none", label="above the panel", **grey))
    if "diverged" in marks:
        key.append(Line2D([], [], marker="x", ms=4, mew=1.1, label="diverged", **grey))
    return key
