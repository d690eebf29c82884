"""The loop of a driver: asks, dispatches, records, tells. It alone touches the study and the records.

Trials of one shape that are ready together are handed out as cohorts, which the executor trains as one: never so large
that a slot stays idle. Cohorts that do not fill a GPU share it, as many as fit. A cohort that ends in an error is tried
again trial by trial, each on a GPU of its own, so that one takes no other down. How many trials fill a GPU is measured
there, a submission like any other.

For each trial, in this order: a line in the journal, the dispatch, the curve, the record (fsynced), the journal again.
A kill between any two of them loses no record and leads to no second one: what is recorded is never dispatched again.
A trial of a pruned search is dispatched for each part of its run, and its state at a rung is kept in between.
"""

from __future__ import annotations

import time
import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from mutransfer.config import Execution, SweepConfig
from mutransfer.config.execution import CPU_COHORT
from mutransfer.config.searches import SEARCHES
from mutransfer.search.planned import Key, PlannedTrial, plan_trial
from mutransfer.search.protocol import Observation, Unit, observe
from mutransfer.sweep.events import Appended, Asked, Dispatched, Failed, Listener, Revised, Told
from mutransfer.sweep.executors import Executor, Finished
from mutransfer.sweep.folder import Failure, ResultFolder, append_failure, explain_write_errors, write_curve
from mutransfer.sweep.halving import Halving
from mutransfer.sweep.journal import Journal
from mutransfer.sweep.lock import DriverLock
from mutransfer.sweep.ready import Handout, Ready
from mutransfer.sweep.recording import installed_versions, make_record
from mutransfer.sweep.shapes import question, settled
from mutransfer.sweep.shares import WHOLE, Slots
from mutransfer.trials import records
from mutransfer.trials.records import Record

if TYPE_CHECKING:
    from mutransfer.data import Corpus
    from mutransfer.training import TrialResult

HOPELESS = 3
"""Failures before any success that stop a sweep: it would fail throughout."""


class TrialsFailedError(RuntimeError):
    """Trials ended in errors; the others are recorded, and the same command tries these again."""


@dataclass
class Search:
    """The search of one unit: how many of its proposals are under way."""

    unit: Unit
    under_way: int = 0
    failed: bool = False


class Submission(NamedTuple):
    """What the executor has, and the time at which it was handed out, seconds."""

    handout: Handout
    since: float


