"""A trial of a sweep before it has run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mutransfer.config import Arm, Scale, SweepConfig, TrialConfig
from mutransfer.search.cost import training_flops

Key = tuple[str, Scale]
"""The name of an arm and a whole scale (`SweepConfig.whole`), by which records are grouped."""


class Cell(NamedTuple):
    """What one study is about: an arm at one whole scale, named along the dimensions of its sweep."""

    arm: Arm
    scale: Scale
    along: tuple[str, ...]

    @property
    def key(self) -> Key:
        """By which records are grouped."""
        return self.arm.name, self.scale

    @property
    def study(self) -> str:
        """The study's name."""
        return study_name(self.arm.name, self.scale, self.along)

    def __str__(self) -> str:
        return f"{self.arm.name} {self.scale.describe(self.along)}"


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


def study_name(arm: str, scale: Scale, along: Sequence[str]) -> str:
    """The name of the study of one arm and scale."""
    return f"{arm}/{','.join(f'{name}={scale[name]:.15g}' for name in along)}"


def cells(config: SweepConfig) -> list[Cell]:
    """The cells of a sweep, a study each, arm by arm."""
    return [
        Cell(arm, own.whole(scale), config.dimensions)
        for arm in config.arms
        for own in [config.for_arm(arm)]
        for scale in config.scales
    ]


def plan_trial(config: SweepConfig, cell: Cell, point: Point, data_fingerprint: str) -> PlannedTrial:
    """The trial at a point of a cell. Its id is the digest of everything that determines its result."""
    trial = config.trial(cell.arm, cell.scale, point.lr, point.seed, point.others)
    return PlannedTrial(trial.digest(data_fingerprint), cell, point.round, trial, point.others)


def cell_flops(config: SweepConfig, cell: Cell) -> float:
    """FLOPs of a trial in a cell: the same for every rate and seed."""
    return training_flops(config.trial(cell.arm, cell.scale, config.lrs[0], 0))
