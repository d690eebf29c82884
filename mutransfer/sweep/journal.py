"""`study.journal`, which `optuna-dashboard` opens: a view of the records, one study per (arm, scale).

The records are the truth. At the start the journal is reconciled with them; what a kill or a power cut took from the
journal comes back from there.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from mutransfer.config import Scale, SweepConfig
from mutransfer.search.planned import study_name
from mutransfer.search.sampling import told
from mutransfer.trials.records import Record, values_of


class Kept(NamedTuple):
    """A trial in the journal: its study's name, its number in the storage, and what Optuna knows of it."""

    study: str
    number: int
    trial: FrozenTrial

    @property
    def trial_id(self) -> str:
        """Ours; empty where it has none."""
        return str(self.trial.user_attrs["trial_id"]) if "trial_id" in self.trial.user_attrs else ""


class Journal:
    """The studies of a sweep. Each trial is two lines: one when it is asked, one when it is told."""

    def __init__(self, path: Path, config: SweepConfig) -> None:
        """Raises anything at all if the file is no journal."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._config = config
        self._storage = JournalStorage(_View(path))
        self._studies = {
            study.study_name: self._storage.get_study_id_from_name(study.study_name)
            for study in self._storage.get_all_studies()
        }
        self._asked: dict[str, int] = {}

    def trials(self) -> list[Kept]:
        """Every trial of every study."""
        return [
            Kept(name, self._storage.get_trial_id_from_study_id_trial_number(study, trial.number), trial)
            for name, study in self._studies.items()
            for trial in self._storage.get_all_trials(study, deepcopy=False)
        ]

    def study_of(self, record: Record) -> str:
        """The name of the study that a record belongs to."""
        return study_name(record.arm, record.scale, self._config.dimensions)

    def ask(self, arm: str, scale: Scale, trial_id: str, lr: float, seed: int, others: Sequence[float] = ()) -> None:
        """Enter a proposed trial as running.

        One line straight into the storage: `enqueue_trial` and `ask` would write four, look through all trials of the
        study for the one waiting, and leave it waiting if killed in between.
        """
        params = self._params(lr, seed, others)
        self._asked[trial_id] = self._storage.create_new_trial(
            self._study(study_name(arm, scale, self._config.dimensions)),
            create_trial(
                state=TrialState.RUNNING,
                params=params,
                distributions=self._distributions(params),
                user_attrs={"trial_id": trial_id},
            ),
        )

    def knows(self, trial_id: str) -> bool:
        """Whether a trial was asked and has no result yet."""
        return trial_id in self._asked

    def tell(self, record: Record) -> None:
        """Tell the result of an asked trial."""
        self.settle(self._asked.pop(record.trial_id), record)

    def fail(self, trial_id: str) -> None:
        """Tell that an asked trial ended in an error."""
        self.give_up(self._asked.pop(trial_id))

    def settle(self, number: int, record: Record) -> None:
        """Complete the storage's trial `number` with a record."""
        if record.diverged:
            self._storage.set_trial_user_attr(number, "diverged", True)
        for step, loss in _intermediate(record).items():
            self._storage.set_trial_intermediate_value(number, step, loss)
        self._storage.set_trial_state_values(number, _state(record), [_loss(record)])

    def give_up(self, number: int) -> None:
        """End the storage's trial `number` without a result."""
        self._storage.set_trial_state_values(number, TrialState.FAIL)

    def add(self, record: Record) -> None:
        """Add a finished trial that the journal lacks."""
        attributes: dict[str, Any] = {"trial_id": record.trial_id}
        params = self._params(record.lr, record.seed, values_of(record, self._config.space))
        self._storage.create_new_trial(
            self._study(self.study_of(record)),
            create_trial(
                state=_state(record),
                value=_loss(record),
                params=params,
                distributions=self._distributions(params),
                user_attrs={**attributes, "diverged": True} if record.diverged else attributes,
                intermediate_values=_intermediate(record),
            ),
        )

    def _study(self, name: str) -> int:
        if name not in self._studies:
            self._studies[name] = self._storage.create_new_study([StudyDirection.MINIMIZE], name)
        return self._studies[name]

    def _params(self, lr: float, seed: int, others: Sequence[float]) -> dict[str, Any]:
        names = [each.name for each in self._config.space]
        return {"lr": lr, "seed": seed, **dict(zip(names, others, strict=True))}

    def _distributions(self, params: Mapping[str, Any]) -> dict[str, BaseDistribution]:
        # A record may lie outside this command's range; Optuna wants every value inside its distribution.
        lrs = (*self._config.lrs, params["lr"])
        return {
            "lr": FloatDistribution(min(lrs), max(lrs), log=True),
            "seed": IntDistribution(0, max(self._config.seeds - 1, params["seed"])),
            **{each.name: FloatDistribution(each.low, each.high, log=each.log) for each in self._config.space},
        }


