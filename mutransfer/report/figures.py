"""The printed figures, drawn from `marks` and `worth`. None of them is known to pyplot, so nothing is left open."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from mutransfer.analysis import Analysis, Trials
from mutransfer.analysis.confirmation import Confirmation
from mutransfer.config.scale import DIMENSIONS
from mutransfer.report.marks import Panel, loss_curves_data, optimal_lr_data, place, rate_limits
from mutransfer.report.style import (
    BAND,
    FAINT,
    FULL_PAGE,
    HALF_PAGE,
    INK,
    RING,
    STATUS_MARKS,
    THEME,
    Look,
    arm_looks,
    columns_of,
    estimate,
    literal,
    rate_axis,
    size_axis,
    size_colours,
)
from mutransfer.report.views import ARM, View, dodges, loss_view, panels_of, rate_views, shown, sizes
from mutransfer.report.words import LOSS_WORDS, loss_unit, size_text
from mutransfer.report.worth import regret_data, wider_is_better_data

Looks = Mapping[str | float, Look]

STILL: Any = {"lw": 0.9, "ls": (0, (4, 3))}
MOST_KEYS = 9
"""Most sizes that a legend names; of more, evenly spread ones."""


def draw(analysis: Analysis, trials: Trials, confirmations: Sequence[Confirmation] = ()) -> dict[str, Figure]:
    """All figures by name, in the order in which a report shows them. Where several dimensions vary, those against size
    are one for each, named after it."""
    views = rate_views(analysis)
    drawn = {"loss_curves": loss_curves(analysis, trials)}
    for along, view in views.items():
        drawn["optimal_lr" if len(views) == 1 else f"optimal_lr_{along}"] = optimal_lr(analysis, view)
    first = next(iter(views.values()))
    return drawn | {
        "regret": regret(analysis, trials, confirmations, first),
        "wider_is_better": wider_is_better(analysis, trials, first),
    }


def loss_curves(analysis: Analysis, trials: Trials) -> Figure:
    """Loss against learning rate, a panel for each arm (and each scale of the other dimensions), a colour a size, each
    optimum with its interval."""
    view = loss_view(analysis)
    data, panel = place(loss_curves_data(analysis, trials, view))
    titles, colours = shown(panels_of(analysis, view)), size_colours(data["size"])
    label = f"{LOSS_WORDS.get(analysis.loss, analysis.loss)} ({loss_unit(trials)})"
    with matplotlib.rc_context(THEME):
        figure, panels, columns = _grid(titles, 2.7, 0.6)
        panels[0].set(xlim=(panel.left, panel.right), ylim=(panel.low, panel.top))
        for i, (axes, title) in enumerate(zip(panels, titles, strict=True)):
            _draw_losses(axes, data[data["panel"] == title], colours, panel)
            _label(axes, i, columns, titles, "learning rate", label)
        panels[0].set_yticks([tick for tick in panels[0].get_yticks() if panel.low <= tick <= panel.high])
        rate_axis(panels[0].xaxis, most=9 if columns < 3 else 6)
        handles = [Line2D([], [], ls="none", label=DIMENSIONS[view.colours].word)]
        handles += [Line2D([], [], color=colours[size], lw=2.5, label=size_text(size)) for size in _some(list(colours))]
        figure.legend(handles=handles, loc="outside upper left", ncols=min(len(handles), 10))
        key = _losses_key(data)
        lines = math.ceil(len(key) / (3 if columns == 1 else 6))
        figure.legend(handles=key, loc="outside lower left", ncols=math.ceil(len(key) / lines))
    return figure


def _draw_losses(axes: Axes, data: pd.DataFrame, colours: Mapping[float, str], panel: Panel) -> None:
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


def _losses_key(data: pd.DataFrame) -> list[Line2D]:
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


def optimal_lr(analysis: Analysis, view: View | None = None) -> Figure:
    """Optimal learning rate against size: optima with their intervals, the fitted law, and, along one dimension, where
    slope 0 stays."""
    view = view or rate_views(analysis)[analysis.dimensions[0]]
    data = optimal_lr_data(analysis, view)

    def panel(axes: Axes, marks: pd.DataFrame, looks: Looks, aside: Mapping[str | float, float]) -> None:
        for line, (colour, marker, _) in looks.items():
            mine = marks[marks["line"] == line]
            kinds = {str(mark): rows for mark, rows in mine.groupby("mark")}
            if "still" in kinds:
                axes.plot(kinds["still"]["log2_size"], kinds["still"]["log2_lr"], color=colour, alpha=0.6, **STILL)
            if "line" in kinds:
                fitted = kinds["line"]
                axes.plot(fitted["log2_size"], fitted["log2_lr"], color=colour, lw=1.4, zorder=3)
                band = fitted["log2_size"], fitted["ci_low"], fitted["ci_high"]
                axes.fill_between(*band, color=colour, alpha=0.13, lw=0, zorder=1)
            for point in mine[mine["mark"] == "optimum"].to_dict("records"):
                estimate(axes, point["log2_size"] + aside[line], "log2_lr", point, colour, marker)
            if "leverage" in kinds:
                ring = kinds["leverage"]
                axes.plot(ring["log2_size"] + aside[line], ring["log2_lr"], zorder=7, **RING)
        rate_axis(axes.yaxis)

    entries = [(mark, mark in set(data["mark"])) for mark in ("still", "leverage")]
    more = [
        Line2D([], [], color=FAINT, label="slope 0 from the proxy's rate", **STILL)
        if mark == "still"
        else Line2D([], [], label="decides the slope alone", **(RING | {"ms": 8}))
        for mark, occurs in entries
        if occurs
    ]
    return _against_size(
        analysis, data, view, panel, "optimal learning rate", limits=rate_limits(data), slopes=True, more=more
    )


def regret(
    analysis: Analysis, trials: Trials, confirmations: Sequence[Confirmation] = (), view: View | None = None
) -> Figure:
    """What the proxy's rate costs at each size; open marks and signs say what is not known."""
    view = view or rate_views(analysis)[analysis.dimensions[0]]
    data = regret_data(analysis, trials, confirmations, view)
    reach = pd.concat([data["nats"], data["ci_high"]]).max()
    top = 1.12 * reach if reach > 0 else 0.01
    bottom = min(0.0, pd.concat([data["nats"], data["ci_low"]]).min())
    low = (1.1 * bottom if bottom < 0 else 0) - 0.05 * top

    def panel(axes: Axes, marks: pd.DataFrame, looks: Looks, aside: Mapping[str | float, float]) -> None:
        for line, (colour, marker, _) in looks.items():
            mine = marks[marks["line"] == line]
            confirmed = mine["known"].str.startswith("confirmed")
            known = mine[~confirmed].dropna(subset="nats").sort_values("log2_size")
            joined = known["nats"].where(known["known"] != "at_least")  # a bound is no point of a line
            axes.plot(known["log2_size"] + aside[line], joined, color=colour, lw=1.1, zorder=2)
            for point in mine.to_dict("records"):
                x = point["log2_size"] + aside[line] + (0.1 if str(point["known"]).startswith("confirmed") else 0.0)
                _regret(axes, x, point, colour, marker, top)
        axes.axhline(0, color=FAINT, lw=0.7, zorder=1)

    label = f"regret ({loss_unit(trials)})"
    beyond = [each.scale[view.along] for each in confirmations]
    key = _regret_key(set(data["known"]))
    return _against_size(analysis, data, view, panel, label, limits=(low, top), beyond=beyond, more=key)


