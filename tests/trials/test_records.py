"""What is read is what was measured: anything else in the file is refused, with its line."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest

from mutransfer.config import Scale, SweepConfig
from mutransfer.config.scale import DIMENSIONS
from mutransfer.trials import records
from mutransfer.trials.records import Record

CONFIG = SweepConfig()
DAMAGED = r"records\.jsonl, line 2: expected a whole record, got a damaged one"


def record(width: int = 32, lr: float = 2.0**-6, seed: int = 0, **changes: Any) -> Record:
    trial = CONFIG.trial(CONFIG.arms[0], Scale(width), lr, seed)
    values: dict[str, Any] = {
        f.name: {"str": "text", "int": 7, "float": 2.5, "bool": False}[str(f.type).split(" | ")[0]]
        for f in dataclasses.fields(Record)
        if not str(f.type).startswith("dict")
    }
    values |= {"trial_id": trial.digest("f"), "width": width, "lr": lr, "seed": seed, "schema": 1, "versions": {}}
    return Record(**{**values, "config": json.loads(json.dumps(dataclasses.asdict(trial))), **changes})


def write(path: Path, *lines: Record | dict[str, Any] | str) -> None:
    texts = [dataclasses.asdict(line) if isinstance(line, Record) else line for line in lines]
    path.write_text("".join(f"{text if isinstance(text, str) else json.dumps(text)}\n" for text in texts))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.jsonl"


def test_what_is_appended_is_read(path: Path) -> None:
    whole = [record(seed=0), record(seed=1, final_loss=None, diverged=True, diverged_step=3, wall_s=2)]
    for each in whole:
        records.append(path, each)
    assert records.read(path) == whole


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lr", "x"),
        ("lr", None),
        ("lr", True),
        ("lr", float("nan")),
        ("final_loss", "a"),
        ("final_loss", float("inf")),
        ("width", 3.5),
        ("width", True),
        ("diverged", 0),
        ("diverged_step", 2.0),
        ("trial_id", 5),
        ("versions", []),
        ("config", "text"),
        ("schema", "1"),
    ],
)
def test_a_value_of_another_type_is_refused_with_its_line(path: Path, name: str, value: object) -> None:
    write(path, record(seed=0), {**dataclasses.asdict(record(seed=1)), name: value}, record(seed=2))
    with pytest.raises(ValueError, match=rf"{DAMAGED} .(expected|{name}: expected) ") as refused:
        records.read(path)
    assert "\n" not in str(refused.value)


LATER = {"pruned_step": None, "execution": None}
"""Fields that were added to the schema, with what they are in records that were written before."""


def test_a_record_from_before_a_field_was_added_has_its_default(path: Path) -> None:
    old = dataclasses.asdict(record(seed=1, **LATER))
    for name in LATER:
        del old[name]
    write(path, record(seed=0), old)
    assert records.read(path) == [record(seed=0), record(seed=1, **LATER)]


def test_the_records_of_the_first_results_are_read() -> None:
    file = Path(__file__).parents[2] / "results" / "reference_cpu" / "records.jsonl"
    assert {(each.pruned_step, each.execution) for each in records.read(file)} == {(None, None)}
    assert all(not LATER.keys() & json.loads(line).keys() for line in file.read_text().splitlines())


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(Record) if f.name not in LATER])
def test_a_record_that_lacks_a_field_is_refused_with_its_line(path: Path, name: str) -> None:
    lacking = dataclasses.asdict(record(seed=1))
    del lacking[name]
    write(path, record(seed=0), lacking)
    with pytest.raises(
        ValueError,
        match=rf"{DAMAGED} .{name}: expected a value",
    ):
        records.read(path)


@pytest.mark.parametrize("line", ["garbage", "5", "[]", "null", "", '{"odd": 1}'])
def test_a_line_that_is_no_record_is_refused(path: Path, line: str) -> None:
    write(path, record(), line)
    with pytest.raises(ValueError, match=DAMAGED):
        records.read(path)


@pytest.mark.parametrize(("name", "value"), [("lr", 0.0), ("lr", -1), ("width", 0), ("width", 2**20 + 1)])
def test_a_rate_or_width_without_a_logarithm_is_refused(path: Path, name: str, value: float) -> None:
    write(path, record(), record(seed=1, **{name: value}))
    with pytest.raises(ValueError, match=r"line 2: expected a learning rate above 0 and a width from 1 to 1048576"):
        records.read(path)


def test_another_schema_is_refused(path: Path) -> None:
    write(path, record(schema=2))
    with pytest.raises(ValueError, match="line 1: expected schema 1, got 2"):
        records.read(path)


def test_trials_that_differ_in_rate_seed_and_width_are_of_one_setting() -> None:
    trials = records.to_trials([record(32, 2.0**-6, 0), record(64, 2.0**-7, 1)])
    (setting,) = set(trials.frame["setting"])
    names = json.loads(setting).keys()
    assert {"model.context", "optimizer.beta2", "data_fingerprint"} <= names
    assert not {"lr", "seed", *(each.field for each in DIMENSIONS.values())} & names
    assert trials.dimensions == ("width",)
    assert [(scale.width, scale.steps) for scale in trials.scales] == [(32, 7), (64, 7)]


@pytest.mark.parametrize(("room", "name", "value"), [("model", "activation", "relu2"), ("optimizer", "clip_norm", 0.5)])
def test_trials_that_differ_in_anything_else_are_not(room: str, name: str, value: object) -> None:
    plain, other = record(seed=0), record(seed=1)
    other.config[room][name] = value
    one, two = (json.loads(text) for text in records.to_trials([plain, other]).frame["setting"])
    assert {field for field in one if one[field] != two[field]} == {f"{room}.{name}"}


def test_a_table_by_another_loss_and_a_trial_that_diverged_in_it() -> None:
    trained = record(seed=0, final_loss=2.5, val_loss=2.75)
    table = records.to_trials([trained, record(seed=1, final_loss=None, val_loss=None, diverged=True)], loss="val_loss")
    assert (table.loss, list(table.frame["loss"])) == ("val_loss", [2.75, math.inf])


@pytest.mark.parametrize("name", ["experiment", "data_fingerprint"])
def test_records_of_several_experiments_or_data_are_no_table(name: str) -> None:
    with pytest.raises(ValueError, match=f"expected one {name} in all trials, got 2 .other, text."):
        records.to_trials([record(seed=0), record(seed=1, **{name: "other"})])
