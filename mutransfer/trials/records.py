"""What was measured: one JSON object a line, appended and fsynced, read into a table of trials. pandas, no torch.

`records.jsonl` is the truth; everything else in a result folder is computed from it. A missing number is null, never
zero and never NaN.
"""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mutransfer.config import LOSSES, SCHEMA, Range, Scale, flat_trial
from mutransfer.config.model import WIDEST
from mutransfer.config.scale import DIMENSIONS
from mutransfer.config.searches import SEARCHES
from mutransfer.strict import parse_json, read_file, structure

if TYPE_CHECKING:
    from mutransfer.trials.table import Trials

T = TypeVar("T")

VARYING = {name: dimension.field for name, dimension in DIMENSIONS.items() if dimension.field}
"""What a sweep may vary within an arm beside learning rate and seed: by dimension, the dotted field of a record's
config."""


@dataclass(frozen=True)
class Record:
    """One finished trial. Losses are nats per token (of squared_error: its own units); wall_s seconds; started an ISO
    8601 UTC time. `attention_logit` is the largest attention logit in absolute value and `output_log_z` the mean log of
    the softmax's sum, of the trained model on held-out batches (the former on the first); None where it diverged or
    has no such thing. Of a trial that was dropped early, at `pruned_step`, losses, tokens and flops are those up to
    there. `execution` is the kind of step it was trained by; None in a record of an earlier version, which knew eager
    ones alone."""

    trial_id: str
    experiment: str
    arm: str
    parametrization: str
    width: int
    base_width: int
    depth: int
    base_depth: int
    optimizer: str
    lr: float
    seed: int
    weight_decay: float
    schedule: str
    warmup: int
    batch_size: int
    context: int
    steps: int
    tokens: int
    n_params: int
    flops: float
    init_loss: float
    final_loss: float | None
    val_loss: float | None
    mean_loss: float | None
    attention_logit: float | None
    output_log_z: float | None
    diverged: bool
    diverged_step: int | None
    wall_s: float
    device: str
    dtype: str
    cohort_size: int
    search: str
    round: int
    data: str
    data_fingerprint: str
    versions: dict[str, str]
    started: str
    config: dict[str, Any]
    schema: int
    pruned_step: int | None = None
    execution: str | None = None

    @property
    def scale(self) -> Scale:
        """Its whole scale: along all dimensions that our sweeps vary."""
        return Scale(self.width, self.depth, self.batch_size, self.steps)


def append(path: Path, record: Record) -> None:
    """Append one line and fsync it. A write that fails (a full disk) is taken back whole, and its OSError raised."""
    line = json.dumps(asdict(record), allow_nan=False, sort_keys=True).encode() + b"\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        try:
            written = 0
            while written < len(line):
                written += os.write(descriptor, line[written:])
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)


def read(path: Path) -> list[Record]:
    """All whole records of a file, in the order they were appended; a torn last line is left out with a warning.

    Raises FileNotFoundError where there is no file, and ValueError, with the line's number, on a corrupt whole line, on
    a record of another schema, and on two records of one trial.
    """
    seen: dict[str, int] = {}
    records, tail = read_lines(path, Record)
    if tail:
        warnings.warn(f"{path}: dropped a torn last line ({len(tail)} bytes); its trial will run again", stacklevel=2)
    for number, record in enumerate(records, 1):
        if record.schema != SCHEMA:
            raise ValueError(
                f"{path}, line {number}: expected schema {SCHEMA}, got {record.schema}; use the version that wrote it"
            )
        if not (record.lr > 0 and 0 < record.width <= WIDEST):
            raise ValueError(
                f"{path}, line {number}: expected a learning rate above 0 and a width from 1 to {WIDEST}, got lr "
                f"{record.lr:g} and width {record.width}; restore the line, or remove it and its trial runs again"
            )
        if record.trial_id in seen:
            raise ValueError(
                f"{path}, line {number}: expected each trial once, got trial {record.trial_id} again (first in line "
                f"{seen[record.trial_id]}); remove one of the lines"
            )
        seen[record.trial_id] = number
    return records


