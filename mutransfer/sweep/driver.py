"""The driver: asks, dispatches, records, tells. It alone touches the study and the records.

For each trial, in this order: a line in the journal, the dispatch, the curve, the record (fsynced), the journal again.
A kill between any two of them loses no record and leads to no second one: what is recorded is never dispatched again.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from mutransfer import records
from mutransfer.config import SweepConfig
from mutransfer.records import Record
from mutransfer.sweep.claim import claim
from mutransfer.sweep.cost import training_flops
from mutransfer.sweep.events import Appended, Asked, Closed, Dispatched, Failed, Listener, Opened, Told, ignore
from mutransfer.sweep.executors import Executor, Finished, InProcess, local_device, train_trials
from mutransfer.sweep.folder import (
    Failure,
    Origin,
    ResultFolder,
    append_failure,
    explain_write_errors,
    extend,
    read_origin,
    write_curve,
    write_origin,
)
from mutransfer.sweep.journal import Journal, open_journal
from mutransfer.sweep.lock import DriverLock
from mutransfer.sweep.planned import Cell, PlannedTrial, cell_flops, cells, plan_trial
from mutransfer.sweep.recording import installed_versions, make_record
from mutransfer.sweep.search import Observation, count_missing, group_by_cell, observe, propose

if TYPE_CHECKING:
    from mutransfer.data import Corpus
    from mutransfer.training import TrialResult

HOPELESS = 3
"""Failures before any success that stop a sweep: it would fail throughout."""


class TrialsFailedError(RuntimeError):
    """Trials ended in errors; the others are recorded, and the same command tries these again."""


@dataclass(frozen=True)
class Outcome:
    """What a finished sweep did: trials it ran, how many of them diverged, and all that the folder now records."""

    folder: Path
    ran: int
    diverged: int
    recorded: int


@dataclass
class Study:
    """One cell's search: what is recorded in it, and how many of its proposals are under way."""

    cell: Cell
    history: list[Observation] = field(default_factory=list)
    under_way: int = 0
    failed: bool = False


def open_executor(config: SweepConfig, corpus: Corpus) -> Executor:
    """The executor that the config names. Raises ValueError if no trial could ever run there."""
    if config.executor == "inprocess":
        return InProcess(train_trials, corpus, local_device(config.device, config.gpus_per_trial))
    # Ray is loaded here, so that executor=inprocess never does.
    from mutransfer.sweep.ray_cluster import RayCluster

    return RayCluster(train_trials, corpus, config.device, config.gpus_per_trial)


def load_corpus(spec: str) -> Corpus:
    """`mutransfer.data.load_corpus`."""
    from mutransfer import data

    return data.load_corpus(spec)


def run_sweep(
    config: SweepConfig,
    *,
    command: str,
    listener: Listener = ignore,
    open_executor: Callable[[SweepConfig, Corpus], Executor] = open_executor,
    load: Callable[[str], Corpus] = load_corpus,
) -> Outcome:
    """Run, resume or extend a sweep, until every trial of it is recorded.

    Args:
        config: the sweep; its folder may hold an earlier one, of which nothing is run again.
        command: what to type to run this again, kept in config.json.
        listener: is called with every event, in this thread.
        open_executor: where the trials run.
        load: gives the corpus.

    Raises:
        ValueError: before anything is written, on what cannot be run, on another driver in the folder, on a folder made
            with another sweep, and on corrupt records; later, on a disk that can no longer be written.
        TrialsFailedError: at the end, if trials ended in errors; at once if the first `HOPELESS` did.
        KeyboardInterrupt: on SIGINT or SIGTERM, after the workers were killed.
    """
    config.validate()
    if config.search != "grid" and len(config.lrs) < 2:
        raise ValueError(f"found one rate, {config.lrs[0]:g}, for search {config.search}; wanted a range: give --lrs")
    corpus = load(config.data)
    corpus.check(config.model.context, config.model.vocab)
    folder = ResultFolder(Path(config.folder))
    stored = read_origin(folder)
    origin = extend(stored, Origin(config, corpus.fingerprint, command), folder)
    with contextlib.ExitStack() as stack:
        # A new folder is not made before it is sure that trials can run.
        lock = stack.enter_context(claim(folder, stored)) if stored is not None else None
        recorded = _read_records(folder)
        studies = _open_studies(config, recorded)
        to_run = {cell: count_missing(config.for_arm(cell.arm), study.history) for cell, study in studies.items()}
        executor = None
        if any(to_run.values()):
            executor = open_executor(config, corpus)
            stack.callback(executor.close)
        lock = lock or stack.enter_context(claim(folder, stored))
        with explain_write_errors(folder):
            if origin != stored:
                write_origin(folder, origin)
            journal = open_journal(folder.journal, origin.config, recorded)
        if executor is None:
            return Outcome(folder.path, 0, 0, len(recorded))
        driver = _Driver(config, corpus, folder, lock, journal, executor, listener, studies)
        flops = {cell: cell_flops(config, cell) for cell in to_run}
        stack.callback(listener, Closed())
        listener(Opened(folder.path, executor.device, executor.slots, to_run, recorded, flops))
        before = len(recorded)
        del recorded  # Thousands of whole records, of which the studies keep what they need.
        with _interrupts() as came:
            driver.run(came)
    return Outcome(folder.path, driver.ran, driver.diverged, before + driver.ran)


