"""The trials that are ready to run, and which of them are handed out together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import NamedTuple

from mutransfer.config import TrialConfig
from mutransfer.sweep.cost import training_flops
from mutransfer.sweep.planned import PlannedTrial


class Cohort(NamedTuple):
    """Trials that are trained as one, and the time at which they were handed out, seconds."""

    trials: list[PlannedTrial]
    since: float


class Ready:
    """Proposals that wait for a slot. The dearest go first, so that no long trial is left for the end, and of trials
    trained in parts those that came furthest, so that few of them wait half trained."""

    def __init__(self, most: int | None, measure: Callable[[TrialConfig], int]) -> None:
        """`most`: trials of a cohort; None: as many as `measure` says, which is asked once for each shape."""
        self._most, self._measure = most, measure
        self._waiting: list[PlannedTrial] = []
        self._alone: set[str] = set()
        self._measured: dict[TrialConfig, int] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, trials: Iterable[PlannedTrial]) -> None:
        """Take in what was proposed."""
        # A stable sort: what costs alike stays in the order in which it was proposed.
        self._waiting = sorted(
            [*self._waiting, *trials], key=lambda trial: (-training_flops(trial.config), -(trial.until or 0))
        )

    def part(self, cohort: Iterable[PlannedTrial]) -> None:
        """Take back a cohort, to hand out its trials one by one."""
        trials = list(cohort)
        self._alone |= {trial.trial_id for trial in trials}
        self._waiting = [*trials, *self._waiting]

    def parted(self, trial: PlannedTrial) -> bool:
        """Whether a trial was in a cohort that was taken back."""
        return trial.trial_id in self._alone

    def take(self, free: int) -> list[PlannedTrial]:
        """The dearest trial, and others that can be trained with it as one: an even part of what waits for `free`
        slots, so that none stays idle."""
        first = self._waiting[0]
        share = -(-len(self._waiting) // free)
        size = 1 if share == 1 or self.parted(first) else min(share, self._largest(first.config))
        if size == 1:
            return [self._waiting.pop(0)]
        key = first.config.cohort_key, first.until
        alike = (
            each for each in self._waiting if not self.parted(each) and (each.config.cohort_key, each.until) == key
        )
        cohort = list(islice(alike, size))
        taken = {trial.trial_id for trial in cohort}
        self._waiting = [trial for trial in self._waiting if trial.trial_id not in taken]
        return cohort

    def _largest(self, trial: TrialConfig) -> int:
        if self._most is not None:
            return self._most
        key = trial.cohort_key
        if key not in self._measured:
            self._measured[key] = self._measure(trial)
        return self._measured[key]
