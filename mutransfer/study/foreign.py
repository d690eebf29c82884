"""A result folder whose trials others ran: their table analyzed, and kept with how it was read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mutransfer.analysis import Analysis, analyze
from mutransfer.analysis.confirmation import Confirmation
from mutransfer.config import to_json
from mutransfer.report import Provenance
from mutransfer.sweep.folder import ResultFolder, explain_write_errors
from mutransfer.trials.foreign.folder import Origin, read_folder, read_origin, write
from mutransfer.trials.foreign.place import is_foreign
from mutransfer.trials.foreign.reading import read
from mutransfer.trials.foreign.sources import read_rows
from mutransfer.trials.foreign.taking import ReadOptions
from mutransfer.trials.table import Trials


@dataclass(frozen=True)
class ForeignResult:
    """A table of trials that others ran, and what it says. It trains nothing, so nothing in it is confirmed."""

    folder: Path
    origin: Origin
    trials: Trials
    analysis: Analysis
    confirmations: tuple[Confirmation, ...] = ()
    replaced: Origin | None = None
    """What the folder held before."""

    @property
    def command(self) -> str:
        """The command that made it."""
        return self.origin.command

    @property
    def config(self) -> ReadOptions:
        """How the table is read."""
        return self.origin.options

    def provenance(self) -> Provenance:
        """How the result came about, as its report tells it."""
        return Provenance(
            command=self.command,
            config=to_json(self.config),
            n_trials=len(self.trials.frame),
            folder=str(self.folder),
            reading=self.origin.reading,
        )


def analyze_runs(
    paths: Sequence[str | Path],
    out: Path,
    command: str,
    options: ReadOptions,
    tolerance: float,
    noise: float | None = None,
) -> ForeignResult:
    """Read runs, analyze them, and keep the rows as they were read in the folder `out`.

    `noise` is the standard deviation of a run, in the unit of the loss, where it is known.

    Raises:
        ValueError: where the runs cannot be read or analyzed, and where `out` holds something else, which stays.
    """
    rows = read_rows(paths)
    before = _origin_of(out, [source.path for source in rows.sources])
    reading = read(rows, options)
    origin = Origin(out.name, command, rows.sources, rows.decimal, reading.resolved, reading.lines, tolerance, noise)
    result = _analyzed(out, origin, reading.trials)
    with explain_write_errors(ResultFolder(out)):
        write(out, rows, origin)
    return replace(result, replaced=before)


def read_foreign(folder: Path) -> ForeignResult:
    """The result in a folder that `analyze_runs` wrote. Raises ValueError where its files are corrupt."""
    origin, reading = read_folder(folder)
    return _analyzed(folder, origin, reading.trials)


def _analyzed(folder: Path, origin: Origin, trials: Trials) -> ForeignResult:
    named = replace(trials, name=origin.name)
    return ForeignResult(folder, origin, named, analyze(named, origin.tolerance, origin.noise))


def _origin_of(out: Path, paths: Sequence[str]) -> Origin | None:
    """What a folder holds of the same runs. Raises ValueError where it holds a sweep, or the analysis of others."""
    if ResultFolder(out).config.exists() or ResultFolder(out).records.exists():
        raise ValueError(f"expected a folder for the analysis, got {out}, which holds a sweep; give another --out")
    if not is_foreign(out):
        return None
    origin = read_origin(out)
    known = [source.path for source in origin.sources]
    if known != list(paths):
        raise ValueError(
            f"expected {out} to hold these runs or nothing, got those of {', '.join(known)}; give another --out"
        )
    return origin
