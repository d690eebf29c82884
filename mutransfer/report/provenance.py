"""Where a result comes from, as a report tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class FailedTrial:
    """A trial that ended in an error: it has no result, and runs again."""

    arm: str
    scale: str
    """Its sizes in words, as "width 64"."""
    lr: float
    seed: int
    error: str


@dataclass(frozen=True)
class Training:
    """How trials were trained. wall_s: seconds summed over trials; started: ISO 8601 UTC."""

    versions: Mapping[str, str]
    data_fingerprint: str
    wall_s: float
    flops: float
    started: str
    devices: tuple[str, ...]


@dataclass(frozen=True)
class Provenance:
    """How the results came about. `training` is how its trials were trained, None where others did; `config` may be
    nested."""

    command: str
    config: Mapping[str, Any]
    n_trials: int
    training: Training | None = None
    reading: tuple[str, ...] = ()
    """How a table that others made was read, a sentence each."""
    folder: str = "RESULT"
    """The result folder as a command names it."""
    failures: tuple[FailedTrial, ...] = ()
    """Trials that failed and have not run since."""
    conformance: str | None = None
    """In a line, how many published claims hold, as "19 of 24 claims hold, 2 fail, 3 not run"."""