def _regret_key(known: set[str]) -> list[Line2D]:
    """What the marks mean, for those that occur."""
    plain = {each.removeprefix("confirmed_") for each in known}
    grey: dict[str, Any] = {"color": INK, "ls": "none", "ms": 5}
    key = []
    if "at_least" in plain:
        key.append(Line2D([], [], marker=STATUS_MARKS["censored_high"].upwards, mfc="white", label="at least", **grey))
    if "diverged" in plain:
        key.append(Line2D([], [], marker="x", mew=1.4, label="diverges there", **grey))
    if "unknown" in plain:
        key.append(Line2D([], [], marker="$?$", label="not known", **grey))
    if any(each.startswith("confirmed") for each in known):
        key.append(Line2D([], [], label="confirmed by training", **(RING | {"marker": "s", "ms": 7})))
    return key


def wider_is_better(analysis: Analysis, trials: Trials, view: View | None = None) -> Figure:
    """Loss at the optimum against size; open marks are the best mean measured where no optimum is bracketed."""
    view = view or rate_views(analysis)[analysis.dimensions[0]]
    data = wider_is_better_data(analysis, trials, view)

    def panel(axes: Axes, marks: pd.DataFrame, looks: Looks, aside: Mapping[str | float, float]) -> None:
        for line, (colour, marker, _) in looks.items():
            mine = marks[marks["line"] == line].sort_values("log2_size")
            axes.plot(mine["log2_size"] + aside[line], mine["loss"], color=colour, lw=1.1, zorder=2)
            for point in mine.to_dict("records"):
                status = "interior" if point["known"] == "fitted" else "flat"
                estimate(axes, point["log2_size"] + aside[line], "loss", point | {"status": status}, colour, marker)

    return _against_size(analysis, data, view, panel, f"best loss ({loss_unit(trials)})")


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
        at = {"unknown": 0.05 * top, "diverged": 0.97 * top}.get(known.removeprefix("confirmed_"), point["nats"])
        axes.plot(x, at, zorder=7, **(RING | {"marker": "s", "ms": 9}))


