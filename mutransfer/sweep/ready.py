"""The trials that are ready to run, and which of them are handed out together, on how much of a slot."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

from mutransfer.config import Execution, TrialConfig
from mutransfer.search.cost import training_flops
from mutransfer.search.planned import PlannedTrial
from mutransfer.sweep.shapes import Shape, shape_of
from mutransfer.sweep.shares import WHOLE, Slot, Slots, share_of


class Handout(NamedTuple):
    """What is submitted at once: trials that are trained as one, by steps of kind `mode`, on a share of a slot. mode
    None: the first of them stands for its shape, which is measured."""

    trials: list[PlannedTrial]
    mode: str | None
    share: Fraction
    slot: Slot


@dataclass
class Group:
    """Trials that wait and can be trained as one; `alone`: a single one that was taken back."""

    shape: Shape
    alone: bool = False
    trials: deque[PlannedTrial] = field(default_factory=deque)

    @property
    def cost(self) -> tuple[float, int]:
        """The dearest first; of trials in parts those that came furthest."""
        return -training_flops(self.trials[0].config), -(self.trials[0].until or 0)


class Ready:
    """Proposals that wait for a slot. The dearest go first, so that no long trial is left for the end, and of trials
    trained in parts those that came furthest, so that few of them wait half trained."""

    def __init__(self, most: int | None, settled: Callable[[TrialConfig], Execution | None], least: int = 1) -> None:
        """`most`: trials of a cohort; None: as many as fill a slot. `settled`: how trials of one's shape are trained;
        where it says None that is measured once, on a slot of its own and before any of them. `least`: fewer are handed
        out one by one."""
        self._most, self._settled, self._least = most, settled, least
        self._groups: dict[tuple[object, int | None], Group] = {}
        self._shapes: dict[TrialConfig, Shape] = {}
        self._alone: set[str] = set()
        self._count = self._measuring = 0

    def __len__(self) -> int:
        return self._count

    def add(self, trials: Iterable[PlannedTrial]) -> None:
        """Take in what was proposed."""
        for trial in trials:
            alone = trial.trial_id in self._alone
            key = (trial.trial_id if alone else trial.config.cohort_key), trial.until
            if key not in self._groups:
                self._groups[key] = Group(self._shape(trial.config), alone)
            self._groups[key].trials.append(trial)
            self._count += 1
        # A stable sort: what costs alike stays in the order in which it was proposed.
        self._groups = dict(sorted(self._groups.items(), key=lambda item: item[1].cost))

    def part(self, cohort: Iterable[PlannedTrial]) -> None:
        """Take back a cohort, to hand out its trials one by one, each on a whole slot."""
        trials = list(cohort)
        self._alone |= {trial.trial_id for trial in trials}
        waiting, self._groups = self._groups, {}
        self.add(trials)
        self._groups |= waiting  # after them: what always fails shows it soon

    def learn(self, trial: TrialConfig, execution: Execution) -> None:
        """What was measured of the shape of a trial."""
        self._shape(trial).execution = execution
        self._measuring -= 1

    def take(self, slots: Slots) -> Handout | None:
        """What to submit now; None: nothing can be until something has ended.

        A shape that is not known first: as long as it is not, nobody can say what shares a slot with its trials. Else
        the dearest trial, and others that can be trained with it as one: an even part of what waits for what is free,
        so that none of it stays idle, and no more than the slot has room for. Where no slot has room for even one,
        smaller ones wait with it: else they would fill every gap for which it waits.
        """
        if slots.idle:
            for group in self._groups.values():
                if not group.shape.asked:
                    group.shape.asked = True
                    self._measuring += 1
                    return Handout([group.trials[0]], None, WHOLE, slots.take(WHOLE))
        key = next((key for key, group in self._groups.items() if group.shape.execution or not group.shape.asked), None)
        if key is None or (execution := self._groups[key].shape.execution) is None:
            return None
        group, (full, mode), room = self._groups[key], execution, slots.room
        if room < (WHOLE if group.alone else Fraction(1, full)):
            return None
        free = slots.free + self._measuring  # which is over soon
        even = -(-self._count // free)
        size = min(self._largest(group, even), len(group.trials))
        if size < self._least:
            size = 1
        if room < WHOLE:
            size = min(size, int(room * full))
        share = WHOLE
        if slots.sharers > 1 and not group.alone:
            part = min(room, Fraction(size, full))
            share = share_of(part, self._cohorts(even), free, room, slots.sharers)
        trials = [group.trials.popleft() for _ in range(size)]
        self._count -= size
        if not group.trials:
            del self._groups[key]
        return Handout(trials, mode, share, slots.take(share))

    def _largest(self, group: Group, even: int) -> int:
        """The most trials of a group that are handed out as one, where so many are an even part of what waits."""
        if group.alone or group.shape.execution is None:
            return 1 if group.alone else even
        return min(even, self._most or group.shape.execution.cohort_size)

    def _cohorts(self, even: int) -> int:
        """Cohorts that wait; of a shape that is not known, as few as there can be."""
        return sum(-(-len(group.trials) // self._largest(group, even)) for group in self._groups.values())

    def _shape(self, trial: TrialConfig) -> Shape:
        key = shape_of(trial)
        if key not in self._shapes:
            execution = self._settled(trial)
            self._shapes[key] = Shape(execution, asked=execution is not None)
        return self._shapes[key]
