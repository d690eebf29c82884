"""The four figures, drawn from `marks`. None of them is known to pyplot, so nothing is left open."""

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
from matplotlib.patheffects import withStroke

from mutransfer.analysis import Analysis
from mutransfer.report.marks import (
    loss_curves_data,
    loss_limits,
    optimal_lr_data,
    regret_data,
    wider_is_better_data,
)
from mutransfer.report.style import (
    BAND,
    FAINT,
    FULL_PAGE,
    HALF_PAGE,
    INK,
    THEME,
    arm_looks,
    literal,
    rate_axis,
    width_axis,
    width_colours,
)

OCTAVES = 4.0
"""The least range of rates that `optimal_lr` shows: what stands still should look as if it did."""

_CENSORED = {"censored_low": -1, "censored_high": 1}


def draw(analysis: Analysis, frame: pd.DataFrame) -> dict[str, Figure]:
    """All figures by name, in the order in which a report shows them."""
    return {
        "loss_curves": loss_curves(analysis, frame),
        "optimal_lr": optimal_lr(analysis),
        "wider_is_better": wider_is_better(analysis, frame),
        "regret": regret(analysis, frame),
    }


def loss_curves(analysis: Analysis, frame: pd.DataFrame) -> Figure:
    """Loss against learning rate, a panel per arm and a line per width, each optimum with its interval."""
    data = loss_curves_data(analysis, frame)
    arms, colours = [result.arm for result in analysis.arms], width_colours(data["width"])
    low, high = loss_limits(data)
    label = f"{literal(analysis.loss.replace('_', ' '))} (nats per token)"
    # On top of each panel a band with a row of crosses for each width that diverged anywhere.
    failed = sorted(set(data.loc[data["mark"] == "diverged", "width"]))
    band = 0.035 * (len(failed) + 1) if failed else 0.0
    top = low + (high - low) / (1 - band)
    columns = 2 if len(arms) == 4 else min(len(arms), 3)
    rows = math.ceil(len(arms) / columns)
    with matplotlib.rc_context(THEME):
        size = (FULL_PAGE if columns > 1 else HALF_PAGE, 2.7 * rows + 0.6)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
        rates = data["log2_lr"].dropna()
        margin = 0.05 * (rates.max() - rates.min()) or 1.0
        panels[0].set(xlim=(rates.min() - margin, rates.max() + margin), ylim=(low, top))
        for i, (axes, arm) in enumerate(zip(panels, arms, strict=False)):
            _loss_panel(axes, data[data["arm"] == arm], colours, failed, (low, high, top))
            left, lowest = i % columns == 0, i + columns >= len(arms)
            axes.set_title(literal(arm))
            axes.set(xlabel="learning rate" if lowest else "", ylabel=label if left else "")
            axes.tick_params(labelbottom=lowest)
            axes.xaxis.label.set_visible(lowest)  # shared axes hide all but the last row's
        for axes in panels[len(arms) :]:
            axes.set_visible(False)
        panels[0].set_yticks([tick for tick in panels[0].get_yticks() if low <= tick <= high])
        rate_axis(panels[0].xaxis, most=9 if columns < 3 else 6)
        widths = [Line2D([], [], ls="none", label="width")]
        widths += [Line2D([], [], color=colour, lw=2.5, label=str(width)) for width, colour in colours.items()]
        figure.legend(handles=widths, loc="outside upper left", ncols=min(len(widths), 9))
        key = _key(data, high)
        lines = math.ceil(len(key) / (3 if columns == 1 else 6))
        figure.legend(handles=key, loc="outside lower left", ncols=math.ceil(len(key) / lines))
    return figure


def optimal_lr(analysis: Analysis) -> Figure:
    """Optimal learning rate against width: each arm's optima, the fitted line and band, and where slope 0 stays."""
    data = optimal_lr_data(analysis)
    looks = arm_looks(result.arm for result in analysis.arms)
    with matplotlib.rc_context(THEME):
        figure, axes = _half_page(lines=len(analysis.arms) + 2)
        handles = []
        for result, aside in zip(analysis.arms, _dodges(analysis), strict=True):
            colour, marker = looks[result.arm]
            marks = data[data["arm"] == result.arm]
            line, still = marks[marks["mark"] == "line"], marks[marks["mark"] == "still"]
            axes.plot(still["log2_width"], still["log2_lr"], color=colour, lw=0.9, ls=(0, (4, 3)), alpha=0.6, zorder=2)
            axes.plot(line["log2_width"], line["log2_lr"], color=colour, lw=1.4, zorder=3)
            axes.fill_between(
                line["log2_width"], line["ci_low"], line["ci_high"], color=colour, alpha=0.13, lw=0, zorder=1
            )
            for point in marks[marks["mark"] == "optimum"].to_dict("records"):
                _point(axes, point["log2_width"] + aside, "log2_lr", point, colour, marker)
            slope = result.transfer_slope
            fitted = f"{slope.estimate:+.2f} [{slope.ci_low:+.2f}, {slope.ci_high:+.2f}]" if slope else "not fitted"
            fitted = fitted.replace("-", "−")
            handles.append(
                Line2D([], [], color=colour, marker=marker, ms=4.5, lw=1.4, label=literal(f"{result.arm}: {fitted}"))
            )
        if (data["mark"] == "still").any():
            handles.append(Line2D([], [], color=FAINT, lw=0.9, ls=(0, (4, 3)), label="slope 0 from the proxy's rate"))
        shown = data[data["mark"] != "line"]
        reach = pd.concat([shown["log2_lr"], shown["ci_low"], shown["ci_high"]])
        # An interval of many octaves is cut, so that it does not flatten the others.
        reach = reach.clip(shown["log2_lr"].min() - 3, shown["log2_lr"].max() + 3).dropna()
        if len(reach):
            half = max((reach.max() - reach.min()) / 2 + 0.4, OCTAVES / 2)
            middle = (reach.max() + reach.min()) / 2
            axes.set_ylim(middle - half, middle + half)
        rate_axis(axes.yaxis)
        width_axis(axes, _widths(analysis))
        axes.set_ylabel("optimal learning rate")
        title = "slope, octaves of rate per doubling of width"
        figure.legend(handles=handles, title=title, loc="outside upper left", alignment="left")
    return figure


