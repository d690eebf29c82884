"""The trials of a sweep together: some of them are meant to fail, so what counts is how those at the best rate fare."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mutransfer.config import Scale
from mutransfer.toolbox.doctor.finding import Diagnosis


class Patient(NamedTuple):
    """A trial as the doctor sees it; `final_loss` is None where it diverged, `diagnosis` where its curve is missing."""

    arm: str
    scale: Scale
    lr: float
    seed: int
    final_loss: float | None
    diagnosis: Diagnosis | None


@dataclass(frozen=True)
class Cell:
    """The trials of one arm at one scale: the rate with the lowest mean final loss among those at which no seed
    diverged (None: there is none), and by rule at which rates it was found, with the number of trials."""

    arm: str
    scale: Scale
    trials: int
    unseen: int
    best_lr: float | None
    found: dict[str, dict[float, int]]
    healthy: bool
    """Nothing is wrong with the trials at the best rate."""


def cells(patients: Iterable[Patient]) -> list[Cell]:
    """The cells of a sweep, the arms in the order in which they first come, and their scales ascending."""
    groups: dict[tuple[str, Scale], list[Patient]] = {}
    for patient in patients:
        groups.setdefault((patient.arm, patient.scale), []).append(patient)
    arms = [arm for arm, _ in groups]
    ordered = sorted(groups, key=lambda cell: (arms.index(cell[0]), cell[1]))
    return [_cell(*cell, groups[cell]) for cell in ordered]


def _cell(arm: str, scale: Scale, group: Sequence[Patient]) -> Cell:
    losses: dict[float, list[float | None]] = {}
    found: dict[str, dict[float, int]] = {}
    for patient in sorted(group, key=lambda patient: patient.lr):
        losses.setdefault(patient.lr, []).append(patient.final_loss)
        for finding in patient.diagnosis.findings if patient.diagnosis else ():
            rates = found.setdefault(finding.rule, {})
            rates[patient.lr] = rates.get(patient.lr, 0) + 1
    means = {lr: sum(known) / len(known) for lr, each in losses.items() if (known := _whole(each))}
    best = min(means, key=lambda lr: means[lr], default=None)
    at_best = [patient.diagnosis for patient in group if patient.lr == best and patient.diagnosis]
    unseen = sum(patient.diagnosis is None for patient in group)
    healthy = best is not None and all(diagnosis.healthy is not False for diagnosis in at_best)
    return Cell(arm, scale, len(group), unseen, best, found, healthy)


def _whole(losses: Sequence[float | None]) -> list[float]:
    """The losses of all seeds, or none where one is missing."""
    return [loss for loss in losses if loss is not None] if None not in losses else []