def open_journal(path: Path, config: SweepConfig, records: Sequence[Record]) -> Journal:
    """The journal, brought into agreement with the records.

    Trials that were running are told what was recorded of them, or that they failed; recorded trials it lacks are
    added. A journal that cannot be read (with a warning), or that knows results which the records do not, is rebuilt.
    """
    if path.exists():
        try:
            _check_last_line(path)
            journal = Journal(path, config)
            if _reconcile(journal, records):
                return journal
        except OSError:
            raise
        except Exception as error:  # Optuna replays a damaged file into whatever error comes first.
            warnings.warn(
                f"{path} could not be read ({error or type(error).__name__}); rebuilt from the records", stacklevel=3
            )
    return _rebuild(path, config, records)


def _check_last_line(path: Path) -> None:
    """Raises ValueError if the last line is no JSON, of which Optuna says nothing before another follows."""
    whole, _, torn = path.read_bytes().rpartition(b"\n")
    if torn:
        raise ValueError("its last line is torn")
    if whole:
        json.loads(whole.rpartition(b"\n")[2])


def _reconcile(journal: Journal, records: Sequence[Record]) -> bool:
    """Bring the journal into agreement; False if it holds results that the records do not, or elsewhere."""
    recorded = {record.trial_id: record for record in records}
    trials = journal.trials()
    known: set[str] = set()
    for kept in trials:
        if kept.trial.state not in (TrialState.COMPLETE, TrialState.PRUNED):
            continue
        record = recorded.get(kept.trial_id)
        if record is None or kept.trial_id in known or kept.trial.value != _loss(record):
            return False
        if kept.study != journal.study_of(record):  # the sweep is by now about further dimensions
            return False
        known.add(kept.trial_id)
    for kept in trials:
        if kept.trial.state.is_finished():
            continue
        if kept.trial.state == TrialState.RUNNING and kept.trial_id in recorded and kept.trial_id not in known:
            journal.settle(kept.number, recorded[kept.trial_id])
            known.add(kept.trial_id)
        else:
            journal.give_up(kept.number)
    for record in records:
        if record.trial_id not in known:
            journal.add(record)
    return True


def _rebuild(path: Path, config: SweepConfig, records: Sequence[Record]) -> Journal:
    """A new journal that takes the old one's place once it is whole."""
    half = path.with_suffix(".half")
    half.unlink(missing_ok=True)
    journal = Journal(half, config)
    for record in records:
        journal.add(record)
    half.replace(path)
    return Journal(path, config)


def _state(record: Record) -> TrialState:
    return TrialState.COMPLETE if record.pruned_step is None else TrialState.PRUNED


def _intermediate(record: Record) -> dict[int, float]:
    """The loss of a pruned trial at its last step."""
    return {} if record.pruned_step is None else {record.pruned_step: _loss(record)}


def _loss(record: Record) -> float:
    """What Optuna is told of a record."""
    return told(math.inf if record.diverged or record.final_loss is None else record.final_loss)


class _View(BaseJournalBackend):
    """The journal file without fsync and without a lock of its own.

    The driver's lock is held, and what a power cut takes comes back from the records. Optuna's own lock, a symlink,
    would outlive a kill and hold up the next driver.
    """

    def __init__(self, path: Path) -> None:
        self._file, self._reader = path, JournalFileBackend(str(path))

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        return self._reader.read_logs(log_number_from)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with self._file.open("ab") as file:
            file.write(lines.encode())
