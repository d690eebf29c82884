"""Running, resuming, extending and refusing a sweep, in this process."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from mutransfer.config import Scale
from mutransfer.search.sampling import PENALTY
from mutransfer.sweep import events, executors
from mutransfer.sweep.driver import run_sweep
from mutransfer.sweep.loop import HOPELESS, TrialsFailedError
from mutransfer.trials import records

from .drive import Order
from .fake_training import CORPUS, FakeTrain
from .fakes import assert_journal_agrees, calls, load_fake, measured, small, sweep, told
from .test_kills import ENVIRONMENT


@pytest.fixture
def train(tmp_path: Path) -> FakeTrain:
    return FakeTrain(str(tmp_path / "calls"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_sweep_records_every_trial_once(out: Path, train: FakeTrain) -> None:
    config = small(out)
    outcome = sweep(config, train)
    expected = {
        config.trial(config.arms[0], Scale(width), lr, seed).digest(CORPUS.fingerprint)
        for width in config.widths
        for lr in config.lrs
        for seed in range(config.seeds)
    }
    assert set(measured(out)) == expected == {call["trial_id"] for call in calls(train.calls)}
    assert (outcome.ran, outcome.recorded, outcome.diverged) == (12, 12, 0)
    assert len(calls(train.calls)) == 12
    assert_journal_agrees(out)
    for trial_id in expected:
        curve = np.load(out / "curves" / f"{trial_id}.npy", allow_pickle=False)
        assert curve.dtype == np.float32
        assert len(curve) == config.steps


def test_events_of_a_trial_come_in_order(out: Path, train: FakeTrain) -> None:
    seen: list[events.Event] = []
    sweep(small(out, widths=(32,), lrs=(0.01,), seeds=1), train, seen.append)
    assert [type(event).__name__ for event in seen] == [
        "Opened", "Asked", "Dispatched", "Appended", "Told", "Closed",
    ]  # fmt: skip


def test_the_record_is_on_disk_before_optuna_is_told(out: Path, train: FakeTrain) -> None:
    def listener(event: events.Event) -> None:
        if isinstance(event, events.Appended):
            assert event.trial.trial_id in measured(out)
            assert (out / "curves" / f"{event.trial.trial_id}.npy").exists()
            assert event.trial.trial_id not in told(out)[0]
        if isinstance(event, events.Asked):
            assert told(out)[1] == ["RUNNING"]
        if isinstance(event, events.Told):
            assert event.trial.trial_id in told(out)[0]

    sweep(small(out, widths=(32,), seeds=1), train, listener)


def test_the_dearest_trials_go_first(out: Path, train: FakeTrain) -> None:
    seen: list[int] = []
    sweep(
        small(out), train, lambda e: seen.append(e.trial.cell.scale.width) if isinstance(e, events.Dispatched) else None
    )
    assert seen == sorted(seen, reverse=True)


def test_a_diverged_trial_is_a_finite_row(out: Path, train: FakeTrain) -> None:
    outcome = sweep(small(out, widths=(32,), lrs=(2.0**-6, 2.0**-2), seeds=1), train)
    (record,) = [r for r in records.read(out / "records.jsonl") if r.diverged]
    assert outcome.diverged == 1
    assert record.final_loss is None
    assert record.diverged_step == 7
    assert told(out)[0][record.trial_id] == PENALTY


def test_running_again_runs_nothing(out: Path, train: FakeTrain) -> None:
    sweep(small(out), train)
    before = snapshot(out)
    assert sweep(small(out), train).ran == 0
    assert len(calls(train.calls)) == 12
    assert snapshot(out) == before


@pytest.mark.parametrize(
    ("changes", "added"),
    [
        ({"widths": (32, 64, 128)}, 6),
        ({"lrs": (2.0**-8, 2.0**-6, 2.0**-5, 2.0**-4)}, 4),
        ({"seeds": 3}, 6),
        ({"parametrizations": ("mup", "sp")}, 12),
        ({"search": "random", "n_trials": 3}, 12),
    ],
)
def test_wider_commands_extend(out: Path, train: FakeTrain, changes: dict[str, object], added: int) -> None:
    sweep(small(out), train)
    before = measured(out)
    assert sweep(small(out, **changes), train).ran == added
    assert len(calls(train.calls)) == 12 + added
    assert measured(out).items() >= before.items()
    assert_journal_agrees(out)


def test_config_json_becomes_the_union(out: Path, train: FakeTrain) -> None:
    sweep(small(out, widths=(64,)), train)
    sweep(small(out, widths=(32,), seeds=1), train)
    data = json.loads((out / "config.json").read_text())
    assert data["schema"] == 1
    assert data["command"] == "again"
    assert data["data_fingerprint"] == CORPUS.fingerprint
    assert data["config"]["widths"] == [32, 64]
    assert data["config"]["seeds"] == 2


@pytest.mark.parametrize("search", ["random", "tpe"])
def test_more_trials_continue_a_search(tmp_path: Path, search: str) -> None:
    train = FakeTrain(str(tmp_path / "calls"))
    sweep(small(tmp_path / "grown", search=search, n_trials=5), train)
    sweep(small(tmp_path / "grown", search=search, n_trials=10), train)
    sweep(small(tmp_path / "whole", search=search, n_trials=10), train)
    assert measured(tmp_path / "grown") == measured(tmp_path / "whole")


def test_another_sweep_is_refused_by_its_first_field(out: Path, train: FakeTrain) -> None:
    sweep(small(out), train)
    before = snapshot(out)
    changed = small(out)
    changed = dataclasses.replace(changed, optimizer=dataclasses.replace(changed.optimizer, beta2=0.9))
    with pytest.raises(ValueError, match=r"optimizer\.beta2 0\.95; this command wanted 0\.9:"):
        sweep(changed, train)
    with pytest.raises(ValueError, match="steps 20; this command wanted 30"):
        sweep(small(out, steps=30), train)
    assert snapshot(out) == before


def test_other_data_is_refused(out: Path, train: FakeTrain) -> None:
    sweep(small(out), train)
    before = snapshot(out)
    other = dataclasses.replace(CORPUS, fingerprint="e" * 16)
    with pytest.raises(ValueError, match="fingerprint ffffffffffffffff; stdlib now has eeeeeeeeeeeeeeee"):
        run_sweep(small(out), command="", load=lambda spec: other)
    assert snapshot(out) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"device": "cuda"}, "found no GPU"),
        ({"lrs": ()}, "expected at least one of lrs"),
        ({"search": "tpe", "lrs": (0.01,)}, "wanted a range"),
    ],
)
def test_nothing_is_written_if_anything_is_wrong(
    out: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], message: str
) -> None:
    monkeypatch.setattr(executors, "local_gpus", lambda: 0)
    with pytest.raises(ValueError, match=message):
        run_sweep(small(out, **changes), command="", load=load_fake)
    assert not out.exists()


def test_graphs_where_auto_finds_no_gpu_are_refused_before_anything_is_written(out: Path) -> None:
    with pytest.raises(ValueError, match="found execution graph on the cpu; wanted a GPU"):
        sweep(small(out, device="auto", execution="graph"), FakeTrain("unused"))
    assert not out.exists()


def test_gpus_per_trial_beyond_the_machine_is_refused(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "local_gpus", lambda: 2)
    with pytest.raises(ValueError, match="found 2 GPUs on a machine; wanted gpus_per_trial 4: give --gpus-per-trial 2"):
        run_sweep(small(out, device="cuda", gpus_per_trial=4), command="", load=load_fake)
    assert not out.exists()


def test_an_unwritable_folder_is_refused(tmp_path: Path, train: FakeTrain) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be written"):
        sweep(small(tmp_path / "file"), train)
    with pytest.raises(ValueError, match="cannot be written"):
        sweep(small(tmp_path / "file" / "out"), train)
    assert calls(train.calls) == []


def test_a_crash_is_an_error_and_the_others_go_on(tmp_path: Path, out: Path, train: FakeTrain) -> None:
    failing = dataclasses.replace(train, fails=(2.0**-6,))
    seen: list[str] = []
    with pytest.raises(TrialsFailedError, match=r"4 of 12 trials failed, .*cannot train at 0.015625"):
        sweep(small(out), failing, lambda e: seen.append(e.error) if isinstance(e, events.Failed) else None)
    assert len(measured(out)) == 8
    failures = [json.loads(line) for line in (out / "failures.jsonl").read_text().splitlines()]
    assert {failure["lr"] for failure in failures} == {2.0**-6}
    assert all("Traceback" in failure["error"] for failure in failures)
    assert [error.splitlines()[0] for error in seen] == ["RuntimeError: cannot train at 0.015625"] * 4
    assert_journal_agrees(out)
    assert sweep(small(out), train).ran == 4
    assert len(measured(out)) == 12
    assert_journal_agrees(out)


def test_a_sweep_that_only_fails_stops_at_once(out: Path, train: FakeTrain) -> None:
    failing = dataclasses.replace(train, fails=small(out).lrs)
    with pytest.raises(TrialsFailedError, match=f"stopped: {HOPELESS} of {HOPELESS} trials failed"):
        sweep(small(out), failing)


def test_a_missing_loss_is_an_error(out: Path) -> None:
    def train(trials: object, corpus: object, device: str, mode: str) -> list[object]:
        (result,) = FakeTrain(os.devnull)(trials, corpus, device, mode)  # type: ignore[arg-type]
        return [dataclasses.replace(result, final_loss=float("nan"))]

    with pytest.raises(TrialsFailedError, match="final_loss of nan in a trial that did not diverge"):
        sweep(small(out), train)  # type: ignore[arg-type]


def test_a_torn_last_line_is_dropped_with_a_warning(out: Path, train: FakeTrain) -> None:
    sweep(small(out), train)
    whole = measured(out)
    path = out / "records.jsonl"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.warns(UserWarning, match="torn last line"):
        assert sweep(small(out), train).ran == 1
    assert measured(out) == whole
    assert_journal_agrees(out)


def test_a_corrupt_line_in_the_middle_stops_with_its_number(out: Path, train: FakeTrain) -> None:
    sweep(small(out), train)
    path = out / "records.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:4], lines[4][:50] + b"\n", *lines[5:]]))
    before = snapshot(out)
    with pytest.raises(ValueError, match="line 5"):
        sweep(small(out), train)
    assert snapshot(out) == before


def test_records_without_their_config_are_refused(out: Path, train: FakeTrain) -> None:
    sweep(small(out), train)
    (out / "config.json").unlink()
    with pytest.raises(ValueError, match=r"without config\.json"):
        sweep(small(out), train)


def test_a_full_disk_in_the_middle_keeps_what_is_recorded(
    out: Path, train: FakeTrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, writes = os.write, 0

    def write(descriptor: int, data: bytes) -> int:
        nonlocal writes
        if b'"trial_id"' in data and b'"final_loss"' in data:
            writes += 1
            if writes == 5:
                return real(descriptor, data[:100])
            if writes == 6:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(ValueError, match=r"cannot be written \(No space left on device\)"):
        sweep(small(out), train)
    monkeypatch.undo()
    assert len(measured(out)) == 4
    assert sweep(small(out), train).ran == 8
    assert_journal_agrees(out)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
@pytest.mark.parametrize("size", ["16k", "64k"])
def test_a_disk_that_really_fills_up(tmp_path: Path, train: FakeTrain, size: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("mounting a small disk is not permitted here")
    try:
        config = small(disk / "out", widths=(32, 64, 128), seeds=4)
        with pytest.raises(ValueError, match=r"cannot be written \(No space left on device\)"):
            sweep(config, train)
        assert not [path for path in disk.rglob("*") if path.name.startswith(".") or path.suffix == ".half"]
        done = measured(disk / "out")
        subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
        tried = len(calls(train.calls))
        assert sweep(config, train).ran == 36 - len(done)
        assert len(calls(train.calls)) - tried == 36 - len(done)
        assert measured(disk / "out").items() >= done.items()
        assert_journal_agrees(disk / "out")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_full_from_the_start_is_left_as_it_was(tmp_path: Path, train: FakeTrain, out: Path) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(ValueError, match="No space left"):
            sweep(small(out), train)
    assert not out.exists()
    out.mkdir()
    (out / "mine.txt").write_text("kept")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(ValueError, match="No space left"):
            sweep(small(out), train)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]
    shutil.rmtree(out)


def test_in_process_imports_neither_ray_nor_torch(tmp_path: Path) -> None:
    order = Order(out=str(tmp_path / "out"), calls=str(tmp_path / "calls"))
    done = subprocess.run(order.words(), env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert "imported" not in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_that_a_library_swallows_still_ends_the_sweep(
    tmp_path: Path, train: FakeTrain, number: signal.Signals
) -> None:
    def swallow(event: events.Event) -> None:
        if isinstance(event, events.Told) and len(calls(train.calls)) == 2:
            with contextlib.suppress(KeyboardInterrupt):
                os.kill(os.getpid(), number)
                time.sleep(5)

    with pytest.raises(KeyboardInterrupt):
        sweep(small(tmp_path / "out"), train, swallow)
    assert len(calls(train.calls)) == 2
