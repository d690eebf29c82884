"""The interactive optima: the optimal rate against size, with each arm's line."""

from __future__ import annotations

import math
from typing import Any

import plotly.graph_objects as go

from mutransfer.analysis import Analysis
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
)
from mutransfer.report.marks import optimal_lr_data, rate_limits
from mutransfer.report.style import FAINT, arm_looks
from mutransfer.report.views import ARM, dodges, octaves_of, rate_views, sizes
from mutransfer.report.words import interval, number, size_text

NAMELESS: dict[str, Any] = {"hoverinfo": "skip", "showlegend": False}
"""What is neither pointed at nor in a legend."""


def optimal_lr_chart(analysis: Analysis) -> Chart | None:
    """Optimal learning rate against size, as `figures.optimal_lr` prints it; None where several dimensions vary."""
    along = analysis.dimensions[0]
    if rate_views(analysis)[along].colours != ARM:
        return None
    data = optimal_lr_data(analysis)
    aside = dodges([result.arm for result in analysis.arms], octaves_of(analysis, along))
    looks, word = arm_looks(map(str, aside)), DIMENSIONS[analysis.dimensions[0]].word
    traces = []
    for result in analysis.arms:
        look, name = looks[result.arm], escaped(result.arm)
        group: dict[str, Any] = {"legendgroup": result.arm}
        kinds = {str(mark): rows for mark, rows in data[data["arm"] == result.arm].groupby("mark")}
        slope = result.transfer_slope
        fitted = f"{number(slope.estimate, 2, True)} {interval(slope.ci_low, slope.ci_high, 2, True)}" if slope else ""
        marker = {"color": look.colour, "symbol": look.symbol, "size": 8}
        line = {"color": look.colour, "width": 2}
        label = f"{name}: {fitted or 'not fitted'}"
        traces.append(entry(label, mode="lines+markers", marker=marker, line=line, **group))
        if "line" in kinds:
            rows = kinds["line"]
            around = {"x": numbers([*rows["log2_size"], *rows["log2_size"][::-1]])}
            around["y"] = numbers([*rows["ci_low"], *rows["ci_high"][::-1]])
            fill = {"fill": "toself", "fillcolor": _pale(look.colour), "line": {"width": 0}, "mode": "lines"}
            traces.append(go.Scatter(**around, **fill, **group, **NAMELESS))
            xy = {"x": numbers(rows["log2_size"]), "y": numbers(rows["log2_lr"])}
            traces.append(go.Scatter(**xy, mode="lines", line=line, **group, **NAMELESS))
        if "still" in kinds:
            xy = {"x": numbers(kinds["still"]["log2_size"]), "y": numbers(kinds["still"]["log2_lr"])}
            dashed = {"color": look.colour, "width": 1.2, "dash": "dash"}
            traces.append(go.Scatter(**xy, mode="lines", line=dashed, opacity=0.6, **group, **NAMELESS))
        if "leverage" in kinds:
            ring = kinds["leverage"]
            xy = {"x": numbers(ring["log2_size"] + aside[result.arm]), "y": numbers(ring["log2_lr"])}
            traces.append(go.Scatter(**xy, mode="markers", marker=RING_MARKER, **group, **NAMELESS))
        told = [
            of_optimum(result.arm, optimum.scale.describe(analysis.dimensions), optimum) for optimum in result.optima
        ]
        points = kinds["optimum"].assign(told=told, x=kinds["optimum"]["log2_size"] + aside[result.arm])
        for interior in (True, False):  # a bar of no length would still have its caps
            some = points[(points["status"] == "interior") == interior]
            if len(some):
                traces.append(
                    go.Scatter(
                        x=numbers(some["x"]),
                        y=numbers(some["log2_lr"]),
                        mode="markers",
                        marker=marker_of(some["status"], look.colour, look.symbol, upwards=True),
                        error_y=ends(some, look.colour) if interior else None,
                        hovertext=list(some["told"]),
                        hoverinfo="text",
                        showlegend=False,
                        **group,
                    )
                )
    lines = len(analysis.arms) + 1
    for mark, style in {
        "still": {"mode": "lines", "line": {"color": FAINT, "width": 1.2, "dash": "dash"}},
        "leverage": {"mode": "markers", "marker": RING_MARKER | {"size": 13}},
    }.items():
        if (data["mark"] == mark).any():
            label = {"still": "slope 0 from the proxy’s rate", "leverage": "decides the slope alone"}[mark]
            traces.append(entry(label, legendgroup=mark, **style))
            lines += 1
    tried = sizes(analysis, along)
    octaves = [math.log2(size) for size in tried]
    margin = 0.08 * (octaves[-1] - octaves[0]) or 1.0
    labelled = tried[:: math.ceil(len(tried) / 8)]
    limits = rate_limits(data)
    layout = layout_of(
        height=290 + LINE * lines,
        margin={"l": 56, "r": 8, "t": LINE * (lines + 1), "b": 44},
        xaxis=axis(
            title={"text": word},
            range=[octaves[0] - margin, octaves[-1] + margin],
            tickvals=[math.log2(size) for size in labelled],
            ticktext=[size_text(size) for size in labelled],
        ),
        yaxis=axis(title={"text": "optimal learning rate"}, range=limits, nticks=8, **POWER_TICKS),
        legend=legend(y=1, yanchor="top", orientation="v", title=f"slope, octaves of rate per doubling of {word}"),
        uirevision=analysis.loss,
    )
    return {"data": [trace.to_plotly_json() for trace in traces], "wide": layout, "narrow": layout}


def _pale(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.13)"