def regret(analysis: Analysis, frame: pd.DataFrame) -> Figure:
    """What the proxy's rate costs at each width, per arm; open marks and signs say what is not known."""
    data = regret_data(analysis, frame)
    looks = arm_looks(result.arm for result in analysis.arms)
    with matplotlib.rc_context(THEME):
        figure, axes = _half_page()
        reach = pd.concat([data["nats"], data["ci_high"]]).max()
        top = 1.12 * reach if reach > 0 else 0.01
        for result, aside in zip(analysis.arms, _dodges(analysis), strict=True):
            colour, marker = looks[result.arm]
            marks = data[data["arm"] == result.arm]
            known = marks.dropna(subset="nats").sort_values("log2_width")
            joined = known["nats"].where(known["known"] != "at_least")  # a bound is no point of a line
            axes.plot(known["log2_width"] + aside, joined, color=colour, lw=1.1, zorder=2)
            for point in marks.to_dict("records"):
                x = point["log2_width"] + aside
                if point["known"] == "unknown":
                    axes.plot(x, 0.05 * top, marker="$?$", color=colour, ms=6, zorder=4)
                elif point["known"] == "diverged":
                    axes.plot(x, 0.97 * top, marker="x", color=colour, ms=5, mew=1.4, zorder=4)
                else:
                    status = "censored_high" if point["known"] == "at_least" else "interior"
                    if point["known"] == "estimated" and math.isnan(point["ci_high"]):
                        point["ci_high"] = 2 * top  # no known end: the bar leaves the panel
                    _point(axes, x, "nats", point | {"status": status}, colour, marker)
        axes.axhline(0, color=FAINT, lw=0.7, zorder=1)
        bottom = min(0.0, pd.concat([data["nats"], data["ci_low"]]).min())
        axes.set(ylim=((1.1 * bottom if bottom < 0 else 0) - 0.05 * top, top), ylabel="regret (nats per token)")
        width_axis(axes, _widths(analysis))
        figure.legend(handles=_arm_handles(looks), loc="outside upper left", ncols=3)
    return figure


def wider_is_better(analysis: Analysis, frame: pd.DataFrame) -> Figure:
    """Loss at the optimum against width; open marks are the best mean measured where no optimum is bracketed."""
    data = wider_is_better_data(analysis, frame)
    looks = arm_looks(result.arm for result in analysis.arms)
    with matplotlib.rc_context(THEME):
        figure, axes = _half_page()
        for result, aside in zip(analysis.arms, _dodges(analysis), strict=True):
            colour, marker = looks[result.arm]
            marks = data[data["arm"] == result.arm].sort_values("log2_width")
            axes.plot(marks["log2_width"] + aside, marks["loss"], color=colour, lw=1.1, zorder=2)
            for point in marks.to_dict("records"):
                status = "interior" if point["known"] == "fitted" else "flat"
                _point(axes, point["log2_width"] + aside, "loss", point | {"status": status}, colour, marker)
        axes.set_ylabel("loss at the optimum (nats)")
        width_axis(axes, _widths(analysis))
        figure.legend(handles=_arm_handles(looks), loc="outside upper left", ncols=3)
    return figure


