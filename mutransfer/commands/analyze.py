"""The verdict on a sweep that another program made."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from mutransfer.arguments import parse, typed_command
from mutransfer.config import SweepConfig
from mutransfer.terminal import open_console, print_result
from mutransfer.trials.foreign.taking import Columns, ReadOptions


@dataclass(frozen=True, kw_only=True)
class AnalyzeArguments(Columns):
    """Arguments of analyze. Columns are found by the names that trackers use, or named here: COLUMN, COLUMN*FACTOR, a
    number that holds for all runs, or none."""

    # Lists, since a name or a path may hold commas and blanks, at which a tuple's words are split.
    runs: tyro.conf.Positional[list[str]]
    """Files of runs (.csv, .tsv, .jsonl, .json, .parquet), Optuna studies, Ray Tune experiments, results."""
    where: tyro.conf.UseAppendAction[list[str]] = field(default_factory=list)
    """COLUMN=VALUE[,VALUE...] or COLUMN!=VALUE[,...]: the rows to keep; nothing after the sign is an empty cell. May be
    given several times."""
    ignore: tyro.conf.UseAppendAction[list[str]] = field(default_factory=list)
    """Columns that decide nothing, with commas. May be given several times."""
    along: tuple[str, ...] = ()
    """Dimensions along which the learning rate may transfer: width, depth, params, batch_size, tokens, steps. None:
    those that vary and do not go with another."""
    out: str | None = None
    """The result folder. None: results/ and the name of the first file."""
    tolerance: float = SweepConfig.tolerance
    """Octaves per doubling within which a slope counts as none."""
    noise: float | None = None
    """The standard deviation of one run about its curve, in the unit of the loss; None: as the runs show it."""

    @property
    def options(self) -> ReadOptions:
        """How the runs are to be read."""
        columns = {each.name: getattr(self, each.name) for each in dataclasses.fields(Columns)}
        along = tuple(name.replace("-", "_") for name in self.along)
        return ReadOptions(**columns, along=along, where=tuple(self.where), ignore=tuple(self.ignore))


def run(words: list[str]) -> None:
    """Read the runs of another program, print how they were read and what they say, and write a result folder."""
    from mutransfer.study.foreign import analyze_runs
    from mutransfer.study.result import write_result

    arguments = parse("analyze", AnalyzeArguments, words)
    if not arguments.runs:
        raise ValueError("expected files of runs, got none; give one, such as runs.csv")
    out = Path(arguments.out or Path("results") / Path(arguments.runs[0]).name.partition(".")[0])
    command = typed_command(["analyze", *words])
    result = analyze_runs(arguments.runs, out, command, arguments.options, arguments.tolerance, arguments.noise)
    write_result(result)
    lines = list(result.trials.notes)
    if result.replaced is not None:
        rows = sum(source.rows for source in result.replaced.sources)
        lines.append(f"replaced what {out} held: {rows} rows, read by {result.replaced.command}")
    for line in lines:
        open_console().print(line, soft_wrap=True)
    print_result(result)
