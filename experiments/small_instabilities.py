"""Do small models show at high rates what makes large ones unstable, and do qk-norm and z-loss cure it?

After Wortsman et al. 2309.14322: growing attention logits, cured by normalizing queries and keys, and growing output
logits, cured by the z-loss. As there, gradients are clipped at 1 and the warmup is long; the logits have no multiplier.

`python experiments/draw/draw.py small_instabilities` draws loss and logits against the rate, and the sensitivity.

4 arms, 240 trials, about 5 minutes on two cores.
"""

import math

import matplotlib
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from mutransfer import Result
from mutransfer.config import Arm, ModelConfig, OptimizerConfig, ScheduleConfig, SweepConfig
from mutransfer.report.style import FAINT, FULL_PAGE, THEME, arm_looks, rate_axis, size_axis

QK_NORM = ("model.qk_norm", True)
Z_LOSS = ("z_loss", 1e-3)
LARGEST = 10_000.0
"""Attention logits beyond which training diverged there."""

PANELS = {
    "final_loss": "final loss (nats per token)",
    "attention_logit": "largest attention logit",
    "output_log_z": "log Z (nats)",
}
"""Columns drawn against the rate, with their words."""


def sweep() -> SweepConfig:
    return SweepConfig(
        experiment="small_instabilities",
        search="grid",
        parametrizations=("sp",),
        variants=(
            Arm("sp + qk_norm", "sp", (QK_NORM,)),
            Arm("sp + z_loss", "sp", (Z_LOSS,)),
            Arm("sp + both", "sp", (QK_NORM, Z_LOSS)),
        ),
        widths=(32, 64, 128),
        lrs=tuple(2.0**e for e in range(-9, 1)),
        model=ModelConfig(output_mult=1.0),
        optimizer=OptimizerConfig(clip_norm=1.0),
        schedule=ScheduleConfig(warmup=0.3),
    )


def against_rate(result: Result) -> pd.DataFrame:
    """Mean over seeds of each of PANELS at the largest width, by arm and log2 rate; NaN where a seed diverged."""
    widest = result.trials.frame[result.trials.frame["width"] == result.trials.frame["width"].max()]
    numbers = widest.astype(dict.fromkeys(PANELS, "float64"))
    by_rate = numbers.groupby(["arm", "log2_lr"], sort=False)[list(PANELS)]
    means: pd.DataFrame = by_rate.agg(lambda seeds: seeds.mean(skipna=False))
    return means.reset_index()


def figure(result: Result) -> Figure:
    data = against_rate(result)
    looks = arm_looks(arm.arm for arm in result.analysis.arms)
    colours = {arm: look.colour for arm, look in looks.items()}
    markers = {arm: look.marker for arm, look in looks.items()}
    with matplotlib.rc_context(THEME):
        drawn = Figure(figsize=(FULL_PAGE, 5.2), layout="constrained")
        panels = drawn.subplots(2, 2).flatten()
        for axes, (column, words) in zip(panels, PANELS.items(), strict=False):
            sns.lineplot(
                data,
                x="log2_lr",
                y=column,
                hue="arm",
                style="arm",
                palette=colours,
                markers=markers,
                dashes=False,
                legend=False,
                ax=axes,
            )
            rate_axis(axes.xaxis)
            axes.set(xlabel="learning rate", ylabel=words)
            axes.set_title(f"width {result.analysis.arms[0].optima[-1].scale.width}")
        panels[1].set_yscale("log")
        panels[1].axhline(LARGEST, color=FAINT, lw=0.9, ls=(0, (4, 3)))
        for arm in result.analysis.arms:
            sizes = [each.scale.width for each in arm.sensitivity]
            panels[3].plot(
                [math.log2(size) for size in sizes],
                [each.estimate for each in arm.sensitivity],
                color=colours[arm.arm],
                marker=markers[arm.arm],
                label=arm.arm,
            )
        size_axis(panels[3], result.config.widths)
        panels[3].set_xlabel("width")
        panels[3].set(ylabel="sensitivity to the rate (nats)", ylim=(0, None))
        drawn.legend(*panels[3].get_legend_handles_labels(), loc="outside upper left", ncols=4)
    return drawn