def _loss_panel(
    axes: Axes,
    data: pd.DataFrame,
    colours: Mapping[int, str],
    failed: list[int],
    limits: tuple[float, float, float],
) -> None:
    low, high, top = limits
    if top > high:
        axes.axhspan(high, top, color=BAND, lw=0, zorder=0.6)
    below_band = Rectangle((0, 0), 1, (high - low) / (top - low), transform=axes.transAxes)
    for width, colour in colours.items():
        marks = data[data["width"] == width]
        kinds = {str(mark): rows for mark, rows in marks.groupby("mark")}
        look: dict[str, Any] = {"x": "log2_lr", "y": "loss", "color": colour, "ax": axes}
        if "trial" in kinds:
            trials = kinds["trial"]
            above = trials["loss"] > high
            sns.scatterplot(trials[~above], s=9, alpha=0.5, linewidth=0, zorder=2, **look)
            sns.scatterplot(trials[above].assign(loss=high), s=20, marker="^", linewidth=0, clip_on=False, **look)
        if "mean" in kinds:
            sns.lineplot(kinds["mean"], estimator=None, linewidth=0.8, alpha=0.6, zorder=3, **look)
            axes.lines[-1].set_clip_path(below_band)
        if "fitted" in kinds:
            sns.lineplot(kinds["fitted"], estimator=None, linewidth=1.8, zorder=4, **look)
            axes.lines[-1].set_clip_path(below_band)
        if "diverged" in kinds:
            crosses = kinds["diverged"]
            # Seeds that diverged at one rate stand side by side.
            same = crosses.groupby("log2_lr")["seed"]
            aside = same.cumcount() - (same.transform("size") - 1) / 2
            y = high + (top - high) * (failed.index(width) + 1) / (len(failed) + 1)
            left, right = axes.get_xlim()
            crosses = crosses.assign(loss=y, log2_lr=crosses["log2_lr"] + 0.02 * (right - left) * aside)
            sns.scatterplot(crosses, marker="x", s=11, linewidth=1.1, zorder=5, **look)
        for point in marks[marks["mark"] == "optimum"].dropna(subset="loss").to_dict("records"):
            _point(axes, point["loss"], "log2_lr", point, colour, "o", sideways=True)


def _point(
    axes: Axes,
    across: float,
    along: str,
    point: Mapping[Any, Any],
    colour: str,
    marker: str,
    *,
    sideways: bool = False,
) -> None:
    """One estimate at point[along], with its interval; open where it is not an interior optimum, a triangle that points
    out of the range where it is censored. `sideways` where the estimate lies along the x axis."""
    value, status = point[along], point["status"]
    if status in _CENSORED:
        marker = {(-1, False): "v", (1, False): "^", (-1, True): "<", (1, True): ">"}[_CENSORED[status], sideways]
    low, high = point.get("ci_low", math.nan), point.get("ci_high", math.nan)
    ends = None if math.isnan(low + high) else [[value - low], [high - value]]
    x, y = (value, across) if sideways else (across, value)
    drawn = axes.errorbar(
        x,
        y,
        xerr=ends if sideways else None,
        yerr=None if sideways else ends,
        marker=marker,
        ms=4.8 if marker != "*" else 7,
        mec=colour if status != "interior" else "white",
        mew=1.2 if status != "interior" else 0.5,
        mfc=colour if status == "interior" else "white",
        ecolor=INK if sideways else colour,  # along a curve of its own colour it would not be seen
        elinewidth=1.2,
        capsize=2.8 if sideways else 2.2,
        ls="none",
        zorder=6,
    )
    if sideways:
        for artist in (*drawn[1], *drawn[2]):
            artist.set_path_effects([withStroke(linewidth=2.6, foreground="white")])


def _key(data: pd.DataFrame, high: float) -> list[Line2D]:
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
    if statuses & set(_CENSORED):
        key.append(Line2D([], [], marker=">", ms=5, mfc="white", label="beyond the range", **grey))
    if statuses & {"flat", "too_few"}:
        key.append(Line2D([], [], marker="o", ms=5, mfc="white", label="not located", **grey))
    if (data.loc[data["mark"] == "trial", "loss"] > high).any():
        key.append(Line2D([], [], marker="^", ms=4.5, mec="none", label="above the panel", **grey))
    if "diverged" in marks:
        key.append(Line2D([], [], marker="x", ms=4, mew=1.1, label="diverged", **grey))
    return key


def _half_page(lines: int = 1) -> tuple[Figure, Axes]:
    """A figure with room for so many lines of legend on top."""
    figure = Figure(figsize=(HALF_PAGE, 2.4 + 0.16 * lines), layout="constrained")
    return figure, figure.subplots()


def _arm_handles(looks: Mapping[str, tuple[str, str]]) -> list[Line2D]:
    return [
        Line2D([], [], color=colour, marker=marker, ms=4.5, lw=1.1, label=literal(arm))
        for arm, (colour, marker) in looks.items()
    ]


def _widths(analysis: Analysis) -> list[int]:
    return sorted({optimum.width for result in analysis.arms for optimum in result.optima})


def _dodges(analysis: Analysis) -> list[float]:
    """How far aside each arm's marks stand, in octaves of width, so that those of one width do not hide each other."""
    widths, n = _widths(analysis), len(analysis.arms)
    step = min(0.08, 0.3 / n) * (math.log2(widths[-1] / widths[0]) / max(len(widths) - 1, 1) or 1.0)
    return [step * (i - (n - 1) / 2) for i in range(n)]
