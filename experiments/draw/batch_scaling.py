"""`python experiments/draw/batch_scaling.py [RESULT]`: how the best rate grew with the batch, and how it should have.

Takes the arms of experiments/batch_scaling.py for what they are, the points of a few lines along the batch size; prints
a table and saves figures/answer.svg and .png in the result's folder.
"""

from __future__ import annotations

import dataclasses
import json
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from mutransfer import Analysis, analyze, read_result
from mutransfer.files import write_whole
from mutransfer.report.figures import optimal_lr
from mutransfer.report.files import png, svg
from mutransfer.trials.table import Trials

EXPERIMENT: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "batch_scaling.py"))
RULES = {EXPERIMENT["SGD"]: 1.0, EXPERIMENT["FOLLOWING"]: 0.5}
"""Octaves of rate per doubling of the batch that theory says, by line."""
FOLLOWS = ("optimizer.beta1", "optimizer.beta2", "optimizer.eps")
"""Of a trial's setting, what changes along a line."""


def lines(trials: Trials) -> Trials:
    """The trials with their line for an arm. Steps are counted in sequences, of which all have as many; the two lines
    of Adam share their trials at the batch where they are one."""
    kept, following, tuned = EXPERIMENT["KEPT"], EXPERIMENT["FOLLOWING"], EXPERIMENT["TUNED"]
    frame = trials.frame
    settings = [json.loads(text) for text in frame["setting"]]
    along = frame.assign(
        arm=[name.rpartition(", batch ")[0] for name in frame["arm"]],
        steps=frame["steps"] * frame["batch_size"],
        setting=[json.dumps({name: value for name, value in each.items() if name not in FOLLOWS}) for each in settings],
    )
    shared = along[(along["arm"] == following) & (along["batch_size"] == tuned)]
    return dataclasses.replace(trials, frame=pd.concat([along, shared.assign(arm=kept)], ignore_index=True))


def table(analysis: Analysis) -> Iterator[str]:
    yield "| line | log2 lr* at batches 1, 2, 4, 8, 16 | slope | the rule | loss at each |"
    yield "|---|---|---|---|---|"
    for arm in analysis.arms:
        best = ", ".join(f"{each.log2_lr:.2f}" if each.interior else each.status for each in arm.optima)
        losses = ", ".join(f"{each.loss:.3f}" for each in arm.optima)
        slope = arm.transfer_slope
        fitted = f"{slope.estimate:+.2f} [{slope.ci_low:+.2f}, {slope.ci_high:+.2f}]" if slope else "not fitted"
        rule = f"{RULES[arm.arm]:+g}" if arm.arm in RULES else ""
        yield f"| {arm.arm} | {best} | {fitted} | {rule} | {losses} |".replace("-", "−")


def answer(folder: Path) -> Analysis:
    """The lines of a result folder, along the batch size."""
    result = read_result(folder)
    return analyze(lines(result.trials), result.config.tolerance)


if __name__ == "__main__":
    folder = Path(sys.argv[1] if sys.argv[1:] else EXPERIMENT["sweep"]().folder)
    try:
        found = answer(folder)
    except ValueError as error:
        sys.exit(str(error))
    drawn = optimal_lr(found)
    (folder / "figures").mkdir(exist_ok=True)
    for kind, data in (("svg", svg("batch_scaling", drawn)), ("png", png(drawn))):
        print(write_whole(folder / "figures" / f"answer.{kind}", data))
    print("\n".join(table(found)))
