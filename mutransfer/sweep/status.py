"""How far a sweep is, from its folder alone: no torch, no ray, no optuna."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from mutransfer.config import Scale
from mutransfer.config.searches import SEARCHES
from mutransfer.search.cost import seconds_left
from mutransfer.search.planned import Cell, Key, cell_flops, cells
from mutransfer.search.protocol import Place, group_by_cell, units
from mutransfer.search.rungs import part_trained
from mutransfer.sweep.folder import ResultFolder, read_failures, read_origin
from mutransfer.sweep.lock import Holder, is_held, read_holder
from mutransfer.trials import records


@dataclass(frozen=True)
class CellStatus:
    """One study: trials recorded, of these diverged, and still to run."""

    arm: str
    scale: Scale
    done: int
    diverged: int
    to_run: int


@dataclass(frozen=True)
class Status:
    """A result folder at this moment. `command` is the last that has trials to run, or the last of all; `failed` counts
    trials that ended in an error and have no record; `planned` is what there will be, about so many where a bracket
    `searches`; `along` tells the cells apart; `driver` is the living one; `seconds_left` is None where no trial was
    timed or nothing says how many run at once."""

    folder: Path
    experiment: str
    along: tuple[str, ...]
    command: str
    cells: tuple[CellStatus, ...]
    done: int
    diverged: int
    pruned: int
    failed: int
    running: tuple[str, ...]
    planned: int
    searches: bool
    seconds_left: float | None
    driver: Holder | None


def status(path: Path) -> Status:
    """The status of a result folder. Raises ValueError where there is none, or its files are corrupt."""
    folder = ResultFolder(path)
    origin = read_origin(folder)
    if origin is None:
        raise ValueError(f"found no sweep in {path}; wanted a result folder, such as results/width_transfer")
    config = origin.config
    recorded = records.read(folder.records) if folder.records.exists() else []
    histories = group_by_cell(recorded, config)
    done = Counter((record.arm, record.scale) for record in recorded)
    diverged = Counter((record.arm, record.scale) for record in recorded if record.diverged)
    command, searches = origin.command, False
    to_run: defaultdict[Cell, set[tuple[Place, int]]] = defaultdict(set)
    # What an earlier bracket would still ask for depends on what a later one has added.
    adaptive = [sweep for sweep in origin.sweeps if SEARCHES[sweep.config.search].adaptive][:-1]
    for sweep in (each for each in origin.sweeps if each not in adaptive):
        missing = {
            cell: expected.trials
            for unit in units(sweep.config)
            for cell, expected in unit.search.expect(unit, histories).items()
        }
        for cell, trials in missing.items():
            to_run[cell] |= trials
        if any(missing.values()):
            command = sweep.command
            searches |= SEARCHES[sweep.config.search].adaptive
    rows = []
    for cell in cells(config):
        if cell in to_run:
            rows.append(CellStatus(*cell.key, done[cell.key], diverged[cell.key], len(to_run[cell])))
    part = 1.0 if config.prune == "none" else part_trained(config.steps)
    remaining = {(row.arm, row.scale): row.to_run for row in rows}
    last = read_holder(folder.lock)
    driver = last if is_held(folder.lock) else None
    ids = {record.trial_id for record in recorded}
    return Status(
        folder=path,
        experiment=config.experiment,
        along=config.dimensions,
        command=command,
        cells=tuple(rows),
        done=len(recorded),
        diverged=sum(record.diverged for record in recorded),
        pruned=sum(record.pruned_step is not None for record in recorded),
        failed=len({failure.trial_id for failure in read_failures(folder)} - ids),
        running=driver.running if driver else (),
        planned=len(recorded) + sum(remaining.values()),
        searches=searches,
        seconds_left=seconds_left(
            {key: count * part for key, count in remaining.items()},
            _mean_wall(recorded),
            {cell.key: cell_flops(config, cell) for cell in cells(config)},
            last.slots if last else 1,
        ),
        driver=driver,
    )


def _mean_wall(recorded: list[records.Record]) -> dict[Key, float]:
    """Seconds of a whole trial."""
    walls: defaultdict[Key, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for record in recorded:
        wall = walls[record.arm, record.scale]
        wall[0] += record.wall_s
        wall[1] += records.trained_part(record)
    return {key: total / count for key, (total, count) in walls.items()}
