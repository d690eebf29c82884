"""A log of whatever program, read as it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mutransfer.trials.logs.events import holds_events, read_events
from mutransfer.trials.logs.jsons import read_json
from mutransfer.trials.logs.log import Log
from mutransfer.trials.logs.rows import Rows, put_together
from mutransfer.trials.logs.tables import read_table
from mutransfer.trials.logs.text import ANY_LOOP, PROGRAMS, read_text, split_lines

KNOWN_FILES = (
    "trainer_state.json",
    "checkpoint-*/trainer_state.json",
    "trainer_log.jsonl",
    "metrics.csv",
    "version_*/metrics.csv",
    "results.csv",
    "metrics.json",
    "vis_data/scalars.json",
    "summary.csv",
    "main.log",
)
"""Logs that trainers leave in a folder."""


def read_log(path: Path | str, run: str | None = None, named: Mapping[str, str] | None = None) -> Log:
    """A run from a file, or from a folder of TensorBoard's, whatever program wrote it.

    Args:
        path: CSV and its relatives, JSON, JSON lines, what a program printed, or TensorBoard's events.
        run: which run, where there are several: its name, or a part that no other has.
        named: columns by name (`{"loss": "my loss"}`), where the spellings in `names.py` do not hold them.

    Raises:
        ValueError: on what is no log, which names what it was taken for, and where it is not clear which run is meant.
        OSError: where there is nothing to read.
    """
    path = Path(path)
    if path.is_dir() and not holds_events(path):
        path = _known_file(path)
    if path.is_dir() or "tfevents" in path.name:
        return put_together(path, read_events(path, run), None, named)
    text = _text(path)
    lines = split_lines(text)
    found = _as_json(text) or read_text(lines, PROGRAMS)
    try:
        found = found or read_table(lines)
    except ValueError as error:
        raise ValueError(f"{path}, read as a table: {error}") from None
    found = found or read_text(lines, ANY_LOOP)
    if found is None:
        known = ", ".join(PROGRAMS)
        raise ValueError(
            f"expected a log: a table (CSV, TSV) with a header, JSON, JSON lines, or {known}; got {path}, which is "
            f"none of them: {_first(lines)!r}"
        )
    return put_together(path, found, run, named)


def _known_file(folder: Path) -> Path:
    """The log in a folder, the latest where there are several of a kind. Raises ValueError where there is none."""
    for pattern in KNOWN_FILES:
        found = sorted(folder.glob(pattern), key=lambda file: (len(file.parts), file.stat().st_mtime))
        if found:
            return found[-1]
    raise ValueError(
        f"expected a sweep's result or a log ({', '.join(KNOWN_FILES[:6:2])}, TensorBoard's files) in {folder}, got "
        "none; give the file"
    )


def _as_json(text: str) -> Rows | None:
    return read_json(text) if text.lstrip()[:1] in ("{", "[") else None


def _text(path: Path) -> str:
    """The text of a file, in UTF-8 or, as PowerShell writes it, UTF-16. Raises ValueError on bytes that are none."""
    raw = path.read_bytes()
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = raw.decode(encoding, errors="strict" if encoding == "utf-16" else "replace")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ValueError(f"expected a log, which is text, got bytes in {path}; give the file that the trainer wrote")
    return text


def _first(lines: list[str]) -> str:
    return next((line[:60] for line in lines if line.strip()), "")
