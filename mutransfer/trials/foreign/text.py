"""Values of any kind as the text of cells."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd


class Found(NamedTuple):
    """What a source holds: its rows, the files that were read, and the decimal sign of its numbers."""

    frame: pd.DataFrame
    files: Sequence[Path]
    decimal: str = "."


def from_objects(objects: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Objects as rows of text: nested keys joined by a dot, None missing, NaN `nan`."""
    columns: dict[str, list[str | None]] = {}
    for at, found in enumerate(objects):
        for name, value in _flat(found):
            while len(columns.get(name, ())) > at:
                name += ".1"  # the object has "a.b" and {"a": {"b": ...}}
            cells = columns.setdefault(name, [])
            cells += [None] * (at - len(cells))
            cells.append(value)
    filled = {name: cells + [None] * (len(objects) - len(cells)) for name, cells in columns.items()}
    return pd.DataFrame(filled, index=range(len(objects)), dtype="str")


def cell(value: Any) -> str | None:
    """A value as the text of a cell; a float in the shortest form that reads back the same."""
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    return json.dumps(value, default=str) if isinstance(value, (list, tuple, dict)) else str(value)


def unique(names: Iterable[str]) -> list[str]:
    """Names, each once: the second `loss` is `loss.1`."""
    found: dict[str, None] = {}
    for name in names:
        once, count = name, 0
        while once in found:
            count += 1
            once = f"{name}.{count}"
        found[once] = None
    return list(found)


def unreadable(path: Path, expected: str, error: Exception) -> ValueError:
    """What is wrong with a source that cannot be read."""
    why = " ".join(str(error).split())[:160]
    return ValueError(f"expected {expected}, got {path} that cannot be read so ({why}); correct it or export it again")


def _flat(found: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str | None]]:
    for name, value in found.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", cell(value)
