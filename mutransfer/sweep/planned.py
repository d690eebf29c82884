"""A trial of a sweep before it has run."""

from __future__ import annotations

from typing import NamedTuple

from mutransfer.config import SweepConfig, TrialConfig
from mutransfer.config.sweep import Arm
from mutransfer.sweep.cost import training_flops
from mutransfer.sweep.search import Point


class Cell(NamedTuple):
    """What one study is about."""

    arm: Arm
    width: int

    @property
    def study(self) -> str:
        """The study's name."""
        return study_name(self.arm.name, self.width)


class PlannedTrial(NamedTuple):
    """A proposed trial with its id."""

    trial_id: str
    arm: Arm
    width: int
    round: int
    config: TrialConfig

    @property
    def cell(self) -> Cell:
        return Cell(self.arm, self.width)


def study_name(arm: str, width: int) -> str:
    """The name of the study of one arm and width."""
    return f"{arm}/width={width}"


def cells(config: SweepConfig) -> list[Cell]:
    """The cells of a sweep, a study each, arm by arm."""
    return [Cell(arm, width) for arm in config.arms for width in config.widths]


def plan_trial(config: SweepConfig, cell: Cell, point: Point, data_fingerprint: str) -> PlannedTrial:
    """The trial at a point of a cell. Its id is the digest of everything that determines its result."""
    trial = config.trial(cell.arm, cell.width, point.lr, point.seed)
    return PlannedTrial(trial.digest(data_fingerprint), cell.arm, cell.width, point.round, trial)


def flops_at(config: SweepConfig, width: int) -> float:
    """FLOPs of a trial at a width: the same for every arm, rate and seed."""
    return training_flops(config.trial(config.arms[0], width, config.lrs[0], 0))
