"""`python experiments/draw/schedules.py [FILE]`: every schedule's factor of the peak rate over a run of 200 steps; the
momentum that goes with one_cycle, the loss that plateau goes by, and the batch that grows in place of a decay.

Saves docs/figures/schedules.png unless a file is given.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from mutransfer import Arm, OptimizerConfig, ScheduleConfig, SweepConfig, TrialConfig
from mutransfer.config import Scale
from mutransfer.files import write_whole
from mutransfer.optim import growth_at, momentum_fall, schedule_factor
from mutransfer.report.files import png
from mutransfer.report.style import FULL_PAGE, THEME

STEPS = 200
FILE = Path(__file__).parents[2] / "docs" / "figures" / "schedules.png"

PANELS: Mapping[str, Mapping[str, ScheduleConfig]] = {
    "constant": {"": ScheduleConfig("constant")},
    "linear": {"floor 0": ScheduleConfig("linear"), "floor 0.1": ScheduleConfig("linear", floor=0.1)},
    "cosine": {"floor 0": ScheduleConfig("cosine", floor=0.0), "floor 0.1": ScheduleConfig("cosine")},
    "polynomial": {
        "power 2": ScheduleConfig("polynomial"),
        "power 0.5": ScheduleConfig("polynomial", power=0.5),
    },
    "exponential": {
        "floor 0.01": ScheduleConfig("exponential", floor=0.01),
        "floor 0.1": ScheduleConfig("exponential", floor=0.1),
    },
    "step": {
        "gamma 0.1": ScheduleConfig("step"),
        "0.316": ScheduleConfig("step", gamma=0.316),
        "0.5, 3 drops": ScheduleConfig("step", gamma=0.5, drops=3, decay_fraction=0.75),
    },
    "wsd": {
        "linear": ScheduleConfig("wsd"),
        "cosine": ScheduleConfig("wsd", cooldown="cosine"),
        "sqrt": ScheduleConfig("wsd", cooldown="sqrt"),
        "exponential": ScheduleConfig("wsd", cooldown="exponential", floor=0.01),
    },
    "inverse_sqrt": {
        "after warmup": ScheduleConfig("inverse_sqrt"),
        "knee 0.4": ScheduleConfig("inverse_sqrt", warmup=0.0, knee=0.4),
    },
    "power": {"knee 0.2": ScheduleConfig("power", knee=0.2)},
    "cosine_restarts": {
        "4 cycles": ScheduleConfig("cosine_restarts"),
        "3, twice as long": ScheduleConfig("cosine_restarts", cycles=3, cycle_mult=2.0),
    },
    "triangular, triangular2": {
        "triangular": ScheduleConfig("triangular", warmup=0.0),
        "triangular2": ScheduleConfig("triangular2", warmup=0.0),
    },
    "one_cycle": {"rate": ScheduleConfig("one_cycle", warmup=0.3, momentum_dip=0.1)},
    "plateau": {"rate": ScheduleConfig("plateau", gamma=0.5, window=10, patience=2)},
    "batch growth": {"decay": ScheduleConfig("step", gamma=0.5, decay_fraction=0.6, drops=4)},
}
"""Each panel's schedules by their labels."""

LOSSES = 0.25 + np.maximum.reduce(
    [np.exp(-np.arange(STEPS) / 18), 0.5 * np.exp(-np.maximum(np.arange(STEPS) - 90, 0) / 9)]
)
"""A loss that stops falling twice."""
BATCH, LARGEST = 16, 128


def curves(title: str) -> dict[str, list[float]]:
    """What a panel shows by its labels, step by step."""
    found = {}
    for label, config in PANELS[title].items():
        config.validate()
        found[label] = [schedule_factor(config, step, STEPS, LOSSES) for step in range(STEPS)]
        if title == "one_cycle":
            found["momentum"] = [0.95 - momentum_fall(config, step, STEPS) for step in range(STEPS)]
        if title == "plateau":
            found["loss"] = LOSSES.tolist()
        if title == "batch growth":
            grown = [growth_at(growing(config), step) for step in range(STEPS)]
            found["rate"] = [each.factor for each in grown]
            found[f"{BATCH} / batch"] = [BATCH / each.batch_size for each in grown]
    return found


def growing(schedule: ScheduleConfig) -> TrialConfig:
    """A run under SGD whose batch grows in place of the schedule's decay."""
    sweep = SweepConfig(steps=STEPS, batch_size=BATCH, optimizer=OptimizerConfig("sgd"), schedule=schedule)
    return dataclasses.replace(sweep.trial(Arm("mup", "mup"), Scale(64), 1.0, 0), largest_batch=LARGEST)


def figure() -> Figure:
    """All schedules, a panel each."""
    with matplotlib.rc_context(THEME):
        drawn = Figure(figsize=(FULL_PAGE, 8.0), layout="constrained")
        panels = drawn.subplots(5, 3, sharex=True, sharey=True)
        for axes in panels.flatten()[len(PANELS) :]:
            axes.set_axis_off()
        for axes, title in zip(panels.flatten(), PANELS, strict=False):
            shown = curves(title)
            for (label, factors), colour in zip(shown.items(), sns.color_palette("colorblind"), strict=False):
                steps = "steps-post" if title in ("step", "batch growth") else "default"
                axes.plot(range(STEPS), factors, label=label, color=colour, lw=1.4, drawstyle=steps)
            axes.set_title(title)
            if any(shown):
                axes.legend(loc="upper left", ncols=2, handlelength=1.2, borderaxespad=0.1)
        for axes in panels.flatten()[len(PANELS) - 3 : len(PANELS)]:
            axes.set_xlabel("step of 200")
            axes.tick_params(labelbottom=True)
        for axes in panels[:, 0]:
            axes.set_ylabel("factor of the peak")
            axes.set_ylim(-0.03, 1.5)
            axes.set_yticks([0.0, 0.25, 0.5, 0.75, 1.0])
            axes.set_xlim(0, STEPS)
    return drawn


if __name__ == "__main__":
    target = Path(sys.argv[1]) if sys.argv[1:] else FILE
    target.parent.mkdir(parents=True, exist_ok=True)
    print(write_whole(target, png(figure())))
