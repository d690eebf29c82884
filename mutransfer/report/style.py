"""How the figures look: colour-blind-safe colours, sizes that hold at half a page, rates and widths on log2 axes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import matplotlib
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, MaxNLocator

HALF_PAGE = 3.5
"""Inches: one column of a two-column page."""
FULL_PAGE = 7.0

INK = "#24292f"
FAINT = "#8b949e"
RULE = "#e7eaee"
BAND = "#f2f4f6"

# The triangles are left to censored optima, the crosses to diverged trials.
_ARM_MARKERS = ("o", "s", "D", "P", "*", "p", "h")

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


def width_colours(widths: Iterable[int]) -> dict[int, str]:
    """A colour per width, darker as it gets wider, spaced as log2(width): readable in grey and by the colour-blind."""
    widths = sorted(set(widths))
    cmap = matplotlib.colormaps["viridis_r"]  # from 0.25: what is paler is lost on white
    low, high = math.log2(widths[0]), math.log2(widths[-1])
    position = {w: (math.log2(w) - low) / (high - low) if high > low else 0.6 for w in widths}
    return {w: matplotlib.colors.to_hex(cmap(0.25 + 0.75 * p)) for w, p in position.items()}


def arm_looks(arms: Iterable[str]) -> dict[str, tuple[str, str]]:
    """A colour and a marker per arm, in the arms' order; both repeat with different periods."""
    colours = sns.color_palette("colorblind").as_hex()
    return {a: (colours[i % len(colours)], _ARM_MARKERS[i % len(_ARM_MARKERS)]) for i, a in enumerate(arms)}


def power_of_two(exponent: float) -> str:
    """2^x as mathtext."""
    return f"$2^{{{exponent:g}}}$"


def rate_axis(axis: Axis, most: int = 8) -> None:
    """Label an axis in log2 learning rate by powers of two, at most about `most` of them."""
    axis.set_major_locator(MaxNLocator(nbins=most, integer=True, min_n_ticks=1))
    axis.set_major_formatter(FuncFormatter(lambda value, _: power_of_two(value)))


def width_axis(axes: Axes, widths: Iterable[int]) -> None:
    """Label the x axis, in log2 width, by the widths themselves, or by powers of two where they are many."""
    widths = sorted(set(widths))
    positions = [math.log2(w) for w in widths]
    if len(widths) <= 8:
        axes.set_xticks(positions, [str(w) for w in widths])
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{2**value:g}"))
    margin = 0.08 * (positions[-1] - positions[0]) or 1.0
    axes.set_xlim(positions[0] - margin, positions[-1] + margin)
    axes.set_xlabel("width")
