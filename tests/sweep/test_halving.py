"""A pruned search drops the worse settings of every round early: the same ones whatever finishes first and after any
kill, at half of the steps, and nothing that came to a rung is trained again."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import os
import random
import signal
import subprocess
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from mutransfer.config import Scale, SweepConfig
from mutransfer.config.searches import ROUND
from mutransfer.data import Corpus
from mutransfer.search.listed import _seed_means
from mutransfer.search.planned import cells
from mutransfer.search.protocol import Observation
from mutransfer.search.rungs import part_trained
from mutransfer.sweep.driver import run_sweep
from mutransfer.sweep.events import Appended, Event
from mutransfer.sweep.executors import Finished, InProcess
from mutransfer.sweep.loop import TrialsFailedError
from mutransfer.sweep.plan import estimate
from mutransfer.sweep.progress import Tally, describe
from mutransfer.sweep.status import status
from mutransfer.trials import records
from mutransfer.trials.records import Record

from .drive import Order
from .fake_legs import SPACE, FakeLegs, loss_at
from .fake_training import CORPUS
from .fakes import assert_journal_agrees, calls, in_process, load_fake, measured, small
from .test_kills import ENVIRONMENT

STEPS = 40
CALM = (2.0**-10, 2.0**-4)
"""Rates of which none diverges."""
WILD = (2.0**-10, 2.0**-1)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the disk, which takes most of the time of a sweep that trains nothing; a process of its own still does."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def pruned(folder: Path, search: str = "tpe", **changes: Any) -> SweepConfig:
    fields: dict[str, Any] = {
        "search": search,
        "prune": "halving",
        "space": SPACE,
        "widths": (32,),
        "lrs": CALM,
        "n_trials": 12,
        "steps": STEPS,
    }
    return small(folder, **(fields | changes))


def sweep(config: SweepConfig, train: FakeLegs, listener: Any = lambda event: None) -> Any:
    return run_sweep(config, command="again", listener=listener, open_executor=in_process(train), load=load_fake)


class Shuffled(InProcess):
    """Several slots, of which any one ends first."""

    def __init__(self, run: Any, slots: int, seed: int) -> None:
        super().__init__(run, CORPUS, "cpu")
        self.slots, self._draw = slots, random.Random(seed)

    def next_finished(self) -> Finished:
        self._waiting.rotate(self._draw.randrange(len(self._waiting)))
        return super().next_finished()


def read(folder: Path) -> list[Record]:
    return records.read(folder / "records.jsonl")


def known(folder: Path) -> dict[str, tuple[Any, ...]]:
    """What the records say that does not depend on when and where a trial ran."""
    found = measured(folder)
    return {each.trial_id: (*found[each.trial_id], each.pruned_step) for each in read(folder)}


def rounds(folder: Path) -> dict[int, dict[tuple[float, float], list[Record]]]:
    """The trials of each setting, by round."""
    found: dict[int, dict[tuple[float, float], list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in read(folder):
        found[record.round][record.lr, record.config["model"]["output_mult"]].append(record)
    return found


def states(folder: Path) -> list[str]:
    """Of the journal's trials, as Optuna reads them."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    storage = JournalStorage(JournalFileBackend(str(folder / "study.journal")))
    (study,) = storage.get_all_studies()
    return [trial.state.name for trial in storage.get_all_trials(study._study_id)]


def steps_trained(log: Path) -> dict[str, list[tuple[int, int]]]:
    """By trial, from where to where each of its legs went."""
    legs = defaultdict(list)
    for call in calls(log):
        legs[call["trial_id"]].append((call["since"], call["until"]))
    return legs


def assert_trained_once(log: Path) -> None:
    for legs in steps_trained(log).values():
        assert [since for since, _ in legs] == [0, *(until for _, until in legs[:-1])]


