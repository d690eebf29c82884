"""The sharpness of a run, and how near it is to the edge of stability."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from mutransfer.arguments import parse
from mutransfer.checks import positive
from mutransfer.toolbox.trial_arguments import TrialArguments, write_looks


@dataclass(frozen=True)
class SharpnessArguments(TrialArguments):
    """Arguments of sharpness."""

    every: int = 5
    """Look after every so many steps; a look takes the time of some 50 steps."""
    fresh: bool = False
    """Train on a fresh batch each step, as a sweep does; else on the first one alone, the full batch of the theory."""
    out: str = "results/sharpness"
    """The folder to write sharpness.jsonl and the figure to."""


def run(words: list[str]) -> None:
    """Train, look at the sharpness of the first batch meanwhile, and print it beside the edge of stability."""
    import pandas as pd
    from rich.table import Table

    from mutransfer.config import LOSSES
    from mutransfer.data import load_corpus
    from mutransfer.sweep.executors import local_device
    from mutransfer.terminal import open_console
    from mutransfer.toolbox.sharpness.figure import sharpness
    from mutransfer.toolbox.sharpness.measure import follow_trial
    from mutransfer.training.trainer import one_thread

    arguments = parse("sharpness", SharpnessArguments, words)
    trial = arguments.trial()
    positive("every", arguments.every)
    if arguments.every > trial.steps:
        raise ValueError(f"found every {arguments.every} in a run of {trial.steps} steps; wanted a look: lower --every")
    corpus = load_corpus(arguments.data)
    corpus.check(trial.model.context, trial.model.vocab)
    device = local_device(arguments.device, 1.0)
    with one_thread(device):
        looks = list(follow_trial(trial, corpus, device, arguments.every, arguments.fresh))
    if not looks:
        raise ValueError(
            f"found a rate of 0 wherever --every {arguments.every} looks; wanted one above 0: lower --every"
        )
    rows = [{"step": look.step, "loss": look.loss, **asdict(look.sharpness)} for look in looks]
    table = Table("step", "loss", "sharpness", "preconditioned", "edge of stability", "of the edge")
    for look in looks[:: max(1, len(looks) // 20)]:
        seen = look.sharpness
        table.add_row(
            str(look.step),
            f"{look.loss:.4f}",
            f"{seen.hessian:.4g}",
            f"{seen.preconditioned:.4g}",
            f"{seen.edge:.4g}",
            f"{seen.preconditioned / seen.edge:.2f}",
        )
    open_console().print(table)
    frame = pd.DataFrame(rows).assign(panel=f"{arguments.parametrization}, width {arguments.width}", run="sharpness")
    print(write_looks(Path(arguments.out), "sharpness", trial, rows, sharpness(frame, loss_unit=LOSSES[trial.loss])))
