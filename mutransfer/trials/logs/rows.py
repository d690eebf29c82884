"""Rows of named cells, which every reader makes of its file, and a log put together from them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mutransfer.trials.logs.log import Curve, Log
from mutransfer.trials.logs.names import LAYERED, WHOLE_MODEL, listed, parts_of, taken

NOT_LOGGED = frozenset({"", "n/a", "na", "none", "null", "-", "--"})
"""Cells that hold nothing; `nan` is a value."""
ABSENT = 0.5
"""Where more than this part of a column is nan, and numbers come between, nan stands for what was not logged."""


class Row(NamedTuple):
    """Cells by column, as they were written, of a line of the file."""

    line: int
    cells: Mapping[str, Any]
    run: str = ""


@dataclass(frozen=True)
class Rows:
    """A file as rows, and what it was taken for; `spelled` says how a column was written where it has our name."""

    format: str
    rows: Sequence[Row]
    notes: tuple[str, ...] = ()
    spelled: Mapping[str, str] = field(default_factory=dict)


Point = tuple[int, float]


def put_together(where: Path, file: Rows, run: str | None = None, named: Mapping[str, str] | None = None) -> Log:
    """A log from rows.

    Args:
        where: the file, for what is said.
        file: its rows.
        run: which run, where there are several: its name, or a part that no other has.
        named: columns that the user names, by name.

    Raises ValueError, which names the format, where a loss is missing, a cell is no number, or the run is not clear.
    """
    try:
        return _put_together(where, file, run, named or {})
    except ValueError as error:
        raise ValueError(f"{where}, read as {file.format}: {error}") from None


def _put_together(where: Path, file: Rows, run: str | None, named: Mapping[str, str]) -> Log:
    rows = _of_run(_by_run(file.rows), run)
    counts = _counts(rows)
    columns = taken(counts, named)
    read: dict[str, tuple[str, ...]] = {
        name: (found[0],) for name, found in columns.items() if name not in ("step", "run")
    }
    notes = list(file.notes)
    for name in ("loss", "val_loss"):
        if name not in read and (parts := parts_of(name, (column for column in counts if counts[column]))):
            read[name] = tuple(parts)
            notes.append(f"{name} is the sum of {', '.join(parts)}")
    if "loss" not in read and "val_loss" in read:
        read["loss"] = read.pop("val_loss")
        notes.append("found no training loss: the held-out loss stands for it")
    if "loss" not in read:
        raise ValueError(f"expected a column of losses, got {listed(counts)}; name it with --loss")
    notes += [
        f"{', '.join(map(repr, found[1:]))} could be {name} too: {found[0]!r} was read"
        for name, found in columns.items()
        if len(found) > 1 and name in read
    ]
    axis, unit, said = _axis(rows, columns, read["loss"], named)
    if axis.column in read.get("epoch", ()):
        del read["epoch"]
    points, fell = _points(rows, axis, read)
    curves = {name: _curve(each) for name, each in points.items() if each}
    used = {*(column for each in read.values() for column in each), axis.column, *columns.get("run", ())[:1]}
    whole = {f"{head}:{WHOLE_MODEL}": head for head in LAYERED}
    return Log(
        str(where),
        file.format,
        curves,
        unit,
        {
            written: name
            for name, each in [*read.items(), *([(unit, (axis.column,))] if axis.column else [])]
            if len(each) == 1 and name != (written := file.spelled.get(each[0], each[0])) and whole.get(name) != written
        },
        tuple(column for column in counts if column not in used),
        (*notes, *said, *fell),
    )


def _by_run(rows: Sequence[Row]) -> Sequence[Row]:
    """The rows, each with the run that a column names, where one does."""
    columns = taken(_counts(rows), {}).get("run", ())
    return [row._replace(run=str(row.cells.get(columns[0]))) for row in rows] if columns else rows


def _of_run(rows: Sequence[Row], wanted: str | None) -> Sequence[Row]:
    """The rows of one run. Raises ValueError where it is not clear which."""
    names = list(dict.fromkeys(row.run for row in rows))
    if wanted is None:
        if len(names) > 1:
            raise ValueError(f"expected one run, got {len(names)}: {listed(names)}; choose one with --run NAME")
        return rows
    found = [wanted] if wanted in names else [name for name in names if wanted in name]
    if len(found) != 1:
        raise ValueError(f"expected one run {wanted!r}, got {len(found)} of {listed(names)}; give its whole name")
    return [row for row in rows if row.run == found[0]]


def _counts(rows: Sequence[Row]) -> dict[str, int]:
    """How many cells of each column hold something, in the order of the columns."""
    counts: dict[str, int] = {}
    for row in rows:
        for column, cell in row.cells.items():
            counts[column] = counts.get(column, 0) + (not _empty(cell))
    return counts


class _Axis:
    """The step of each row: a column's, or the number of losses up to it."""

    def __init__(self, column: str | None, losses: tuple[str, ...], within: str | None = None, size: int = 0) -> None:
        self.column = column
        self._losses = losses
        self._within = within
        self._size = size
        self._last: int | None = None

    def step(self, row: Row) -> int | None:
        """None before the first; a row without a step is of the one before."""
        if self.column is None:
            if all(not _empty(row.cells.get(column)) for column in self._losses):
                self._last = (self._last or 0) + 1
            return self._last
        cell = row.cells.get(self.column)
        if not _empty(cell):
            whole = _whole(cell)
            if whole is None:
                raise ValueError(
                    f"expected a whole number as {self.column!r} in line {row.line}, got {cell!r}; name another "
                    "column with --step"
                )
            epoch = None if self._within is None else _whole(row.cells.get(self._within))
            self._last = whole if epoch is None else whole + epoch * self._size
        return self._last


