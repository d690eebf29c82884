"""Logs are read as they are: what is taken for what is said, and nothing is guessed in silence."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from mutransfer.toolbox.doctor import Run, diagnose, run_of
from mutransfer.toolbox.doctor.recorded import read_trials
from mutransfer.toolbox.doctor.watched import read_watched
from mutransfer.toolbox.watch.observed import Observation
from mutransfer.trials import records
from mutransfer.trials.logs import LAYERED, NAMES, holds_events, read_events, read_table

DATA = Path(__file__).parents[2] / "data" / "doctor"
REFERENCE = Path(__file__).parents[3] / "results" / "reference_cpu"


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize(("name", "spelling"), [(n, s) for n, others in NAMES.items() for s in others])
def test_other_spellings_are_read_and_said(tmp_path: Path, name: str, spelling: str) -> None:
    header = {known: spelling if known == name else known for known in ("step", "loss", name)}
    log = read_table(write(tmp_path / "log.csv", ",".join(header.values()) + "\n0" + ",2" * (len(header) - 1)))
    assert log.read_as == {spelling: name}
    assert len(log.curves["loss" if name == "step" else name]) == 1


@pytest.mark.parametrize(
    ("column", "name"),
    [("Train/Loss", "loss"), ("trainer/global_step", "step"), ("lr-AdamW", "lr"), ("eval.loss", "val_loss")],
)
def test_case_and_what_divides_the_words_do_not_matter(tmp_path: Path, column: str, name: str) -> None:
    other = {"loss": "step", "step": "loss"}.get(name, "step,loss")
    log = read_table(write(tmp_path / "log.csv", f"{other},{column}\n{'0,' * (other.count(',') + 1)}1"))
    assert log.read_as == {column: name}


def test_what_is_not_read_is_named(tmp_path: Path) -> None:
    log = read_table(write(tmp_path / "log.csv", "step,loss,epoch,accuracy\n0,2,0,0.1\n1,1,0,0.5\n"))
    assert log.not_read == ("epoch", "accuracy")
    assert log.read_as == {}


def test_layers_are_read_by_name_and_one_value_for_all_as_all(tmp_path: Path) -> None:
    text = "step,loss,update_ratio:blocks.0.up,train/update_ratio/head,weight_norm/head,eps_share\n0,1,2,3,4,0.5\n"
    run = run_of(read_table(write(tmp_path / "log.csv", text)))
    assert {name: curve.value[0] for name, curve in run.update_ratio.items()} == {"blocks.0.up": 2, "head": 3}
    assert list(run.weight_norm) == ["head"]
    assert list(run.eps_share) == ["all"]


def test_an_empty_cell_was_not_logged_and_nan_was(tmp_path: Path) -> None:
    run = run_of(read_table(write(tmp_path / "log.csv", "step,loss,val_loss\n0,2,\n1,nan,1.5\n2,inf, \n\n")))
    assert run.loss.step.tolist() == [0, 1, 2]
    assert np.isnan(run.loss.value[1])
    assert run.loss.value[2] == np.inf
    assert (run.val_loss.step.tolist(), run.val_loss.value.tolist()) == ([1], [1.5])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "found the columns none"),
        ("epoch,loss\n0,1", "wanted one named step"),
        ("step,accuracy\n0,1", "found no training loss"),
        ("step,loss\n", "found no training loss"),
        ("step,loss,train_loss\n0,1,1", "'loss' and 'train_loss'"),
        ("step,loss\n0,high", "found loss 'high' in line 2"),
        ("step,loss\n0.5,1", "found step 0.5 in line 2"),
        ("step,loss\n0,1\n1", "found 1 cells in line 3"),
        ("step,loss\n5,1\n6,1\n5,1", "found step 5 after step 6 in loss"),
        ("step,loss\n5,1\n5,1", "found step 5 after step 5"),
    ],
)
def test_what_is_no_log_is_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"found .*; wanted") as error:
        read_table(write(tmp_path / "log.csv", text))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_of_bytes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_bytes(b"step,loss\n\xff\xfe\x00")
    with pytest.raises(ValueError, match="is no CSV file"):
        read_table(tmp_path / "log.csv")


def as_events(table: Path, folder: Path, *, new_style: bool, first: int = 0, last: int = 10**9) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer, table.open() as file:
        for row in csv.DictReader(file):
            for column, cell in row.items():
                if column != "step" and cell and first <= int(row["step"]) < last:
                    writer.add_scalar(column.replace(":", "/"), float(cell), int(row["step"]), new_style=new_style)


@pytest.mark.parametrize("new_style", [False, True])
def test_events_and_a_table_of_one_run_are_one_run(tmp_path: Path, new_style: bool) -> None:
    as_events(DATA / "lm_one_layer.csv", tmp_path, new_style=new_style)
    assert holds_events(tmp_path)
    assert_alike(run_of(read_events(tmp_path)), run_of(read_table(DATA / "lm_one_layer.csv")))


def test_the_files_of_a_restart_are_joined(tmp_path: Path) -> None:
    for part, (first, last) in enumerate([(0, 90), (90, 200)]):
        as_events(DATA / "lm_bad_batch.csv", tmp_path / str(part), new_style=False, first=first, last=last)
        (file,) = (tmp_path / str(part)).iterdir()
        (tmp_path / "run").mkdir(exist_ok=True)
        shutil.move(file, tmp_path / "run" / f"events.out.tfevents.{part}")
    assert_alike(run_of(read_events(tmp_path / "run")), run_of(read_table(DATA / "lm_bad_batch.csv")))


def test_a_folder_of_runs_asks_which_and_one_without_a_loss_says_what_it_has(tmp_path: Path) -> None:
    for name in ("a", "b"):
        as_events(DATA / "digits_squared_nan_at_once.csv", tmp_path / name, new_style=False)
    with pytest.raises(ValueError, match=r"found 2 runs below .*; wanted one: give .*a or .*b"):
        read_events(tmp_path)
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path / "other")) as writer:
        writer.add_scalar("accuracy", 0.5, 1)
    with pytest.raises(ValueError, match=r"found no training loss .*accuracy"):
        read_events(tmp_path / "other")


def test_a_watched_run_is_read_with_its_norms_by_layer_and_in_all(tmp_path: Path) -> None:
    names = ("weight_norm", "update_norm", "grad_norm", "clipped_grad_norm", "eps_share", "activation")
    values: dict[str, dict[str, float | None]] = {name: {"up": 3.0, "down": 4.0} for name in names}
    seen = [
        Observation(step, [[step, 2.0], [step + 1, None]], 0.0, None, attention_logit={}, **values)
        for step in range(0, 6, 2)
    ]
    path = write(tmp_path / "watch.jsonl", "".join(json.dumps(asdict(each)) + "\n" for each in seen))
    run = run_of(read_watched(path))
    assert run.loss.step.tolist() == [0, 1, 2, 3, 4, 5]
    assert np.isnan(run.loss.value[1])
    assert run.grad_norm.value.tolist() == [5.0, 5.0, 5.0]
    assert {name: set(getattr(run, name)) for name in LAYERED} == {name: {"up", "down"} for name in LAYERED}
    assert run.update_ratio["up"].value.tolist() == [1.0, 1.0, 1.0]


def test_the_trials_of_a_result_have_their_curves_and_the_rate_that_they_were_trained_with() -> None:
    word, trials = read_trials(REFERENCE)
    assert word == "width"
    assert [trial.record for trial in trials] == records.read(REFERENCE / "records.jsonl")
    for trial in trials:
        run, record = trial.run, trial.record
        assert run is not None
        assert trial.size == record.width
        assert len(run.loss) == len(run.lr) == (record.diverged_step + 1 if record.diverged else record.steps)
        assert run.loss.value[0] == pytest.approx(record.init_loss)
        if not record.diverged:
            assert run.lr.value.max() == pytest.approx(record.lr)
            assert run.loss.value[-15:].mean() == pytest.approx(record.final_loss)
            assert run.val_loss.value[-1] == record.val_loss


def test_a_missing_curve_is_missing_and_a_broken_one_refused(tmp_path: Path) -> None:
    folder = shutil.copytree(REFERENCE, tmp_path / "result")
    first, second = records.read(folder / "records.jsonl")[:2]
    (folder / "curves" / f"{first.trial_id}.npy").unlink()
    _, trials = read_trials(folder)
    assert [trial.run is None for trial in trials[:2]] == [True, False]
    (folder / "curves" / f"{second.trial_id}.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(ValueError, match=r"found a .* that cannot be read"):
        read_trials(folder)


def assert_alike(one: Run, other: Run) -> None:
    for name in ("loss", "val_loss", "lr", "grad_norm", "clipped_grad_norm"):
        assert getattr(one, name).step.tolist() == getattr(other, name).step.tolist()
        np.testing.assert_allclose(getattr(one, name).value, getattr(other, name).value, rtol=1e-6)
    for name in LAYERED:
        assert set(getattr(one, name)) == set(getattr(other, name))
    assert {f.rule for f in diagnose(one).findings} == {f.rule for f in diagnose(other).findings} != set()
