"""A result folder as a whole: what reading it gathers, and what its page is told."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from mutransfer import read_result
from mutransfer.study.result import conformance_status, provenance
from mutransfer.sweep.folder import Failure, ResultFolder, append_failure

REFERENCE = Path(__file__).parents[2] / "results" / "reference_cpu"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The reference result without what is computed from it."""
    copy = tmp_path / "results" / "mine"
    copy.mkdir(parents=True)
    for name in ("config.json", "records.jsonl"):
        shutil.copy(REFERENCE / name, copy)
    return copy


def table(verdicts: list[str]) -> str:
    return json.dumps({"schema": 1, "claims": [{"id": f"C{i}", "verdict": found} for i, found in enumerate(verdicts)]})


def test_the_page_is_told_how_many_claims_hold(folder: Path) -> None:
    assert provenance(read_result(folder)).conformance is None
    place = folder.parent / "conformance" / "conformance.json"
    place.parent.mkdir()
    place.write_text(table(["holds", "holds", "fails", "not run (needs a GPU)", "not run (yet)"]))
    told = provenance(read_result(folder)).conformance
    assert told is not None
    assert told.startswith("2 of 5 published claims hold, 1 fail, 2 were not run")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"claims": [{}]}', '{"claims": 3}'])
def test_a_table_that_is_none_is_refused_in_a_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "conformance.json").write_text(text)
    with pytest.raises(ValueError, match=r"found a .*conformance.json that cannot be read .*; wanted") as raised:
        conformance_status(tmp_path / "conformance.json")
    assert "\n" not in str(raised.value)


def test_the_page_is_told_what_failed_and_has_not_run_since(folder: Path) -> None:
    result = read_result(folder)
    ran = result.records[0]
    when, scale = "2026-01-01T00:00:00+00:00", {"width": 64}
    lost = Failure("0123456789abcdef", "mup", 0.5, 1, "RuntimeError: out of memory", when, scale)
    again = dataclasses.replace(lost, error="RuntimeError: once more")
    for failure in (lost, again, dataclasses.replace(lost, trial_id=ran.trial_id)):
        append_failure(ResultFolder(folder), failure)
    (failed,) = provenance(result).failures
    assert dataclasses.astuple(failed) == ("mup", "width 64", 0.5, 1, "RuntimeError: once more")


def test_arms_are_in_the_order_of_the_config_and_sizes_ascend(folder: Path) -> None:
    lines = (folder / "records.jsonl").read_text().splitlines(keepends=True)
    (folder / "records.jsonl").write_text("".join(sorted(lines)))
    frame = read_result(folder).trials.frame
    assert list(dict.fromkeys(frame["arm"])) == ["sp", "mup"]
    assert list(dict.fromkeys(frame["width"])) == [32, 64, 128, 256]
