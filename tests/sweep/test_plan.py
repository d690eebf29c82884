"""What would run, and what it costs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mutransfer.search.planned import cell_flops, cells
from mutransfer.sweep import executors
from mutransfer.sweep.executors import gpu_slots, local_slots
from mutransfer.sweep.plan import estimate, plan_trials, time_trials
from mutransfer.trials import records

from .fake_training import CORPUS, FakeTrain
from .fakes import measured, small, sweep


def test_a_plan_counts_what_then_runs(tmp_path: Path) -> None:
    config = small(tmp_path)
    narrow, wide = cells(config)
    plan = estimate(config, {narrow: 1.0, wide: 3.0}, slots=2)
    assert plan.trials == 12
    assert plan.seconds == 6 * (1.0 + 3.0) / 2
    assert plan.flops == 6 * (cell_flops(config, narrow) + cell_flops(config, wide))
    ids = {trial.trial_id for trial in plan_trials(config, CORPUS.fingerprint)}
    sweep(config, FakeTrain(os.devnull))
    assert set(measured(tmp_path)) == ids
    wider = small(tmp_path, seeds=3)
    assert estimate(wider, {}, 1, records.read(tmp_path / "records.jsonl")).trials == 6


def test_an_untimed_width_has_no_time(tmp_path: Path) -> None:
    config = small(tmp_path)
    assert estimate(config, {cells(config)[0]: 1.0}, slots=1).seconds is None


def test_timings_are_of_the_right_size(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from mutransfer.data import load_corpus
    from mutransfer.sweep.executors import train_trials

    config = small(tmp_path, widths=(32, 64), steps=150, batch_size=4)
    timings = time_trials(config, load_corpus("stdlib"), "cpu", train_trials)
    assert set(timings) == set(cells(config))
    assert all(0.05 < seconds < 60 for seconds in timings.values())


def test_slots(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert [gpu_slots(2, share) for share in (1.0, 0.25, 0.5, 0.3, 2.0)] == [2, 8, 4, 6, 1]
    assert local_slots(small(tmp_path)) == 1
    monkeypatch.setattr(executors, "local_gpus", lambda: 4)
    assert local_slots(small(tmp_path, executor="ray", device="auto", gpus_per_trial=0.5)) == 8
    assert local_slots(small(tmp_path, executor="ray", device="cpu")) == len(os.sched_getaffinity(0))