@pytest.mark.parametrize("search", ["random", "tpe", "gp"])
def test_the_worse_half_of_every_round_is_dropped_at_each_rung_and_half_of_all_steps_are_saved(
    search: str, tmp_path: Path
) -> None:
    config = pruned(tmp_path / "out", search)
    kept = []

    def listener(event: Event) -> None:
        kept.append(len(list((tmp_path / "out" / "rungs").glob("*"))))

    sweep(config, FakeLegs(str(tmp_path / "calls")), listener)
    assert max(kept) == ROUND * 2  # one round is brought to its end before the next has begun
    arm = config.arms[0]

    def mean(values: tuple[float, float], step: int) -> float:
        return sum(loss_at(config.trial(arm, Scale(32), values[0], seed, values[1:]), step) for seed in (0, 1)) / 2

    found = rounds(tmp_path / "out")
    assert sorted(found) == [0, 1, 2]
    for settings in found.values():
        assert len(settings) == ROUND
        first = sorted(settings, key=lambda values: mean(values, 10))
        second = sorted(first[:2], key=lambda values: mean(values, 20))
        expected = {second[0]: None, second[1]: 20, first[2]: 10, first[3]: 10}
        for values, trials in settings.items():
            assert sorted(each.seed for each in trials) == [0, 1]
            for each in trials:
                assert each.pruned_step == expected[values]
                trial = config.trial(arm, Scale(32), values[0], each.seed, values[1:])
                assert each.final_loss == loss_at(trial, expected[values] or STEPS)
                assert (each.val_loss is None) == (expected[values] is not None)
                assert each.tokens == trial.tokens * (expected[values] or STEPS) / STEPS
    log = tmp_path / "calls"
    assert_trained_once(log)
    total = sum(until - since for legs in steps_trained(log).values() for since, until in legs)
    assert total == 12 * 2 * STEPS / 2 == 12 * 2 * STEPS * part_trained(STEPS)
    assert list((tmp_path / "out" / "rungs").iterdir()) == []
    assert_journal_agrees(tmp_path / "out")
    assert Counter(states(tmp_path / "out")) == {"COMPLETE": 6, "PRUNED": 18}


def test_a_part_of_a_run_that_does_not_divide_is_counted_too() -> None:
    assert part_trained(30) == (4 * 7 + 2 * (15 - 7) + (30 - 15)) / (4 * 30)


def test_what_is_dropped_does_not_depend_on_what_finishes_first(tmp_path: Path) -> None:
    """Nor on slots and cohorts, also where trials diverge."""
    config = pruned(tmp_path / "plain", "random", lrs=WILD)
    sweep(config, FakeLegs(os.devnull))
    whole = known(config_path(config))
    assert any(record.diverged for record in read(config_path(config)))
    assert Counter(record.pruned_step for record in read(config_path(config))).keys() == {None, 10, 20}
    for seed, (slots, most) in enumerate([(2, 1), (8, 1), (2, 8)]):
        out, log = tmp_path / f"out{seed}", tmp_path / f"calls{seed}"
        train = FakeLegs(str(log))

        def open_executor(config: SweepConfig, corpus: Corpus, slots=slots, seed=seed, train=train) -> Any:  # type: ignore[no-untyped-def]
            return Shuffled(train, slots, seed)

        changed = dataclasses.replace(config, out=str(out), cohort_size=most)
        run_sweep(changed, command="again", open_executor=open_executor, load=load_fake)
        assert known(out) == whole
        assert_trained_once(log)
        assert_journal_agrees(out)


def config_path(config: SweepConfig) -> Path:
    return Path(config.folder)


def test_stopped_anywhere_it_ends_as_undisturbed_and_trains_nothing_twice(tmp_path: Path) -> None:
    config = pruned(tmp_path / "whole", n_trials=8)
    events: list[Event] = []
    sweep(config, FakeLegs(str(tmp_path / "all")), events.append)
    whole, legs = known(tmp_path / "whole"), steps_trained(tmp_path / "all")
    for count in range(8, len(events), 13):
        out, log = tmp_path / str(count), tmp_path / f"calls{count}"
        left = itertools.count(1)

        def stop(event: Event, left=left, count=count) -> None:  # type: ignore[no-untyped-def]
            if next(left) == count:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            sweep(dataclasses.replace(config, out=str(out)), FakeLegs(str(log)), stop)
        recorded = known(out) if (out / "records.jsonl").exists() else {}
        assert recorded.items() <= whole.items()
        assert status(out).planned == len(whole)
        sweep(dataclasses.replace(config, out=str(out)), FakeLegs(str(log)))
        assert known(out) == whole
        assert steps_trained(log) == legs
        assert_journal_agrees(out)


