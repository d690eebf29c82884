"""What `mutransfer.Watch` wrote as lines of JSON."""

from __future__ import annotations

import math
from pathlib import Path

from mutransfer.toolbox.watch.observed import read_observations, total
from mutransfer.trials.logs.log import Log
from mutransfer.trials.logs.names import LAYERED
from mutransfer.trials.logs.rows import Row, Rows, put_together


def is_watched(path: Path) -> bool:
    """Whether a file holds observations of ours."""
    if path.suffix != ".jsonl" or not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        first = file.readline()
    return '"spike_score"' in first and '"losses"' in first


def read_watched(path: Path) -> Log:
    """A run from the observations in a file. Raises ValueError on a corrupt line, and where no loss was told."""
    rows: list[Row] = []
    for at, seen in enumerate(read_observations(path), 1):
        rows += [Row(at, {"step": step, "loss": math.nan if loss is None else loss}) for step, loss in seen.losses]
        norms = {name: total(getattr(seen, name)) for name in ("grad_norm", "clipped_grad_norm")}
        layers = {f"{head}:{name}": value for head in LAYERED for name, value in getattr(seen, head).items()}
        rows.append(Row(at, {"step": seen.step, **norms, **layers}))
    return put_together(path, Rows("what mutransfer.Watch wrote", rows))
