"""The trials of a pruned search: which of them go on, and which are dropped.

A trial is trained up to a rung, hands its state to the driver, and waits there until all of its round have come; then
the worse settings are dropped and the others go on from their states. So what is dropped depends on losses at one step
alone, whatever finishes first, and but for rounding it is the same for every optimizer, cohort, memory and executor:
none of them needs to hold a whole round at once, all slots take part, workers share no files, and a kill loses nothing
that had come to a rung. (A cohort could drop slices as it drops those that diverge, but must then hold the round in one
process.) Not measured on a GPU.
"""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from mutransfer.files import write_whole
from mutransfer.search.planned import Key, PlannedTrial
from mutransfer.search.protocol import Histories, Observation, Values
from mutransfer.search.rungs import next_stop, rungs
from mutransfer.sweep.executors import Leg
from mutransfer.sweep.folder import ResultFolder
from mutransfer.trials import records
from mutransfer.trials.records import Record

Round = tuple[Key, int]
"""A round: the key of its cell, and its number."""


class Moves(NamedTuple):
    """Trials that go on, and those that are dropped, with their records."""

    go: list[PlannedTrial]
    drop: list[tuple[PlannedTrial, Record]]


class Group:
    """A round: its trials without a record, of these the ids of those under way, the losses of the others by setting,
    and the step at which a setting was dropped."""

    def __init__(self, trials: Iterable[PlannedTrial], seen: Iterable[Observation]) -> None:
        self.waiting = {trial.trial_id: trial for trial in trials}
        self.under_way: set[str] = set()
        self.losses: dict[Values, dict[int, float]] = {}
        self.dropped: dict[Values, int] = {}
        for each in seen:
            self.losses.setdefault(each.values, {})[each.seed] = each.loss
            if each.pruned_step is not None:
                self.dropped[each.values] = each.pruned_step

    @property
    def left(self) -> list[PlannedTrial]:
        """The trials of the settings that were not dropped."""
        return [trial for trial in self.waiting.values() if trial.values not in self.dropped]


class Halving:
    """What the trials of a pruned search measured at their rungs, in memory and in the folder."""

    def __init__(self, folder: ResultFolder, recorded: Iterable[Record]) -> None:
        """Look what there is already; the lock must be held. Raises ValueError on a corrupt line."""
        self._folder = folder
        self._groups: dict[Round, Group] = {}
        ended = {record.trial_id for record in recorded}
        records.drop_torn_tail(folder.rungs)
        found = records.read_lines(folder.rungs, Record)[0] if folder.rungs.exists() else []
        self._seen: defaultdict[str, dict[int | None, Record]] = defaultdict(dict)
        for each in found:
            if each.trial_id not in ended:
                self._seen[each.trial_id][each.pruned_step] = each
        for path in folder.states.glob("*"):
            if path.stem in ended or path.suffix != ".pt":  # killed before one was removed, or while one was written
                path.unlink()

    def enter(self, trials: Sequence[PlannedTrial], histories: Histories) -> None:
        """Take in what was proposed, of rounds that are not under way.

        Args:
            trials: all that their rounds still need.
            histories: everything recorded, by cell.
        """
        rounds: dict[Round, list[PlannedTrial]] = {}
        for trial in trials:
            rounds.setdefault(_key(trial), []).append(trial)
        for (cell, number), mine in rounds.items():
            self._groups[cell, number] = Group(mine, (each for each in histories[cell] if each.round == number))

    def legs(self, trials: Iterable[PlannedTrial]) -> list[Leg]:
        """What is to be trained now of these trials."""
        return [Leg(each.config, each.until or each.config.steps, self._read_state(each.trial_id)) for each in trials]

    def pause(self, trial: PlannedTrial, state: bytes, record: Record) -> None:
        """A trial has come to a rung."""
        self._folder.states.mkdir(exist_ok=True)
        write_whole(self._state(trial.trial_id), state, sync=True)
        records.append(self._folder.rungs, record)
        self._seen[trial.trial_id][record.pruned_step] = record
        self._groups[_key(trial)].under_way.remove(trial.trial_id)

    def end(self, trial: PlannedTrial, observation: Observation) -> None:
        """A trial has its record."""
        group = self._groups[_key(trial)]
        del group.waiting[trial.trial_id]
        group.under_way.discard(trial.trial_id)
        group.losses.setdefault(observation.values, {})[observation.seed] = observation.loss
        self._state(trial.trial_id).unlink(missing_ok=True)
        self._seen.pop(trial.trial_id, None)

    def whole(self, trial: PlannedTrial, record: Record) -> Record:
        """The record of a part of a trial as that of all its parts so far."""
        if not self._seen[trial.trial_id]:
            return record
        *_, last = self._seen[trial.trial_id].values()
        return dataclasses.replace(
            record,
            wall_s=last.wall_s + record.wall_s,
            started=last.started,
            cohort_size=last.cohort_size,
            execution=last.execution,
        )

    def move(self, trials: Iterable[PlannedTrial]) -> Moves:
        """What is to be done now in the rounds of these trials."""
        moves = Moves([], [])
        for key in dict.fromkeys(map(_key, trials)):
            group = self._groups[key]
            while self._step(group, moves):
                pass
        return moves

    def _step(self, group: Group, moves: Moves) -> bool:
        """Set out what can be; then, where all that is left stands at a rung, drop the worse of it: True if it was."""
        settings = {trial.values for trial in group.left}
        for trial in group.waiting.values():
            if trial.trial_id in group.under_way:
                continue
            dropped = trial.values in group.dropped
            stop = group.dropped[trial.values] if dropped else next_stop(trial.config.steps, len(settings))
            if stop not in self._seen[trial.trial_id]:
                moves.go.append(trial._replace(until=stop))
                group.under_way.add(trial.trial_id)
            elif dropped:
                moves.drop.append((trial, self._seen[trial.trial_id][stop]))
                group.under_way.add(trial.trial_id)
        if not settings or any(trial.trial_id in group.under_way for trial in group.left):
            return False
        steps = group.left[0].config.steps
        rung = next(each for each in rungs(steps) if each.step == next_stop(steps, len(settings)))
        ranked = sorted(settings, key=lambda values: (self._mean_loss(group, values, rung.step), values))
        group.dropped |= dict.fromkeys(ranked[rung.keep :], rung.step)
        return True

    def _mean_loss(self, group: Group, values: Values, step: int) -> float:
        """Of a setting's seeds at a step; those that diverged before it count as the search has them."""
        losses = dict(group.losses[values]) if values in group.losses else {}
        for trial in group.left:
            if trial.values == values:
                loss = self._seen[trial.trial_id][step].final_loss
                losses[trial.config.seed] = math.inf if loss is None else loss
        return sum(loss for _, loss in sorted(losses.items())) / len(losses)

    def _read_state(self, trial_id: str) -> bytes | None:
        path = self._state(trial_id)
        return path.read_bytes() if path.exists() else None

    def _state(self, trial_id: str) -> Path:
        return self._folder.states / f"{trial_id}.pt"


def _key(trial: PlannedTrial) -> Round:
    return trial.cell.key, trial.round
