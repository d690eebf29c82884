"""What a terminal says of a result."""

from __future__ import annotations

from pathlib import Path

import pytest

from mutransfer.cli import main

RESULTS = Path(__file__).parent.parent / "results"


def said(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines of `report` on a copy of a committed result."""
    folder = tmp_path / name
    folder.mkdir()
    for file in ("config.json", "records.jsonl"):
        (folder / file).write_bytes((RESULTS / name / file).read_bytes())
    assert main(["report", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == str(folder / "report.html")
    return lines


def test_an_inconclusive_arm_is_told_why_and_which_command_would_settle_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = said("what_makes_it_transfer", tmp_path, capsys)
    at = next(i for i, line in enumerate(lines) if line.startswith("mup_without_output_mult: inconclusive"))
    why, plan, command = lines[at + 1 : at + 4]
    assert why.startswith("  the slope's 95% CI")
    assert plan.startswith("  to settle it: ")
    assert "more trials" in plan
    assert command.startswith("    mutransfer sweep what_makes_it_transfer --")
    assert not any("to settle it" in line for line in lines[:at])


def test_the_differences_of_many_arms_are_left_to_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    many = said("what_makes_it_transfer", tmp_path, capsys)
    assert not any("the slopes differ by" in line for line in many)
    assert any("differences of the arms' slopes: in" in line for line in many)
    two = said("reference_cpu", tmp_path, capsys)
    assert sum("the slopes differ by" in line for line in two) == 1
