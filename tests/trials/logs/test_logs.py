"""Logs are read as they are: what is taken for what is said, and nothing is guessed in silence."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mutransfer.trials.logs import LAYERED, SPELLINGS, Curve, Log, holds_events, read_log
from trials.logs.printed import PRINTED

DATA = Path(__file__).parents[2] / "data" / "doctor"


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def pairs(log: Log, name: str) -> list[tuple[int, float]]:
    curve = log.curves.get(name, Curve())
    return list(zip(curve.step.tolist(), curve.value.tolist(), strict=True))


def same(found: Sequence[tuple[int, float]], wanted: Sequence[tuple[int, float]]) -> bool:
    return np.array_equal(np.array(found).reshape(-1, 2), np.array(wanted).reshape(-1, 2), equal_nan=True)


@pytest.mark.parametrize("name", PRINTED)
def test_what_each_program_writes_is_read_as_it_is(tmp_path: Path, name: str) -> None:
    wanted = PRINTED[name]
    log = read_log(write(tmp_path / "log", wanted.text))
    assert (log.format, log.unit) == (wanted.format, wanted.unit)
    for quantity in ("loss", "val_loss", "lr", "grad_norm"):
        assert same(pairs(log, quantity), getattr(wanted, quantity)), (quantity, pairs(log, quantity))


@pytest.mark.parametrize("name", [name for name in PRINTED if name not in ("trainer_state", "keras history")])
def test_a_log_that_is_still_written_is_read_up_to_its_torn_end(tmp_path: Path, name: str) -> None:
    whole = PRINTED[name].text.rstrip("\n")
    last = whole.splitlines()[-1]
    log = read_log(write(tmp_path / "log", whole + "\n" + last[: len(last) // 3]))
    assert same(pairs(log, "loss")[: len(PRINTED[name].loss)], PRINTED[name].loss)


@pytest.mark.parametrize("spelling", [s for s in SPELLINGS if "*" not in s.spelling], ids=lambda s: s.spelling)
def test_every_spelling_is_read_and_said(tmp_path: Path, spelling: tuple[str, str, str]) -> None:
    name, written, _ = spelling
    if name == "run":
        log = read_log(write(tmp_path / "log.csv", f"step,loss,{written}\n0,2,a\n1,2,b\n0,3,c"), run="c")
        assert pairs(log, "loss") == [(0, 3.0)]
        return
    others = [known for known in ("step", "loss") if known != name and not (name == "epoch" and known == "step")]
    header = [*others, written]
    log = read_log(
        write(tmp_path / "log.csv", "\n".join([",".join(header), *(f"{i}" + f",{i}" * len(others) for i in (1, 2, 3))]))
    )
    assert log.read_as.get(written, written) == name
    assert len(log.curves["loss" if name in ("step", "epoch") else name]) == 3


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("Train/Loss", "loss"),
        ("trainer/global_step", "step"),
        ("lr-AdamW", "lr"),
        ("eval.loss", "val_loss"),
        ("lr-DecoupledAdamW/group0", "lr"),
        ("eval/c4_en-validation/CrossEntropyLoss", "val_loss"),
        ("optim/LR (group 0)", "lr"),
        ("train/CE loss", "loss"),
        ("loss_metrics/global_avg_loss", "loss"),
        ("l2_norm/grad/global", "grad_norm"),
        ("learning-rate", "lr"),
        ("lm loss validation", "val_loss"),
    ],
)
def test_case_and_what_divides_the_words_do_not_matter(tmp_path: Path, column: str, name: str) -> None:
    other = {"loss": ["step"], "step": ["loss"]}.get(name, ["step", "loss"])
    log = read_log(write(tmp_path / "log.csv", ",".join([*other, column]) + "\n" + ",".join("1" * (len(other) + 1))))
    assert log.read_as == {column: name}


def test_what_is_not_read_is_named(tmp_path: Path) -> None:
    log = read_log(write(tmp_path / "log.csv", "step,loss,epoch,accuracy\n0,2,0,0.1\n1,1,0,0.5\n"))
    assert log.not_read == ("accuracy",)
    assert log.read_as == {}


def test_layers_are_read_by_name_and_one_value_for_all_as_all(tmp_path: Path) -> None:
    text = "step,loss,update_ratio:blocks.0.up,train/update_ratio/head,weight_norm/head,eps_share\n0,1,2,3,4,0.5\n"
    curves = read_log(write(tmp_path / "log.csv", text)).curves
    assert curves["update_ratio:blocks.0.up"].value[0] == 2
    assert curves["update_ratio:head"].value[0] == 3
    assert {name for name in curves if name.partition(":")[0] in LAYERED[1:]} == {"weight_norm:head", "eps_share:all"}


def test_of_two_columns_of_one_meaning_that_with_more_values_is_read_and_both_are_said(tmp_path: Path) -> None:
    log = read_log(write(tmp_path / "log.csv", "step,train_loss,loss\n0,1,5\n1,,6\n"))
    assert pairs(log, "loss") == [(0, 5.0), (1, 6.0)]
    assert any("'train_loss' could be loss too" in note for note in log.notes)
    named = read_log(tmp_path / "log.csv", named={"loss": "train_loss"})
    assert pairs(named, "loss") == [(0, 1.0)]


def test_an_empty_cell_was_not_logged_and_nan_was(tmp_path: Path) -> None:
    log = read_log(write(tmp_path / "log.csv", "step,loss,val_loss\n0,2,\n1,nan,1.5\n2,inf, \n3,N/A,none\n\n"))
    assert same(pairs(log, "loss"), [(0, 2.0), (1, np.nan), (2, np.inf)])
    assert pairs(log, "val_loss") == [(1, 1.5)]


def test_nan_between_the_numbers_of_a_column_that_is_mostly_nan_was_not_logged(tmp_path: Path) -> None:
    rows = [f"{i},{2 - i / 100},{'nan' if i % 5 else 3 - i / 100}" for i in range(20)]
    log = read_log(write(tmp_path / "log.csv", "\n".join(["step,loss,val_loss", *rows])))
    assert log.curves["val_loss"].step.tolist() == [0, 5, 10, 15]
    assert any("nan in val_loss" in note for note in log.notes)


def test_of_a_restart_the_later_run_counts_with_all_that_belongs_to_it(tmp_path: Path) -> None:
    text = "step,loss,val_loss\n0,9,9\n10,8,8\n20,7,7\n30,6,6\n10,5,\n20,4,\n"
    log = read_log(write(tmp_path / "log.csv", text))
    assert pairs(log, "loss") == [(0, 9.0), (10, 5.0), (20, 4.0)]
    assert pairs(log, "val_loss") == [(0, 9.0)]
    assert any("fall back from 30 to 10" in note for note in log.notes)


def test_a_file_of_one_quantity_after_the_other_is_no_restart(tmp_path: Path) -> None:
    log = read_log(write(tmp_path / "log.csv", "step,loss,val_loss\n0,9,\n10,8,\n20,7,\n0,,5\n20,,4\n"))
    assert pairs(log, "loss") == [(0, 9.0), (10, 8.0), (20, 7.0)]
    assert pairs(log, "val_loss") == [(0, 5.0), (20, 4.0)]
    assert log.notes == ()


def test_a_repeated_step_counts_once_the_last_time(tmp_path: Path) -> None:
    log = read_log(write(tmp_path / "log.csv", "step,loss\n1,9\n1,8\n2,7\n2,7\n"))
    assert pairs(log, "loss") == [(1, 8.0), (2, 7.0)]
    assert log.notes == ("2 lines repeat a step: the last of them counts",)


def test_steps_within_epochs_are_counted_on(tmp_path: Path) -> None:
    rows = [f"{epoch},{step},{9 - epoch - step / 10}" for epoch in range(3) for step in range(0, 30, 10)]
    log = read_log(write(tmp_path / "log.csv", "\n".join(["epoch,step,loss", *rows])))
    assert log.curves["loss"].step.tolist() == [0, 10, 20, 21, 31, 41, 42, 52, 62]
    assert any("counts within an epoch" in note for note in log.notes)


def test_of_several_runs_in_a_file_one_is_chosen(tmp_path: Path) -> None:
    chart = write(
        tmp_path / "wandb.csv",
        '"Step","a-1 - train/loss","a-1 - train/loss__MIN","b - x - train/loss","a-2 - train/loss"\n'
        "0,9,9,8,7\n1,5,5,,3\n",
    )
    with pytest.raises(
        ValueError, match=r"W&B's export.*expected one run, got 3: 'a-1', 'b - x', 'a-2'; .* --run NAME"
    ):
        read_log(chart)
    assert pairs(read_log(chart, run="b"), "loss") == [(0, 8.0)]
    assert pairs(read_log(chart, run="a-2"), "loss") == [(0, 7.0), (1, 3.0)]
    with pytest.raises(ValueError, match="expected one run 'a-', got 2"):
        read_log(chart, run="a-")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected a log"),
        ("nothing to see\n", "expected a log"),
        ("step,accuracy\n0,1", "read as a table: expected a column of losses"),
        ("step,loss\n", "expected a column of losses"),
        ("step,loss\n0,high", "expected a number as 'loss' in line 2, got 'high'"),
        ("step,loss\n0,1\n1\n2,3", "expected 2 cells in line 3, as in its header, got 1"),
        ('{"log_history": [{"epoch": 1.0, "step": 1, "eval_f1": 0.5}]}', "read as Hugging Face's trainer_state.json"),
        ('{"current_steps": 1, "total_steps": 2, "reward": 1}\n', "expected a column of losses"),
    ],
)
def test_what_is_no_log_is_refused_in_one_line_that_names_what_it_was_taken_for(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(ValueError, match=r"expected .*got .*") as error:
        read_log(write(tmp_path / "log.csv", text))
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert "restore" not in str(error.value)


def test_a_file_of_bytes_is_refused_and_utf_16_read(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_bytes(b"step,loss\n\xff\xfe\x00")
    with pytest.raises(ValueError, match="got bytes"):
        read_log(tmp_path / "log.csv")
    (tmp_path / "log.txt").write_text("iter 0: loss 4.2, time 25ms, mfu 1%\n", encoding="utf-16")
    assert pairs(read_log(tmp_path / "log.txt"), "loss") == [(0, 4.2)]


def test_a_folder_is_read_by_the_log_that_lies_in_it(tmp_path: Path) -> None:
    for at in (10, 20):
        (tmp_path / f"checkpoint-{at}").mkdir()
        write(tmp_path / f"checkpoint-{at}" / "trainer_state.json", PRINTED["trainer_state"].text)
    assert read_log(tmp_path).format == "Hugging Face's trainer_state.json"
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"expected .*trainer_state.json.* got none; give the file"):
        read_log(tmp_path / "empty")


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
    assert_alike(read_log(tmp_path), read_log(DATA / "lm_one_layer.csv"))
    assert_alike(read_log(next(tmp_path.iterdir())), read_log(DATA / "lm_one_layer.csv"))


def test_the_files_of_a_restart_are_joined(tmp_path: Path) -> None:
    for part, (first, last) in enumerate([(0, 90), (90, 200)]):
        as_events(DATA / "lm_bad_batch.csv", tmp_path / str(part), new_style=False, first=first, last=last)
        (file,) = (tmp_path / str(part)).iterdir()
        (tmp_path / "run").mkdir(exist_ok=True)
        shutil.move(file, tmp_path / "run" / f"events.out.tfevents.{part}")
    assert_alike(read_log(tmp_path / "run"), read_log(DATA / "lm_bad_batch.csv"))


def test_a_folder_of_runs_asks_which_and_one_without_a_loss_says_what_it_has(tmp_path: Path) -> None:
    for name in ("a", "b"):
        as_events(DATA / "digits_squared_nan_at_once.csv", tmp_path / name, new_style=False)
    with pytest.raises(ValueError, match=r"expected one run below .*, got 2 of a, b; choose one with --run NAME"):
        read_log(tmp_path)
    assert_alike(read_log(tmp_path, run="b"), read_log(DATA / "digits_squared_nan_at_once.csv"))
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path / "other")) as writer:
        writer.add_scalar("accuracy", 0.5, 1)
    with pytest.raises(ValueError, match=r"TensorBoard's events: expected a column of losses, got .*accuracy"):
        read_log(tmp_path / "other")


def assert_alike(one: Log, other: Log) -> None:
    assert one.curves.keys() == other.curves.keys()
    for name in one.curves:
        assert one.curves[name].step.tolist() == other.curves[name].step.tolist()
        np.testing.assert_allclose(one.curves[name].value, other.curves[name].value, rtol=1e-6)
