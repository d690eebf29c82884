"""`python experiments/draw/trust_ratios.py`: what trust ratios make of a layer's rate, beside what muP does.

LAMB multiplies a layer's Adam step u by |w| / |u| (You et al. 1904.00962, section 3), LARS its gradient g by |w| / |g|
(You et al. 1708.03888), muP by a power of the width. All are to let every layer learn at its own pace by one rate. A
small transformer is trained under SP by Adam for 30 steps, at rates that fall with width as its best ones do; then the
ratios are taken, and beside them the multipliers of Tensor Programs V's Table 3 for Adam and for SGD, which leaves SP's
gradients as they are. Each is over its value at the narrowest width, in the geometric mean over the matrices of a role
and three seeds. Draws docs/figures/trust_ratios.png and writes what it drew into a .csv beside it. About 20 seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.figure import Figure

from mutransfer import Arm, ModelConfig, OptimizerConfig, ScheduleConfig, SweepConfig, load_corpus
from mutransfer.config import Scale
from mutransfer.files import write_whole
from mutransfer.report.files import png
from mutransfer.report.style import FULL_PAGE, THEME, size_axis
from mutransfer.training.batches import draw_batches
from mutransfer.training.trainer import build, make_optimizer, train_step

FIGURES = Path(__file__).parents[2] / "docs" / "figures"
WIDTHS, SEEDS, STEPS = (32, 64, 128, 256), 3, 30
LR = 2.0**-6
"""At the narrowest width; it halves as the width doubles."""
SWEEP = SweepConfig(
    base_width=WIDTHS[0],
    steps=STEPS,
    model=ModelConfig(context=32, zero_readout=False, output_mult=1.0),
    optimizer=OptimizerConfig("adam"),
    schedule=ScheduleConfig("constant"),
)
PAIRS = {
    "Adam": {"LAMB": "LAMB's trust ratio, measured", "adam": "muP's rate multiplier for Adam"},
    "SGD": {"LARS": "LARS's trust ratio, measured", "sgd": "muP's rate multiplier for SGD"},
}
"""A row of the figure each: columns, and what they are called."""
COLUMNS = [name for pair in PAIRS.values() for name in pair]


def adam_step(weight: torch.Tensor, optimizer: torch.optim.Optimizer) -> torch.Tensor:
    """The direction of Adam's latest step: m / (sqrt(v) + eps), both debiased."""
    (group,) = [each for each in optimizer.param_groups if any(weight is one for one in each["params"])]
    state, (beta1, beta2) = optimizer.state[weight], group["betas"]
    first, second = state["exp_avg"] / (1 - beta1 ** state["step"]), state["exp_avg_sq"] / (1 - beta2 ** state["step"])
    return first / (second.sqrt() + group["eps"])


def trust_ratio(weight: torch.Tensor, step: torch.Tensor) -> float:
    return (weight.detach().norm() / step.norm()).item()


def measure() -> Iterator[dict[str, object]]:
    """A row for each matrix, width and seed."""
    corpus = load_corpus(SWEEP.data)
    for width in WIDTHS:
        for seed in range(SEEDS):
            trial = SWEEP.trial(Arm("sp", "sp"), Scale(width), LR * WIDTHS[0] / width, seed)
            built, table3 = (
                build(trial, "cpu"),
                build(SWEEP.trial(Arm("mup", "mup_table3"), Scale(width), 1.0, seed), "cpu"),
            )
            names = {id(weight): name for name, weight in table3.model.named_parameters()}
            mup = {
                (name, names[id(weight)]): group["lr_mult"]
                for name in ("adam", "sgd")
                for group in table3.groups_for(1.0, OptimizerConfig(name))
                for weight in group["params"]
            }
            optimizer = make_optimizer(built, trial)
            for step, tokens in enumerate(draw_batches(corpus, [trial], range(STEPS), "cpu")):
                train_step(built, optimizer, trial, step, tokens[0])
            for name, weight in built.model.named_parameters():
                if table3.rules[name].role in ("input", "hidden", "output"):
                    assert weight.grad is not None
                    yield {
                        "role": table3.rules[name].role,
                        "width": width,
                        "LAMB": trust_ratio(weight, adam_step(weight, optimizer)),
                        "adam": mup["adam", name],
                        "LARS": trust_ratio(weight, weight.grad),
                        "sgd": mup["sgd", name],
                    }


def relative(rows: pd.DataFrame) -> pd.DataFrame:
    """Log2 of each multiplier over its value at the narrowest width, by role and width."""
    logs = rows.assign(**{name: np.log2(rows[name]) for name in COLUMNS})
    means = logs.groupby(["role", "width"])[COLUMNS].mean()
    return means - means.groupby("role").transform("first")


def slope(values: pd.Series[float]) -> float:
    """Octaves per doubling of width."""
    return float(np.polyfit(np.log2(values.index.get_level_values("width")), values, 1)[0])


def figure(table: pd.DataFrame) -> Figure:
    with matplotlib.rc_context(THEME):
        drawn = Figure(figsize=(FULL_PAGE, 4.6), layout="constrained")
        for part, (family, pair) in zip(drawn.subfigures(2), PAIRS.items(), strict=True):
            panels = part.subplots(1, 3, sharey=True)
            for axes, role in zip(panels, ("input", "hidden", "output"), strict=True):
                mine = table.loc[[role]]
                sizes = [int(width) for width in mine.index.get_level_values("width")]
                for name, style, colour in zip(pair, ("o-", "s--"), sns.color_palette("colorblind"), strict=False):
                    fitted = f"{slope(mine[name]):+.2f}".replace("-", "−")
                    axes.plot(np.log2(sizes), mine[name], style, color=colour, ms=4, lw=1.4, label=fitted)
                size_axis(axes, sizes)
                axes.set_xlabel("width")
                axes.set_title(f"{family}, {role} matrices")
                axes.legend(loc="lower left", title="octaves a doubling", alignment="left")
            panels[0].set_ylabel("log2 of the multiplier,\nover that at width 32")
            low, high = table[list(pair)].min(axis=None), table[list(pair)].max(axis=None)
            panels[0].set_ylim(low - 0.4 * (high - low), high + 0.3)
            part.legend(panels[0].get_lines(), pair.values(), loc="outside upper left", ncols=2)
    return drawn


def main() -> None:
    torch.set_num_threads(1)
    table = relative(pd.DataFrame(measure()))
    write_whole(FIGURES / "trust_ratios.csv", table.to_csv(float_format="%.4f").encode())
    print(write_whole(FIGURES / "trust_ratios.png", png(figure(table))))
    print(table.groupby("role").agg(slope))


if __name__ == "__main__":
    main()
