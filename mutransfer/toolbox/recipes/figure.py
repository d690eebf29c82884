"""A recipe's rate over its run."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from mutransfer.report.style import FAINT, FULL_PAGE, INK, THEME, literal


def draw_recipe(title: str, shape: str, unit: str, places: NDArray[np.float64], rates: NDArray[np.float64]) -> Figure:
    """The rate over the run, with its peak and its last value named, and its shape in words; `places` and `rates` are
    of one length."""
    peak, last = float(rates.max()), float(rates[-1])
    scale = 10.0 ** np.floor(np.log10(peak))
    power = f"$10^{{{round(np.log10(scale))}}}$"
    with matplotlib.rc_context(THEME):
        figure = Figure(figsize=(FULL_PAGE, 2.6), layout="constrained")
        axes = figure.subplots()
        axes.plot(places, rates / scale, color=INK, lw=1.4, zorder=3)
        for rate in {peak, last}:
            axes.axhline(rate / scale, color=FAINT, lw=0.7, ls=(0, (4, 3)), zorder=1)
            note, x, side = (f"peak {rate:.2g}", 0.99, "right") if rate == peak else (f"end {rate:.2g}", 0.04, "left")
            across = axes.get_yaxis_transform()
            axes.text(x, rate / scale + 0.02 * peak / scale, note, transform=across, ha=side, va="bottom", fontsize=7.5)
        axes.set(xlim=(0, places[-1]), ylim=(0, 1.15 * peak / scale), xlabel=unit, ylabel=f"rate ({power})")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.set_title(literal(title), pad=16)
        axes.text(0, 1.03, literal(shape), transform=axes.transAxes, fontsize=7.5, va="bottom")
    return figure
