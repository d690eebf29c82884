"""Trials handed out together: as many as a slot's even share, and none the worse for another's error."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mutransfer import records
from mutransfer.config import SweepConfig, TrialConfig
from mutransfer.data import Corpus
from mutransfer.sweep import executors
from mutransfer.sweep.driver import run_sweep
from mutransfer.sweep.executors import Finished, InProcess
from mutransfer.sweep.loop import TrialsFailedError
from mutransfer.sweep.plan import plan_trials
from mutransfer.sweep.planned import PlannedTrial
from mutransfer.sweep.ready import Ready

from .fake_training import CORPUS, FakeTrain
from .fakes import assert_journal_agrees, calls, load_fake, measured, small, sweep


class Slots(InProcess):
    """Several slots, of which the first one taken ends first; what each submission held is written down."""

    def __init__(self, run: Any, slots: int, sizes: list[int]) -> None:
        super().__init__(run, CORPUS, "cpu")
        self.slots, self.sizes = slots, sizes

    def submit(self, key: str, trials: Sequence[TrialConfig]) -> None:
        assert len({trial.cohort_key for trial in trials}) == 1
        self.sizes.append(len(trials))
        super().submit(key, trials)

    def next_finished(self) -> Finished:
        assert len(self._waiting) <= self.slots
        return super().next_finished()


def dispatched(config: SweepConfig, train: Any, slots: int) -> tuple[list[int], Any]:
    sizes: list[int] = []

    def open_executor(config: SweepConfig, corpus: Corpus) -> Slots:
        return Slots(train, slots, sizes)

    outcome = run_sweep(config, command="again", open_executor=open_executor, load=load_fake)
    return sizes, outcome


@pytest.mark.parametrize(
    ("most", "slots", "sizes"),
    [
        (1, 1, [1] * 12),
        (4, 1, [4, 2, 4, 2]),
        (8, 1, [6, 6]),
        (8, 2, [6, 6]),
        (8, 3, [4, 4, 4]),
        (8, 12, [1] * 12),
        (None, 2, [1] * 12),
    ],
)
def test_what_waits_is_split_evenly_over_the_slots(
    tmp_path: Path, most: int | None, slots: int, sizes: list[int]
) -> None:
    train = FakeTrain(str(tmp_path / "calls"))
    found, outcome = dispatched(small(tmp_path / "out", cohort_size=most), train, slots)
    assert sum(found) == 12
    if (most, slots) != (8, 3):
        assert found == sizes
    assert max(found) <= (most or 1)
    assert outcome.ran == 12
    assert 0 < outcome.busy <= 1
    sweep(small(tmp_path / "alone"), train)
    assert measured(tmp_path / "out") == measured(tmp_path / "alone")
    assert_journal_agrees(tmp_path / "out")
    recorded = records.read(tmp_path / "out" / "records.jsonl")
    assert {record.cohort_size for record in recorded} == set(found)


def test_no_slot_is_left_idle_to_fill_a_cohort() -> None:
    planned = plan_trials(small(Path("unused"), widths=(32,)), "any")
    for count in range(1, len(planned) + 1):
        for free in range(1, 5):
            ready = Ready(8, lambda trial: 8)
            ready.add(planned[:count])
            taken = [ready.take(free - slot) for slot in range(min(free, count)) if len(ready)]
            assert len(taken) == min(free, count)
            assert max(map(len, taken)) - min(map(len, taken)) <= 1


def test_an_error_in_a_cohort_takes_no_other_trial_down(tmp_path: Path) -> None:
    out, train = tmp_path / "out", FakeTrain(str(tmp_path / "calls"), fails=(2.0**-6,))
    config = small(out, cohort_size=8)
    with pytest.raises(TrialsFailedError, match="4 of 12 trials failed"):
        dispatched(config, train, 1)
    assert len(measured(out)) == 8
    failures = [json.loads(line) for line in (out / "failures.jsonl").read_text().splitlines()]
    assert [failure["lr"] for failure in failures] == [2.0**-6] * 4
    assert_journal_agrees(out)
    assert dispatched(config, dataclasses.replace(train, fails=()), 1)[1].ran == 4
    assert len(measured(out)) == 12
    assert_journal_agrees(out)


def test_a_shape_is_measured_once_and_never_for_a_single_trial(tmp_path: Path) -> None:
    asked: list[TrialConfig] = []

    def measure(trial: TrialConfig) -> int:
        asked.append(trial)
        return 3

    planned: list[PlannedTrial] = plan_trials(small(tmp_path), "any")
    ready = Ready(None, measure)
    ready.add(planned)
    sizes = []
    while len(ready):
        sizes.append(len(ready.take(1)))
    assert sizes == [3, 3, 3, 3]
    assert len(asked) == len({trial.cohort_key for trial in asked}) == 2
    ready.add(planned[:1])
    ready.take(1)
    assert len(asked) == 2


def test_on_the_cpu_nothing_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(executors, "measure_cohort", lambda *args: 5)
    trial = plan_trials(small(tmp_path), "any")[0].config
    assert InProcess(FakeTrain(str(tmp_path / "calls")), CORPUS, "cpu").cohort_size(trial) == 1
    assert InProcess(FakeTrain(str(tmp_path / "calls")), CORPUS, "cuda").cohort_size(trial) == 5
    assert calls(tmp_path / "calls") == []
