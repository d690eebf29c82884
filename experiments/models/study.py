"""A width study of a training loop that is not ours: its trials as CSV, what they say as JSON, and a figure."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from mutransfer import SweepConfig, analyze
from mutransfer.analysis import Analysis, to_summary
from mutransfer.files import write_whole
from mutransfer.report.figures import loss_curves
from mutransfer.report.files import png
from mutransfer.training.divergence import find_divergence
from mutransfer.trials.table import Trials, from_frame

COLUMNS = [
    "arm",
    "parametrization",
    "width",
    "lr",
    "seed",
    "n_params",
    "init_loss",
    "final_loss",
    "mean_loss",
    "diverged",
    "diverged_step",
]
"""Of the CSV."""
LAST = 0.1
"""Part of the steps whose mean loss is final_loss."""


class Trial(NamedTuple):
    """What a training loop is told."""

    parametrization: str
    width: int
    lr: float
    seed: int


class Trained(NamedTuple):
    """What it tells: the loss of each step until it ends or is not finite, and the model's size."""

    losses: Sequence[float]
    n_params: int


@dataclass(frozen=True)
class Study:
    """What is trained; `arms` are parametrizations by the name of the arm, `unit` is what a loss is measured in."""

    name: str
    arms: Mapping[str, str]
    widths: tuple[int, ...]
    lrs: tuple[float, ...]
    seeds: int
    base_width: int
    batch_size: int
    steps: int
    warmup: int
    unit: str

    def run(self, train: Callable[[Trial], Trained], folder: Path) -> Analysis:
        """Train it all; write trials.csv, summary.json and loss_curves.png."""
        torch.set_num_threads(1)
        rows = []
        for (arm, parametrization), width, lr, seed in itertools.product(
            self.arms.items(), self.widths, self.lrs, range(self.seeds)
        ):
            losses, n_params = train(Trial(parametrization, width, lr, seed))
            curve = np.asarray(losses, dtype=np.float64)
            diverged = find_divergence(curve, self.warmup, self.steps)
            lost = diverged is not None
            final, mean = (
                math.nan if lost else float(part.mean()) for part in (curve[-round(LAST * self.steps) :], curve)
            )
            rows.append((arm, parametrization, width, lr, seed, n_params, curve[0], final, mean, lost, diverged))
            print(f"{arm:4} width {width:4} lr 2^{math.log2(lr):<5g} seed {seed}  {final:.4f}", flush=True)
        trials = pd.DataFrame(rows, columns=COLUMNS)
        analysis = self.analyze(trials)
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "trials.csv", trials.to_csv(index=False).encode())
        write_whole(folder / "summary.json", json.dumps(to_summary(analysis), indent=1).encode() + b"\n")
        figure = loss_curves(analysis, self.table(trials))
        for axes in figure.axes:
            axes.set_ylabel(f"final loss ({self.unit})" if axes.get_ylabel() else "")
        write_whole(folder / "loss_curves.png", png(figure))
        for result in analysis.arms:
            print(result.sentence)
        return analysis

    def analyze(self, trials: pd.DataFrame) -> Analysis:
        """The analysis of rows of the CSV."""
        return analyze(self.table(trials), SweepConfig.tolerance)

    def table(self, trials: pd.DataFrame) -> Trials:
        """Rows of the CSV as a table of trials, by their final loss."""
        flops = 6.0 * self.steps * self.batch_size * trials["n_params"]
        common = {"unit": self.unit, "steps": self.steps, "batch_size": self.batch_size}
        return from_frame(trials.assign(loss=trials["final_loss"], flops=flops, **common), self.name)
