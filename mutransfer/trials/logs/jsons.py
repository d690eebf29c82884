"""JSON and JSON lines, as trainers write them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mutransfer.trials.logs.rows import Row, Rows


def read_json(text: str) -> Rows | None:
    """The rows of a JSON file or of JSON lines; None of what is neither."""
    try:
        whole = json.loads(text)
    except ValueError:
        return _lines(text)
    if isinstance(whole, dict) and isinstance(history := whole.get("log_history"), list):
        return Rows("Hugging Face's trainer_state.json", _of_list(history))
    if isinstance(whole, list) and whole and all(isinstance(each, dict) for each in whole):
        return Rows("a JSON list of rows", _of_list(whole))
    if isinstance(whole, dict) and (columns := {k: v for k, v in whole.items() if isinstance(v, list)}):
        return _of_columns(columns)
    return Rows("a line of JSON", _of_list([whole])) if isinstance(whole, dict) else None


def _of_columns(columns: Mapping[str, list[Any]]) -> Rows:
    """A list for each quantity, those of the greatest length; without a step its places are epochs."""
    length = max(map(len, columns.values()))
    known = {name: each for name, each in columns.items() if len(each) == length}
    if not {"step", "epoch"} & known.keys():
        known = {"epoch": list(range(length)), **known}
    rows = [dict(zip(known, cells, strict=True)) for cells in zip(*known.values(), strict=True)]
    return Rows("a JSON object of columns (Keras's History)", _of_list(rows))


def _lines(text: str) -> Rows | None:
    """One object a line; what is no JSON at the end was being written, and elsewhere is left out and said."""
    rows: list[Row] = []
    lost: list[int] = []
    for at, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            cells = json.loads(line)
        except ValueError:
            cells = None
        if isinstance(cells, dict):
            rows.append(Row(at, _flat(cells)))
        else:
            lost.append(at)
    if not rows or len(lost) > len(rows):
        return None
    notes = (f"{len(lost)} lines are no JSON and were left out, the first of them line {lost[0]}",) if lost else ()
    return Rows(_program(rows), rows, notes)


def _of_list(history: Sequence[Any]) -> list[Row]:
    return [Row(at, _flat(cells)) for at, cells in enumerate(history, 1) if isinstance(cells, dict)]


def _flat(cells: Mapping[str, Any], head: str = "") -> dict[str, Any]:
    """Objects within objects as head/name."""
    flat: dict[str, Any] = {}
    for name, cell in cells.items():
        flat |= _flat(cell, f"{head}{name}/") if isinstance(cell, dict) else {f"{head}{name}": cell}
    return flat


def _program(rows: Sequence[Row]) -> str:
    words = {word for row in rows[:100] for word in row.cells}
    if {"current_steps", "total_steps"} <= words:
        return "LLaMA-Factory's trainer_log.jsonl"
    if {"iteration", "total_loss"} <= words:
        return "detectron2's metrics.json"
    if "num_updates" in words or "train_num_updates" in words:
        return "fairseq's JSON lines"
    return "JSON lines"
