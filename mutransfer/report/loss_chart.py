"""The interactive loss curves: what `marks` has, a trace per arm, size and kind."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from mutransfer.analysis import Analysis, Optimum, Trials
from mutransfer.config.scale import DIMENSIONS
from mutransfer.report.chart import (
    LINE,
    POWER_TICKS,
    RING_MARKER,
    Chart,
    axis,
    ends,
    entry,
    escaped,
    layout_of,
    legend,
    marker_of,
    numbers,
    of_optimum,
    of_trial,
    ref,
)
from mutransfer.report.marks import Panel, loss_curves_data, place
from mutransfer.report.style import BAND, INK, STATUS_MARKS, columns_of, size_colours
from mutransfer.report.views import View, loss_view, panels_of, shown
from mutransfer.report.words import LOSS_WORDS, loss_unit, size_text

PANEL, TITLE = 270, 30
"""Pixels: a panel's height, and the room for its title."""


def loss_curves_chart(analysis: Analysis, trials: Trials) -> Chart:
    """Loss against learning rate, as `figures.loss_curves` prints it; each trial says on hover what it was."""
    view = loss_view(analysis)
    data, panel = place(loss_curves_data(analysis, trials, view))
    titles, colours = shown(panels_of(analysis, view)), size_colours(data["size"])
    optima = {
        (view.panel(result.arm, each.scale), view.line(result.arm, each.scale)): (result.arm, each)
        for result in analysis.arms
        for each in result.optima
    }
    traces = [
        entry(size_text(size), legendgroup=str(size), mode="lines", line={"color": colour, "width": 3})
        for size, colour in colours.items()
    ]
    for i, title in enumerate(titles):
        for size, colour in colours.items():
            marks = data[(data["panel"] == title) & (data["size"] == size)]
            if (title, size) in optima:
                arm, optimum = optima[title, size]
                told = of_optimum(arm, optimum.scale.describe(analysis.dimensions), optimum)
                traces += _traces(marks, panel, i, colour, str(size), optimum, told)
    traces += _key(data)
    layouts = {
        name: _layout(analysis, trials, view, panel, columns, len(_key(data)), len(colours), name)
        for name, columns in (("wide", columns_of(len(titles))), ("narrow", 1))
    }
    return {"data": [trace.to_plotly_json() for trace in traces], **layouts}


def _traces(
    marks: pd.DataFrame, panel: Panel, i: int, colour: str, group: str, optimum: Optimum, told_of: str
) -> list[go.Scatter]:
    """The marks of one size in panel `i`."""
    kinds = {str(mark): rows for mark, rows in marks.groupby("mark")}
    on: dict[str, Any] = {
        "xaxis": ref("x", i + 1),
        "legendgroup": group,
        "showlegend": False,
    }
    in_panel, in_band = {"yaxis": ref("y", 2 * i + 1)}, {"yaxis": ref("y", 2 * i + 2)}
    traces = []
    for name, width, opacity in (("mean", 1.0, 0.6), ("fitted", 2.2, 1.0)):
        if name in kinds:
            xy = {"x": numbers(kinds[name]["x"]), "y": numbers(kinds[name]["y"])}
            line = {"color": colour, "width": width}
            traces.append(
                go.Scatter(**xy, mode="lines", line=line, opacity=opacity, hoverinfo="skip", **on, **in_panel)
            )
    for name, symbol, size, opacity in (("trial", "circle", 5, 0.55), ("diverged", "x-thin", 5, 1.0)):
        if name in kinds:
            rows = kinds[name]
            y = rows["y"] if name == "trial" else (rows["y"] - panel.high) / (panel.top - panel.high)
            above = rows["above"]
            marker = {
                "symbol": ["triangle-up" if over else symbol for over in above],
                "size": [8 if over else size for over in above],
                "color": colour,
                "opacity": [1.0 if over else opacity for over in above],
                "line": {"color": colour, "width": 1.6 if name == "diverged" else 0},
            }
            told = [of_trial(row) for row in rows.to_dict("records")]
            where = in_panel if name == "trial" else in_band
            xy = {"x": numbers(rows["x"]), "y": numbers(y)}
            traces.append(
                go.Scatter(
                    **xy,
                    mode="markers",
                    marker=marker,
                    hovertext=told,
                    hoverinfo="text",
                    cliponaxis=False,
                    **on,
                    **where,
                )
            )
    if "leverage" in kinds:
        xy = {"x": numbers(kinds["leverage"]["x"]), "y": numbers(kinds["leverage"]["y"])}
        traces.append(go.Scatter(**xy, mode="markers", marker=RING_MARKER, hoverinfo="skip", **on, **in_panel))
    points = kinds["optimum"].dropna(subset="loss")
    if len(points):
        traces.append(
            go.Scatter(
                x=numbers(points["x"]),
                y=numbers(points["y"]),
                mode="markers",
                marker=marker_of(points["status"], colour, "circle", upwards=False),
                error_x=ends(points, INK) if optimum.interior else None,
                hovertext=[told_of],
                hoverinfo="text",
                **on,
                **in_panel,
            )
        )
    return traces