def read_lines(path: Path, kind: type[T]) -> tuple[list[T], bytes]:
    """The whole lines of a file, each a dataclass as JSON, and the bytes of a torn last line.

    A field with a default may be missing: an earlier version did not have it.

    Raises FileNotFoundError where there is no file, and ValueError, with the line's number, on a line that lacks any
    other field of `kind`, has one more, or holds a value of another type than its annotation.
    """
    *lines, tail = read_file(path).split(b"\n")
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(structure(parse_json(line), kind))
        except ValueError as error:
            raise ValueError(
                f"{path}, line {number}: expected a whole {kind.__name__.lower()}, got a damaged one ({error}); "
                "restore the line, or remove it and its trial runs again"
            ) from None
    return found, tail


def drop_torn_tail(path: Path) -> None:
    """Cut a torn last line off the file, so that the next append starts a line of its own."""
    if not path.exists():
        return
    data = read_file(path)
    whole = data.rfind(b"\n") + 1
    if whole != len(data):
        with path.open("r+b") as file:
            file.truncate(whole)
            os.fsync(file.fileno())


def to_trials(records: Sequence[Record], loss: str = "final_loss", along: Sequence[str] = ()) -> Trials:
    """Records as a table of trials: one row each.

    Beside the table's own columns it has every number and text of a record. `setting` is a record's config as JSON text
    of dotted fields, without learning rate, seed and the dimensions of the scale, which are columns, and with the
    fingerprint of its data.

    Args:
        records: of one experiment, on the same data.
        loss: the column that becomes `loss`.
        along: the dimensions that the sweep is about.

    Raises ValueError where there are no records, or where they mix experiments or data.
    """
    import pandas as pd  # here, so that `status` need not wait for it

    from mutransfer.trials.table import ADAPTIVE, DRAWN, GIVEN, Trials

    if not records:
        raise ValueError("expected at least one finished trial, got none; run the sweep first")
    for name in ("experiment", "data_fingerprint"):
        values = sorted({str(getattr(record, name)) for record in records})
        if len(values) != 1:
            raise ValueError(
                f"expected one {name} in all trials, got {len(values)} ({', '.join(values)}); analyze them apart"
            )
    names = [each.name for each in fields(Record) if each.name not in ("config", "versions")]
    frame = pd.DataFrame({name: [getattr(record, name) for record in records] for name in names})
    frame = frame.rename(columns={"tokens": "tokens_seen"})  # a number that follows from batch size and steps
    for name in ("init_loss", "final_loss", "val_loss", "mean_loss", "lr"):
        frame[name] = frame[name].astype("float64")
    frame["log2_lr"] = [math.log2(lr) for lr in frame["lr"]]
    settings = [flat_trial(record.config) for record in records]
    frame["placement"] = GIVEN
    for name, kind in SEARCHES.items():
        if kind.drawn or kind.adaptive:
            frame.loc[frame["search"] == name, "placement"] = ADAPTIVE if kind.adaptive else DRAWN
    frame["unit"] = [LOSSES[setting["loss"]] for setting in settings]
    frame["setting"] = [
        json.dumps(
            {name: value for name, value in sorted(setting.items()) if name not in ("lr", "seed", *VARYING.values())}
            | {"data_fingerprint": record.data_fingerprint}
        )
        for setting, record in zip(settings, records, strict=True)
    ]
    return Trials(frame, records[0].experiment, along=tuple(along)).measured_by(loss)


def values_of(record: Record, space: Sequence[Range]) -> tuple[float, ...]:
    """What a trial was trained with, of the hyperparameters of a space."""
    if not space:
        return ()
    flat = flat_trial(record.config)
    return tuple(each.value_in(flat) for each in space)


def trained_part(record: Record) -> float:
    """The part of its steps that a trial was trained for; one that diverged counts as whole."""
    return 1.0 if record.pruned_step is None else record.pruned_step / record.steps
