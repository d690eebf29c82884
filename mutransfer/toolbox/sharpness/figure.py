"""Sharpness over a run, beside the edge of stability, and its loss."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mutransfer.report.style import FAINT, FULL_PAGE, HALF_PAGE, THEME, arm_looks, literal, plain_log_axis

SHARPNESS_COLUMNS = ("panel", "run", "step", "loss", "preconditioned", "edge")


def sharpness(frame: pd.DataFrame, title: str = "", loss_unit: str = "nats") -> Figure:
    """Sharpness over training in solid lines, each beside the edge of stability at its rate, dashed, and the loss.

    Args:
        frame: the SHARPNESS_COLUMNS, a row for each look; runs of one `panel` share a column of the figure, and a name
            in `run` has one colour in all of them. `preconditioned` is the sharpness that the optimizer feels.
        title: of the legend.
        loss_unit: that of the loss.
    """
    panels = list(dict.fromkeys(frame["panel"]))
    colours = {run: look.colour for run, look in arm_looks(dict.fromkeys(frame["run"])).items()}
    with matplotlib.rc_context(THEME):
        width = HALF_PAGE if len(panels) == 1 else FULL_PAGE
        figure = Figure(figsize=(width, 3.9), layout="constrained")
        rows = figure.subplots(2, len(panels), sharex="col", squeeze=False, height_ratios=(2, 1))
        for panel, top, bottom in zip(panels, *rows, strict=True):
            _sharpness(top, bottom, frame[frame["panel"] == panel], colours)
            top.set_title(literal(panel))
        rows[0][0].set_ylabel("sharpness")
        rows[1][0].set_ylabel(f"loss ({loss_unit})")
        figure.align_ylabels()
        handles = [Line2D([], [], color=colour, lw=1.8, label=literal(run)) for run, colour in colours.items()]
        handles.append(Line2D([], [], color=FAINT, lw=1.1, ls=(0, (4, 2)), label="edge of stability"))
        columns = min(len(handles), 3 if len(panels) == 1 else 6)
        figure.legend(handles=handles, title=title or None, loc="outside upper left", ncols=columns, alignment="left")
    return figure


def _sharpness(top: Axes, bottom: Axes, data: pd.DataFrame, colours: Mapping[str, str]) -> None:
    """One column; what runs away leaves the panel at ten times the edge, or the first loss."""
    most = 10 * data.groupby("run")["loss"].first().max()
    for run, looks in data.groupby("run", sort=False):
        colour = colours[str(run)]
        top.plot(looks["step"], looks["edge"], color=colour, lw=1.1, ls=(0, (4, 2)), alpha=0.7, zorder=2)
        top.plot(looks["step"], looks["preconditioned"].clip(upper=10 * looks["edge"]), color=colour, lw=1.4, zorder=3)
        bottom.plot(looks["step"], looks["loss"].clip(upper=most), color=colour, lw=1.0)
    for axes in (top, bottom):
        low, high = axes.dataLim.intervaly
        if low > 0 and high > 10 * low:
            axes.set_yscale("log")
            plain_log_axis(axes, base=10)
    bottom.set_xlabel("step")
