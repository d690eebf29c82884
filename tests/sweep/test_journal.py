"""The journal is a view of the records: whatever happens to it, it comes back from them."""

from __future__ import annotations

import os
import time
import warnings
from pathlib import Path

import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from mutransfer.sweep.journal import open_journal
from mutransfer.trials import records

from .fake_training import FakeTrain
from .fakes import assert_journal_agrees, small, sweep, told


@pytest.fixture
def out(tmp_path: Path) -> Path:
    sweep(small(tmp_path / "out"), FakeTrain(os.devnull))
    return tmp_path / "out"


def reopen(out: Path, keep: int = 12) -> None:
    path = out / "records.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:keep]))
    open_journal(out / "study.journal", small(out), records.read(path))
    assert_journal_agrees(out)


def test_studies_are_named_by_arm_and_width(out: Path) -> None:
    storage = JournalStorage(JournalFileBackend(str(out / "study.journal")))
    assert sorted(study.study_name for study in storage.get_all_studies()) == ["mup/width=32", "mup/width=64"]


def test_an_agreeing_journal_is_left_alone(out: Path) -> None:
    before = (out / "study.journal").read_bytes()
    reopen(out)
    assert (out / "study.journal").read_bytes() == before


def test_a_missing_journal_is_rebuilt(out: Path) -> None:
    (out / "study.journal").unlink()
    reopen(out)


@pytest.mark.parametrize(
    "damage", ["torn", "noise", "middle", "operation", "truncated", "garbage", "more garbage", "two values"]
)
def test_a_damaged_journal_is_rebuilt_with_a_warning(out: Path, damage: str) -> None:
    path = out / "study.journal"
    data = path.read_bytes()
    lines = data.splitlines(keepends=True)
    path.write_bytes(
        {
            "torn": data[:-10],
            "noise": bytes(range(11, 256)) + b"\n",
            "middle": b"".join([*lines[:5], lines[5][:20] + b"\n", *lines[6:]]),
            "operation": data + b'{"op_code": 99}\n',
            "truncated": data[:-10] + b"\n",
            "garbage": b"garbage\n",
            "more garbage": data + b"garbage\n",
            "two values": data.replace(b'"values":[', b'"values":[1.0,'),
        }[damage]
    )
    with pytest.warns(UserWarning, match="rebuilt from the records"):
        reopen(out)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reopen(out)


@pytest.mark.parametrize("last", [b"", b"garbage\n"])
def test_a_sweep_goes_on_after_a_damaged_last_line(out: Path, last: bytes) -> None:
    path = out / "study.journal"
    path.write_bytes((path.read_bytes() if last else path.read_bytes()[:-10] + b"\n") + last)
    with pytest.warns(UserWarning, match="rebuilt from the records"):
        sweep(small(out, seeds=3), FakeTrain(os.devnull))
    assert_journal_agrees(out)


def test_a_journal_that_is_no_file_is_one_line(out: Path) -> None:
    (out / "study.journal").unlink()
    (out / "study.journal").mkdir()
    with pytest.raises(ValueError, match=r"cannot be written .Is a directory"):
        sweep(small(out, seeds=3), FakeTrain(os.devnull))


def test_results_that_the_records_lack_are_dropped(out: Path) -> None:
    reopen(out, keep=7)


def test_another_value_is_replaced(out: Path) -> None:
    path = out / "study.journal"
    lines = path.read_text().splitlines(keepends=True)
    place = next(i for i, line in enumerate(lines) if '"values":[2.' in line)
    lines[place] = lines[place].replace('"values":[2.', '"values":[3.')
    path.write_text("".join(lines))
    reopen(out)


def test_recorded_trials_that_it_lacks_are_added(out: Path) -> None:
    path = out / "study.journal"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:8]))
    reopen(out)
    assert len(told(out)[0]) == 12


def test_a_lock_that_a_killed_process_left_holds_nobody_up(out: Path) -> None:
    (out / "study.journal.lock").symlink_to("study.journal")
    start = time.monotonic()
    sweep(small(out, seeds=3), FakeTrain(os.devnull))
    assert time.monotonic() - start < 5
    (out / "study.journal.lock").unlink()
    assert_journal_agrees(out)
