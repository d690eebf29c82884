"""The status of a folder, while a driver lives and afterwards."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mutransfer.sweep.driver import TrialsFailedError
from mutransfer.sweep.events import Appended, Event
from mutransfer.sweep.lock import DriverLock, is_held, read_holder
from mutransfer.sweep.planned import flops_at
from mutransfer.sweep.status import status

from .fake_training import FakeTrain
from .fakes import small, sweep
from .test_kills import ENVIRONMENT


def test_a_sweep_under_way(tmp_path: Path) -> None:
    seen = []

    def listener(event: Event) -> None:
        if isinstance(event, Appended):
            seen.append(status(tmp_path))

    sweep(small(tmp_path), FakeTrain(os.devnull), listener)
    third = seen[2]
    assert (third.done, third.planned, third.failed, third.diverged) == (3, 12, 0, 0)
    assert third.driver is not None
    assert third.driver.pid == os.getpid()
    assert len(third.running) == 1
    ratio = flops_at(small(tmp_path), 32) / flops_at(small(tmp_path), 64)
    assert third.seconds_left == pytest.approx((3 + 6 * ratio) * 0.5)
    assert [(cell.width, cell.done, cell.to_run) for cell in third.cells] == [(32, 0, 6), (64, 3, 3)]


def test_a_finished_sweep(tmp_path: Path) -> None:
    sweep(small(tmp_path, lrs=(2.0**-6, 2.0**-2)), FakeTrain(os.devnull))
    now = status(tmp_path)
    assert (now.done, now.planned, now.diverged, now.running, now.driver) == (8, 8, 4, (), None)
    assert now.seconds_left == 0
    assert now.command == "again"


def test_failed_trials_count_until_they_are_recorded(tmp_path: Path) -> None:
    train = FakeTrain(os.devnull)
    for _ in range(2):
        with pytest.raises(TrialsFailedError):
            sweep(small(tmp_path), dataclasses.replace(train, fails=(2.0**-6,)))
    assert (status(tmp_path).failed, status(tmp_path).done) == (4, 8)
    sweep(small(tmp_path), train)
    assert status(tmp_path).failed == 0


@pytest.mark.parametrize("search", ["random", "tpe"])
def test_a_search_is_planned_by_count(tmp_path: Path, search: str) -> None:
    sweep(small(tmp_path, search=search, n_trials=5), FakeTrain(os.devnull))
    assert (status(tmp_path).done, status(tmp_path).planned) == (20, 20)


def test_no_sweep_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="found no sweep"):
        status(tmp_path)


def test_it_loads_nothing_heavy(tmp_path: Path) -> None:
    sweep(small(tmp_path), FakeTrain(os.devnull))
    code = (
        "import sys; from pathlib import Path; from mutransfer.sweep.status import status; "
        f"status(Path({str(tmp_path)!r})); print({{'torch', 'ray', 'optuna'}} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_lock_is_let_go_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "driver.lock"
    assert not is_held(path)
    lock = DriverLock(path)
    assert is_held(path)
    assert read_holder(path) is None
    lock.announce(["a" * 16, "b" * 16], 2)
    lock.announce(["c" * 16], 2)
    holder = read_holder(path)
    assert holder is not None
    assert (holder.pid, holder.running, holder.slots) == (os.getpid(), ("c" * 16,), 2)
    lock.release()
    assert not is_held(path)