def test_killed_between_its_files_it_trains_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state of a trial is there and the line that says so is not, or is torn."""
    config = pruned(tmp_path / "whole", n_trials=4)
    sweep(config, FakeLegs(str(tmp_path / "all")))
    append = records.append
    for count in (3, 9):
        out, log = tmp_path / str(count), tmp_path / f"calls{count}"
        left = itertools.count(1)

        def torn(path: Path, record: Record, left=left, count=count) -> None:  # type: ignore[no-untyped-def]
            if path.name == "rungs.jsonl" and next(left) == count:
                with path.open("ab") as file:
                    file.write(json.dumps(dataclasses.asdict(record)).encode()[:100])
                raise KeyboardInterrupt
            append(path, record)

        with monkeypatch.context() as patched:
            patched.setattr(records, "append", torn)
            with pytest.raises(KeyboardInterrupt):
                sweep(dataclasses.replace(config, out=str(out)), FakeLegs(str(log)))
        sweep(dataclasses.replace(config, out=str(out)), FakeLegs(str(log)))
        assert known(out) == known(tmp_path / "whole")
        made = [leg for legs in steps_trained(log).values() for leg in legs]
        assert sum(until - since for since, until in made) == 4 * 2 * STEPS / 2
        assert len(read_lines(out)) == len(read_lines(tmp_path / "whole"))


def read_lines(folder: Path) -> list[Record]:
    return records.read_lines(folder / "rungs.jsonl", Record)[0]


def test_nothing_is_left_of_states_that_a_kill_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a trial whose record was the last to be written, and of one that was being written: whether or not there is
    something to train."""
    out, log = tmp_path / "out", str(tmp_path / "calls")
    config, remove = pruned(out, n_trials=4), Path.unlink

    def killed(path: Path, missing_ok: bool = False) -> None:
        if path.parent == out / "rungs" and len(read(out)) == 4 * 2:
            raise KeyboardInterrupt
        remove(path, missing_ok=missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            sweep(config, FakeLegs(log))
    for n_trials in (4, 8):
        (out / "rungs" / ".half.pt.1234").write_bytes(b"half")
        assert len(list((out / "rungs").iterdir())) == 3 - n_trials // 4
        sweep(dataclasses.replace(config, n_trials=n_trials), FakeLegs(log))
        assert list((out / "rungs").iterdir()) == []


def test_a_driver_killed_in_mid_round_is_resumed(tmp_path: Path) -> None:
    fields = dataclasses.asdict(pruned(tmp_path / "out"))
    changes = {name: fields[name] for name in ("search", "prune", "widths", "lrs", "n_trials", "steps")}
    order = Order(str(tmp_path / "out"), str(tmp_path / "calls"), changes, die="Appended", count=3)
    killed = subprocess.run(order.words(), env=ENVIRONMENT, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    sweep(pruned(tmp_path / "out"), FakeLegs(str(tmp_path / "calls")))
    sweep(pruned(tmp_path / "whole"), FakeLegs(str(tmp_path / "all")))
    assert known(tmp_path / "out") == known(tmp_path / "whole")
    assert steps_trained(tmp_path / "calls") == steps_trained(tmp_path / "all")
    assert_journal_agrees(tmp_path / "out")


def test_an_error_holds_its_round_back_and_the_same_command_goes_on(tmp_path: Path) -> None:
    config, log = pruned(tmp_path / "out", n_trials=4), tmp_path / "calls"
    sweep(pruned(tmp_path / "whole", n_trials=4), FakeLegs(str(tmp_path / "all")))
    worst = max(read(tmp_path / "whole"), key=lambda each: each.final_loss or 0)
    with pytest.raises(TrialsFailedError, match="2 of 2 trials failed"):
        sweep(config, FakeLegs(str(log), fails=(worst.lr,)))
    assert not (tmp_path / "out" / "records.jsonl").exists()  # whether others are worse is not known yet
    sweep(config, FakeLegs(str(log)))
    assert known(tmp_path / "out") == known(tmp_path / "whole")
    assert_trained_once(log)


def test_more_trials_and_seeds_extend_what_is_there(tmp_path: Path) -> None:
    """A new seed of a setting that was dropped goes as far as the others did."""
    log = tmp_path / "calls"
    sweep(pruned(tmp_path / "out", n_trials=4), FakeLegs(str(log)))
    first = known(tmp_path / "out")
    sweep(pruned(tmp_path / "out", n_trials=8, seeds=3), FakeLegs(str(log)))
    assert first.items() <= known(tmp_path / "out").items()
    assert_trained_once(log)
    for settings in rounds(tmp_path / "out").values():
        assert [len(trials) for trials in settings.values()] == [3] * ROUND
        assert all(len({each.pruned_step for each in trials}) == 1 for trials in settings.values())
    with pytest.raises(ValueError, match="made with prune 'halving'; this command wanted 'none'"):
        sweep(pruned(tmp_path / "out", prune="none"), FakeLegs(str(log)))


def test_two_searches_of_one_folder_keep_their_rounds_apart(tmp_path: Path) -> None:
    sweep(pruned(tmp_path / "alone", n_trials=4), FakeLegs(os.devnull))
    for search in ("random", "tpe"):
        sweep(pruned(tmp_path / "both", search, n_trials=4), FakeLegs(os.devnull))
    assert known(tmp_path / "alone").items() <= known(tmp_path / "both").items()


def test_the_counts_are_right_at_every_moment(tmp_path: Path) -> None:
    tally, seen = Tally(), []

    def listener(event: Event) -> None:
        tally.update(event)
        if isinstance(event, Appended):
            seen.append((tally.done, tally.pruned, tally.total, status(tmp_path)))

    config = pruned(tmp_path)
    sweep(config, FakeLegs(os.devnull), listener)
    for place, (done, dropped, total, found) in enumerate(seen, 1):
        assert (done, total) == (found.done, found.planned) == (place, 24)
        assert dropped == found.pruned == sum(each.pruned_step is not None for each in read(tmp_path)[:place])
    assert tally.pruned == 18
    assert "18 pruned" in describe(tally)
    # half a second for each leg: two legs of a quarter and one of a half are a whole trial
    parts = [1.0 if each.pruned_step is None else each.pruned_step / STEPS for each in read(tmp_path)[:6]]
    walls = [each.wall_s for each in read(tmp_path)[:6]]
    assert seen[5][3].seconds_left == pytest.approx(18 * 0.5 * sum(walls) / sum(parts))
    assert {each.pruned_step: each.wall_s for each in read(tmp_path)} == {10: 0.5, 20: 1.0, None: 1.5}


def test_a_plan_knows_the_saving(tmp_path: Path) -> None:
    config = pruned(tmp_path)
    (cell,) = cells(config)
    plan = estimate(config, {cell: 2.0}, slots=2)
    full = estimate(dataclasses.replace(config, prune="none"), {cell: 2.0}, slots=2)
    assert (plan.trials, plan.flops, plan.seconds) == (24, full.flops / 2, 24 * 2.0 / 2 / 2)


def test_the_sampler_is_told_nothing_better_of_a_dropped_setting_than_of_what_outlived_it() -> None:
    def seen(lr: float, loss: float, step: int | None, number: int = 0, seed: int = 0) -> Observation:
        return Observation(lr, seed, loss, "tpe", number, (1.0,), step)

    history = [
        seen(0.1, 3.0, None),
        seen(0.2, 2.9, 20),  # its loss at half of the steps is below that of the survivor at the end
        seen(0.3, 2.0, 10),
        seen(0.4, 5.0, 10),
        seen(0.5, 2.5, None, 1),
        seen(0.5, math.inf, None, 1, 1),  # no survivor
        seen(0.6, 2.2, 20, 1),
        seen(0.7, 2.1, 10, 1),
        seen(0.8, 1.0, None, 2),
    ]
    for number in range(5):
        told = {values[0]: loss for values, loss in _seed_means(random.Random(number).sample(history, len(history)))}
        diverged = math.inf
        assert told == {0.1: 3.0, 0.2: 3.0, 0.3: 3.0, 0.4: 5.0, 0.5: diverged, 0.6: 2.2, 0.7: 2.2, 0.8: 1.0}


def test_with_real_training_what_survives_is_what_it_would_be_alone(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from mutransfer.config import ModelConfig
    from mutransfer.sweep.executors import train_legs, train_trials

    config = pruned(
        tmp_path / "out",
        n_trials=4,
        seeds=1,
        steps=12,
        batch_size=2,
        eval_batches=1,
        base_width=16,
        widths=(16,),
        model=ModelConfig(depth=1, head_dim=8, context=8),
    )
    from mutransfer.data import load_corpus

    corpus = load_corpus("stdlib")
    run_sweep(
        config,
        command="again",
        open_executor=lambda config, corpus: InProcess(train_legs, corpus, "cpu"),
        load=lambda spec: corpus,
    )
    found = read(tmp_path / "out")
    assert Counter(each.pruned_step for each in found) == {None: 1, 6: 1, 3: 2}
    for each in found:
        others = (each.config["model"]["output_mult"],)
        (alone,) = train_trials([config.trial(config.arms[0], Scale(16), each.lr, 0, others)], corpus, "cpu", "eager")
        if each.pruned_step is None:
            assert (each.final_loss, each.val_loss) == (alone.final_loss, alone.val_loss)
        else:  # the last window, of one step
            assert each.final_loss == pytest.approx(float(alone.train_losses[each.pruned_step - 1]), rel=1e-6)
