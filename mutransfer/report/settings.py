"""A search over several hyperparameters: its best settings as a table, and the loss against each hyperparameter.

The table and the figure's data are pure; `slices` draws the latter.
"""

from __future__ import annotations

import math

import matplotlib
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from mutransfer.analysis.settings import at_an_end, ranges
from mutransfer.config import LOSSES, SweepConfig
from mutransfer.report.style import FULL_PAGE, RING, THEME, arm_looks, columns_of, literal, rate_axis

SHOWN = 10
"""Rows of the table."""
LEAVES = 0.75
"""The part of the settings that the figure's scale shows; the others stand at its top."""


def best_table(settings: pd.DataFrame, config: SweepConfig, count: int = SHOWN) -> pd.DataFrame:
    """The best settings of `analysis.settings.rank`: place, arm, each hyperparameter, the mean loss and its seeds, the
    step at which a setting was pruned where any was, and the names of what lies at an end of its range."""
    rows = settings.head(count).copy()
    rows.insert(0, "place", range(1, len(rows) + 1))
    rows["at an end"] = [tuple(at_an_end(row, config)) for _, row in rows.iterrows()]
    rows["diverged"] = rows["diverged"].map(int)
    if settings["pruned"].isna().all():
        return rows.drop(columns="pruned")
    rows["pruned"] = ["–" if math.isnan(step) else f"step {step:.0f}" for step in rows["pruned"]]
    return rows


def slices_data(settings: pd.DataFrame, config: SweepConfig) -> pd.DataFrame:
    """A row for each setting and hyperparameter: arm, name, value, `x` (its log2 where that was searched), loss, `y`
    (at most the panel's top) and mark: trial, above (the panel), diverged (at its top), or pruned (by a loss of an
    earlier step, which does not count for the scale); best is where the best of all is."""
    trained = settings[settings["diverged"] == 0]
    shown = trained.loc[trained["pruned"].isna(), "loss"].nsmallest(math.ceil(LEAVES * len(trained)))
    low, reach = (shown.min(), shown.max()) if len(shown) else (0.0, 1.0)
    top = low + 1.15 * (reach - low) if reach > low else low + 1.0
    rows = []
    for each in ranges(config):
        for place, row in enumerate(settings.to_dict("records")):
            value, loss = float(row[each.name]), float(row["loss"])
            early = "pruned" if not math.isnan(row["pruned"]) else "above" if loss > top else "trial"
            mark = "diverged" if row["diverged"] else early
            x = math.log2(value) if each.log else value
            y = top if mark in ("diverged", "above") else min(loss, top)
            rows.append((row["arm"], each.name, value, x, loss, y, mark, place == 0 and mark in ("trial", "above")))
    return pd.DataFrame(rows, columns=["arm", "name", "value", "x", "loss", "y", "mark", "best"])


def slices(settings: pd.DataFrame, config: SweepConfig) -> Figure:
    """Loss against each hyperparameter, a panel each; the other hyperparameters vary too."""
    data, searched = slices_data(settings, config), ranges(config)
    label = f"final loss ({LOSSES[config.loss]})"
    looks = arm_looks(list(dict.fromkeys(data["arm"])))
    columns = columns_of(len(searched))
    rows = math.ceil(len(searched) / columns)
    with matplotlib.rc_context(THEME):
        figure = Figure(figsize=(FULL_PAGE, 2.2 * rows + 0.5), layout="constrained")
        panels = figure.subplots(rows, columns, sharey=True, squeeze=False).flatten()
        for i, (axes, each) in enumerate(zip(panels, searched, strict=False)):
            panel = data[data["name"] == each.name]
            for (arm, mark), marks in panel.groupby(["arm", "mark"]):
                shape = {"above": "^", "diverged": "x"}.get(str(mark), looks[str(arm)].marker)
                fill = "none" if mark == "pruned" else "full"
                colour = looks[str(arm)].colour
                axes.plot(marks["x"], marks["y"], ls="none", marker=shape, ms=4, color=colour, fillstyle=fill)
            best = panel[panel["best"]]
            axes.plot(best["x"], best["y"], zorder=7, **RING)
            axes.set(xlabel=literal(each.name), ylabel=label if i % columns == 0 else "")
            ends = [math.log2(end) if each.log else end for end in (each.low, each.high)]
            axes.set_xlim(ends[0] - 0.03 * (ends[1] - ends[0]), ends[1] + 0.03 * (ends[1] - ends[0]))
            if each.name == "lr":
                rate_axis(axes.xaxis, most=6)
            elif each.log:
                axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{2**x:.2g}"))
        for axes in panels[len(searched) :]:
            axes.set_visible(False)
        handles = [
            Line2D([], [], color=look.colour, marker=look.marker, ls="none", ms=4, label=literal(arm))
            for arm, look in looks.items()
        ]
        figure.legend(handles=handles, loc="outside upper left", ncols=min(len(handles), 4))
    return figure
