"""Result folders of an earlier version, whole (tests/data/old_results: `mutransfer sweep widths.py --out widths`, then
with `--seeds 2 --lrs 2^-6..2^-3 --tolerance 0.3`; `mutransfer sweep batches.py --out batches`): they open, count as
done, and extend, along what they sweep and along what they do not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mutransfer.arguments import read_sweep
from mutransfer.cli import main
from mutransfer.config import Scale
from mutransfer.sweep.driver import run_sweep
from mutransfer.sweep.folder import ResultFolder, read_origin
from mutransfer.sweep.status import status
from mutransfer.trials import records
from sweep.fakes import assert_journal_agrees

OLD = Path(__file__).parents[1] / "data" / "old_results"


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folders, in which the commands that made them can be typed."""
    shutil.copytree(OLD, tmp_path / "old")
    monkeypatch.chdir(tmp_path / "old")
    return tmp_path / "old"


def ids(folder: Path) -> set[str]:
    return {record.trial_id for record in records.read(folder / "records.jsonl")}


@pytest.mark.parametrize(("name", "trials"), [("widths", 32), ("batches", 36)])
def test_it_is_done_and_every_trial_has_the_id_that_it_would_have_now(old: Path, name: str, trials: int) -> None:
    found = status(old / name)
    assert (found.done, found.planned, found.failed, found.driver) == (trials, trials, 0, None)
    origin = read_origin(ResultFolder(old / name))
    assert origin is not None
    arms = {arm.name: arm for arm in origin.config.arms}
    for record in records.read(old / name / "records.jsonl"):
        trial = origin.config.trial(arms[record.arm], record.scale, record.lr, record.seed)
        assert trial.digest(origin.data_fingerprint) == record.trial_id


@pytest.mark.parametrize("name", ["widths", "batches"])
def test_the_same_command_trains_nothing_and_reports_it(old: Path, name: str) -> None:
    before = (old / name / "records.jsonl").read_bytes()
    options = ["--seeds", "2", "--lrs", "2^-6..2^-3", "--tolerance", "0.3"] if name == "widths" else []
    assert main(["sweep", f"{name}.py", "--out", name, *options]) == 0
    assert json.loads((old / name / "summary.json").read_text())["arms"]
    assert (old / name / "records.jsonl").read_bytes() == before
    assert_journal_agrees(old / name)


def test_it_is_extended_by_a_width_and_by_another_dimension(old: Path) -> None:
    before = ids(old / "widths")
    words = ["widths.py", "--out", "widths", "--lrs", "2^-5"]
    run_sweep(read_sweep("sweep", [*words, "--widths", "16", "32", "48"]), command="wider")
    assert len(ids(old / "widths") - before) == 2
    # 4 is the batch size that all of these were trained with
    run_sweep(read_sweep("sweep", [*words, "--widths", "16", "32", "--batch-sizes", "4", "8"]), command="larger")
    assert before < ids(old / "widths")
    assert len(ids(old / "widths") - before) == 2 + 2 * 2
    found = status(old / "widths")
    assert (found.done, found.planned, found.along) == (38, 38, ("width", "batch_size"))
    origin = read_origin(ResultFolder(old / "widths"))
    assert origin is not None
    assert set(origin.config.scales) == {
        *(Scale(width, batch_size=4) for width in (16, 32, 48)),
        *(Scale(width, batch_size=8) for width in (16, 32)),
    }
    assert_journal_agrees(old / "widths")