def _against_size(
    analysis: Analysis,
    data: pd.DataFrame,
    view: View,
    panel: Callable[[Axes, pd.DataFrame, Looks, Mapping[str | float, float]], None],
    label: str,
    *,
    limits: tuple[float, float] | None = None,
    beyond: Sequence[float] = (),
    slopes: bool = False,
    more: Sequence[Line2D] = (),
) -> Figure:
    """A figure whose axis is the size along the view's dimension.

    Args:
        panel: draws the marks of one panel, with a look and a shift aside for each line.
        label: of the upright axis; `limits`: its ends.
        beyond: sizes that were not in the sweep.
        slopes: whether the legend gives each arm's slope.
        more: entries of the legend beside the lines'.
    """
    titles = shown(list(dict.fromkeys(data["panel"])))
    looks = line_looks(view, list(dict.fromkeys(data["line"])))
    tried = sizes(analysis, view.along)
    aside = dodges(list(looks), [math.log2(size) for size in tried])
    lines = _line_handles(analysis, view, looks, slopes)
    with matplotlib.rc_context(THEME):
        entries = len(lines) + len(more)
        columns = 1 if slopes and view.colours == ARM else max(1, min(3, 48 // (_longest([*lines, *more]) + 4)))
        if view.colours == ARM:
            figure, panels, across = _grid(titles, 2.4, 0.16 * (math.ceil(entries / columns) + slopes))
        else:
            figure, panels, across = _grid(titles, 2.4, 0.6)
        for i, (axes, title) in enumerate(zip(panels, titles, strict=True)):
            panel(axes, data[data["panel"] == title], looks, aside)
            _label(axes, i, across, titles, DIMENSIONS[view.along].word, label)
        if limits is not None:
            panels[0].set_ylim(limits)
        size_axis(panels[0], {*tried, *beyond}, max(map(abs, aside.values()), default=0.0))
        title = _legend_title(analysis, view, slopes)
        columns = columns if view.colours == ARM else 8
        figure.legend(
            handles=[*lines, *more], title=title or None, loc="outside upper left", ncols=columns, alignment="left"
        )
    return figure


def line_looks(view: View, lines: Sequence[str | float]) -> dict[str | float, Look]:
    """A colour and a marker a line: an arm's own, or darker as the size grows."""
    if view.colours == ARM:
        return {str(arm): look for arm, look in arm_looks(map(str, lines)).items()}
    colours = size_colours(float(line) for line in lines)
    return {line: Look(colours[float(line)], "o", "circle") for line in sorted(lines, key=float)}


def _line_handles(analysis: Analysis, view: View, looks: Looks, slopes: bool) -> list[Line2D]:
    handles = []
    for line in _some(list(looks)):
        look = looks[line]
        text = size_text(float(line)) if view.colours != ARM else str(line)
        if slopes and view.colours == ARM:
            slope = analysis.arm(str(line)).transfer_slope
            fitted = f"{slope.estimate:+.2f} [{slope.ci_low:+.2f}, {slope.ci_high:+.2f}]" if slope else "not fitted"
            text += f": {fitted}".replace("-", "−")
        handles.append(
            Line2D(
                [], [], color=look.colour, marker=look.marker, ms=4.5, lw=1.4 if slopes else 1.1, label=literal(text)
            )
        )
    return handles


def _legend_title(analysis: Analysis, view: View, slopes: bool) -> str:
    word = DIMENSIONS[view.along].word
    if view.colours == ARM:
        return f"slope, octaves of rate per doubling of {word}" if slopes else ""
    if not slopes:
        return DIMENSIONS[view.colours].word
    fitted = []
    for arm in analysis.arms:
        each = arm.slopes.get(view.along)
        if each is not None:
            slope = f"{each.estimate:+.2f} [{each.ci_low:+.2f}, {each.ci_high:+.2f}]".replace("-", "−")
            fitted.append(f"{arm.arm} {slope}" if len(analysis.arms) > 1 else slope)
    found = literal("; ".join(fitted)) if len(fitted) <= 3 else "in the table"
    return f"slope per doubling of {word}: {found or 'not fitted'}\n{DIMENSIONS[view.colours].word}"


def _grid(titles: Sequence[str], height: float, more: float) -> tuple[Figure, list[Axes], int]:
    """A figure with a panel for each title, `height` inches each and `more` for legends, and its columns."""
    columns = columns_of(len(titles))
    rows = math.ceil(len(titles) / columns)
    width = FULL_PAGE if columns > 1 else HALF_PAGE
    figure = Figure(figsize=(width, (height if rows < 3 else 0.75 * height) * rows + more), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    for axes in panels[len(titles) :]:
        axes.set_visible(False)
    return figure, list(panels[: len(titles)]), columns


def _label(axes: Axes, i: int, columns: int, titles: Sequence[str], across: str, upwards: str) -> None:
    """The title and the labels of panel `i`: those of an axis stand at the outside alone."""
    lowest = i + columns >= len(titles)
    axes.set_title(literal(titles[i]))
    axes.set(xlabel=across if lowest else "", ylabel=upwards if i % columns == 0 else "")
    axes.tick_params(labelbottom=lowest)
    axes.xaxis.label.set_visible(lowest)  # shared axes hide all but the last row's


def _some(values: Sequence[Any]) -> list[Any]:
    """At most MOST_KEYS of them, evenly spread."""
    if len(values) <= MOST_KEYS:
        return list(values)
    return [values[round(at * (len(values) - 1) / (MOST_KEYS - 1))] for at in range(MOST_KEYS)]


def _longest(handles: Sequence[Line2D]) -> int:
    return max((len(str(handle.get_label())) for handle in handles), default=1)
