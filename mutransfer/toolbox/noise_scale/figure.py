"""The noise scale over a run, beside its batch size and its loss."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mutransfer.report.style import HALF_PAGE, INK, THEME, arm_looks, plain_log_axis

NOISE_COLUMNS = ("step", "loss", "critical_batch", "ci_low", "ci_high")


def noise_scale(frame: pd.DataFrame, batch_size: int, unit: str = "examples", loss_unit: str = "nats") -> Figure:
    """The noise scale over training with its interval, beside the batch size in use, and the loss.

    Args:
        frame: the NOISE_COLUMNS, a row for each step; `critical_batch` may be missing, `ci_high` infinite.
        batch_size: what was trained with.
        unit: what batches are counted in.
        loss_unit: that of the loss.
    """
    blue = arm_looks(["run"])["run"].colour
    with matplotlib.rc_context(THEME):
        figure = Figure(figsize=(HALF_PAGE, 3.6), layout="constrained")
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
        low, high = _limits(frame, batch_size)
        top.fill_between(
            frame["step"],
            frame["ci_low"].clip(low, high),
            frame["ci_high"].clip(low, high),
            color=blue,
            alpha=0.15,
            lw=0,
            zorder=1,
        )
        top.plot(frame["step"], frame["critical_batch"], color=blue, lw=1.4, zorder=3)
        top.axhline(batch_size, color=INK, lw=0.9, ls=(0, (4, 3)), zorder=2)
        top.set_yscale("log", base=2)
        top.set(ylim=(low, high), ylabel=f"batch size ({unit})")
        plain_log_axis(top, base=2)
        bottom.plot(frame["step"], frame["loss"], color=INK, lw=0.8)
        bottom.set(xlabel="step", ylabel=f"loss ({loss_unit})")
        figure.align_ylabels()
        handles = [
            Line2D([], [], color=blue, lw=1.4, label="noise scale, 95%"),
            Line2D([], [], color=INK, lw=0.9, ls=(0, (4, 3)), label=f"batch in use, {batch_size}"),
        ]
        figure.legend(handles=handles, loc="outside upper left", ncols=2)
    return figure


def _limits(frame: pd.DataFrame, batch_size: int) -> tuple[float, float]:
    """Where the noise scale is drawn: about what is estimated after the first tenth of the steps, and the batch."""
    known = frame[frame["step"] > 0.1 * frame["step"].max()]["critical_batch"].dropna()
    seen = np.array([batch_size, *known], dtype=float)
    return float(seen.min() / 2), float(seen.max() * 2)
