"""How the trials of each shape are trained: as was asked, or as a measurement where they run says."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

from mutransfer.config import MODES, Execution, ModelConfig, SweepConfig, TrialConfig, on_cpu

MOST_IN_COHORT = 64
"""Trials that are trained as one at most, where a measurement decides."""

MULTIPLIERS = {name: getattr(ModelConfig, name) for name in ("attention_mult", "embedding_mult", "output_mult")}
"""Numbers of a model that change nothing of what it costs."""


class Question(NamedTuple):
    """What a measurement is to find: the best cohort of `most` trials at most, and the best of these modes."""

    most: int
    modes: tuple[str, ...]


def asked_mode(config: SweepConfig) -> str:
    """The kind of step where nothing is measured."""
    return "eager" if config.execution == "auto" else config.execution


def settled(config: SweepConfig, device: str, sharers: int, trial: TrialConfig) -> Execution | None:
    """How trials of this one's shape are trained, where nothing need be measured for it; None: as that says.

    Where submissions share slots it must be known how many trials fill one, however few are to be trained as one.
    """
    if device == "cpu":
        return on_cpu(trial, asked_mode(config))
    if config.execution == "compiled":
        return Execution(1, "compiled")
    if config.execution != "auto" and config.cohort_size is not None and sharers == 1:
        return Execution(config.cohort_size, config.execution)
    return None


def question(config: SweepConfig, sharers: int) -> Question:
    """What is to be measured of a shape."""
    modes: tuple[str, ...] = MODES if config.execution == "auto" else (config.execution,)
    if config.prune != "none" and config.execution == "auto":  # which would compile at every leg
        modes = tuple(mode for mode in MODES if mode != "compiled")
    if config.cohort_size is None:
        return Question(MOST_IN_COHORT, modes)
    most = MOST_IN_COHORT if sharers > 1 else min(config.cohort_size, MOST_IN_COHORT)
    # Trials are compiled one by one.
    return Question(most, modes if config.cohort_size == 1 else tuple(mode for mode in modes if mode != "compiled"))


def shape_of(trial: TrialConfig) -> TrialConfig:
    """What trials have in common that cost the same: all that they must share to be trained as one, and less."""
    key = trial.cohort_key
    return dataclasses.replace(key, model=dataclasses.replace(key.model, **MULTIPLIERS))


@dataclass
class Shape:
    """What is known of a shape: how its trials are trained, or whether that is being measured."""

    execution: Execution | None
    asked: bool = False
