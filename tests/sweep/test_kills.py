"""kill -9, SIGTERM and Ctrl-C at every point: no finished trial is lost, none runs twice."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .drive import Order
from .fake_training import FakeTrain
from .fakes import assert_journal_agrees, calls, measured, small, sweep

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
RANGE = tuple(2.0**exponent for exponent in range(-11, -3))
SEARCHES: dict[str, dict[str, Any]] = {
    "grid": {},
    "tpe": {"search": "tpe", "n_trials": 6},
    "bracket": {"search": "bracket", "lrs": RANGE},
}


def wait_until(done: Callable[[], bool], seconds: float) -> bool:
    deadline = time.time() + seconds
    while not done() and time.time() < deadline:
        time.sleep(0.05)
    return done()


@contextlib.contextmanager
def driving(order: Order, dispatched: int, new_session: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    """A driver that has dispatched so many trials; it and its pipe are gone at the end, even if the test fails: what it
    left behind would be collected, with a warning, in some later test."""
    pipe, words = subprocess.PIPE, order.words()
    with subprocess.Popen(words, env=ENVIRONMENT, stdout=pipe, start_new_session=new_session) as driver:
        try:
            assert driver.stdout
            for _ in range(dispatched):
                driver.stdout.readline()
            yield driver
        finally:
            driver.kill()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    results = {}
    for search, changes in SEARCHES.items():
        folder = tmp_path_factory.mktemp(search)
        sweep(small(folder / "out", **changes), FakeTrain(str(folder / "calls")))
        results[search] = measured(folder / "out")
    return results


def resume(order: Order, undisturbed: dict[str, Any]) -> None:
    """Run the same command again in this process, and compare with a run that nobody disturbed."""
    out = Path(order.out)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if order.die in ("torn", "random") else "error")
        recorded = measured(out) if (out / "records.jsonl").exists() else {}
        before = len(calls(order.calls))
        sweep(small(out, **order.changes), FakeTrain(order.calls))
    rerun = [call["trial_id"] for call in calls(order.calls)[before:]]
    assert not set(rerun) & set(recorded), "a recorded trial ran again"
    assert len(rerun) == len(undisturbed) - len(recorded)
    assert measured(out) == undisturbed
    assert_journal_agrees(out)


@pytest.mark.parametrize(
    ("die", "count", "search"),
    [
        ("Asked", 1, "grid"),
        ("Asked", 11, "tpe"),
        ("Dispatched", 5, "grid"),
        ("torn", 1, "grid"),
        ("torn", 10, "tpe"),
        ("Appended", 12, "grid"),
        ("Appended", 16, "tpe"),
        ("Told", 7, "tpe"),
        ("Asked", 12, "bracket"),
        ("torn", 7, "bracket"),
        ("Appended", 15, "bracket"),
    ],
)
def test_a_driver_killed_at_a_point_is_resumed(
    tmp_path: Path, undisturbed: dict[str, Any], die: str, count: int, search: str
) -> None:
    order = Order(str(tmp_path / "out"), str(tmp_path / "calls"), SEARCHES[search], die=die, count=count)
    killed = subprocess.run(order.words(), env=ENVIRONMENT, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    resume(order, undisturbed[search])


@pytest.mark.parametrize("search", ["tpe", "bracket"])
def test_a_driver_killed_at_random_times_is_resumed(tmp_path: Path, undisturbed: dict[str, Any], search: str) -> None:
    order = Order(str(tmp_path / "out"), str(tmp_path / "calls"), SEARCHES[search], seconds=0.02, die="random", count=0)
    draw = random.Random(0)
    for _ in range(4):
        with driving(order, dispatched=1):
            time.sleep(draw.uniform(0, 0.12))
    resume(order, undisturbed[search])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_keeps_what_is_done(tmp_path: Path, undisturbed: dict[str, Any], number: signal.Signals) -> None:
    order = Order(str(tmp_path / "out"), str(tmp_path / "calls"), seconds=0.3)
    with driving(order, dispatched=3) as driver:
        driver.send_signal(number)
        assert driver.wait(60) == 130
    assert 2 <= len(measured(tmp_path / "out")) < 12
    resume(order, undisturbed["grid"])


def test_a_second_driver_names_the_first(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    order = Order(str(tmp_path / "out"), str(tmp_path / "calls"), seconds=0.5)
    with driving(order, dispatched=1) as first:
        lock = tmp_path / "out" / "driver.lock"
        assert wait_until(lambda: lock.read_bytes().endswith(b"\n"), 30)
        with pytest.raises(ValueError, match=f"in use by another driver .process {first.pid} on "):
            sweep(small(tmp_path / "out"), FakeTrain(os.devnull))
        holder = json.loads(lock.read_text().splitlines()[0])
        assert holder["pid"] == first.pid
        assert len(holder["running"]) == 1
    resume(order, undisturbed["grid"])