class _Driver:
    """The loop. `ready` holds proposals, the dearest first, so that no long trial is left for the end."""

    def __init__(
        self,
        config: SweepConfig,
        corpus: Corpus,
        folder: ResultFolder,
        lock: DriverLock,
        journal: Journal,
        executor: Executor,
        listener: Listener,
        studies: dict[Cell, Study],
    ) -> None:
        self.config, self.corpus, self.folder, self.lock = config, corpus, folder, lock
        self.journal, self.executor, self.listener, self.studies = journal, executor, listener, studies
        self.versions = installed_versions()
        self.ready: list[tuple[float, int, PlannedTrial]] = []
        self.order = itertools.count()
        self.running: dict[str, PlannedTrial] = {}
        self.ran = self.diverged = 0
        self.failures: list[str] = []

    def run(self, interrupts: Sequence[int]) -> None:
        """Until nothing is left to run, or an interrupt came that nobody heeded."""
        for study in self.studies.values():
            self.refill(study)
        while self.ready or self.running:
            if interrupts:
                raise KeyboardInterrupt
            while self.ready and len(self.running) < self.executor.slots:
                self.dispatch(heapq.heappop(self.ready)[-1])
            self.announce()
            self.finish(self.executor.next_finished())
        self.announce()
        if self.failures:
            raise TrialsFailedError(self.describe_failures())

    def refill(self, study: Study) -> None:
        """Make a study's next round ready."""
        for point in propose(self.config.for_arm(study.cell.arm), study.cell.study, study.history):
            trial = plan_trial(self.config, study.cell, point, self.corpus.fingerprint)
            heapq.heappush(self.ready, (-training_flops(trial.config), next(self.order), trial))
            study.under_way += 1

    def dispatch(self, trial: PlannedTrial) -> None:
        with explain_write_errors(self.folder):
            self.journal.ask(*trial.cell.key, trial.trial_id, trial.config.lr, trial.config.seed)
        self.listener(Asked(trial))
        self.running[trial.trial_id] = trial
        self.executor.submit(trial.trial_id, [trial.config])
        self.listener(Dispatched(trial))

    def announce(self) -> None:
        with explain_write_errors(self.folder):
            self.lock.announce(list(self.running), self.executor.slots)

    def finish(self, finished: Finished) -> None:
        trial = self.running.pop(finished.key)
        study = self.studies[trial.cell]
        study.under_way -= 1
        error = finished.error
        if error is None:
            (result,) = finished.results
            try:
                record = make_record(self.config, trial, result, self.corpus, self.versions, cohort_size=1)
            except ValueError as refused:
                error = f"ValueError: {refused}"
            else:
                self.record(study, trial, result, record)
        if error is not None:
            self.fail(study, trial, error)
        # A round with a failure stays unfinished: its study goes on when the same command runs again.
        if study.under_way == 0 and not study.failed:
            self.refill(study)

    def record(self, study: Study, trial: PlannedTrial, result: TrialResult, record: Record) -> None:
        with explain_write_errors(self.folder):
            write_curve(self.folder, trial.trial_id, result.train_losses)
            records.append(self.folder.records, record)
        self.listener(Appended(trial, record))
        study.history.append(observe(record))
        self.ran += 1
        self.diverged += record.diverged
        with explain_write_errors(self.folder):
            self.journal.tell(record)
        self.listener(Told(trial))

    def fail(self, study: Study, trial: PlannedTrial, error: str) -> None:
        study.failed = True
        self.failures.append(error.splitlines()[0])
        when = datetime.now(UTC).isoformat(timespec="seconds")
        training = trial.config
        failure = Failure(trial.trial_id, *trial.cell.key, training.lr, training.seed, error, when)
        with explain_write_errors(self.folder):
            append_failure(self.folder, failure)
            self.journal.fail(trial.trial_id)
        self.listener(Failed(trial, error))
        if self.ran == 0 and len(self.failures) >= HOPELESS:
            raise TrialsFailedError("stopped: " + self.describe_failures())

    def describe_failures(self) -> str:
        count, tried = len(self.failures), self.ran + len(self.failures)
        return (
            f"{count} of {tried} trials failed, the first with {self.failures[0]!r}; see {self.folder.failures}; "
            "the same command tries them again"
        )


def _read_records(folder: ResultFolder) -> list[Record]:
    """The folder's records, its torn last lines cut off; the lock must be held."""
    records.drop_torn_tail(folder.failures)
    if not folder.records.exists():
        return []
    recorded = records.read(folder.records)
    records.drop_torn_tail(folder.records)
    return recorded


def _open_studies(config: SweepConfig, recorded: Sequence[Record]) -> dict[Cell, Study]:
    histories = group_by_cell(recorded, config.axis)
    return {cell: Study(cell, histories[cell.key]) for cell in cells(config)}


@contextlib.contextmanager
def _interrupts() -> Iterator[list[int]]:
    """SIGTERM ends a sweep as Ctrl-C does. Gives the signals that came: one that arrives inside a callback of a library
    raises there, where it may be swallowed. Signals belong to the main thread: elsewhere this does nothing."""
    came: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        came.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
