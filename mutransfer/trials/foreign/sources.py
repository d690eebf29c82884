"""What other programs left behind, read as rows of text: one entry of `KINDS` for each kind of file or folder.

| kind                 | a row is                                        | columns                            |
|----------------------|-------------------------------------------------|------------------------------------|
| CSV, TSV             | a line; parted by comma, semicolon, tab or bar  | as in the header                   |
| JSON lines, JSON     | an object, or one of a list of objects          | its keys, nested ones with a dot   |
| Parquet              | a row                                           | its columns                        |
| Optuna               | a trial of a study in a journal or SQLite file  | params., user_attrs., value, state |
| Ray Tune             | a trial's folder: params.json and the last line | config., results., state           |
|                      | of result.json                                  |                                    |
| a result of a sweep  | a record                                        | config., and what was measured     |

CSV and JSON may be compressed (.gz, .bz2, .zst). Cells are text, as they stand in the file: what a column means, and
which numbers they are, is the matter of `reading`.
"""

from __future__ import annotations

import ast
import hashlib
import json
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from mutransfer.trials.foreign.files import read_csv, read_json, read_parquet, suffix
from mutransfer.trials.foreign.programs import (
    JOURNAL,
    RECORDS,
    SQLITE,
    holds_ray_tune,
    read_optuna,
    read_ray_tune,
    read_result_folder,
    starts_with,
)
from mutransfer.trials.foreign.text import Found, from_objects, unique


@dataclass(frozen=True)
class Source:
    """Where rows were read: the path as it was given, what kind of thing lies there, the SHA-256 of what was read (of
    several files: of their digests), and the number of rows."""

    path: str
    kind: str
    sha256: str
    rows: int


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of text, missing where a cell is empty, numbered from 1; `decimal` is "," where numbers are written so."""

    frame: pd.DataFrame
    sources: tuple[Source, ...]
    decimal: str = "."


class Kind(NamedTuple):
    """A kind of source: its name, whether a path is one, and how it is read."""

    name: str
    holds: Callable[[Path], bool]
    read: Callable[[Path], Found]


OWN = "result of a sweep"
"""The kind of source that this program made."""

KINDS: Sequence[Kind] = (
    Kind(OWN, lambda path: (path / RECORDS).is_file(), read_result_folder),
    Kind("Ray Tune experiment", holds_ray_tune, read_ray_tune),
    Kind("Optuna SQLite file", lambda path: starts_with(path, SQLITE), read_optuna),
    Kind("Optuna journal", lambda path: starts_with(path, JOURNAL), read_optuna),
    Kind("CSV file", lambda path: path.is_file() and suffix(path) in (".csv", ".tsv", ".txt"), read_csv),
    Kind("JSON file", lambda path: path.is_file() and suffix(path) in (".jsonl", ".ndjson", ".json"), read_json),
    Kind("Parquet file", lambda path: path.is_file() and suffix(path) in (".parquet", ".pq"), read_parquet),
)
"""In the order in which they are tried."""


def read_rows(paths: Sequence[str | Path]) -> Rows:
    """The rows of all paths, one after the other, with the columns of all of them. Of several paths each row has its
    own in a column `source`.

    Raises:
        ValueError: on a path that does not exist, is no regular file or folder, is of no known kind, or cannot be read,
            and where there are no rows.
    """
    if not paths:
        raise ValueError("expected a table of runs, got none; give a file such as runs.csv")
    frames, sources, decimals = [], [], []
    for path in map(Path, paths):
        kind = _kind(path)
        try:
            found = kind.read(path)
            digest = _digest(found.files)
        except OSError as error:
            raise ValueError(
                f"expected a {kind.name} that can be read at {path}, got {error.strerror or error}; check its rights"
            ) from None
        frame = found.frame
        if frame.empty:
            raise ValueError(f"expected rows in {path}, got none; give a file with a run in each row")
        if len(paths) > 1:
            frame = frame.assign(source=pd.Series(str(path), index=frame.index, dtype="str"))
        frames.append(frame)
        decimals.append(found.decimal)
        sources.append(Source(str(path), kind.name, digest, len(frame)))
    if len(set(decimals)) > 1:
        raise ValueError(
            "expected one decimal sign, got files with semicolons (decimal commas) and others; analyze them apart"
        )
    whole = pd.concat(frames, ignore_index=True)
    whole.index = pd.RangeIndex(1, len(whole) + 1)
    return Rows(_unfolded(whole), tuple(sources), decimals[0])


def _kind(path: Path) -> Kind:
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", error)
        raise ValueError(f"expected a file or folder at {path}, got none ({why}); check the path") from None
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise ValueError(f"expected a regular file at {path}, got a pipe or a device; write its content into a file")
    try:
        kind = next((kind for kind in KINDS if kind.holds(path)), None)
    except OSError as error:
        raise ValueError(f"expected {path} to be readable, got {error.strerror}; check its rights") from None
    if kind is not None:
        return kind
    if stat.S_ISDIR(mode):
        raise ValueError(
            f"expected a Ray Tune experiment or the result of a sweep in {path}, got another folder; give a file of "
            f"runs, such as {path / 'runs.csv'}"
        )
    raise ValueError(
        f"expected a file of a known kind, got {path}; give a .csv, .tsv, .jsonl, .json (.gz, .bz2, .zst too), a "
        ".parquet, or an Optuna journal or SQLite file"
    )


def _digest(files: Sequence[Path]) -> str:
    found = []
    for file in files:
        with file.open("rb") as opened:
            found.append(hashlib.file_digest(opened, "sha256").hexdigest())
    return found[0] if len(found) == 1 else hashlib.sha256("\n".join(found).encode()).hexdigest()


def _unfolded(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns of mappings, as W&B's own example writes them, as a column for each of their keys."""
    parts = []
    for name in frame.columns:
        filled = frame[name].dropna()
        values = []
        if len(filled) and filled.str.match(r"\s*\{.*\}\s*$").all():
            values = [{str(name): _mapping(text)} for text in filled]
        if not values or any(None in value.values() for value in values):
            parts.append(frame[[name]])
            continue
        inner = from_objects(values)
        inner.index = filled.index
        parts.append(inner.reindex(frame.index))
    whole = pd.concat(parts, axis=1)
    whole.columns = pd.Index(unique(map(str, whole.columns)))
    return whole


def _mapping(text: str) -> Mapping[str, Any] | None:
    """A cell that holds a mapping, as JSON or as Python prints it."""
    for parse in (json.loads, ast.literal_eval):
        try:
            found = parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return found if isinstance(found, dict) else None
    return None
