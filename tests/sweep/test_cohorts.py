"""Trials handed out together: as many as a slot's even share, and none the worse for another's error."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from mutransfer.config import MODES, Arm, Execution, ModelConfig, Scale, SweepConfig, TrialConfig
from mutransfer.data import Corpus
from mutransfer.sweep.driver import run_sweep
from mutransfer.sweep.events import Appended, Event, ignore
from mutransfer.sweep.executors import Finished, InProcess, Leg, train_legs, train_trials
from mutransfer.sweep.lock import read_holder
from mutransfer.sweep.loop import TrialsFailedError
from mutransfer.sweep.plan import plan_trials
from mutransfer.sweep.progress import Tally
from mutransfer.sweep.ready import Ready
from mutransfer.sweep.shapes import MOST_IN_COHORT, Question, question, settled
from mutransfer.sweep.shares import WHOLE, Slots
from mutransfer.trials import records

from .fake_training import CORPUS, FakeTrain
from .fakes import assert_journal_agrees, load_fake, measured, small, sweep

TINY = ModelConfig(context=16)


class Several(InProcess):
    """Several slots, of which the first one taken ends first; what each submission held is written down."""

    def __init__(self, run: Any, slots: int, sizes: list[int]) -> None:
        super().__init__(run, CORPUS, "cpu")
        self.slots, self.sizes = slots, sizes

    def submit(self, key: str, trials: Any, mode: str, share: Fraction) -> None:
        assert len({trial.cohort_key for trial in trials}) == 1
        assert (mode, share) == ("eager", WHOLE)
        self.sizes.append(len(trials))
        super().submit(key, trials, mode, share)

    def next_finished(self) -> Finished:
        assert len(self._waiting) <= self.slots
        return super().next_finished()


class Gpus(InProcess):
    """GPUs that are not there, which submissions share, and which `full` trials fill. The first begun ends first.
    Every submission is written down: its first trial, how many there were, by what steps, and on what share."""

    def __init__(self, run: Any, count: int, sharers: int, full: Callable[[TrialConfig], Execution]) -> None:
        super().__init__(run, CORPUS, "cuda")
        self.slots, self.sharers, self.full = count, sharers, full
        self.asked: list[tuple[TrialConfig, Question]] = []
        self.submitted: list[tuple[TrialConfig, int, str, Fraction]] = []
        self.most_at_once = 0

    def measure(self, key: str, trial: TrialConfig, question: Question) -> None:
        self.asked.append((trial, question))
        self._waiting.append((key, lambda: self.full(trial)))

    def submit(self, key: str, trials: Any, mode: str, share: Fraction) -> None:
        self.submitted.append((trials[0], len(trials), mode, share))
        super().submit(key, trials, mode, share)

    def next_finished(self) -> Finished:
        self.most_at_once = max(self.most_at_once, len(self._waiting))
        return super().next_finished()


def on_gpus(config: SweepConfig, gpus: Gpus, listener: Any = ignore) -> Any:
    return run_sweep(config, command="again", listener=listener, open_executor=lambda *_: gpus, load=load_fake)


def dispatched(config: SweepConfig, train: Any, slots: int) -> tuple[list[int], Any]:
    sizes: list[int] = []

    def open_executor(config: SweepConfig, corpus: Corpus) -> Several:
        return Several(train, slots, sizes)

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
            ready, slots = Ready(8, lambda trial: Execution()), Slots(free, 1)
            ready.add(planned[:count])
            taken = []
            while (handout := ready.take(slots)) is not None:
                taken.append(handout.trials)
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
    assert dispatched(config, replace(train, fails=()), 1)[1].ran == 4
    assert len(measured(out)) == 12
    assert_journal_agrees(out)


def test_a_shape_is_measured_once_and_before_it_is_trained(tmp_path: Path) -> None:
    """Arms that differ in a multiplier alone are one shape: it costs nothing."""
    louder = tuple(Arm(f"mult{mult}", "mup", (("model.output_mult", mult),)) for mult in (1.0, 2.0))
    gpus = Gpus(FakeTrain(str(tmp_path / "calls")), 1, 1, lambda trial: Execution(3, "graph"))
    on_gpus(small(tmp_path / "out", parametrizations=(), variants=louder), gpus)
    assert [trial.model.width for trial, _ in gpus.asked] == [64, 32]
    assert [size for _, size, _, _ in gpus.submitted] == [3] * 8
    recorded = records.read(tmp_path / "out" / "records.jsonl")
    assert {(record.cohort_size, record.execution) for record in recorded} == {(3, "graph")}


def test_what_cannot_be_measured_is_trained_one_by_one(tmp_path: Path) -> None:
    def broken(trial: TrialConfig) -> Execution:
        raise RuntimeError("no such thing\nas this")

    for execution, mode in (("auto", "eager"), ("graph", "graph")):
        gpus = Gpus(FakeTrain(str(tmp_path / "calls")), 1, 4, broken)
        config = small(tmp_path / mode, device="cuda", widths=(32,), execution=execution)
        with pytest.warns(UserWarning, match="could not be measured .RuntimeError: no such thing.; training one by"):
            on_gpus(config, gpus)
        assert [each[1:] for each in gpus.submitted] == [(1, mode, WHOLE)] * 6


@pytest.mark.parametrize("mode", MODES)
def test_a_kind_of_step_that_is_asked_for_is_used(tmp_path: Path, mode: str) -> None:
    gpus = Gpus(FakeTrain(str(tmp_path / "calls")), 1, 1, lambda trial: Execution(4))
    on_gpus(small(tmp_path / "out", device="cuda", widths=(32,), execution=mode), gpus)
    assert {(size, used) for _, size, used, _ in gpus.submitted} <= {(4, mode), (2, mode), (1, mode)}
    assert {record.execution for record in records.read(tmp_path / "out" / "records.jsonl")} == {mode}
    if mode == "compiled":
        assert gpus.asked == []
        assert {size for _, size, _, _ in gpus.submitted} == {1}
    else:
        assert [question.modes for _, question in gpus.asked] == [(mode,)]


def test_nothing_is_measured_that_need_not_be(tmp_path: Path) -> None:
    auto = small(tmp_path, device="cuda")
    trial, tiny = (
        config.trial(config.arms[0], Scale(32), 0.1, 0) for config in (auto, replace(auto, batch_size=4, model=TINY))
    )
    assert settled(auto, "cpu", 1, trial) == Execution(1, "eager")
    assert settled(auto, "cpu", 1, tiny) == Execution(8, "eager")
    assert settled(auto, "cpu", 1, replace(tiny, build="mine:model")) == Execution(1, "eager")
    assert settled(replace(auto, execution="compiled"), "cpu", 1, tiny) == Execution(1, "compiled")
    assert settled(auto, "cuda", 1, trial) is settled(replace(auto, cohort_size=4), "cuda", 1, trial) is None
    given = replace(auto, execution="graph", cohort_size=4)
    assert settled(given, "cuda", 1, trial) == Execution(4, "graph")
    assert settled(given, "cuda", 2, trial) is None  # what shares a GPU must be known
    assert question(auto, 1) == question(auto, 8) == (MOST_IN_COHORT, MODES)
    assert question(replace(auto, cohort_size=4), 1) == (4, ("eager", "graph"))
    assert question(replace(auto, cohort_size=4), 8) == (MOST_IN_COHORT, ("eager", "graph"))
    assert question(replace(auto, cohort_size=1), 8) == (MOST_IN_COHORT, MODES)


def test_on_a_cpu_tiny_trials_are_trained_together(tmp_path: Path) -> None:
    """By the rule, and by nobody's asking."""
    train = FakeTrain(str(tmp_path / "calls"))
    tiny = small(tmp_path / "out", batch_size=4, model=TINY, seeds=4)
    assert Counter(dispatched(tiny, train, 1)[0]) == {8: 2, 1: 8}  # 12 at each of two widths; fewer than 8 are slower
    few = replace(tiny, out=str(tmp_path / "few"), seeds=2)
    assert dispatched(few, train, 1)[0] == [1] * 12
    assert dispatched(replace(few, out=str(tmp_path / "asked"), cohort_size=3), train, 1)[0] == [3] * 4
    assert dispatched(replace(tiny, out=str(tmp_path / "wide"), batch_size=64), train, 1)[0] == [1] * 24


