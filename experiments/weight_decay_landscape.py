"""Where is the best pair of rate and weight decay, and does the best rate move with the decay?

`python experiments/draw/draw.py weight_decay_landscape` draws the loss over both.

6 arms, 96 trials, about 2 minutes on two cores.
"""

import matplotlib
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from mutransfer import Result
from mutransfer.config import Arm, SweepConfig
from mutransfer.report.style import HALF_PAGE, INK, THEME, power_of_two

DECAYS = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)
WORST = 0.3
"""Nats above the best pair from which on all is drawn alike."""


def sweep() -> SweepConfig:
    return SweepConfig(
        experiment="weight_decay_landscape",
        search="grid",
        parametrizations=(),
        variants=tuple(Arm(f"wd {decay:g}", "mup", (("optimizer.weight_decay", decay),)) for decay in DECAYS),
        widths=(64,),
        base_width=32,
        lrs=tuple(2.0**e for e in range(-10, -2)),
    )


def landscape(result: Result) -> pd.DataFrame:
    """Mean final loss above the best pair's, nats per token: a row for each weight decay, the largest first, a column
    for each log2 rate; NaN where a seed diverged."""
    seeds = result.trials.frame.groupby(["weight_decay", "log2_lr"])["final_loss"]
    losses = seeds.agg(lambda losses: losses.mean(skipna=False)).unstack().sort_index(ascending=False)
    return losses - losses.min(axis=None)


def figure(result: Result) -> Figure:
    table = landscape(result)
    rates = [float(rate) for rate in table.columns]
    with matplotlib.rc_context({**THEME, "axes.grid": False}):
        drawn = Figure(figsize=(HALF_PAGE, 2.6), layout="constrained")
        axes = drawn.subplots()
        sns.heatmap(
            table,
            ax=axes,
            vmax=WORST,
            cmap="viridis_r",
            annot=True,
            fmt=".2f",
            annot_kws={"size": 6},
            xticklabels=[power_of_two(rate) for rate in rates],
            yticklabels=[f"{decay:g}" for decay in table.index],
            cbar_kws={"label": "loss above the best (nats per token)"},
        )
        for row, decay in enumerate(table.index):
            optimum = result.analysis.arm(f"wd {decay:g}").optima[0]
            if optimum.interior:
                where = (optimum.log2_lr - rates[0]) / (rates[1] - rates[0]) + 0.5
                axes.plot(where, row + 0.85, marker="^", ms=4, color="white", mec=INK, mew=0.6)
        axes.set(xlabel="learning rate", ylabel="weight decay")
        axes.set_title("final loss; triangles: best rate of a decay")
        axes.tick_params(axis="both", rotation=0, length=0)
    return drawn
