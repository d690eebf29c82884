"""What a sweep would run and cost on this machine; or the ladder of runs that tells most about a run to come."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import tyro

from mutransfer.arguments import parse, read_sweep
from mutransfer.config import DIMENSIONS, validate
from mutransfer.terminal import open_console


@dataclass(frozen=True)
class TargetArguments:
    """Arguments of plan --target."""

    result: tyro.conf.Positional[str] = ""
    """A result folder whose trials are known already; none: a ladder from nothing."""
    target: str = ""
    """The run to come, such as 'width=4096 depth=32 batch_size=1024 steps=100000'."""
    budget: str = "2%"
    """What the ladder may cost, a part of the target run."""
    parametrization: str = "mup"
    """What a ladder from nothing is planned under."""
    arm: str | None = None
    """The arm of the result to follow; None: the first whose verdict is that it transfers, else the last."""
    out: str = ""
    """A file to write, an experiment that runs the ladder: `mutransfer sweep FILE`."""
    json: bool = False
    """Print JSON."""


def plan_target(words: list[str]) -> None:
    """Print the ladder of small runs that tells most about a run to come, its cost, and the interval to expect."""
    from mutransfer.files import write_whole
    from mutransfer.study.ladder import (
        describe_ladder,
        experiment,
        extend_ladder,
        parse_share,
        parse_target,
        plan_ladder,
    )

    arguments = parse("plan", TargetArguments, words, switches=True)
    target, share = parse_target(arguments.target), parse_share(arguments.budget)
    if arguments.result:
        planned = extend_ladder(Path(arguments.result), target, share, arguments.arm)
    else:
        planned = plan_ladder(target, share, arguments.parametrization)
    if arguments.out:
        write_whole(Path(arguments.out), experiment(planned).encode())
    print(json.dumps(planned.plain(), indent=1) if arguments.json else describe_ladder(planned))


def run(words: list[str]) -> None:
    """Print what a sweep would run, and what it costs on this machine."""
    if any(word.split("=")[0] == "--target" for word in words):
        plan_target(words)
        return
    from rich.table import Table

    from mutransfer.data import load_corpus
    from mutransfer.sweep.executors import local_device, local_slots, train_trials
    from mutransfer.sweep.folder import Origin, ResultFolder, extend, read_origin
    from mutransfer.sweep.plan import estimate, time_trials
    from mutransfer.sweep.progress import format_seconds
    from mutransfer.trials import records

    config = read_sweep("plan", words)
    validate(config)
    corpus = load_corpus(config.data)
    corpus.check(config.model.context, config.model.vocab)
    device, slots = local_device(config.device, config.gpus_per_trial), local_slots(config)
    folder = ResultFolder(Path(config.folder))
    stored = read_origin(folder)
    extend(stored, Origin(config, corpus.fingerprint, ""), folder)  # refuses a folder of another sweep
    recorded = records.read(folder.records) if stored is not None and folder.records.exists() else []
    timings = time_trials(config, corpus, device, train_trials)
    planned = estimate(config, timings, slots, recorded)
    table = Table(
        "arm", *(DIMENSIONS[name].word for name in planned.along), "trials", "parameters", "FLOPs", "time, one by one"
    )
    for row in planned.rows:
        seconds = format_seconds(row.seconds) if row.seconds is not None else "not timed"
        sizes = [f"{row.scale[name]:.15g}" for name in planned.along]
        table.add_row(row.arm, *sizes, str(row.trials), f"{row.params:,}", f"{row.flops:.2e}", seconds)
    open_console().print(table)
    total = format_seconds(planned.seconds) if planned.seconds is not None else "not timed"
    trials = f"{planned.trials} trials"
    if planned.most > planned.trials:
        trials = f"about {planned.trials} trials, at most {planned.most}"
    print(f"{trials}, {planned.flops:.2e} FLOPs, about {total} with {slots} at once on {device}")
    if recorded:
        print(f"{len(recorded)} trials are recorded in {folder.path} already")
