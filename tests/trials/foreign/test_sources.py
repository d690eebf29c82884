"""Every kind of file and folder, read as rows of text."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import os
import random
import re
import sqlite3
from pathlib import Path

import optuna
import pandas as pd
import pyarrow.parquet
import pytest

from mutransfer.trials.foreign.reading import read
from mutransfer.trials.foreign.sources import read_rows
from mutransfer.trials.foreign.taking import ReadOptions
from mutransfer.trials.table import Trials

RESULTS = Path(__file__).parents[3] / "results"
TABLE = pd.DataFrame(
    {"width": [64, 64, 128, 128], "lr": [0.1, 0.01, 0.1, 0.01], "loss": [0.5, math.nan, 0.7, 0.1 + 0.2]}
)


PIECES = [
    "",
    ",",
    "\n",
    '"',
    ";",
    "nan",
    "-",
    "0",
    "1e999",
    "\u00e9",
    "\ufeff",
    "{",
    "\x00",
    "lr",
    ",,",
    "'",
    "e",
    "width",
]
"""What a mutation puts in."""


def trials(*paths: Path, **options: str) -> Trials:
    return read(read_rows(paths), ReadOptions(**options)).trials  # type: ignore[arg-type]


def csv_text() -> str:
    return TABLE.to_csv(index=False, na_rep="nan")


def test_every_kind_of_file_gives_the_same_trials(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(csv_text())
    (tmp_path / "b.tsv").write_text(csv_text().replace(",", "\t"))
    (tmp_path / "c.csv").write_text("\ufeff" + csv_text().replace(",", ";").replace(".", ","))
    (tmp_path / "d.csv.gz").write_bytes(gzip.compress(csv_text().encode()))
    (tmp_path / "e.csv").write_bytes(csv_text().replace("\n", "\r\n").encode("utf-16"))
    objects = TABLE.to_dict("records")
    (tmp_path / "f.jsonl").write_text("\n".join(map(json.dumps, objects)) + "\n\n")
    (tmp_path / "g.json").write_text(json.dumps(objects))
    arrays = {name: TABLE[name].to_numpy() for name in TABLE.columns}  # pandas itself would write the nan as a null
    pyarrow.parquet.write_table(pyarrow.table(arrays), tmp_path / "h.parquet")
    files = sorted(tmp_path.iterdir())
    first, *others = (trials(file).frame for file in files)
    assert list(first["loss"]) == [0.5, math.inf, 0.7, 0.1 + 0.2]
    assert list(first["width"]) == [64, 64, 128, 128]
    for other in others:
        pd.testing.assert_frame_equal(first, other, check_exact=True)
    assert len(files) == 8


def test_a_null_is_missing_and_a_nan_is_a_value(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"lr": 1, "loss": null}\n{"lr": 2, "loss": NaN}\n{"lr": 3}\n{"lr": 4, "loss": 1}\n'
    )
    pd.DataFrame({"lr": [1, 2, 3], "loss": pd.array([None, 1.0, 2.0], "Float64")}).to_parquet(tmp_path / "b.parquet")
    assert list(trials(tmp_path / "a.jsonl", width="64").frame["diverged"]) == [True, False]
    assert list(trials(tmp_path / "b.parquet", width="64").frame["lr"]) == [2, 3]


def test_the_frames_that_wandb_itself_shows_how_to_write(tmp_path: Path) -> None:
    """Its example puts whole dictionaries into columns summary and config, as Python prints them."""
    runs = pd.DataFrame(
        {
            "summary": [{"val/loss": 2.5, "_step": 100}, {"val/loss": "NaN", "_step": 7}],
            "config": [{"model": {"n_embd": 64}, "lr": 0.1}, {"model": {"n_embd": 64}, "lr": 0.2}],
            "name": ["brave-sun-1", "calm-moon-2"],
        }
    )
    runs.to_csv(tmp_path / "project.csv")
    frame = trials(tmp_path / "project.csv").frame
    assert list(frame["lr"]) == [0.1, 0.2]
    assert list(frame["width"]) == [64, 64]
    assert list(frame["diverged"]) == [False, True]


def optuna_study(storage: object, name: str = "study") -> None:
    study = optuna.create_study(storage=storage, study_name=name)  # type: ignore[arg-type]
    for width in (64, 128):
        for lr in (0.001, 0.01, 0.1):
            trial = optuna.trial.create_trial(
                params={"lr": lr},
                distributions={"lr": optuna.distributions.FloatDistribution(1e-4, 1, log=True)},
                user_attrs={"width": width},
                value=math.inf if lr == 0.1 else 2 + lr,
            )
            study.add_trial(trial)
    for state in (optuna.trial.TrialState.FAIL, optuna.trial.TrialState.PRUNED):
        study.add_trial(optuna.trial.create_trial(state=state, user_attrs={"width": 64}))


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_an_optuna_study_is_read_and_not_touched(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"study #1?.{kind}"
    if kind == "sqlite":
        optuna_study(f"sqlite:///{tmp_path}/made.db")
        (tmp_path / "made.db").rename(path)
    else:
        optuna_study(optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path))))
    before, listed = path.read_bytes(), sorted(tmp_path.iterdir())
    found = read(read_rows([path]), ReadOptions())
    assert found.trials.dimensions == ("width",)
    assert len(found.trials.frame) == 6
    assert found.trials.frame["diverged"].sum() == 2
    assert sum(found.left_out.values()) == 2
    assert path.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == listed


def test_several_studies_of_a_storage_are_arms_and_a_maximum_is_refused(tmp_path: Path) -> None:
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/two.db")
    optuna_study(storage, "sp")
    optuna_study(storage, "mup")
    assert sorted(trials(tmp_path / "two.db").arms) == ["mup", "sp"]
    optuna.create_study(storage=storage, study_name="up", direction="maximize")
    with pytest.raises(ValueError, match="expected a study that minimizes one loss, got 'up'"):
        trials(tmp_path / "two.db")


def test_a_database_or_journal_that_is_no_study_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("create table t (a)")
    before = (tmp_path / "other.db").read_bytes()
    (tmp_path / "torn.log").write_text('{"op_code": 0, "worker_id": "a"}\n{bad\n')
    (tmp_path / "bad.db").write_bytes(b"SQLite format 3\0" + b"x" * 200)
    for name in ("other.db", "torn.log", "bad.db"):
        with pytest.raises(ValueError, match="expected a storage of Optuna"):
            trials(tmp_path / name)
    assert (tmp_path / "other.db").read_bytes() == before


def ray_folder(path: Path, *, states: bool = True) -> None:
    """A folder as Ray Tune 2 leaves it, with a pickle that must not be read."""
    listed = []
    for at, (width, lr) in enumerate((w, lr) for w in (64, 128) for lr in (0.001, 0.01, 0.1)):
        trial = path / f"train_{at:05}"
        trial.mkdir(parents=True)
        config = {"lr": lr, "model": {"width": width}}
        (trial / "params.json").write_text(json.dumps(config))
        (trial / "params.pkl").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
        crashed = lr == 0.1
        for step in range(1, 2 if crashed else 4):
            report = {"loss": 3 / step + lr, "training_iteration": step, "trial_id": f"t{at}", "config": config}
            with (trial / "result.json").open("a") as file:
                file.write(json.dumps(report | {"timestamp": 1000 + at, "time_total_s": 0.1 * at}) + "\n")
        if crashed and not states:
            (trial / "error.txt").write_text("boom")
        listed.append([json.dumps({"trial_id": f"t{at}", "status": "ERROR" if crashed else "TERMINATED"}), "{}"])
    if states:
        (path / "experiment_state-2026-01-01_00-00-00.json").write_text(json.dumps({"trial_data": listed}))


@pytest.mark.parametrize("states", [True, False])
def test_a_ray_tune_experiment_gives_what_each_trial_reported_last(tmp_path: Path, states: bool) -> None:
    ray_folder(tmp_path / "exp", states=states)
    found = read(read_rows([tmp_path / "exp"]), ReadOptions())
    assert found.trials.dimensions == ("width",)
    assert list(found.trials.frame["loss"]) == pytest.approx([1.001, 1.01, 1.001, 1.01])
    assert found.left_out == {"failed or crashed: an error is no result": 2}


def test_our_own_results_are_a_table_too() -> None:
    found = trials(RESULTS / "reference_cpu")
    assert found.arms == ("sp", "mup")
    assert found.dimensions == ("width",)
    assert set(found.frame["parametrization"]) == {"sp", "mup"}
    assert found.frame["diverged"].any()


def test_several_files_are_one_table_with_their_rows_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("lr,loss\n0.1,1\n0.2,2\n")
    (tmp_path / "b.csv").write_text("loss,lr,seed\n3,0.1,0\n4,0.2,0\n")
    rows = read_rows([tmp_path / "a.csv", tmp_path / "b.csv"])
    assert list(rows.frame.index) == [1, 2, 3, 4]
    assert [source.rows for source in rows.sources] == [2, 2]
    assert rows.sources[1].sha256 == hashlib.sha256((tmp_path / "b.csv").read_bytes()).hexdigest()
    assert len(read(rows, ReadOptions(arm="source", width="64")).trials.arms) == 2


def test_what_is_no_table_is_refused_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "header.csv").write_text("lr,loss\n")
    (tmp_path / "ragged.csv").write_text("lr,loss\n0.1,1\n0.2,1,3\n")
    (tmp_path / "torn.csv").write_text("lr,loss\n0.1,1\n0.2")
    (tmp_path / "latin.csv").write_bytes("lr,loss\n0.1,1\n\xe9,2\n".encode("latin-1"))
    (tmp_path / "bad.parquet").write_bytes(b"PAR1xxxx")
    (tmp_path / "bad.csv.gz").write_bytes(b"no gzip")
    (tmp_path / "torn.jsonl").write_text('{"lr": 1}\n{"lr')
    (tmp_path / "list.jsonl").write_text("[1, 2]\n")
    (tmp_path / "runs.xlsx").write_bytes(b"PK")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    names = sorted(path.name for path in tmp_path.iterdir())
    for path in [*(tmp_path / name for name in names), tmp_path / "nowhere.csv", Path("/dev/zero")]:
        with pytest.raises(ValueError, match=r"^expected ") as refused:
            trials(path)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("seed", range(100))
def test_mutated_tables_are_read_or_refused_in_a_line(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    lines = ["width,lr,seed,loss,state,beta"] + [
        f"{w},{lr},{s},{2 + abs(lr - 0.01):.4f},finished,0.9" for w in (64, 128) for lr in (0.1, 0.01) for s in (0, 1)
    ]
    text = list("\n".join(lines))
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(text))
        piece = rng.choice(PIECES)
        text[at : at + rng.randint(0, 3)] = [piece]
    path = tmp_path / "runs.csv"
    path.write_text("".join(text), encoding="utf-8")
    refused = None
    try:
        found = trials(path)
    except ValueError as error:
        refused = str(error)
    if refused is not None:
        assert re.fullmatch("expected .*", refused)  # no line break
        return
    frame = found.frame
    assert (frame["lr"] > 0).all()
    assert frame["loss"].notna().all()
    assert (frame["loss"].abs().eq(math.inf) == frame["diverged"]).all()
    assert not frame.duplicated(["arm", *found.known, "lr", "seed"]).any()
