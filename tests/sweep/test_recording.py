"""A record says what was asked and what was measured."""

from __future__ import annotations

import dataclasses

import pytest

from mutransfer.config import SweepConfig, to_json
from mutransfer.search.cost import training_flops
from mutransfer.search.planned import PlannedTrial, Point, cells, plan_trial
from mutransfer.sweep.recording import make_record
from mutransfer.trials.records import Record

from .fake_training import CORPUS, Result

CONFIG = SweepConfig(parametrizations=("sp", "mup"), depths=(2, 4), widths=(64,), base_depth=3, z_loss=0.5)
STARTED = "2026-01-01T00:00:00+00:00"
RESULT = Result(None, 5.5, 2.0, 2.1, 3.0, 17.0, 4.5, False, None, 1.5, 1000, "cpu", STARTED, 3, "graph")


def planned() -> PlannedTrial:
    return plan_trial(CONFIG, cells(CONFIG)[-1], Point(lr=2.0**-7, seed=1, round=2), CORPUS.fingerprint)


def record(**changes: object) -> Record:
    result = dataclasses.replace(RESULT, **changes)  # type: ignore[arg-type]
    return make_record(CONFIG, planned(), result, CORPUS, {})  # type: ignore[arg-type]


def test_measurements_are_copied_each_to_its_column() -> None:
    names = {field.name for field in dataclasses.fields(Result)} - {"train_losses"}
    assert {name: getattr(record(), name) for name in names} == {name: getattr(RESULT, name) for name in names}


def test_what_was_asked_is_that_of_the_trial_and_not_of_the_sweep() -> None:
    found, trial = record(), planned().config
    assert (found.arm, found.parametrization, found.lr, found.seed, found.round) == ("mup", "mup", 2.0**-7, 1, 2)
    assert (found.width, found.depth, found.base_width, found.base_depth) == (64, 4, 128, 3)
    assert found.config == to_json(trial)
    assert found.flops == training_flops(trial)


@pytest.mark.parametrize("name", ["val_loss", "mean_loss", "attention_logit", "output_log_z"])
@pytest.mark.parametrize("number", [None, float("nan"), float("inf")])
def test_a_measurement_that_is_not_finite_is_none(name: str, number: float | None) -> None:
    assert getattr(record(**{name: number}), name) is None


def test_a_loss_that_is_not_finite_is_no_result_of_a_trial_that_did_not_diverge() -> None:
    with pytest.raises(ValueError, match="final_loss"):
        record(final_loss=float("nan"))
    with pytest.raises(ValueError, match="init_loss"):
        record(init_loss=float("inf"))
    assert record(final_loss=None, diverged=True, diverged_step=3).final_loss is None
