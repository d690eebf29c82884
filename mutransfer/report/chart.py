"""A figure as plotly's data, for a page's script to draw: what its parts have in common.

Plotly renders a subset of HTML in hover texts, names and titles, and fills %{...} in templates. So names that come from
records are escaped, and hover texts are whole texts, no templates.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from mutransfer.analysis import Optimum
from mutransfer.report.marks import DECIMALS, RECORDED_LOSSES
from mutransfer.report.style import FAINT, INK, RULE, STATUS_MARKS
from mutransfer.report.words import LOSS_WORDS, STATUSES, number, power, rate

Chart = dict[str, Any]
"""`data`: a list of traces; `wide` and `narrow`: layouts over the same traces, with their height in pixels."""

RING_MARKER = {"symbol": "circle-open", "size": 18, "color": INK, "line": {"width": 1.2}}
"""About the size that alone decides the slope."""
POWER_TICKS = {"tickprefix": "2<sup>", "ticksuffix": "</sup>", "tickangle": 0}
"""Ticks of an axis in log2."""
LINE = 20
"""Pixels: a line of a legend."""

_FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, "Liberation Sans", sans-serif'


def escaped(text: str) -> str:
    """Text that plotly shows as it stands."""
    return html.escape(text, quote=False)


def of_trial(trial: Mapping[Any, Any]) -> str:
    """What a trial was, in lines."""
    losses = {name: trial[name] for name in RECORDED_LOSSES if math.isfinite(trial.get(name, math.nan))}
    lines = [
        f"<b>{escaped(str(trial['arm']))}</b>, {trial['where']}, seed {trial['seed']:.0f}",
        f"lr {_rate(trial['log2_lr'])}",
        *(f"{LOSS_WORDS[name]} {number(loss, 4)}" for name, loss in losses.items()),
    ]
    if not losses and trial["mark"] != "diverged":
        lines.append(f"loss {number(trial['loss'], 4)}")
    if trial["mark"] == "diverged":
        at = trial.get("diverged_step", math.nan)
        lines.append(f"diverged at step {at:.0f}" if math.isfinite(at) else "diverged")
    return "<br>".join(lines)


def of_optimum(arm: str, size: str, optimum: Optimum) -> str:
    """What an optimum is, in lines."""
    lines = [
        f"<b>{escaped(arm)}</b>, {size}: {STATUSES[optimum.status]}",
        f"{'optimal lr' if optimum.interior else 'best lr tried'} {_rate(optimum.log2_lr)}",
    ]
    if optimum.ci_low is not None and optimum.ci_high is not None:
        lines.append(f"95% interval {rate(2**optimum.ci_low)} to {rate(2**optimum.ci_high)}")
    if optimum.loss is not None:
        lines.append(f"loss {number(optimum.loss, 4)}")
    return "<br>".join(lines)


def _rate(log2_lr: float) -> str:
    return f"{power(log2_lr)} = {rate(2**log2_lr)}"


def marker_of(statuses: Iterable[str], colour: str, symbol: str, *, upwards: bool) -> dict[str, Any]:
    """A symbol for each status, open where it is no estimate."""
    marks = [STATUS_MARKS.get(status) for status in statuses]
    return {
        "symbol": [
            symbol if mark is None else mark.upwards_symbol if upwards else mark.sideways_symbol for mark in marks
        ],
        "size": 8,
        "color": colour,
        "line": {
            "width": [0.8 if mark is None else 1.6 for mark in marks],
            "color": ["white" if mark is None else colour for mark in marks],
        },
    }


def ends(points: pd.DataFrame, colour: str) -> dict[str, Any]:
    """Error bars from `ci_low` to `ci_high` about `log2_lr`."""
    return {
        "type": "data",
        "symmetric": False,
        "array": numbers(points["ci_high"] - points["log2_lr"]),
        "arrayminus": numbers(points["log2_lr"] - points["ci_low"]),
        "color": colour,
        "thickness": 1.4,
        "width": 3,
    }


def entry(name: str, **style: Any) -> go.Scatter:
    """An entry of a legend."""
    return go.Scatter(x=[None], y=[None], name=name, hoverinfo="skip", showlegend=True, **style)


def layout_of(**parts: Any) -> dict[str, Any]:
    font = {"family": _FONT, "size": 12, "color": INK}
    label = {"bgcolor": "white", "bordercolor": FAINT, "align": "left", "font": {"size": 12, "color": INK}}
    white = {"plot_bgcolor": "white", "paper_bgcolor": "white"}
    whole = go.Layout(font=font, hoverlabel=label, hovermode="closest", autosize=True, **white, **parts)
    plain: dict[str, Any] = whole.to_plotly_json()
    return plain


def axis(**parts: Any) -> dict[str, Any]:
    if "title" in parts:
        parts["title"] = parts["title"] | {"standoff": 8}
    lines = {"showline": True, "linecolor": FAINT, "gridcolor": RULE, "zeroline": False, "ticks": "outside"}
    return lines | {"ticklen": 4, "tickcolor": FAINT} | {name: part for name, part in parts.items() if part is not None}


def legend(**parts: Any) -> dict[str, Any]:
    # The revision keeps hidden what was hidden, whichever loss is drawn.
    parts["title"] = {"text": parts.pop("title", ""), "font": {"size": 12}}
    place = {"x": 0, "xanchor": "left", "yref": "container"}
    return place | {"tracegroupgap": 0, "uirevision": "legend", "font": {"size": 12}} | parts


def ref(letter: str, index: int) -> str:
    """plotly's name of an axis: the first has no number."""
    return letter if index == 1 else f"{letter}{index}"


def numbers(values: Iterable[float]) -> list[float | None]:
    """Plain numbers, rounded, None where missing: what JSON can say."""
    return [round(float(value), DECIMALS) if math.isfinite(value) else None for value in values]