def test_cohorts_that_do_not_fill_a_gpu_share_it(tmp_path: Path) -> None:
    """Four shapes of two trials, of which eight fill a GPU: all at once on one, half as many on each of two."""
    for count, share in ((1, Fraction(1, 4)), (2, Fraction(1, 2)), (4, WHOLE)):
        out = tmp_path / str(count)
        gpus = Gpus(FakeTrain(str(tmp_path / "calls")), count, 8, lambda trial: Execution(8, "graph"))
        config = small(out, device="cuda", widths=(32, 48, 64, 80), lrs=(2.0**-6,))
        tally = Tally()
        at_once: list[int] = []

        def listen(event: Event, tally: Tally = tally, out: Path = out, at_once: list[int] = at_once) -> None:
            tally.update(event)
            if isinstance(event, Appended) and (holder := read_holder(out / "driver.lock")) is not None:
                at_once.append(holder.slots)

        outcome = on_gpus(config, gpus, listen)
        assert max(at_once) == 4
        assert [each[1:] for each in gpus.submitted] == [(2, "graph", share)] * 4
        assert gpus.most_at_once == 4
        assert 0 < outcome.busy <= 1
        assert_journal_agrees(out)
        # The others that shared its GPU had the rest of the time that passed.
        assert tally.seconds_left() == 0
        tally.remaining = dict.fromkeys(tally.remaining, 1)
        assert tally.seconds_left() == pytest.approx(4 * 0.5 * share / count)


