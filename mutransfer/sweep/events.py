"""What the driver tells whoever watches, in the order in which it happens to a trial: asked, dispatched, appended,
told; or failed instead of the last two."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mutransfer.search.planned import Cell, PlannedTrial
from mutransfer.search.protocol import Expected
from mutransfer.trials.records import Record


@dataclass(frozen=True)
class Opened:
    """The driver is about to start. `to_run`: trials this command still expects to run, by cell; `records`: what there
    is already; `flops`: of one trial, by cell; `part`: of its steps that a trial to come is trained for on average."""

    folder: Path
    device: str
    slots: int
    to_run: Mapping[Cell, Expected]
    records: Sequence[Record]
    flops: Mapping[Cell, float]
    part: float = 1.0


@dataclass(frozen=True)
class Revised:
    """A search knows more of what it will still run in these cells, what is under way included."""

    to_run: Mapping[Cell, Expected]


@dataclass(frozen=True)
class Asked:
    """The trial is in the journal, running."""

    trial: PlannedTrial


@dataclass(frozen=True)
class Dispatched:
    """The executor has the trial, or one of the parts that a pruned search trains it in, on a share of a slot."""

    trial: PlannedTrial
    share: float = 1.0


@dataclass(frozen=True)
class Appended:
    """The trial's record is on disk."""

    trial: PlannedTrial
    record: Record


@dataclass(frozen=True)
class Told:
    """The trial is complete in the journal."""

    trial: PlannedTrial


@dataclass(frozen=True)
class Failed:
    """The trial ended in an error, named by its first line. One that failed in a cohort is first tried alone."""

    trial: PlannedTrial
    error: str


@dataclass(frozen=True)
class Closed:
    """The driver has ended, however it did; what ran is killed."""


Event = Opened | Revised | Asked | Dispatched | Appended | Told | Failed | Closed
Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The listener that does nothing."""
