"""How far a sweep is."""

from __future__ import annotations

from pathlib import Path

from mutransfer.arguments import ResultArguments, parse
from mutransfer.config.scale import DIMENSIONS, in_digits
from mutransfer.terminal import open_console
from mutransfer.trials.foreign.place import is_foreign


def run(words: list[str]) -> None:
    """Print how far a sweep is, from its folder alone."""
    from rich.table import Table

    from mutransfer.sweep.progress import format_seconds
    from mutransfer.sweep.status import status as read_status

    path = Path(parse("status", ResultArguments, words).result)
    if is_foreign(path):
        _print_foreign(path)
        return
    found = read_status(path)
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


def _print_foreign(path: Path) -> None:
    """Print which trials a table of others has, and how it was read."""
    from rich.table import Table

    from mutransfer.trials.foreign.folder import read_folder

    origin, reading = read_folder(path)
    trials = reading.trials
    cells = ["arm", *trials.dimensions]
    table = Table("arm", *(DIMENSIONS[name].word for name in trials.dimensions), "trials", "learning rates", "diverged")
    counts = trials.frame.groupby(cells, sort=True).agg(
        trials=("lr", "size"), lrs=("lr", "nunique"), diverged=("diverged", "sum")
    )
    for row in counts.reset_index().to_dict("records"):
        sizes = (in_digits(row[name]) for name in trials.dimensions)
        table.add_row(str(row["arm"]), *sizes, str(row["trials"]), str(row["lrs"]), str(row["diverged"]))
    open_console().print(table)
    for line in origin.reading:
        open_console().print(line, soft_wrap=True)
    print(f"all done, by others; to read the runs again: {origin.command}")
