"""The four figures, drawn from `marks` and `worth`. None of them is known to pyplot, so nothing is left open."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mutransfer.analysis import Analysis, Trials
from mutransfer.analysis.confirmation import Confirmation
from mutransfer.config.scale import DIMENSIONS
from mutransfer.report.marks import dodges, optimal_lr_data, rate_limits, sizes
from mutransfer.report.panels import loss_curves
from mutransfer.report.style import (
    FAINT,
    HALF_PAGE,
    RING,
    THEME,
    Look,
    arm_looks,
    estimate,
    literal,
    rate_axis,
    size_axis,
)
from mutransfer.report.words import loss_unit
from mutransfer.report.worth import regret_data, wider_is_better_data


def draw(analysis: Analysis, trials: Trials, confirmations: Sequence[Confirmation] = ()) -> dict[str, Figure]:
    """All figures by name, in the order in which a report shows them."""
    return {
        "loss_curves": loss_curves(analysis, trials),
        "optimal_lr": optimal_lr(analysis),
        "regret": regret(analysis, trials, confirmations),
        "wider_is_better": wider_is_better(analysis, trials),
    }


def optimal_lr(analysis: Analysis) -> Figure:
    """Optimal learning rate against size: each arm's optima, the fitted line and band, and where slope 0 stays."""
    data, aside = optimal_lr_data(analysis), dodges(analysis)
    looks = arm_looks(aside)
    with matplotlib.rc_context(THEME):
        figure, axes = _half_page(lines=len(analysis.arms) + 2)
        handles = []
        for result in analysis.arms:
            colour, marker, _ = looks[result.arm]
            marks = data[data["arm"] == result.arm]
            line, still = marks[marks["mark"] == "line"], marks[marks["mark"] == "still"]
            axes.plot(still["log2_size"], still["log2_lr"], color=colour, lw=0.9, ls=(0, (4, 3)), alpha=0.6, zorder=2)
            axes.plot(line["log2_size"], line["log2_lr"], color=colour, lw=1.4, zorder=3)
            axes.fill_between(
                line["log2_size"], line["ci_low"], line["ci_high"], color=colour, alpha=0.13, lw=0, zorder=1
            )
            for point in marks[marks["mark"] == "optimum"].to_dict("records"):
                estimate(axes, point["log2_size"] + aside[result.arm], "log2_lr", point, colour, marker)
            ring = marks[marks["mark"] == "leverage"]
            axes.plot(ring["log2_size"] + aside[result.arm], ring["log2_lr"], zorder=7, **RING)
            slope = result.transfer_slope
            fitted = f"{slope.estimate:+.2f} [{slope.ci_low:+.2f}, {slope.ci_high:+.2f}]" if slope else "not fitted"
            fitted = fitted.replace("-", "−")
            handles.append(
                Line2D([], [], color=colour, marker=marker, ms=4.5, lw=1.4, label=literal(f"{result.arm}: {fitted}"))
            )
        if (data["mark"] == "still").any():
            handles.append(Line2D([], [], color=FAINT, lw=0.9, ls=(0, (4, 3)), label="slope 0 from the proxy's rate"))
        if (data["mark"] == "leverage").any():
            handles.append(Line2D([], [], label="decides the slope alone", **(RING | {"ms": 8})))
        limits = rate_limits(data)
        if limits is not None:
            axes.set_ylim(limits)
        rate_axis(axes.yaxis)
        size_axis(axes, sizes(analysis), DIMENSIONS[analysis.dimensions[0]].word)
        axes.set_ylabel("optimal learning rate")
        title = f"slope, octaves of rate per doubling of {DIMENSIONS[analysis.dimensions[0]].word}"
        figure.legend(handles=handles, title=title, loc="outside upper left", alignment="left")
    return figure


