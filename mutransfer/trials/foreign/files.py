"""Files of runs as rows of text: CSV, JSON, Parquet."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet

from mutransfer.trials.foreign.text import Found, cell, from_objects, unique, unreadable

SEPARATORS = ",;\t|"
COMPRESSED = (".gz", ".bz2", ".zst")
START = 1 << 20
"""Bytes in which a header ends."""


def suffix(path: Path) -> str:
    """The ending of a file's name, in lower case, before that of its compression."""
    endings = [ending.lower() for ending in path.suffixes]
    return "".join(endings[-2:-1] if endings and endings[-1] in COMPRESSED else endings[-1:])


def read_csv(path: Path) -> Found:
    """A file with a header and a row a line. A name that stands twice in the header is NAME and NAME.1."""
    try:
        with _open(path) as file:
            start = file.read(START)
        encoding = "utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
        first = start.decode(encoding, errors="replace").lstrip("\ufeff")
        # The sign that gives the most names is what divides them.
        headers = {sign: next(csv.reader(io.StringIO(first, newline=""), delimiter=sign), []) for sign in SEPARATORS}
        separator = max(SEPARATORS, key=lambda sign: len(headers[sign]))
        names = unique(name.strip() or f"Unnamed: {at}" for at, name in enumerate(headers[separator]))
        if not any(name.strip() for name in headers[separator]):
            raise ValueError(
                f"expected a header in {path}, got {'an empty line' if first else 'an empty file'}; add one"
            )
        with _open(path) as file:
            table = pyarrow.csv.read_csv(
                file,
                pyarrow.csv.ReadOptions(column_names=names, skip_rows=1, encoding=encoding),
                pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values=True),
                pyarrow.csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()), null_values=[""], strings_can_be_null=True
                ),
            )
    except (pa.ArrowException, OSError, UnicodeError, csv.Error) as error:
        raise unreadable(path, "a CSV file", error) from None
    return Found(_frame(table), (path,), "," if separator == ";" else ".")


def read_json(path: Path) -> Found:
    """An object a line, or one list of objects. Nested keys are joined by a dot."""
    try:
        with _open(path) as file:
            text = file.read().decode("utf-8-sig")
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise unreadable(path, "JSON in UTF-8", error) from None
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    whole = text.lstrip().startswith("[")
    objects: list[Any] = []
    for number, line in [(1, text)] if whole else lines:
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"expected a JSON object in line {number} of {path}, got {line[:30]!r} ({error}); correct or remove it"
            ) from None
        objects += found if whole else [found]
    for number, found in enumerate(objects, 1):
        if not isinstance(found, dict):
            raise ValueError(
                f"expected a JSON object in row {number} of {path}, got {str(found)[:30]!r}; correct or remove it"
            )
    return Found(from_objects(objects), (path,))


def read_parquet(path: Path) -> Found:
    """A Parquet file. A null is a missing cell, a NaN a value."""
    try:
        table = pyarrow.parquet.read_table(path)
        texts = [_text(column) for column in table.columns]
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, "a Parquet file", error) from None
    return Found(_frame(pa.table(texts, names=unique(table.column_names))), (path,))


def _text(column: Any) -> Any:
    """A column as strings; floats in the shortest form that reads back the same."""
    if pa.types.is_floating(column.type) or pa.types.is_integer(column.type) or pa.types.is_string(column.type):
        return pyarrow.compute.cast(column, pa.string())
    return pa.array([cell(value) for value in column.to_pylist()], pa.string())


def _frame(table: Any) -> pd.DataFrame:
    found: pd.DataFrame = table.to_pandas(types_mapper={pa.string(): pd.StringDtype(na_value=float("nan"))}.get)
    return found.dropna(how="all").reset_index(drop=True)


def _open(path: Path) -> Any:
    """The bytes of a file, without its compression."""
    return pa.input_stream(str(path), compression="detect")