def _axis(
    rows: Sequence[Row], columns: Mapping[str, list[str]], losses: tuple[str, ...], named: Mapping[str, str]
) -> tuple[_Axis, str, list[str]]:
    """What the curves are over, its unit, and what to say of it."""
    told = [row for row in rows if all(not _empty(row.cells.get(column)) for column in losses)]
    for unit in ("step", "epoch"):
        for column in columns.get(unit, ()):
            steps = [_whole(row.cells.get(column)) for row in told]
            if unit == "step" and "step" in named:
                return _Axis(column, losses), unit, []
            known = [step for step in steps if step is not None]
            if not known or (len(known) < len(steps) and unit == "epoch") or 2 * len(known) < len(steps):
                continue
            if unit == "step" and (within := _within_epochs(told, column, columns.get("epoch", ()))) is not None:
                size = max(known) + 1
                return _Axis(column, losses, within, size), unit, [f"{column!r} counts within an epoch of {size}"]
            if unit == "epoch" and 2 * len(set(known)) <= len(known):
                continue
            note = [] if unit == "step" else ["no column counts optimizer steps: the axis is epochs"]
            return _Axis(column, losses), unit, note
    return _Axis(None, losses), "logged value", ["no line says its step: the logged losses are counted"]


def _within_epochs(rows: Sequence[Row], column: str, epochs: Sequence[str]) -> str | None:
    """The column of epochs, where a step falls back whenever that rises, and only then."""
    for epoch in epochs:
        pairs = [(_whole(row.cells.get(column)), _whole(row.cells.get(epoch))) for row in rows]
        known = [(step, at) for step, at in pairs if step is not None and at is not None]
        if len(known) < len(rows):
            continue
        falls = [later[0] < earlier[0] for earlier, later in pairwise(known)]
        rises = [later[1] == earlier[1] + 1 for earlier, later in pairwise(known)]
        if sum(falls) >= 2 and falls == rises:
            return epoch
    return None


