"""A table of other people's runs in a result folder: the rows as they were read, and how to read them again.

| file        | holds                                                                                             |
|-------------|---------------------------------------------------------------------------------------------------|
| trials.csv  | every row that was read, under the names of its columns, in UTF-8 with commas; an empty cell is   |
|             | missing                                                                                           |
| source.json | `schema`; `name` of the analysis; `command` that made it; `sources`, each a path, kind, SHA-256   |
|             | and number of rows; `decimal`, the sign in the cells; `options` of the reading, with the column   |
|             | of every role; `reading`, a sentence for each thing that it took or left out; `tolerance`,        |
|             | `noise` of the analysis                                                                           |
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path

from mutransfer.files import write_whole
from mutransfer.strict import parse_json, read_file, structure
from mutransfer.trials.foreign.files import read_csv
from mutransfer.trials.foreign.place import ORIGIN, ROWS, is_foreign
from mutransfer.trials.foreign.reading import Reading, read
from mutransfer.trials.foreign.sources import Rows, Source, read_rows
from mutransfer.trials.foreign.taking import ReadOptions
from mutransfer.trials.table import Trials

SCHEMA = 1


def read_trials(*paths: str | Path, options: ReadOptions | None = None) -> Trials:
    """The trials in files and folders of runs, whoever made them: see `sources` for the kinds, `names` for the names of
    columns that are known, `reading` for what a row becomes. Its `notes` say how it was read.

    Args:
        paths: files of runs, Optuna studies, Ray Tune experiments, results; or one folder that `analyze` wrote.
        options: what the columns are, which rows to keep, what counts as diverged; None: all of it is found.

    Raises:
        ValueError: as `read_rows` and `read` do, and on options for a folder that has its own.
    """
    if len(paths) == 1 and is_foreign(Path(paths[0])):
        if options is not None:
            raise ValueError(f"expected no options for {paths[0]}, which has its own, got some; read the runs")
        return read_folder(Path(paths[0]))[1].trials
    return read(read_rows(paths), options or ReadOptions()).trials


@dataclass(frozen=True)
class Origin:
    """Where a table came from and how it is read."""

    name: str
    command: str
    sources: tuple[Source, ...]
    decimal: str
    options: ReadOptions
    reading: tuple[str, ...]
    tolerance: float
    noise: float | None = None
    schema: int = field(default=SCHEMA)


def write(folder: Path, rows: Rows, origin: Origin) -> None:
    """Write the rows and what is known of them; the latter last, so that a folder with it is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / ROWS, rows.frame.to_csv(index=False, lineterminator="\n").encode())
    write_whole(folder / ORIGIN, json.dumps(dataclasses.asdict(origin), indent=1, allow_nan=False).encode() + b"\n")


def read_origin(folder: Path) -> Origin:
    """Where a folder's table came from. Raises ValueError where source.json is not what `write` writes."""
    path = folder / ORIGIN
    try:
        origin = structure(parse_json(read_file(path)), Origin)
        if origin.schema != SCHEMA:
            raise ValueError(f"schema: expected {SCHEMA}, got {origin.schema}")
    except (OSError, ValueError) as error:
        raise ValueError(
            f"expected in {path} what analyze wrote, got another file ({error}); run analyze again with another --out"
        ) from None
    return origin


def read_folder(folder: Path) -> tuple[Origin, Reading]:
    """Where a folder's table came from, and its trials. Raises ValueError where a file is missing or corrupt."""
    origin = read_origin(folder)
    if not (folder / ROWS).is_file():
        raise ValueError(f"expected {folder / ROWS} beside {ORIGIN}, got none; restore it, or run {origin.command}")
    rows = Rows(read_csv(folder / ROWS).frame, origin.sources, origin.decimal)
    rows.frame.index += 1
    reading = read(rows, origin.options)
    notes = dataclasses.replace(reading.trials, notes=origin.reading)
    return origin, dataclasses.replace(reading, trials=notes)
