"""Where a table of other people's runs lies in a result folder. Loads nothing, so that `status` need not wait."""

from __future__ import annotations

from pathlib import Path

ORIGIN, ROWS = "source.json", "trials.csv"


def is_foreign(folder: Path) -> bool:
    """Whether a result folder holds a table of other people's runs."""
    return (folder / ORIGIN).is_file()