def _points(
    rows: Sequence[Row], axis: _Axis, read: Mapping[str, tuple[str, ...]]
) -> tuple[dict[str, dict[int, float]], list[str]]:
    """By name the value at each step, and what to say: where steps fall back, the later run wins."""
    points: dict[str, dict[int, float]] = {name: {} for name in read}
    absent = {name for name, columns in read.items() if _nan_is_absent(rows, columns)}
    last: dict[str, int] = {}
    fell: list[str] = []
    repeated = 0
    for row in rows:
        step = axis.step(row)
        if step is None:
            continue
        for name, columns in read.items():
            value = _value(row, name, columns)
            if value is None or (name in absent and math.isnan(value)):
                continue
            before = last.get(name, step)
            if step < before:
                if name == "loss":
                    fell.append(f"{before} to {step}")
                for other in points if name == "loss" else (name,):
                    points[other] = {at: kept for at, kept in points[other].items() if at < step}
            repeated += name == "loss" and step in points[name]
            points[name][step] = value
            last[name] = step
    notes = [f"steps fall back from {', from '.join(fell[:3])}: the later run counts"] if fell else []
    notes += [f"{repeated} lines repeat a step: the last of them counts"] if repeated else []
    notes += [f"nan in {', '.join(sorted(absent))} stands for what was not logged"] if absent else []
    return points, notes


def _nan_is_absent(rows: Sequence[Row], columns: tuple[str, ...]) -> bool:
    """Whether numbers come again and again between cells of nan, which are most."""
    if len(columns) > 1:
        return False
    cells = [row.cells.get(columns[0]) for row in rows]
    lost = [str(cell).strip().lower() == "nan" for cell in cells if not _empty(cell)]
    back = sum(earlier and not later for earlier, later in pairwise(lost))
    return sum(lost) > ABSENT * len(lost) and back >= 2


def _value(row: Row, name: str, columns: tuple[str, ...]) -> float | None:
    """The sum of a row's cells, None where one holds nothing."""
    cells = [row.cells.get(column) for column in columns]
    if any(map(_empty, cells)):
        return None
    values = [_seconds(str(cell)) if name == "seconds" else number(cell) for cell in cells]
    if None in values:
        at = values.index(None)
        if name == "seconds":
            return None
        raise ValueError(f"expected a number as {columns[at]!r} in line {row.line}, got {cells[at]!r}; correct it")
    return math.fsum(value for value in values if value is not None) if len(values) > 1 else values[0]


def number(cell: Any) -> float | None:
    """A cell as a number, None where it is none."""
    if isinstance(cell, bool):
        return None
    if isinstance(cell, int | float):
        return float(cell)
    word = str(cell).strip().rstrip("%")
    try:
        return float(re.sub(r"^([-+]?\d+),(\d+)$", r"\1.\2", word))  # a decimal comma
    except ValueError:
        return None


def _whole(cell: Any) -> int | None:
    """A cell as a step: a whole number, or that before a slash (100/500)."""
    if isinstance(cell, str):
        cell = re.sub(r"^\s*(\d+)\s*/\s*\d+\s*$", r"\1", cell)
    value = None if _empty(cell) else number(cell)
    return int(value) if value is not None and value.is_integer() else None


def _seconds(word: str) -> float | None:
    """Seconds, written so or as `1 day, 0:08:23`."""
    clock = re.fullmatch(r"(?:(\d+) days?, )?(\d+):(\d\d):(\d\d(?:\.\d+)?)", word.strip())
    if clock is None:
        return number(word)
    days, hours, minutes, seconds = (float(part or 0) for part in clock.groups())
    return 86400 * days + 3600 * hours + 60 * minutes + seconds


def _empty(cell: Any) -> bool:
    return (
        cell is None or isinstance(cell, dict | list) or (isinstance(cell, str) and cell.strip().lower() in NOT_LOGGED)
    )


def _curve(points: Mapping[int, float]) -> Curve:
    steps = sorted(points)
    return Curve(np.array(steps, np.int64), np.array([points[step] for step in steps], np.float64))
