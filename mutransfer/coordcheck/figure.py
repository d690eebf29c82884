"""The figure of a coordinate check: a small panel per module, blocks folded, coloured by verdict."""

from __future__ import annotations

import math
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from mutransfer.coordcheck.result import CoordCheck
from mutransfer.coordcheck.verdict import GROWS, OK, VANISHES
from mutransfer.report.style import BAND, FAINT, FULL_PAGE, INK, THEME, literal, size_axis

COLOURS = {OK: "#0173b2", GROWS: "#d55e00", VANISHES: "#cc78bc"}
"""Of the arms' palette, which the colour-blind can tell apart."""
LINES: dict[str, Any] = {
    "size": ":",
    "effective": (0, (4, 2)),
    "aligned": (0, (1, 1)),
    "change": "-",
    "fit": (0, (6, 1)),
}
LABELS = {
    "size": "size at initialization",
    "effective": "effective update",
    "aligned": "what logits can reach",
    "change": "change",
    "fit": "what the loss gets",
}
COLUMNS = 4
LEAST = 1.5
"""Octaves that the panels show at least, up and down: what scatters by less does not look steep."""


def coordinates_data(check: CoordCheck) -> pd.DataFrame:
    """What is drawn, a row per (module, quantity, width).

    `panel` is what the module is shown as; `times` how many times its value at the narrowest width a quantity is, as
    log2 of the geometric mean over seeds, from `low` to `high` among them, with a multiplier outside the module where
    the verdict counts it; `status` is the slope's, `verdict` the module's. Sizes are at initialization, the rest after
    the last update; what is zero or not finite anywhere is left out.
    """
    octaves, labels = np.log2(check.widths), check.labels
    rows: list[dict[str, Any]] = []
    for module in check.judgement.modules:
        for quantity in LINES:
            slope = check.judgement.slopes.get((module.module, quantity, 0 if quantity == "size" else check.steps))
            if slope is None or slope.power is None:
                continue
            values = np.log2(check.judgement.coordinates.values[module.module, quantity, slope.step])
            values = values + slope.outer * (octaves - octaves[0])
            values = values - values[:, 0].mean()
            rows += [
                {
                    "panel": labels[module.module],
                    "module": module.module,
                    "quantity": quantity,
                    "width": width,
                    "times": at_width.mean(),
                    "low": at_width.min(),
                    "high": at_width.max(),
                    "status": slope.status,
                    "verdict": module.status,
                }
                for width, at_width in zip(check.widths, values.T, strict=True)
            ]
    columns = ["panel", "module", "quantity", "width", "times", "low", "high", "status", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def coordinates(check: CoordCheck) -> Figure:
    """How each module's size, change and update go with width, relative to the narrowest; what muP leaves alone is
    level. Between the edges of the band slopes pass."""
    data = coordinates_data(check)
    panels = list(dict.fromkeys(data["panel"]))
    rows = math.ceil(len(panels) / COLUMNS)
    with matplotlib.rc_context(THEME):
        figure = Figure(figsize=(FULL_PAGE, 1.25 * rows + 0.9), layout="constrained")
        grid = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False).flatten()
        for at, (axes, panel) in enumerate(zip(grid, panels, strict=False)):
            shown = data[data["panel"] == panel]
            _draw(axes, shown, check)
            worst = next((verdict for verdict in shown["verdict"] if verdict != OK), OK)
            axes.set_title(literal(panel.removeprefix("blocks.*.")), fontsize=7.5, color=COLOURS[worst])
            lowest = at + COLUMNS >= len(panels)
            size_axis(axes, check.widths)
            axes.set_xlabel("width" if lowest else "")
            axes.tick_params(labelbottom=lowest)
            axes.xaxis.label.set_visible(lowest)  # shared axes hide all but the last row's
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
        grid[0].set_ylim(min(-LEAST, data["low"].min()) - 0.2, max(LEAST, data["high"].max()) + 0.2)
        grid[0].yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        figure.supylabel(f"times its value at width {check.widths[0]}, octaves", fontsize=8)
        figure.suptitle(literal(check.verdict_line), fontsize=8.5, x=0.01, ha="left")
        figure.legend(handles=_key(data), loc="outside lower left", ncols=7, fontsize=7)
    return figure


def _draw(axes: Axes, data: pd.DataFrame, check: CoordCheck) -> None:
    octaves = np.log2(check.widths)
    edge = check.tolerance * (octaves - octaves[0])
    axes.fill_between(octaves, -edge, edge, color=BAND, lw=0, zorder=0.6)
    axes.axhline(0, color=FAINT, lw=0.6, zorder=1)
    for (_, quantity), line in data.groupby(["module", "quantity"], sort=False):
        colour = COLOURS[line["status"].iloc[0]]
        axes.fill_between(octaves, line["low"], line["high"], color=colour, alpha=0.1, lw=0, zorder=2)
        axes.plot(octaves, line["times"], color=colour, ls=LINES[str(quantity)], lw=1.1, zorder=3)


def _key(data: pd.DataFrame) -> list[Line2D]:
    """What colours and lines mean, for those that occur."""
    statuses, quantities = set(data["status"]), set(data["quantity"])
    key = [Line2D([], [], color=colour, lw=3, label=name) for name, colour in COLOURS.items() if name in statuses]
    return key + [
        Line2D([], [], color=INK, ls=line, lw=1.1, label=LABELS[name])
        for name, line in LINES.items()
        if name in quantities
    ]
