"""A trial of a sweep before it has run."""

from __future__ import annotations

from typing import NamedTuple

from mutransfer.config import AXES, Arm, SweepConfig, TrialConfig
from mutransfer.search.cost import training_flops


class Cell(NamedTuple):
    """What one study is about: an arm at one size along the sweep's axis."""

    arm: Arm
    axis: str
    size: int

    @property
    def key(self) -> tuple[str, int]:
        """The arm's name and the size, by which records are grouped."""
        return self.arm.name, self.size

    @property
    def study(self) -> str:
        """The study's name."""
        return study_name(self.arm.name, self.axis, self.size)

    def __str__(self) -> str:
        return f"{self.arm.name} {AXES[self.axis].word} {self.size}"


class Point(NamedTuple):
    """A trial to run within its study."""

    lr: float
    seed: int
    round: int
    others: tuple[float, ...] = ()
    """Values of the sweep's `space`, in its order."""


class PlannedTrial(NamedTuple):
    """A proposed trial with its id."""

    trial_id: str
    cell: Cell
    round: int
    config: TrialConfig
    others: tuple[float, ...] = ()
    until: int | None = None
    """The step up to which it is to be trained now; None: to the end."""

    @property
    def values(self) -> tuple[float, ...]:
        """Its setting: the rate, then the values of the sweep's `space`."""
        return (self.config.lr, *self.others)

    @property
    def pauses(self) -> bool:
        """Whether it is to be trained to a rung only, where it waits."""
        return self.until is not None and self.until < self.config.steps


def study_name(arm: str, axis: str, size: int) -> str:
    """The name of the study of one arm and size."""
    return f"{arm}/{axis}={size}"


def cells(config: SweepConfig) -> list[Cell]:
    """The cells of a sweep, a study each, arm by arm."""
    return [Cell(arm, config.axis, size) for arm in config.arms for size in config.sizes]


def plan_trial(config: SweepConfig, cell: Cell, point: Point, data_fingerprint: str) -> PlannedTrial:
    """The trial at a point of a cell. Its id is the digest of everything that determines its result."""
    trial = config.trial(cell.arm, cell.size, point.lr, point.seed, point.others)
    return PlannedTrial(trial.digest(data_fingerprint), cell, point.round, trial, point.others)


def cell_flops(config: SweepConfig, cell: Cell) -> float:
    """FLOPs of a trial in a cell: the same for every rate and seed."""
    return training_flops(config.trial(cell.arm, cell.size, config.lrs[0], 0))
