"""What a sweep would run, and what it costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mutransfer.config import Scale, SweepConfig, TrialConfig
from mutransfer.search.cost import count_params, counted_flops
from mutransfer.search.planned import Cell, PlannedTrial, cell_flops, cells, plan_trial
from mutransfer.search.protocol import group_by_cell, units
from mutransfer.search.rungs import part_trained
from mutransfer.sweep.shapes import asked_mode
from mutransfer.trials.records import Record

if TYPE_CHECKING:
    from mutransfer.data import Corpus
    from mutransfer.sweep.executors import Run

SHORT, LONG = 2, 8
"""Steps of the two runs whose difference is the time of a step."""


@dataclass(frozen=True)
class PlanRow:
    """One cell. `trials` are still to run, as far as is known, and at most `most`; `flops` and `seconds` (None: not
    timed) are of `trials` together, one by one, as few of their steps as pruning leaves them."""

    arm: str
    scale: Scale
    trials: int
    most: int
    params: int
    flops: float
    seconds: float | None


@dataclass(frozen=True)
class Plan:
    """A sweep's studies, and the dimensions that tell them apart; `seconds` is the wall time of all of them with
    `slots` trials at once."""

    rows: tuple[PlanRow, ...]
    along: tuple[str, ...]
    slots: int

    @property
    def trials(self) -> int:
        return sum(row.trials for row in self.rows)

    @property
    def most(self) -> int:
        return sum(row.most for row in self.rows)

    @property
    def flops(self) -> float:
        return sum(row.flops for row in self.rows)

    @property
    def seconds(self) -> float | None:
        times = [row.seconds for row in self.rows if row.seconds is not None]
        return sum(times) / self.slots if len(times) == len(self.rows) else None


def estimate(config: SweepConfig, timings: Mapping[Cell, float], slots: int, recorded: Sequence[Record] = ()) -> Plan:
    """What the command would still run.

    Args:
        config: the sweep.
        timings: seconds of one trial by cell, as `time_trials` measures them; a cell may be missing.
        slots: trials that run at once.
        recorded: what its folder holds already.

    Raises ValueError on a search that cannot begin.
    """
    rows = []
    histories, searched = group_by_cell(recorded, config), units(config)
    for unit in searched:
        unit.search.check(unit)
    expected = {cell: count for unit in searched for cell, count in unit.search.expect(unit, histories).items()}
    for cell in cells(config):
        trials, most = expected[cell].about, expected[cell].most
        trial = config.trial(cell.arm, cell.scale, config.lrs[0], 0)
        params, flops = _size(trial)
        whole = trials if config.prune == "none" else trials * part_trained(trial.steps)
        seconds = whole * timings[cell] if cell in timings else None
        rows.append(PlanRow(*cell.key, trials, most, params, whole * flops, seconds))
    return Plan(tuple(rows), config.dimensions, slots)


def _size(trial: TrialConfig) -> tuple[int, float]:
    """Parameters and FLOPs of a trial; a model of one's own is built to count them."""
    if not trial.build:
        params = count_params(trial.model)
        return params, counted_flops(trial, params)
    from mutransfer.parametrization import load_build

    params = sum(parameter.numel() for parameter in load_build(trial.build)(trial.model.width).parameters())
    return params, counted_flops(trial, params)


def plan_trials(config: SweepConfig, data_fingerprint: str) -> list[PlannedTrial]:
    """The trials that an empty folder would begin with: the whole grid, or the first round of each search."""
    nothing = group_by_cell((), config)
    return [
        plan_trial(config, cell, point, data_fingerprint)
        for unit in units(config)
        for cell, point in unit.search.propose(unit, nothing)
    ]


def time_trials(config: SweepConfig, corpus: Corpus, device: str, run: Run) -> dict[Cell, float]:
    """Seconds of one trial by cell, from a few real steps at each size of the arms that cost alike.

    Two short runs are timed: the shorter holds building and evaluation, the difference the time of a step.
    """
    timings: dict[Cell, float] = {}
    timed: dict[float, float] = {}
    mode = asked_mode(config)
    for cell in cells(config):
        flops = cell_flops(config, cell)
        if flops not in timed:
            trial = config.trial(cell.arm, cell.scale, min(config.lrs), 0)
            walls = [_time_run(trial, steps, corpus, device, mode, run) for steps in (SHORT, SHORT, LONG)]
            step = max(0.0, walls[2] - walls[1]) / (LONG - SHORT)
            timed[flops] = walls[1] + step * (trial.steps - SHORT)
        timings[cell] = timed[flops]
    return timings


def _time_run(trial: TrialConfig, steps: int, corpus: Corpus, device: str, mode: str, run: Run) -> float:
    short = dataclasses.replace(trial, steps=steps, schedule=dataclasses.replace(trial.schedule, warmup=0))
    (result,) = run([short], corpus, device, mode)
    return result.wall_s