class Loop:
    """Of one sweep, until every trial of it is recorded."""

    def __init__(
        self,
        config: SweepConfig,
        corpus: Corpus,
        folder: ResultFolder,
        lock: DriverLock,
        journal: Journal,
        executor: Executor,
        listener: Listener,
        searches: Sequence[Search],
        histories: defaultdict[Key, list[Observation]],
        halving: Halving | None,
    ) -> None:
        self.config, self.corpus, self.folder, self.lock = config, corpus, folder, lock
        self.journal, self.executor, self.listener, self.histories = journal, executor, listener, histories
        self.searches, self.halving = searches, halving
        self.search_of = {cell: search for search in searches for cell in search.unit.cells}
        self.versions = installed_versions()
        self.slots = Slots(executor.slots, executor.sharers)
        least = CPU_COHORT if executor.device == "cpu" and config.cohort_size is None else 1
        self.ready = Ready(config.cohort_size, partial(settled, config, executor.device, executor.sharers), least)
        self.running: dict[str, Submission] = {}
        self.ran = self.diverged = 0
        self.busy_s = self.wall_s = 0.0
        self.failures: list[str] = []
        self.any_trained = False

    @property
    def busy(self) -> float | None:
        """The part of the slots' time in which they had something to run; a share of a slot counts as such."""
        return self.busy_s / (self.wall_s * self.executor.slots) if self.wall_s else None

    def run(self, interrupts: Sequence[int]) -> None:
        """Until nothing is left to run, or an interrupt came that nobody heeded."""
        start = time.monotonic()
        for search in self.searches:
            self.refill(search)
        while self.ready or self.running:
            if interrupts:
                raise KeyboardInterrupt
            while (handout := self.ready.take(self.slots)) is not None:
                self.dispatch(handout)
            self.announce()
            self.finish(self.executor.next_finished())
            self.wall_s = time.monotonic() - start
        self.announce()
        if self.failures:
            raise TrialsFailedError(self.describe_failures())

    def refill(self, search: Search) -> None:
        """Make a unit's next round ready."""
        proposed = search.unit.search.propose(search.unit, self.histories)
        search.under_way += len(proposed)
        planned = [plan_trial(self.config, cell, point, self.corpus.fingerprint) for cell, point in proposed]
        if self.halving is None:
            self.ready.add(planned)
        else:
            self.halving.enter(planned, self.histories)
            self.move(planned)
            if planned and search.under_way == 0:  # a kill had left no more to do than to drop them
                self.refill(search)
        if SEARCHES[search.unit.config.search].adaptive:  # the others knew it from the start
            self.listener(Revised(search.unit.search.expect(search.unit, self.histories)))

    def dispatch(self, handout: Handout) -> None:
        trials, mode, share, _ = handout
        key = trials[0].trial_id
        self.running[key] = Submission(handout, time.monotonic())
        if mode is None:
            self.executor.measure(key, trials[0].config, question(self.config, self.executor.sharers))
            return
        for trial in trials:
            self.ask(trial)
        work = [trial.config for trial in trials] if self.halving is None else self.halving.legs(trials)
        self.executor.submit(key, work, mode, share)
        for trial in trials:
            self.listener(Dispatched(trial, float(share)))

    def ask(self, trial: PlannedTrial) -> None:
        """Enter a trial into the journal, where that has not been done."""
        if not self.journal.knows(trial.trial_id):
            with explain_write_errors(self.folder):
                self.journal.ask(*trial.cell.key, trial.trial_id, trial.config.lr, trial.config.seed, trial.others)
            self.listener(Asked(trial))

    def announce(self) -> None:
        handouts = [handout for handout, _ in self.running.values()]
        under_way = [trial.trial_id for each in handouts if each.mode is not None for trial in each.trials]
        with explain_write_errors(self.folder):
            # Where slots are shared more run at once, each for longer: whoever reckons when they end must know.
            self.lock.announce(under_way, max(self.executor.slots, len(handouts)))

    def finish(self, finished: Finished) -> None:
        handout, since = self.running.pop(finished.key)
        self.busy_s += (time.monotonic() - since) * float(handout.share)
        self.slots.give(handout.slot, handout.share)
        cohort = handout.trials
        if handout.mode is None:
            self.learn(cohort[0], finished)
            return
        if finished.error is not None and (len(cohort) > 1 or handout.share < WHOLE):
            self.ready.part(cohort)
            return
        results: Sequence[TrialResult | None] = finished.results if finished.error is None else [None]
        for trial, result in zip(cohort, results, strict=True):
            self.settle(trial, result, finished.error)
        if self.halving is not None:
            self.move(cohort)
        for search in {id(each): each for trial in cohort for each in [self.search_of[trial.cell]]}.values():
            # A round with a failure stays unfinished: its search goes on when the same command runs again.
            if search.under_way == 0 and not search.failed:
                self.refill(search)

    def learn(self, trial: PlannedTrial, finished: Finished) -> None:
        """Take in what was measured of a trial's shape."""
        execution = finished.execution
        if execution is None:
            reason = (finished.error or "").partition("\n")[0]
            warnings.warn(f"cohorts could not be measured ({reason}); training one by one", stacklevel=2)
            execution = Execution()
        if self.config.execution != "auto":
            execution = execution._replace(mode=self.config.execution)
        self.ready.learn(trial.config, execution)

    def settle(self, trial: PlannedTrial, result: TrialResult | None, error: str | None) -> None:
        """Take in how a trial, or a part of it, ended."""
        if result is not None:
            try:
                record = make_record(self.config, trial, result, self.corpus, self.versions)
            except ValueError as refused:
                error = f"ValueError: {refused}"
            else:
                self.take_in(trial, result, record)
        if error is not None:
            self.fail(trial, error)

    def take_in(self, trial: PlannedTrial, result: TrialResult, record: Record) -> None:
        """A trial has come to its end, or to a rung."""
        self.any_trained = True
        with explain_write_errors(self.folder):
            write_curve(self.folder, trial.trial_id, result.train_losses)
            if self.halving is not None:
                record = self.halving.whole(trial, record)
                if result.state is not None:
                    self.halving.pause(trial, result.state, record)
                    return
        self.record(trial, record)

    def move(self, trials: Sequence[PlannedTrial]) -> None:
        """Let go on, or drop, what can be in the rounds of these trials."""
        assert self.halving is not None
        moves = self.halving.move(trials)
        for trial, record in moves.drop:
            self.ask(trial)
            self.record(trial, record)
        self.ready.add(moves.go)

    def record(self, trial: PlannedTrial, record: Record) -> None:
        with explain_write_errors(self.folder):
            records.append(self.folder.records, record)
        self.listener(Appended(trial, record))
        observation = observe(record, self.config)
        self.histories[trial.cell.key].append(observation)
        if self.halving is not None:
            self.halving.end(trial, observation)
        self.search_of[trial.cell].under_way -= 1
        self.ran += 1
        self.diverged += record.diverged
        with explain_write_errors(self.folder):
            self.journal.tell(record)
        self.listener(Told(trial))

    def fail(self, trial: PlannedTrial, error: str) -> None:
        search = self.search_of[trial.cell]
        search.under_way, search.failed = search.under_way - 1, True
        self.failures.append(error.splitlines()[0])
        when = datetime.now(UTC).isoformat(timespec="seconds")
        training = trial.config
        cell = trial.cell
        scale = {name: int(cell.scale[name]) for name in cell.along}
        failure = Failure(trial.trial_id, cell.arm.name, training.lr, training.seed, error, when, scale)
        with explain_write_errors(self.folder):
            append_failure(self.folder, failure)
            self.journal.fail(trial.trial_id)
        self.listener(Failed(trial, error))
        if not self.any_trained and len(self.failures) >= HOPELESS:
            raise TrialsFailedError("stopped: " + self.describe_failures())

    def describe_failures(self) -> str:
        count, tried = len(self.failures), self.ran + len(self.failures)
        return (
            f"{count} of {tried} trials failed, the first with {self.failures[0]!r}; see {self.folder.failures}; "
            "the same command tries them again"
        )
