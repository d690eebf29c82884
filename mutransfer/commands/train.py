"""One training run, which a kill does not undo and which may be made longer afterwards."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mutransfer.arguments import parse
from mutransfer.checks import positive
from mutransfer.config.execution import validate_execution
from mutransfer.toolbox.trial_arguments import TrialArguments

if TYPE_CHECKING:
    from mutransfer.config import TrialConfig
    from mutransfer.toolbox.watch.watch import Watch
    from mutransfer.training import TrialResult
    from mutransfer.training.cohort import Cohort


@dataclass(frozen=True)
class TrainArguments(TrialArguments):
    """Arguments of train."""

    largest_batch: int | None = None
    """Grow the batch up to this many sequences in place of the schedule's decay; None: it stays."""
    checkpoint: str | None = None
    """The file to keep the run in, and to go on from where it is there; None: nothing is kept."""
    every: int = 100
    """Steps between checkpoints."""
    optimizer_state: bool = True
    """Keep the optimizer's state too; without it the rate warms up again where the run goes on."""
    execution: str = "auto"
    """eager, graph (CUDA graphs, on cuda alone), compiled (torch.compile), or auto: on cuda what a measurement there
    finds fastest over the whole run, on the cpu eager."""
    watch: int | None = None
    """Look at updates, gradients, activations and attention logits every so many steps, such as 20, into watch.jsonl
    and the heat map watch.png; None: nothing is looked at."""
    tensorboard: str | None = None
    """Write what is watched to TensorBoard in this folder too, while it trains (extra `tensorboard`)."""
    out: str = "results/train"
    """The folder to write trial.json and the training losses, curve.npy, to."""

    def trial(self) -> TrialConfig:
        """The run. Raises ValueError on what cannot be run."""
        trial = dataclasses.replace(super().trial(), largest_batch=self.largest_batch)
        trial.validate_growth()
        validate_execution(self.execution, self.device, None)
        return trial


def run(words: list[str]) -> None:
    """Train, print the loss on the way, and write the curve."""
    import io
    import json

    import numpy as np

    from mutransfer.config import to_json
    from mutransfer.data import load_corpus
    from mutransfer.files import write_whole
    from mutransfer.sweep.executors import local_device
    from mutransfer.training import Checkpoint, find_execution, train_trial

    arguments = parse("train", TrainArguments, words)
    trial = arguments.trial()
    if arguments.watch is not None:
        positive("watch", arguments.watch)
        if arguments.execution not in ("auto", "eager"):
            raise ValueError(
                f"found --watch with --execution {arguments.execution}; wanted eager steps, which can be looked into: "
                "leave one of them out"
            )
    elif arguments.tensorboard is not None:
        raise ValueError("found --tensorboard without --watch; wanted steps to look at: give --watch 20")
    corpus = load_corpus(arguments.data)
    corpus.check(trial.model.context, trial.model.vocab)
    checkpoint = None
    if arguments.checkpoint is not None:
        checkpoint = Checkpoint(Path(arguments.checkpoint), arguments.every, arguments.optimizer_state)
    folder, curve = Path(arguments.out), io.BytesIO()
    lines = _Lines(trial, arguments, folder / "watch.jsonl")
    device, mode = local_device(arguments.device, 1.0), arguments.execution
    if mode == "auto":
        mode = "eager" if lines.watches else find_execution(trial, corpus, device, most=1).mode
    result = train_trial(trial, corpus, device, checkpoint, lines, mode)
    print(_outcome(result, trial))
    if lines.watch is not None:
        lines.watch.close()
        _draw(folder)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(curve, result.train_losses)
    write_whole(folder / "trial.json", json.dumps(to_json(trial), indent=1).encode() + b"\n")
    print(write_whole(folder / "curve.npy", curve.getvalue()))


class _Lines:
    """Prints a line at every look at the run, with the mean loss since the one before, and has it watched."""

    def __init__(self, trial: TrialConfig, arguments: TrainArguments, watched: Path) -> None:
        self.trial = trial
        self.arguments = arguments
        self.watched = watched
        self.told: int | None = None
        self.watch: Watch | None = None

    @property
    def watches(self) -> bool:
        return self.arguments.watch is not None

    def __call__(self, cohort: Cohort) -> None:
        from mutransfer.training.batches import batch_at

        told, self.told = self.told, cohort.step
        if told is None and self.arguments.watch is not None and cohort.slices:
            self._watch(cohort, self.arguments.watch)
        if told is None and cohort.step > 0:
            print(f"going on from step {cohort.step}", flush=True)
        if told is not None and cohort.slices:
            loss = cohort.slices[0].curve.losses[told:].mean()
            grown = "" if self.trial.largest_batch is None else f", batch {batch_at(self.trial, cohort.step - 1)}"
            print(f"step {cohort.step} of {self.trial.steps}: loss {loss:.4f}{grown}", flush=True)

    def _watch(self, cohort: Cohort, every: int) -> None:
        from mutransfer.toolbox.watch.sinks import json_lines, tensorboard
        from mutransfer.toolbox.watch.watch import Watch

        self.watched.parent.mkdir(parents=True, exist_ok=True)
        sinks = [json_lines(self.watched)]
        if self.arguments.tensorboard is not None:
            sinks.append(tensorboard(self.arguments.tensorboard))
        if cohort.step == 0:  # else what was seen before is still of this run
            self.watched.unlink(missing_ok=True)
        (only,) = cohort.slices
        self.watch = Watch(only.built.model, only.optimizer, every, sinks)
        cohort.around = self.watch.step


def _draw(folder: Path) -> None:
    """The heat map of a watched run, and how many parameters have update ratios out of bounds at its end."""
    from collections import Counter

    from mutransfer.report.picture import write_figure
    from mutransfer.toolbox.watch.figure import watched_run
    from mutransfer.toolbox.watch.observed import LARGE, SMALL, read_observations

    seen = read_observations(folder / "watch.jsonl")
    last = next(each for each in reversed(seen) if each.update_norm)
    if last.flagged:
        counts = ", ".join(f"{count} {flag}" for flag, count in Counter(last.flagged.values()).items())
        print(f"update ratios outside {SMALL:g} to {LARGE:g} at step {last.step}: {counts}")
    write_figure(watched_run(seen), folder / "watch.png")


def _outcome(result: TrialResult, trial: TrialConfig) -> str:
    from mutransfer.config import LOSSES

    if result.diverged:
        return f"diverged at step {result.diverged_step}"
    last = "not finite" if result.val_loss is None else f"{result.val_loss:.4f}"
    return f"final_loss {result.final_loss:.4f}, val_loss {last} ({LOSSES[trial.loss]} per token)"
