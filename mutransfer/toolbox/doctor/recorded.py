"""The trials of a result folder, from its records and curves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mutransfer.config import Scale, ScheduleConfig
from mutransfer.sweep.folder import ResultFolder, read_origin
from mutransfer.toolbox.doctor import Curve, Run, Setup
from mutransfer.trials import records
from mutransfer.trials.records import Record


@dataclass(frozen=True)
class RecordedTrial:
    """A record, its scale along what the sweep is about, and its run; None where its curve is missing."""

    record: Record
    scale: Scale
    run: Run | None


def read_trials(path: Path) -> list[RecordedTrial]:
    """The trials of a folder, in the order of their records.

    Raises:
        ValueError: where there is no sweep or no finished trial, or a file is corrupt.
    """
    folder = ResultFolder(path)
    origin = read_origin(folder)
    recorded = records.read(folder.records) if folder.records.exists() else []
    if origin is None or not recorded:
        raise ValueError(f"found no finished trial in {path}; wanted a folder that a sweep wrote")
    along = origin.config.dimensions
    return [
        RecordedTrial(record, scale, _run(folder, record, scale))
        for record in recorded
        for scale in [record.scale.only(along)]
    ]


def _run(folder: ResultFolder, record: Record, scale: Scale) -> Run | None:
    from mutransfer.optim import schedule_factor

    file = folder.curve(record.trial_id)
    if not file.exists():
        return None
    try:
        losses = np.load(file, allow_pickle=False).astype(np.float64)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(
            f"found a {file} that cannot be read ({error}); wanted the losses of a trial: remove it"
        ) from None
    if losses.ndim != 1 or not len(losses):
        raise ValueError(f"found shape {losses.shape} in {file}; wanted a loss for each step: remove it")
    steps, schedule = np.arange(len(losses)), ScheduleConfig(**record.config["schedule"])
    rates = np.array([record.lr * schedule_factor(schedule, step, record.steps, losses) for step in range(len(losses))])
    held_out = [] if record.val_loss is None else [record.val_loss]
    return Run(
        f"{record.arm}, {scale.describe()}, lr {record.lr:.4g}, seed {record.seed} ({record.trial_id})",
        Curve(steps, losses),
        val_loss=Curve(np.full(len(held_out), record.steps - 1), np.array(held_out, np.float64)),
        lr=Curve(steps, rates),
        setup=Setup(warmup=record.warmup, weight_decay=record.weight_decay),
        diverged_step=record.diverged_step,
    )
