"""`python experiments/draw/warmup_sharpness.py`: what a warmup does about the sharpness that Adam feels.

It is high at first and falls within some ten updates, while a warmup lets the edge of stability, 38 / lr, come down
from above (Cohen et al. 2207.14484; Gilmer et al. 2110.04369; Kalra and Barkeshli 2406.09405). A small transformer is
trained on fresh batches at a rate that is constant after the warmup; sharpness is that of its first batch, loss that of
the batch trained on, each the geometric mean over three seeds. Draws docs/figures/warmup_sharpness.png and writes what
it drew into a .csv beside it. About two minutes on one core.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from mutransfer import Arm, ModelConfig, OptimizerConfig, ScheduleConfig, SweepConfig, load_corpus
from mutransfer.config import Scale
from mutransfer.files import write_whole
from mutransfer.report.files import png
from mutransfer.toolbox.sharpness.figure import sharpness
from mutransfer.toolbox.sharpness.measure import follow_trial

FIGURES = Path(__file__).parent.parent.parent / "docs" / "figures"
WARMUPS = (0, 10, 40)
"""In steps."""
LOG2_LRS = (-7, -5)
SEEDS = 3
EVERY = 2
SWEEP = SweepConfig(
    widths=(32,),
    base_width=32,
    steps=80,
    model=ModelConfig(context=32, zero_readout=False, output_mult=1.0),
    optimizer=OptimizerConfig("adam", beta2=0.999),
)


def main() -> None:
    torch.set_num_threads(1)
    corpus = load_corpus(SWEEP.data)
    rows = []
    for log2_lr in LOG2_LRS:
        for warmup in WARMUPS:
            sweep = dataclasses.replace(SWEEP, schedule=ScheduleConfig("constant", warmup=float(warmup)))
            for seed in range(SEEDS):
                trial = sweep.trial(Arm("sp", "sp"), Scale(32), 2.0**log2_lr, seed)
                rows += [
                    {
                        "panel": f"lr 2^{log2_lr}",
                        "run": f"{warmup} steps",
                        "step": look.step,
                        "loss": look.loss,
                        "preconditioned": look.sharpness.preconditioned,
                        "edge": look.sharpness.edge,
                    }
                    for look in follow_trial(trial, corpus, "cpu", EVERY, fresh=True)
                ]
    logs = pd.DataFrame(rows).set_index(["panel", "run", "step"]).map(np.log)
    frame = np.exp(logs.groupby(level=[0, 1, 2], sort=False).mean()).reset_index()
    FIGURES.mkdir(parents=True, exist_ok=True)
    write_whole(FIGURES / "warmup_sharpness.csv", frame.to_csv(index=False, float_format="%.6g").encode())
    print(write_whole(FIGURES / "warmup_sharpness.png", png(sharpness(frame, title="warmup"))))


if __name__ == "__main__":
    main()
