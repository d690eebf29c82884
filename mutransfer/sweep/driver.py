"""A sweep from its config to its last record: the folder is claimed, the executor opened, the loop run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mutransfer.config import SweepConfig, validate
from mutransfer.config.execution import validate_execution
from mutransfer.search.planned import cell_flops
from mutransfer.search.protocol import Histories, Searched, group_by_cell, units
from mutransfer.search.rungs import part_trained
from mutransfer.sweep.claim import claim
from mutransfer.sweep.events import Closed, Listener, Opened, ignore
from mutransfer.sweep.executors import Executor, InProcess, local_device, training_of
from mutransfer.sweep.folder import (
    Origin,
    ResultFolder,
    explain_write_errors,
    extend,
    read_origin,
    write_origin,
)
from mutransfer.sweep.halving import Halving
from mutransfer.sweep.interrupts import interrupts
from mutransfer.sweep.journal import open_journal
from mutransfer.sweep.loop import Loop, Search
from mutransfer.trials import records
from mutransfer.trials.records import Record

if TYPE_CHECKING:
    from mutransfer.data import Corpus


@dataclass(frozen=True)
class Outcome:
    """What a finished sweep did: trials it ran, how many of them diverged, and all that the folder now records. `busy`
    is the part of the time, over all slots, in which a slot had something to run; None where nothing ran. `searched`
    says how far a search of each arm came that decides itself when to end."""

    folder: Path
    ran: int
    diverged: int
    recorded: int
    busy: float | None = None
    searched: tuple[Searched, ...] = ()


def open_executor(config: SweepConfig, corpus: Corpus) -> Executor:
    """The executor that the config names. Raises ValueError if no trial could ever run there."""
    run = training_of(config)
    if config.executor == "inprocess":
        return InProcess(run, corpus, local_device(config.device, config.gpus_per_trial))
    # Ray is loaded here, so that executor=inprocess never does.
    from mutransfer.sweep.ray_cluster import RayCluster

    return RayCluster(run, corpus, config.device, config.gpus_per_trial)


def load_corpus(spec: str) -> Corpus:
    """`mutransfer.data.load_corpus`."""
    from mutransfer import data

    return data.load_corpus(spec)


def check_own(config: SweepConfig) -> None:
    """`mutransfer.training.own_model.check_own`."""
    from mutransfer.training import own_model

    own_model.check_own(config)


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
    validate(config)
    corpus = load(config.data)
    corpus.check(config.model.context, config.model.vocab)
    folder = ResultFolder(Path(config.folder))
    stored = read_origin(folder)
    origin = extend(stored, Origin(config, corpus.fingerprint, command), folder)
    with contextlib.ExitStack() as stack:
        # A new folder is not made before it is sure that trials can run.
        lock = stack.enter_context(claim(folder, stored)) if stored is not None else None
        recorded = _read_records(folder)
        histories = group_by_cell(recorded, config)
        searches = [Search(unit) for unit in units(config)]
        for search in searches:
            search.unit.search.check(search.unit)
        to_run = {
            cell: count
            for search in searches
            for cell, count in search.unit.search.expect(search.unit, histories).items()
        }
        executor = None
        if any(count.most for count in to_run.values()):
            if config.build:
                check_own(config)
            executor = open_executor(config, corpus)
            stack.callback(executor.close)
            validate_execution(config.execution, executor.device, config.cohort_size)  # of `auto` it is known only now
        lock = lock or stack.enter_context(claim(folder, stored))
        with explain_write_errors(folder):
            if origin != stored:
                write_origin(folder, origin)
            journal = open_journal(folder.journal, origin.config, recorded)
            halving = None if config.prune == "none" else Halving(folder, recorded)
        if executor is None:
            return Outcome(folder.path, 0, 0, len(recorded), searched=_look_back(searches, histories))
        loop = Loop(config, corpus, folder, lock, journal, executor, listener, searches, histories, halving)
        flops = {cell: cell_flops(config, cell) for cell in to_run}
        stack.callback(listener, Closed())
        part = 1.0 if halving is None else part_trained(config.steps)
        listener(Opened(folder.path, executor.device, executor.slots, to_run, recorded, flops, part))
        before = len(recorded)
        del recorded  # Thousands of whole records, of which the histories keep what is needed.
        with interrupts() as came:
            loop.run(came)
    searched = _look_back(searches, histories)
    return Outcome(folder.path, loop.ran, loop.diverged, before + loop.ran, loop.busy, searched)


def _read_records(folder: ResultFolder) -> list[Record]:
    """The folder's records, its torn last lines cut off; the lock must be held."""
    records.drop_torn_tail(folder.failures)
    if not folder.records.exists():
        return []
    recorded = records.read(folder.records)
    records.drop_torn_tail(folder.records)
    return recorded


def _look_back(searches: Sequence[Search], histories: Histories) -> tuple[Searched, ...]:
    found = (search.unit.search.done(search.unit, histories) for search in searches)
    return tuple(each for each in found if each is not None)