def regret(analysis: Analysis, trials: Trials, confirmations: Sequence[Confirmation] = ()) -> Figure:
    """What the proxy's rate costs at each size, per arm; open marks and signs say what is not known."""
    data, aside = regret_data(analysis, trials, confirmations), dodges(analysis)
    looks = arm_looks(aside)
    with matplotlib.rc_context(THEME):
        figure, axes = _half_page(_lines(looks))
        reach = pd.concat([data["nats"], data["ci_high"]]).max()
        top = 1.12 * reach if reach > 0 else 0.01
        for arm, (colour, marker, _) in looks.items():
            marks = data[data["arm"] == arm]
            confirmed = marks["known"].str.startswith("confirmed")
            known = marks[~confirmed].dropna(subset="nats").sort_values("log2_size")
            joined = known["nats"].where(known["known"] != "at_least")  # a bound is no point of a line
            axes.plot(known["log2_size"] + aside[arm], joined, color=colour, lw=1.1, zorder=2)
            for point in marks.to_dict("records"):
                x = point["log2_size"] + aside[arm] + (0.1 if str(point["known"]).startswith("confirmed") else 0.0)
                _regret(axes, x, point, colour, marker, top)
        axes.axhline(0, color=FAINT, lw=0.7, zorder=1)
        bottom = min(0.0, pd.concat([data["nats"], data["ci_low"]]).min())
        low = (1.1 * bottom if bottom < 0 else 0) - 0.05 * top
        axes.set(ylim=(low, top), ylabel=f"regret ({loss_unit(trials)})")
        tried = {*sizes(analysis), *(each.scale[analysis.dimensions[0]] for each in confirmations)}
        size_axis(axes, tried, DIMENSIONS[analysis.dimensions[0]].word)
        figure.legend(handles=_arm_handles(looks), loc="outside upper left", ncols=_columns(looks))
    return figure


def wider_is_better(analysis: Analysis, trials: Trials) -> Figure:
    """Loss at the optimum against size; open marks are the best mean measured where no optimum is bracketed."""
    data, aside = wider_is_better_data(analysis, trials), dodges(analysis)
    looks = arm_looks(aside)
    with matplotlib.rc_context(THEME):
        figure, axes = _half_page(_lines(looks))
        for arm, (colour, marker, _) in looks.items():
            marks = data[data["arm"] == arm].sort_values("log2_size")
            axes.plot(marks["log2_size"] + aside[arm], marks["loss"], color=colour, lw=1.1, zorder=2)
            for point in marks.to_dict("records"):
                status = "interior" if point["known"] == "fitted" else "flat"
                estimate(axes, point["log2_size"] + aside[arm], "loss", point | {"status": status}, colour, marker)
        axes.set_ylabel(f"best loss ({loss_unit(trials)})")
        size_axis(axes, sizes(analysis), DIMENSIONS[analysis.dimensions[0]].word)
        figure.legend(handles=_arm_handles(looks), loc="outside upper left", ncols=_columns(looks))
    return figure


def _regret(axes: Axes, x: float, point: Mapping[Any, Any], colour: str, marker: str, top: float) -> None:
    """One mark of `regret_data`."""
    known = str(point["known"])
    if known in ("unknown", "confirmed_unknown"):
        axes.plot(x, 0.05 * top, marker="$?$", color=colour, ms=6, zorder=4)
    elif known in ("diverged", "confirmed_diverged"):
        axes.plot(x, 0.97 * top, marker="x", color=colour, ms=5, mew=1.4, zorder=4)
    else:
        if not math.isnan(point["ci_low"]) and math.isnan(point["ci_high"]) and not known.endswith("at_least"):
            point = {**point, "ci_high": 2 * top}  # no known end: the bar leaves the panel
        status = "censored_high" if known.endswith("at_least") else "interior"
        estimate(axes, x, "nats", {**point, "status": status}, colour, marker)
    if known.startswith("confirmed"):
        shown = {"unknown": 0.05 * top, "diverged": 0.97 * top}.get(known.removeprefix("confirmed_"), point["nats"])
        axes.plot(x, shown, zorder=7, **(RING | {"marker": "s", "ms": 9}))


def _half_page(lines: int = 1) -> tuple[Figure, Axes]:
    """A figure with room for so many lines of legend on top."""
    figure = Figure(figsize=(HALF_PAGE, 2.4 + 0.16 * lines), layout="constrained")
    return figure, figure.subplots()


def _columns(looks: Mapping[str, Look]) -> int:
    """In how many columns the arms' names fit."""
    return max(1, min(3, 48 // (max(map(len, looks)) + 4)))


def _lines(looks: Mapping[str, Look]) -> int:
    return math.ceil(len(looks) / _columns(looks))


def _arm_handles(looks: Mapping[str, Look]) -> list[Line2D]:
    return [
        Line2D([], [], color=look.colour, marker=look.marker, ms=4.5, lw=1.1, label=literal(arm))
        for arm, look in looks.items()
    ]
