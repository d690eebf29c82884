"""CSV files. An empty cell was not logged; `nan` and `inf` are values."""

from __future__ import annotations

import csv
from pathlib import Path

from mutransfer.trials.logs.columns import NAMES, assign, listed, put_together
from mutransfer.trials.logs.log import Log


def read_table(path: Path) -> Log:
    """A run from a CSV file with a header.

    Raises:
        ValueError: on a file that is no such table, has no step or loss, or holds what is no number.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return _read(path, list(csv.reader(file)))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"found that {path} is no CSV file ({error}); wanted columns step, loss, ...") from None


def _read(path: Path, lines: list[list[str]]) -> Log:
    header = lines[0] if lines else []
    names = assign(header, path)
    at_step = next((i for i, column in enumerate(header) if names.get(column) == "step"), None)
    if at_step is None:
        raise ValueError(
            f"found the columns {listed(header)} in {path}; wanted one named step, or "
            f"{', '.join(NAMES['step'])}: rename it"
        )
    points: dict[str, list[tuple[int, float]]] = {column: [] for column, name in names.items() if name != "step"}
    read = [(i, column) for i, column in enumerate(header) if column in points]
    for number, cells in enumerate(lines[1:], 2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            raise ValueError(
                f"found {len(cells)} cells in line {number} of {path}; wanted {len(header)}, as in its header"
            )
        step = _number(path, number, header[at_step], cells[at_step])
        if not step.is_integer():
            raise ValueError(f"found step {step:g} in line {number} of {path}; wanted a whole number")
        for i, column in read:
            if cells[i].strip():
                points[column].append((int(step), _number(path, number, column, cells[i])))
    return put_together(path, points, names, [column for column in header if column not in names])


def _number(path: Path, line: int, column: str, cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise ValueError(f"found {column} {cell!r} in line {line} of {path}; wanted a number, or nothing") from None
