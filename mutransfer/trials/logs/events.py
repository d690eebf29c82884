"""TensorBoard folders, through TensorBoard's own reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mutransfer.trials.logs.columns import assign, put_together
from mutransfer.trials.logs.log import Log

EVENT_FILES = "*tfevents*"


def holds_events(path: Path) -> bool:
    """Whether event files lie in a folder or below it."""
    return path.is_dir() and next(path.rglob(EVENT_FILES), None) is not None


def read_events(path: Path) -> Log:
    """A run from the scalars of the event files in one folder (those of a restart are joined).

    Raises:
        ValueError: without the `tensorboard` extra, where the folder holds runs rather than one, and where a loss is
            missing.
    """
    try:
        from tensorboard.backend.event_processing.event_accumulator import (
            STORE_EVERYTHING_SIZE_GUIDANCE,
            EventAccumulator,
        )
    except ImportError:
        raise ValueError(
            f"found TensorBoard's files in {path} and no tensorboard; wanted its reader: pip install "
            "'mutransfer[tensorboard]'"
        ) from None
    if next(path.glob(EVENT_FILES), None) is None:
        runs = sorted({str(file.parent) for file in path.rglob(EVENT_FILES)})
        raise ValueError(f"found {len(runs)} runs below {path}; wanted one: give {' or '.join(runs[:4])}")
    events = EventAccumulator(str(path), size_guidance=STORE_EVERYTHING_SIZE_GUIDANCE)
    events.Reload()
    tags = events.Tags()
    scalars = {tag: [(e.step, float(e.value)) for e in events.Scalars(tag)] for tag in tags["scalars"]}
    scalars |= {tag: found for tag in tags["tensors"] if (found := _scalars(events.Tensors(tag))) is not None}
    names = {tag: name for tag, name in assign(scalars, path).items() if name != "step"}
    points = {tag: scalars[tag] for tag in names}
    return put_together(path, points, names, [tag for tag in scalars if tag not in names])


def _scalars(events: list[Any]) -> list[tuple[int, float]] | None:
    """The steps and values of tensors that are single numbers, as newer writers keep scalars; None of others."""
    from tensorboard.util.tensor_util import make_ndarray

    arrays = [(event.step, make_ndarray(event.tensor_proto)) for event in events]
    if any(array.size != 1 or array.dtype.kind not in "fiu" for _, array in arrays):
        return None
    return [(step, float(array.item())) for step, array in arrays]
