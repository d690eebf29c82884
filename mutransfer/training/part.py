"""A part of the runs of trials, where they are not trained to their end in one go."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mutransfer.config import TrialConfig
from mutransfer.training.checkpoint import frozen_step, thaw
from mutransfer.training.cohort import Cohort


@dataclass(frozen=True)
class Part:
    """From where each trial was left (`checkpoint.freeze`; None: from its first step) up to step `until`."""

    until: int
    states: tuple[bytes | None, ...]

    def begins(self, trials: Sequence[TrialConfig], fingerprint: str) -> list[int]:
        """The step at which each of the trials was left. Raises ValueError on damaged states."""
        return [
            0 if state is None else frozen_step(state, trial, fingerprint)
            for trial, state in zip(trials, self.states, strict=True)
        ]

    def of(self, places: Iterable[int]) -> Part:
        """The part of the trials at these places alone."""
        return Part(self.until, tuple(self.states[place] for place in places))

    def take_up(self, cohort: Cohort, fingerprint: str) -> None:
        """Let a cohort at its start go on from there, its trials being at one step. Raises ValueError on states of
        other trials or other data, and on damaged ones."""
        states = [state for state in self.states if state is not None]
        if states:
            thaw(cohort, states, fingerprint)
