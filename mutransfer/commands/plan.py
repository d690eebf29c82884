"""What a sweep would run, and what it costs on this machine."""

from __future__ import annotations

from pathlib import Path

from mutransfer.arguments import read_sweep
from mutransfer.config import DIMENSIONS, validate
from mutransfer.terminal import open_console


def run(words: list[str]) -> None:
    """Print what a sweep would run, and what it costs on this machine."""
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
