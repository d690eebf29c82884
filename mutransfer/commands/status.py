"""How far a sweep is."""

from __future__ import annotations

from pathlib import Path

from mutransfer.arguments import ResultArguments, parse
from mutransfer.config import DIMENSIONS
from mutransfer.terminal import open_console


def run(words: list[str]) -> None:
    """Print how far a sweep is, from its folder alone."""
    from rich.table import Table

    from mutransfer.sweep.progress import format_seconds
    from mutransfer.sweep.status import status as read_status

    found = read_status(Path(parse("status", ResultArguments, words).result))
    table = Table("arm", *(DIMENSIONS[name].word for name in found.along), "done", "diverged", "to run")
    for cell in found.cells:
        sizes = [f"{cell.scale[name]:.15g}" for name in found.along]
        table.add_row(cell.arm, *sizes, str(cell.done), str(cell.diverged), str(cell.to_run))
    open_console().print(table)
    about = "about " if found.searches else ""
    parts = [
        f"{found.done} of {about}{found.planned} trials done",
        f"{found.diverged} diverged",
        f"{found.failed} failed",
    ]
    parts += [f"{found.pruned} pruned"] if found.pruned else []
    if found.driver is not None:
        parts.append(f"{len(found.running)} running under process {found.driver.pid} on {found.driver.host}")
    if found.seconds_left:
        parts.append(f"{format_seconds(found.seconds_left)} left")
    print(", ".join(parts))
    if found.driver is None and found.done < found.planned:
        print(f"not running; to go on: {found.command}")
