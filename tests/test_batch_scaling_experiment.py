"""The experiment on the batch's rules: all arms see as many examples, and its lines are fitted from planted records."""

from __future__ import annotations

import json
import math
import runpy
from dataclasses import replace
from pathlib import Path

import pytest
from sweep.fake_training import CORPUS, Result

from mutransfer import OptimizerConfig, SweepConfig, analyze, scale_batch
from mutransfer.config import Scale
from mutransfer.search.planned import PlannedTrial
from mutransfer.sweep.plan import plan_trials
from mutransfer.sweep.recording import make_record
from mutransfer.trials import records
from mutransfer.trials.table import Trials

EXPERIMENTS = Path(__file__).parent.parent / "experiments"
DRAW = runpy.run_path(str(EXPERIMENTS / "draw" / "batch_scaling.py"))
EXPERIMENT = DRAW["EXPERIMENT"]
CONFIG: SweepConfig = EXPERIMENT["sweep"]()
PLANTED = {EXPERIMENT["SGD"]: 1.0, EXPERIMENT["FOLLOWING"]: 0.5, EXPERIMENT["KEPT"]: 0.25}
"""Slopes; at batch 4 every line has its optimum at 2^-7."""


def recorded(trial: PlannedTrial) -> records.Record:
    line, _, batch = trial.cell.arm.name.rpartition(", batch ")
    away = math.log2(trial.config.lr) + 7 - PLANTED[line] * math.log2(int(batch) / 4)
    loss = 2 + 0.03 * away**2 + 0.001 * trial.config.seed
    result = Result(0, 5.5, loss, loss, loss, None, None, False, None, 1.0, 9, "cpu", "2026-01-01T00:00:00+00:00")
    return make_record(CONFIG, trial, result, CORPUS, {})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trials() -> Trials:
    return records.to_trials([recorded(trial) for trial in plan_trials(CONFIG, CORPUS.fingerprint)])


def test_all_see_as_many_examples_and_adam_follows_the_rule() -> None:
    usual = CONFIG.trial(CONFIG.arms[EXPERIMENT["BATCHES"].index(4)], Scale(64), 0.1, 0)
    for arm in CONFIG.arms:
        trial = CONFIG.trial(arm, Scale(64), 0.1, 0)
        assert trial.steps * trial.batch_size == usual.steps * usual.batch_size
        assert trial.schedule.warmup_steps(trial.steps) * trial.batch_size == 64
        adam = OptimizerConfig("adam")
        if arm.name.startswith(EXPERIMENT["FOLLOWING"]):
            wanted = scale_batch(1.0, adam, from_batch=4, to_batch=trial.batch_size).optimizer
            assert trial.optimizer == wanted
        if arm.name.startswith(EXPERIMENT["KEPT"]):
            assert trial.optimizer == adam


def test_the_planted_slopes_are_found(trials: Trials) -> None:
    found = analyze(DRAW["lines"](trials), CONFIG.tolerance)
    assert [arm.arm for arm in found.arms] == list(PLANTED)
    for arm in found.arms:
        assert [each.scale.batch_size for each in arm.optima] == list(EXPERIMENT["BATCHES"])
        assert arm.transfer_slope is not None
        assert arm.transfer_slope.estimate == pytest.approx(PLANTED[arm.arm], abs=0.01)
    rows = list(DRAW["table"](found))[2:]
    assert [row.split(" | ")[3] for row in rows] == ["+1", "+0.5", ""]


def test_what_else_differs_within_a_line_is_refused(trials: Trials) -> None:
    changed = trials.frame.copy()
    changed.loc[0, "setting"] = json.dumps(json.loads(changed["setting"][0]) | {"optimizer.momentum": 0.9})
    with pytest.raises(ValueError, match=r"expected one optimizer\.momentum in arm sgd"):
        analyze(DRAW["lines"](replace(trials, frame=changed)), CONFIG.tolerance)
