"""The status of a folder, while a driver lives and afterwards."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mutransfer.search.planned import cell_flops, cells
from mutransfer.sweep.events import Appended, Event
from mutransfer.sweep.lock import DriverLock, is_held, read_holder
from mutransfer.sweep.loop import TrialsFailedError
from mutransfer.sweep.status import status

from .fake_training import FakeTrain
from .fakes import measured, small, sweep
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
    narrow, wide = (cell_flops(small(tmp_path), cell) for cell in cells(small(tmp_path)))
    ratio = narrow / wide
    assert third.seconds_left == pytest.approx((3 + 6 * ratio) * 0.5)
    assert [(cell.scale.width, cell.done, cell.to_run) for cell in third.cells] == [(32, 0, 6), (64, 3, 3)]


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


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize(
    ("changes", "planned"),
    [
        ({"widths": (128,), "lrs": (2.0**-7, 2.0**-6)}, 12 + 4),
        ({"lrs": (2.0**-7,), "seeds": 3}, 12 + 6),
        ({"parametrizations": ("sp",), "widths": (64,)}, 12 + 6),
        ({"search": "random", "n_trials": 3}, 12 + 12),
        ({"search": "random", "n_trials": 5, "seeds": 3}, None),
        ({"search": "tpe", "n_trials": 5, "seeds": 3}, None),
    ],
)
def test_what_no_command_asked_for_is_not_planned(
    tmp_path: Path, changes: dict[str, Any], planned: int | None, swap: bool
) -> None:
    """Two commands whose union is no rectangle: what is planned is what the two of them run, in any order."""
    first = {} if planned else {"search": changes["search"], "n_trials": 9}
    planned = planned or 2 * (9 * 2 + 5)
    both = [("one", small(tmp_path, **first)), ("other", small(tmp_path, **changes))]
    for command, config in reversed(both) if swap else both:
        sweep(config, FakeTrain(os.devnull), command=command)
    now = status(tmp_path)
    assert (now.done, now.planned, now.seconds_left) == (planned, planned, 0)
    assert sum(cell.done for cell in now.cells) == planned
    assert all(cell.done for cell in now.cells)
    (tmp_path / "records.jsonl").write_bytes(b"")
    for left in (2, 1):
        before = status(tmp_path)
        assert before.planned == planned
        assert before.done < planned
        ran = sweep(dict(both)[before.command], FakeTrain(os.devnull), command=before.command).ran
        assert ran > 0, left
    assert status(tmp_path).done == planned == len(measured(tmp_path))


def test_the_command_to_go_on_with_has_something_to_run(tmp_path: Path) -> None:
    train = FakeTrain(os.devnull)
    with pytest.raises(TrialsFailedError):
        sweep(small(tmp_path), dataclasses.replace(train, fails=(2.0**-6,)), command="stopped")
    sweep(small(tmp_path, widths=(128,), lrs=(2.0**-8,)), train, command="ended")
    assert (status(tmp_path).done, status(tmp_path).planned, status(tmp_path).command) == (10, 14, "stopped")
    sweep(small(tmp_path), train, command="stopped")
    assert (status(tmp_path).done, status(tmp_path).planned, status(tmp_path).command) == (14, 14, "stopped")


def test_the_same_sweep_is_kept_once(tmp_path: Path) -> None:
    for command, tolerance in (("one", 0.25), ("two", 0.1)):
        sweep(small(tmp_path, tolerance=tolerance), FakeTrain(os.devnull), command=command)
    data = json.loads((tmp_path / "config.json").read_text())
    assert [entry["command"] for entry in data["sweeps"]] == ["two"]
    assert data["sweeps"][0].items() <= {**data["config"], "command": "two"}.items()


@pytest.mark.parametrize(
    "changes",
    [
        {"config": {"widths": 5}},
        {"config": {"lrs": ["a", "b"]}},
        {"config": {"steps": "x"}},
        {"config": {"seeds": 2.5}},
        {"config": {"model": 5}},
        {"config": 5},
        {"command": 5},
        {"data_fingerprint": None},
        {"sweeps": []},
        {"sweeps": 5},
        {"sweeps": [5]},
        {"sweeps": [{"command": "again", "widths": 5}]},
    ],
)
def test_a_wrong_value_in_the_config_is_one_line(tmp_path: Path, changes: dict[str, Any]) -> None:
    sweep(small(tmp_path), FakeTrain(os.devnull))
    path = tmp_path / "config.json"
    data = json.loads(path.read_text())
    for name, value in changes.items():
        data[name] = {**data[name], **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=r"config\.json that cannot be read .*; wanted what a sweep wrote") as refused:
        status(tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("key", ["sweeps", "config", "command", "schema"])
def test_a_config_that_lacks_something_is_one_line(tmp_path: Path, key: str) -> None:
    sweep(small(tmp_path), FakeTrain(os.devnull))
    path = tmp_path / "config.json"
    path.write_text(json.dumps({name: v for name, v in json.loads(path.read_text()).items() if name != key}))
    with pytest.raises(ValueError, match=rf"config\.json that cannot be read .*{key}"):
        status(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "records.jsonl", "failures.jsonl"])
def test_a_file_that_is_a_folder_is_one_line(tmp_path: Path, name: str) -> None:
    sweep(small(tmp_path), FakeTrain(os.devnull))
    (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / name).mkdir()
    for read in (lambda: status(tmp_path), lambda: sweep(small(tmp_path), FakeTrain(os.devnull))):
        with pytest.raises(ValueError, match=f"expected a file at .*{name}, got a folder"):
            read()


@pytest.mark.parametrize("line", ["garbage", "5", '{"lr": 1}', '{"trial_id": 5}'])
def test_a_corrupt_failure_is_named_by_its_line(tmp_path: Path, line: str) -> None:
    with pytest.raises(TrialsFailedError):
        sweep(small(tmp_path), FakeTrain(os.devnull, fails=(2.0**-6,)))
    path = tmp_path / "failures.jsonl"
    first, second, *rest = path.read_text().splitlines()
    whole = json.dumps({**json.loads(second), **json.loads(line)}) if "trial_id" in line else line
    path.write_text("\n".join([first, whole, *rest, "torn"]))
    with pytest.raises(ValueError, match=r"failures\.jsonl, line 2: expected a whole failure, got a damaged one"):
        status(tmp_path)


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
