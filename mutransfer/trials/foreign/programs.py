"""What search programs left, and our own sweeps, as rows of text. Nothing is unpickled."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mutransfer.trials import records
from mutransfer.trials.foreign.text import Found, from_objects, unreadable

SQLITE = b"SQLite format 3\0"
JOURNAL = b'{"op_code"'
"""With what an Optuna storage begins."""

PARAMS, RESULT, ERROR = "params.json", "result.json", "error.txt"
"""Files in the folder of a Ray Tune trial."""

RECORDS = "records.jsonl"
RECORDED = ("trial_id", "arm", "tokens", "n_params", "flops", "init_loss", "wall_s", "diverged", "data_fingerprint")
"""What a record of our own says outside its config."""


def starts_with(path: Path, start: bytes) -> bool:
    """Whether a file begins so."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(start)) == start


def holds_ray_tune(path: Path) -> bool:
    """Whether a folder is a Ray Tune experiment."""
    return path.is_dir() and next(path.glob(f"*/{PARAMS}"), None) is not None


def read_optuna(path: Path) -> Found:
    """The trials of all studies of an Optuna storage, through Optuna's public interface. A SQLite file is opened for
    reading alone; a journal's lock is not touched.

    Raises:
        ValueError: where this version of Optuna cannot read it, and on one that maximizes or has several objectives.
    """
    import optuna  # it loads for half a second
    from optuna.storages.journal import JournalFileBackend
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import StaticPool

    corrupt = (SQLAlchemyError, RuntimeError, OSError, ValueError, KeyError, TypeError, AssertionError, IndexError)
    try:
        storage: optuna.storages.BaseStorage
        if starts_with(path, SQLITE):
            read_only = f"file:{quote(str(path.resolve()))}?mode=ro"
            storage = optuna.storages.RDBStorage(
                "sqlite://", {"creator": lambda: sqlite3.connect(read_only, uri=True), "poolclass": StaticPool}
            )
        else:
            storage = optuna.storages.JournalStorage(JournalFileBackend(str(path)))
        names = optuna.study.get_all_study_names(storage=storage)
        studies = [optuna.load_study(study_name=name, storage=storage) for name in names]
        trials = [(study, trial) for study in studies for trial in study.get_trials(deepcopy=False)]
    except corrupt as error:
        raise unreadable(path, f"a storage of Optuna {optuna.__version__}", error) from None
    for study in studies:
        if study.directions != [optuna.study.StudyDirection.MINIMIZE]:
            words = " and ".join(direction.name.lower() for direction in study.directions)
            raise ValueError(
                f"expected a study that minimizes one loss, got {study.study_name!r} in {path}, which has to {words}; "
                "export its trials as CSV and name the loss"
            )
    rows = [
        {
            **({"study": study.study_name} if len(studies) > 1 else {}),
            "number": trial.number,
            "state": trial.state.name,
            "value": None if trial.values is None else trial.values[0],
            "params": trial.params,
            "user_attrs": trial.user_attrs,
        }
        for study, trial in trials
    ]
    return Found(from_objects(rows), (path,))


def read_ray_tune(path: Path) -> Found:
    """A Ray Tune experiment's folder: of every trial its parameters, what it reported last, and its status."""
    files = sorted(path.glob("experiment_state-*.json"))[-1:]
    states: dict[str, str] = {}
    for file in files:
        for entry in _object(file, file.read_bytes()).get("trial_data", []):
            trial = _object(file, entry[0])
            states[str(trial.get("trial_id"))] = str(trial.get("status"))
    rows = []
    for params in sorted(path.glob(f"*/{PARAMS}")):
        row: dict[str, Any] = {"name": params.parent.name, "config": _object(params, params.read_bytes())}
        result = params.with_name(RESULT)
        reports = result.read_bytes().splitlines() if result.is_file() else []
        if reports:
            last = _object(result, reports[-1])
            row["trial_id"] = last.get("trial_id")
            row["results"] = {name: value for name, value in last.items() if name != "config"}
        failed = params.with_name(ERROR).exists()
        row["state"] = states.get(str(row.get("trial_id"))) or ("ERROR" if failed else None)
        files += [params, *([result] if reports else [])]
        rows.append(row)
    return Found(from_objects(rows), files)


def read_result_folder(path: Path) -> Found:
    """The records of one of our own sweeps, with its config in columns `config.`; trials dropped early are `pruned`."""
    file = path / RECORDS
    rows = [
        {
            **{name: getattr(record, name) for name in RECORDED},
            "state": "finished" if record.pruned_step is None else "pruned",
            "loss": "inf" if record.diverged else record.final_loss,
            "config": record.config,
        }
        for record in records.read(file)
    ]
    return Found(from_objects(rows), (file,))


def _object(path: Path, text: bytes | str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise unreadable(path, "JSON", error) from None
    if not isinstance(found, dict):
        raise ValueError(f"expected a JSON object in {path}, got {text[:30]!r}; restore the file or remove its folder")
    return found
