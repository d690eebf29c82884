"""Small sweeps over the fake training, and how to read what they left."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mutransfer.config import SweepConfig
from mutransfer.data import Corpus
from mutransfer.sweep.driver import run_sweep
from mutransfer.sweep.events import Listener, ignore
from mutransfer.sweep.executors import InProcess
from mutransfer.trials import records

from .fake_training import CORPUS, FakeTrain


def load_fake(spec: str) -> Corpus:
    return CORPUS


def small(folder: Path, **changes: Any) -> SweepConfig:
    """A sweep of 2 widths x 3 rates x 2 seeds in one arm."""
    fields: dict[str, Any] = {
        "experiment": "small",
        "parametrizations": ("mup",),
        "widths": (32, 64),
        "lrs": (2.0**-8, 2.0**-6, 2.0**-4),
        "seeds": 2,
        "search": "grid",
        "steps": 20,
        "executor": "inprocess",
        "device": "cpu",
        "out": str(folder),
    }
    return SweepConfig(**{**fields, **changes})


def in_process(train: Callable[..., Any]) -> Callable[[SweepConfig, Corpus], InProcess]:
    return lambda config, corpus: InProcess(train, corpus, "cpu")


def sweep(config: SweepConfig, train: FakeTrain, listener: Listener = ignore, command: str = "again") -> Any:
    """Run a sweep in this process."""
    return run_sweep(config, command=command, listener=listener, open_executor=in_process(train), load=load_fake)


def calls(path: str | Path) -> list[dict[str, Any]]:
    """What was trained, in the order in which it ended."""
    file = Path(path)
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def measured(folder: Path) -> dict[str, tuple[Any, ...]]:
    """What the records say that does not depend on when and where a trial ran. Reading refuses duplicates."""
    return {
        record.trial_id: (
            record.arm,
            record.width,
            record.lr,
            record.seed,
            record.round,
            record.final_loss,
            record.diverged,
        )
        for record in records.read(folder / "records.jsonl")
    }


def told(folder: Path) -> tuple[dict[str, float], list[str]]:
    """What stock Optuna reads in the journal: values of complete trials by id, and the states of unfinished ones."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from optuna.trial import TrialState

    storage = JournalStorage(JournalFileBackend(str(folder / "study.journal")))
    complete: dict[str, float] = {}
    unfinished = []
    for study in storage.get_all_studies():
        for trial in storage.get_all_trials(study._study_id):
            if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
                assert trial.user_attrs["trial_id"] not in complete
                assert trial.value is not None
                complete[trial.user_attrs["trial_id"]] = trial.value
            elif not trial.state.is_finished():
                unfinished.append(trial.state.name)
    return complete, unfinished


def assert_journal_agrees(folder: Path) -> None:
    """The journal holds exactly what the records hold."""
    from mutransfer.search.sampling import PENALTY

    complete, unfinished = told(folder)
    assert complete == {
        r.trial_id: PENALTY if r.diverged else r.final_loss for r in records.read(folder / "records.jsonl")
    }
    assert unfinished == []