def _layout(
    analysis: Analysis, trials: Trials, view: View, panel: Panel, columns: int, keys: int, sizes: int, name: str
) -> dict[str, Any]:
    names = shown(panels_of(analysis, view))
    label = f"{LOSS_WORDS.get(analysis.loss, analysis.loss)} ({loss_unit(trials)})"
    rows = math.ceil(len(names) / columns)
    inside = rows * PANEL + (rows - 1) * TITLE
    gap, share = 0.03, (panel.high - panel.low) / (panel.top - panel.low)
    width = (1 - gap * (columns - 1)) / columns
    per_line = 4 if name == "wide" else 2
    key_lines = math.ceil(keys / per_line)
    size_lines = 1 if name == "wide" else math.ceil((sizes + 1) / 4)
    axes: dict[str, Any] = {}
    shapes, titles = [], []
    for i, named in enumerate(names):
        row, column = divmod(i, columns)
        top = 1 - row * (PANEL + TITLE) / inside
        bottom = top - PANEL / inside
        left, right = column * (width + gap), column * (width + gap) + width
        edge = bottom + share * (top - bottom)
        bottom, edge, top, left, right = (round(min(max(end, 0.0), 1.0), 4) for end in (bottom, edge, top, left, right))
        x, y, band = ref("x", i + 1), ref("y", 2 * i + 1), ref("y", 2 * i + 2)
        lowest = i + columns >= len(names)
        axes[x.replace("x", "xaxis")] = axis(
            domain=[left, right],
            anchor=y,
            range=[panel.left, panel.right],
            showticklabels=lowest,
            title={"text": "learning rate" if lowest else ""},
            nticks=8 if columns < 3 else 6,
            matches="x" if i else None,
            minallowed=panel.left,
            maxallowed=panel.right,
            **POWER_TICKS,
        )
        axes[y.replace("y", "yaxis")] = axis(
            domain=[bottom, edge],
            anchor=x,
            range=[panel.low, panel.high],
            showticklabels=column == 0,
            title={"text": label if column == 0 else ""},
            matches="y" if i else None,
            minallowed=panel.low,
            maxallowed=panel.high,
        )
        if panel.failed:
            axes[band.replace("y", "yaxis")] = {
                "domain": [edge, top],
                "anchor": x,
                "range": [0, 1],
                "visible": False,
                "fixedrange": True,
            }
            corners = {"x0": left, "x1": right, "y0": edge, "y1": top, "xref": "paper", "yref": "paper"}
            shapes.append({"type": "rect", **corners, "fillcolor": BAND, "line": {"width": 0}, "layer": "below"})
        corner = {"x": left, "y": top, "xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "bottom"}
        title = f"<b>{escaped(named)}</b>"
        titles.append({"text": title, **corner, "showarrow": False, "font": {"size": 13}})
    above, below = LINE * size_lines + TITLE + 4, 52 + LINE * key_lines
    return layout_of(
        height=above + inside + below,
        margin={"l": 56, "r": 8, "t": above, "b": below},
        shapes=shapes,
        annotations=titles,
        legend=legend(y=1, yanchor="top", orientation="h", title=f"{DIMENSIONS[view.colours].word}  "),
        legend2=legend(
            y=0,
            yanchor="bottom",
            orientation="h",
            entrywidth=0.96 / per_line,
            entrywidthmode="fraction",
            itemclick=False,
            itemdoubleclick=False,
        ),
        uirevision=analysis.loss,
        **axes,
    )


def _key(data: pd.DataFrame) -> list[go.Scatter]:
    """What the marks of a loss panel mean, for those that occur."""
    marks, statuses = set(data["mark"]), set(data["status"].dropna())
    dots: dict[str, Any] = {"mode": "markers", "legend": "legend2"}
    line: dict[str, Any] = {"mode": "lines", "legend": "legend2"}
    key = [entry("one seed", marker={"color": INK, "size": 5, "opacity": 0.55}, **dots)]
    if "mean" in marks:
        key.append(entry("mean", line={"color": INK, "width": 1}, opacity=0.6, **line))
    if "fitted" in marks:
        key.append(entry("fit", line={"color": INK, "width": 2.2}, **line))
    if "interior" in statuses:
        key.append(entry("optimum, 95%", marker={"color": INK, "size": 8}, **dots))
    for status, mark in STATUS_MARKS.items():
        if status in statuses:
            marker = {"color": INK, "size": 8, "symbol": mark.sideways_symbol, "line": {"width": 1.5}}
            key.append(entry(mark.label, marker=marker, **dots))
    if "leverage" in marks:
        key.append(entry("decides the slope", marker=RING_MARKER | {"size": 13}, **dots))
    if data["above"].any():
        key.append(entry("above the panel", marker={"color": INK, "size": 8, "symbol": "triangle-up"}, **dots))
    if "diverged" in marks:
        cross = {"size": 5, "symbol": "x-thin", "line": {"color": INK, "width": 1.6}}
        key.append(entry("diverged", marker=cross, **dots))
    return key
