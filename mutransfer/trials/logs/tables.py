"""Tables: CSV and its relatives, as trackers and trainers write them."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence

from mutransfer.trials.logs.names import meaning, plain
from mutransfer.trials.logs.rows import Row, Rows, number

DIVIDERS = (",", "\t", ";", "|")


def read_table(lines: Sequence[str]) -> Rows | None:
    """The rows of a table with a header; None of what is none: less than two columns, or none that has a name."""
    filled = [(at, line) for at, line in enumerate(lines, 1) if line.strip()]
    while len(filled) > 1 and filled[0][1].startswith("#") and number(re.split(r"[,;\s|]+", filled[1][1])[0]) is None:
        filled = filled[1:]  # a comment; a header may stand behind # too
    if not filled:
        return None
    first = filled[0][1].lstrip("# ")
    divider = max(DIVIDERS, key=first.count)
    if first.count(divider):
        cells = list(csv.reader([first, *(line for _, line in filled[1:])], delimiter=divider, skipinitialspace=True))
    else:
        cells = [first.split(), *(line.split() for _, line in filled[1:])]
    header = [cell.strip() for cell in cells[0]]
    width = len(header)
    named = [column for column in header if meaning(column) or " - " in column]
    if width < 2 or not named or any(number(cell) is not None for cell in header if cell):
        return None
    if len(cells) > 1 and len(cells[1]) not in (width, width + 1):
        return None
    rows = []
    for (at, _), row in zip(filled[1:], cells[1:], strict=False):
        if len(row) == width + 1 and not row[-1].strip():
            row = row[:-1]  # a divider at the end of the line
        if len(row) != width:
            if at == filled[-1][0]:
                break  # a line that was being written
            raise ValueError(f"expected {width} cells in line {at}, as in its header, got {len(row)}; correct it")
        rows.append((at, row))
    torn = len(rows) < len(cells) - 1
    notes = ("the last line is torn and was left out",) if torn else ()
    if any(" - " in column for column in header[1:]):
        return Rows("W&B's export of a chart", _wandb(header, rows), notes)
    return Rows(_program(header), [Row(at, dict(zip(header, row, strict=True))) for at, row in rows], notes)


def _wandb(header: Sequence[str], rows: Sequence[tuple[int, Sequence[str]]]) -> list[Row]:
    """A chart's export holds `RUN - METRIC`, and its __MIN and __MAX, for each run: rows by run."""
    columns: dict[str, dict[int, str]] = {}
    for at, column in enumerate(header):
        run, divider, metric = column.rpartition(" - ")
        if divider and not metric.endswith(("__MIN", "__MAX")):
            columns.setdefault(run, {})[at] = metric
    shared = {at: column for at, column in enumerate(header) if " - " not in column}
    return [
        Row(line, {name: row[at] for at, name in {**shared, **own}.items()}, run)
        for run, own in columns.items()
        for line, row in rows
        if any(row[at].strip() for at in own)
    ]


def _program(header: Sequence[str]) -> str:
    """Who writes tables with such a header."""
    words = {plain(column) for column in header}
    if any(re.fullmatch(r"lr_pg0|x_lr0|metrics_map.*|train_box_loss", word) for word in words):
        return "YOLO's results.csv"
    if {"_step", "_runtime"} & words:
        return "W&B's history"
    if {"current_steps", "total_steps"} & words and "percentage" in words:
        return "LLaMA-Factory's log"
    if "epoch" in words and "step" not in words and words & {"loss", "val_loss"}:
        return "Keras's CSVLogger"
    if {"epoch", "step"} <= words and any(word.endswith(("_step", "_epoch")) for word in words):
        return "Lightning's metrics.csv"
    return "a table"
