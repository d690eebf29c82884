"""What was measured: one JSON object a line, appended and fsynced, read into a DataFrame. pandas, no torch.

`records.jsonl` is the truth; everything else in a result folder is computed from it. A missing number is null, never
zero and never NaN.
"""

from __future__ import annotations

import json
import math
import os
import warnings
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mutransfer.config import SCHEMA

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Record:
    """One finished trial. Losses are nats per token; wall_s seconds; started an ISO 8601 UTC time."""

    trial_id: str
    experiment: str
    arm: str
    parametrization: str
    width: int
    base_width: int
    depth: int
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
    schema: int = field(default=SCHEMA)


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

    Raises FileNotFoundError where there is no file, and ValueError, with the line's number, on a corrupt line before
    the last, on a record of another schema, and on two records of one trial.
    """
    records: list[Record] = []
    seen: dict[str, int] = {}
    lines = path.read_bytes().split(b"\n")
    tail = lines.pop()
    if tail:
        warnings.warn(f"{path}: dropped a torn last line ({len(tail)} bytes); its trial will run again", stacklevel=2)
    for number, line in enumerate(lines, 1):
        record = _parse(line, path, number)
        if record.trial_id in seen:
            raise ValueError(
                f"{path}, line {number}: found trial {record.trial_id} again (first in line {seen[record.trial_id]}); "
                "wanted each trial once: remove one of the lines"
            )
        seen[record.trial_id] = number
        records.append(record)
    return records


def drop_torn_tail(path: Path) -> None:
    """Cut a torn last line off the file, so that the next append starts a line of its own."""
    if not path.exists():
        return
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole != len(data):
        with path.open("r+b") as file:
            file.truncate(whole)
            os.fsync(file.fileno())


def to_frame(records: list[Record]) -> pd.DataFrame:
    """Records as a DataFrame, a row each, with `log2_lr` beside `lr`; `config` and `versions` are left out."""
    import pandas as pd  # here, so that `status` need not wait for it

    names = [f.name for f in fields(Record) if f.name not in ("config", "versions")]
    frame = pd.DataFrame([{name: getattr(record, name) for name in names} for record in records], columns=names)
    for name in ("init_loss", "final_loss", "val_loss", "mean_loss", "lr"):
        frame[name] = frame[name].astype("float64")
    frame["log2_lr"] = [math.log2(lr) for lr in frame["lr"]]
    return frame


def _parse(line: bytes, path: Path, number: int) -> Record:
    try:
        data = json.loads(line)
        record = Record(**data)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path}, line {number}: found a corrupt record ({error}); wanted one JSON object of schema {SCHEMA}: "
            "restore the line, or remove it and its trial will run again"
        ) from None
    if record.schema != SCHEMA:
        raise ValueError(
            f"{path}, line {number}: found schema {record.schema}; wanted {SCHEMA}: use the version that wrote it"
        )
    return record
