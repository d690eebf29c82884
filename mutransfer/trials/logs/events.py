"""TensorBoard's event files, through TensorBoard's own reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mutransfer.trials.logs.rows import Row, Rows

EVENT_FILES = "*tfevents*"


def holds_events(path: Path) -> bool:
    """Whether event files lie in a folder or below it."""
    return path.is_dir() and next(path.rglob(EVENT_FILES), None) is not None


def read_events(path: Path, run: str | None = None) -> Rows:
    """The scalars of one event file, or of those in a folder (those of a restart are joined).

    Args:
        path: the file, the folder, or one with folders of runs below it.
        run: which of these, by its path below `path` or a part of it that no other has.

    Raises ValueError without the `tensorboard` extra, and where it is not clear which run.
    """
    try:
        from tensorboard.backend.event_processing.event_accumulator import (
            STORE_EVERYTHING_SIZE_GUIDANCE,
            EventAccumulator,
        )
    except ImportError:
        raise ValueError(
            f"expected TensorBoard's reader for the files in {path}, got no tensorboard; pip install "
            "'mutransfer[tensorboard]'"
        ) from None
    events = EventAccumulator(str(_folder(path, run)), size_guidance=STORE_EVERYTHING_SIZE_GUIDANCE)
    events.Reload()
    tags = events.Tags()
    found = [(e.wall_time, e.step, tag, float(e.value)) for tag in tags["scalars"] for e in events.Scalars(tag)]
    for tag in tags["tensors"]:
        found += [(at, step, tag, value) for at, step, value in _scalars(events.Tensors(tag))]
    found.sort(key=lambda each: each[0])
    rows = [Row(i, {"step": step, tag: value}) for i, (_, step, tag, value) in enumerate(found, 1)]
    return Rows("TensorBoard's events", rows)


def _folder(path: Path, run: str | None) -> Path:
    """Where the event files of one run lie."""
    if path.is_file() or (run is None and next(path.glob(EVENT_FILES), None) is not None):
        return path
    runs = sorted({file.parent for file in path.rglob(EVENT_FILES)})
    names = [str(each.relative_to(path)) for each in runs]
    found = [each for each, name in zip(runs, names, strict=True) if run is None or run in name]
    exact = [each for each, name in zip(runs, names, strict=True) if run == name]
    chosen = exact or found
    if len(chosen) != 1:
        raise ValueError(
            f"expected one run below {path}, got {len(chosen)} of {', '.join(names[:6])}; choose one with --run NAME"
        )
    return chosen[0]


def _scalars(events: list[Any]) -> list[tuple[float, int, float]]:
    """Times, steps and values of tensors that are single numbers, as newer writers keep scalars; none of others."""
    from tensorboard.util.tensor_util import make_ndarray

    arrays = [(event.wall_time, event.step, make_ndarray(event.tensor_proto)) for event in events]
    if any(array.size != 1 or array.dtype.kind not in "fiu" for _, _, array in arrays):
        return []
    return [(at, step, float(array.item())) for at, step, array in arrays]