def test_a_given_cohort_size_leaves_room_for_others(tmp_path: Path) -> None:
    gpus = Gpus(FakeTrain(str(tmp_path / "calls")), 1, 8, lambda trial: Execution(8))
    on_gpus(small(tmp_path / "out", device="cuda", widths=(32,), cohort_size=2), gpus)
    assert [each[1:] for each in gpus.submitted] == [(2, "eager", Fraction(1, 3))] * 3
    assert gpus.most_at_once == 3


def test_what_fails_on_a_shared_gpu_is_tried_on_one_of_its_own(tmp_path: Path) -> None:
    train = FakeTrain(str(tmp_path / "calls"), fails=(2.0**-6,))
    gpus = Gpus(train, 1, 8, lambda trial: Execution(8))
    config = small(tmp_path / "out", device="cuda", lrs=(2.0**-6, 2.0**-4), seeds=1, cohort_size=1)
    with pytest.raises(TrialsFailedError, match="2 of 4 trials failed"):
        on_gpus(config, gpus)
    tried = [(trial.model.width, share) for trial, _, _, share in gpus.submitted if trial.lr == 2.0**-6]
    assert sorted(tried) == [(32, Fraction(1, 4)), (32, WHOLE), (64, Fraction(1, 4)), (64, WHOLE)]
    assert len(measured(tmp_path / "out")) == 2


def test_what_trains_gives_back_the_memory_that_others_on_the_gpu_need(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    import mutransfer.training

    told: list[str] = []
    monkeypatch.setattr(mutransfer.training, "train", lambda trials, corpus, device, part, mode: told.append(mode))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: told.append("emptied"))
    train_trials([], CORPUS, "cpu", "compiled")
    train_trials([], CORPUS, "cuda:0", "graph")
    train_legs([Leg(plan_trials(small(Path("unused")), "any")[0].config, 3, None)], CORPUS, "cuda:0", "eager")
    assert told == ["compiled", "graph", "emptied", "eager", "emptied"]
