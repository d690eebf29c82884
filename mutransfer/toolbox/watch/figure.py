"""The figure of a watched run: its loss with the spikes, and a quantity over layers and steps as a heat map."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from mutransfer.report.style import FAINT, FULL_PAGE, INK, THEME, literal
from mutransfer.toolbox.watch.observed import HEALTHY, LARGE, SMALL, Observation, losses_of, spikes_of, to_table
from mutransfer.toolbox.watch.spikes import SpikeScore

ROW = 0.16
"""Inches of height of a row of the heat map."""
WIDE = 20
"""Losses of which the highest is so many times the lowest are drawn in logarithms."""
LOSS, SPIKE = "#0173b2", "#d55e00"


class ColourScale(NamedTuple):
    """How a quantity is coloured: what it is called, whether in logarithms, and the ends where they are set."""

    label: str
    logarithmic: bool
    ends: tuple[float, float] | None = None


RATIO = ColourScale(f"|update| / |weight| (healthy near {HEALTHY:g})", True, (SMALL, HEALTHY**2 / SMALL))
SCALES: Mapping[str, ColourScale] = {
    "update_ratio": RATIO,
    "layer_update_ratio": RATIO,
    "weight_norm": ColourScale("|weight|", True),
    "update_norm": ColourScale("|update|", True),
    "grad_norm": ColourScale("|gradient|, before clipping", True),
    "clipped_grad_norm": ColourScale("|gradient|, after clipping", True),
    "eps_share": ColourScale("share of elements in which epsilon dominates", False, (0.0, 1.0)),
    "activation": ColourScale("root mean square of the output", True),
    "attention_logit": ColourScale("largest |attention logit|", True),
}
"""By quantity; a healthy ratio is in the middle of its colours."""


def watched_run(observations: Sequence[Observation], quantity: str = "layer_update_ratio") -> Figure:
    """The loss of a run above, one of `QUANTITIES` below: a row for each parameter, layer or module, a column for each
    observation. Hatched where a number is not finite or there was none.

    Raises ValueError on an unknown quantity, and where none of it was observed.
    """
    table = to_table(observations, quantity)
    if table.empty:
        raise ValueError(
            f"found no {quantity} in {len(observations)} observations; wanted some: put all of a step in watch.step"
        )
    losses = losses_of(observations)
    with matplotlib.rc_context(THEME):
        height = ROW * len(table) + 0.7
        figure = Figure(figsize=(FULL_PAGE, 1.5 + height), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [1.2, height]})
        _draw_losses(upper, losses, spikes_of(losses))
        _draw_heat(lower, table, edges([int(step) for step in table.columns]), SCALES[quantity])
        lower.set_xlabel("step")
    return figure


def edges(steps: Sequence[int]) -> list[float]:
    """The borders of the columns of a heat map: halfway between steps, and as far beyond the first and the last."""
    if len(steps) == 1:
        return [steps[0] - 0.5, steps[0] + 0.5]
    middles = [(one + other) / 2 for one, other in itertools.pairwise(steps)]
    return [steps[0] - (middles[0] - steps[0]), *middles, steps[-1] + (steps[-1] - middles[-1])]


def _draw_losses(axes: Axes, losses: pd.Series[float], score: SpikeScore) -> None:
    axes.plot(losses.index, losses, color=LOSS, lw=0.9)
    for spike in score.spikes:
        end = losses.index[-1] if spike.recovered is None else spike.recovered
        axes.axvspan(spike.step, end, color=SPIKE, alpha=0.2, lw=0)
        axes.axvline(spike.step, color=SPIKE, lw=0.8)
    lost = sum(spike.recovered is None for spike in score.spikes)
    spikes = "1 spike" if len(score.spikes) == 1 else f"{len(score.spikes)} spikes"
    told = f"{spikes}, {lost} not recovered; spike score {score.percent:.2g}%"
    axes.set_title(told if score.seen else "no loss told")
    axes.set_ylabel("loss")
    if losses.min() > 0 and losses.max() > WIDE * losses.min():
        axes.set_yscale("log")


def _draw_heat(axes: Axes, table: pd.DataFrame, borders: list[float], scale: ColourScale) -> None:
    values = table.to_numpy()
    known = values[np.isfinite(values) & ((values > 0) | (not scale.logarithmic))]
    low, high = scale.ends or ((known.min(), known.max()) if len(known) else (1.0, 1.0))
    if low == high:
        low, high = (low / 2, high * 2) if scale.logarithmic else (low - 1, high + 1)
    norm = LogNorm(low, high) if scale.logarithmic else Normalize(low, high)
    axes.patch.set(facecolor="white", hatch="////", edgecolor=FAINT)
    # 0 has no logarithm: it is far below the scale, not missing
    shown = np.ma.masked_invalid(np.where((values == 0) & scale.logarithmic, low * 1e-9, values))
    colours = "RdBu_r" if scale is RATIO else "viridis"
    mesh = axes.pcolormesh(borders, np.arange(len(table) + 1), shown, norm=norm, cmap=colours)
    axes.set_yticks(np.arange(len(table)) + 0.5, [literal(str(name)) for name in table.index])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(table), 0)
    axes.grid(False)
    bar = axes.figure.colorbar(mesh, ax=axes, extend="both" if scale is RATIO else "neither", pad=0.01)
    axes.set_title(scale.label)
    if scale is RATIO:
        for bound in (SMALL, LARGE):
            bar.ax.axhline(bound, color=INK, lw=0.8)
