"""How the figures look: colour-blind-safe colours, sizes that hold at half a page, rates and sizes on log2 axes, and a
mark of its own for each status."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import matplotlib
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from mutransfer.report.words import size_text

HALF_PAGE = 3.5
"""Inches: one column of a two-column page."""
FULL_PAGE = 7.0

INK = "#24292f"
FAINT = "#8b949e"
RULE = "#e7eaee"
BAND = "#f2f4f6"


class Look(NamedTuple):
    """An arm's colour, and its marker in matplotlib's words and in plotly's."""

    colour: str
    marker: str
    symbol: str


# The triangles are left to censored optima, the crosses to diverged trials. Estimates are filled, all else is open.
_ARM_MARKERS = ("o", "s", "D", "P", "*", "p", "h")
_ARM_SYMBOLS = ("circle", "square", "diamond", "cross", "star", "pentagon", "hexagon")


class Mark(NamedTuple):
    """How an optimum without an estimate is marked where its rate runs upwards and where it runs sideways, in
    matplotlib's words and in plotly's, and what a key calls it."""

    upwards: str
    sideways: str
    upwards_symbol: str
    sideways_symbol: str
    label: str


STATUS_MARKS: Mapping[str, Mark] = {
    "censored_low": Mark("v", "<", "triangle-down-open", "triangle-left-open", "below the range"),
    "censored_high": Mark("^", ">", "triangle-up-open", "triangle-right-open", "above the range"),
    "flat": Mark("s", "s", "square-open", "square-open", "flat"),
    "too_few": Mark("d", "d", "diamond-tall-open", "diamond-tall-open", "too few rates"),
}

THEME: Any = {  # Any, since matplotlib types the keys one by one
    **sns.axes_style("ticks"),
    **sns.plotting_context("paper"),
    "font.family": ["DejaVu Sans"],  # comes with matplotlib, so a figure is the same on every machine
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "legend.title_fontsize": 7.5,
    "legend.frameon": False,
    "legend.handletextpad": 0.5,
    "legend.columnspacing": 1.2,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "figure.dpi": 100,
    "svg.fonttype": "path",
}


def literal(text: str) -> str:
    """Text that matplotlib draws as it stands: no dollar sign starts a formula."""
    return text.replace("$", r"\$")


def size_colours(sizes: Iterable[float]) -> dict[float, str]:
    """A colour per size, darker as it grows, spaced as log2(size): readable in grey and by the colour-blind."""
    sizes = sorted(set(sizes))
    cmap = matplotlib.colormaps["viridis_r"]  # from 0.25: what is paler is lost on white
    low, high = math.log2(sizes[0]), math.log2(sizes[-1])
    position = {w: (math.log2(w) - low) / (high - low) if high > low else 0.6 for w in sizes}
    return {w: matplotlib.colors.to_hex(cmap(0.25 + 0.75 * p)) for w, p in position.items()}


def arm_looks(arms: Iterable[str]) -> dict[str, Look]:
    """A colour and a marker per arm, in the arms' order; both repeat with different periods."""
    colours = sns.color_palette("colorblind").as_hex()
    n = len(_ARM_MARKERS)
    return {
        arm: Look(colours[i % len(colours)], _ARM_MARKERS[i % n], _ARM_SYMBOLS[i % n]) for i, arm in enumerate(arms)
    }


def power_of_two(exponent: float) -> str:
    """2^x as mathtext."""
    return f"$2^{{{exponent:g}}}$"


def rate_axis(axis: Axis, most: int = 8) -> None:
    """Label an axis in log2 learning rate by powers of two, at most about `most` of them."""
    axis.set_major_locator(MaxNLocator(nbins=most, integer=True, min_n_ticks=1))
    axis.set_major_formatter(FuncFormatter(lambda value, _: power_of_two(value)))


def size_axis(axes: Axes, sizes: Iterable[float], aside: float = 0.0) -> None:
    """Label the x axis, in log2 size, by the sizes themselves, or by some powers of two where they are many. `aside`:
    how far marks stand to the side of their size, in octaves."""
    sizes = sorted(set(sizes))
    positions = [math.log2(size) for size in sizes]
    if len(sizes) <= 8:
        axes.set_xticks(positions, [size_text(size) for size in sizes])
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: size_text(2**value)))
    margin = max(0.08 * (positions[-1] - positions[0]), 1.6 * aside) or 1.0
    axes.set_xlim(positions[0] - margin, positions[-1] + margin)


def estimate(
    axes: Axes,
    across: float,
    along: str,
    point: Mapping[Any, Any],
    colour: str,
    marker: str,
    *,
    sideways: bool = False,
) -> None:
    """Draw point[along] with its interval, filled where its status is interior and else as STATUS_MARKS has it;
    `sideways` where it lies along the x axis."""
    value, mark = point[along], STATUS_MARKS.get(point["status"])
    if mark is not None:
        marker = mark.sideways if sideways else mark.upwards
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
        mec="white" if mark is None else colour,
        mew=0.5 if mark is None else 1.2,
        mfc=colour if mark is None else "white",
        ecolor=INK if sideways else colour,  # along a curve of its own colour it would not be seen
        elinewidth=1.2,
        capsize=2.8 if sideways else 2.2,
        ls="none",
        zorder=6,
    )
    if sideways:
        for artist in (*drawn[1], *drawn[2]):
            artist.set_path_effects([withStroke(linewidth=2.6, foreground="white")])


RING: Any = {"marker": "o", "ms": 11, "mfc": "none", "mec": INK, "mew": 0.9, "ls": "none"}
"""About the size that alone decides a slope."""


def columns_of(panels: int) -> int:
    """In how many columns so many panels stand."""
    return 2 if panels == 4 else min(panels, 3)


def plain_log_axis(axes: Axes, base: int) -> None:
    """Numbers as they are on a logarithmic axis: its powers, and where these are too few 2 and 5 times them."""
    low, high = axes.get_ylim()
    subs = (1.0,) if math.log(high / low, base) > 2 else (1.0, 2.0, 5.0)
    axes.yaxis.set_major_locator(LogLocator(base=base, subs=subs, numticks=12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
