"""What a terminal says of a result."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sweep.fake_training import FakeTrain
from sweep.fakes import in_process, load_fake, small, sweep

from mutransfer.analysis import Settling
from mutransfer.arguments import read_sweep
from mutransfer.cli import main
from mutransfer.config import Arm
from mutransfer.report.commands import settling_flags
from mutransfer.study.confirm import confirm, plan_confirmation
from mutransfer.study.result import read_result
from mutransfer.terminal import print_result
from mutransfer.trials import records

RESULTS = Path(__file__).parent.parent / "results"
LRS = tuple(2.0**e for e in range(-11, -3))


def said(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines of `report` on a copy of a committed result."""
    folder = tmp_path / name
    folder.mkdir()
    for file in ("config.json", "records.jsonl"):
        (folder / file).write_bytes((RESULTS / name / file).read_bytes())
    return reported(folder, capsys)


def reported(folder: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
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


def test_a_name_is_shown_as_it_is_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not as marks of a terminal's own language."""
    name = "mup [bold] 2 :smile:"
    sweep(small(tmp_path, variants=(Arm(name, "mup", (("model.qk_norm", True),)),)), FakeTrain(os.devnull))
    lines = printed(tmp_path, capsys)
    assert sum(line.startswith(f"│ {name} ") for line in lines) == 2
    assert any(line.startswith(f"{name}: ") for line in lines)


def test_a_confirmation_has_no_sweeps_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = tmp_path / "result"
    train = FakeTrain(str(tmp_path / "calls"))
    sweep(small(result, widths=(32, 64, 128), lrs=LRS, tolerance=0.5), train)
    config = plan_confirmation(read_result(result), {"width": 256})
    confirm(
        read_result(result),
        config,
        command="mutransfer confirm result --width 256",
        load=load_fake,
        open_executor=in_process(train),
    )
    told = reported(result / "confirm" / "mup-width=256", capsys)
    assert any("to settle it" in line for line in told)
    assert not any("--widths" in line or "mutransfer" in line for line in told)


EXPERIMENT = """
from mutransfer.config import Arm, SweepConfig
def sweep():
    variants = (Arm("own", "mup", (("lrs", {own}), ("model.qk_norm", True))),)
    return SweepConfig(experiment="small", parametrizations=("mup",), variants=variants, widths={widths}, lrs={lrs},
                       seeds=2, steps=20, tolerance={tolerance}, search={search!r}, n_trials=6, executor="inprocess",
                       device="cpu")
"""


def written(path: Path, **changes: Any) -> Path:
    fields = {"own": LRS, "lrs": LRS, "widths": (32, 64, 128), "search": "grid", "tolerance": 0.25} | changes
    path.write_text(EXPERIMENT.format(**fields))
    return path


def swept(folder: Path, words: list[str]) -> None:
    """Run the words of a command, as the command line would."""
    train = FakeTrain(str(folder.parent / "calls"))
    sweep(
        read_sweep("sweep", [*words, "--out", str(folder)]), train, command=shlex.join(["mutransfer", "sweep", *words])
    )


def count(folder: Path, arm: str) -> int:
    return sum(record.arm == arm for record in records.read(folder / "records.jsonl"))


def printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """As of `report`, without the page."""
    print_result(read_result(folder))
    return capsys.readouterr().out.splitlines()


def plans(folder: Path, arm: str, capsys: pytest.CaptureFixture[str]) -> Iterator[tuple[Settling, str, str]]:
    """Each plan of an arm, what is said of it and its command."""
    told = printed(folder, capsys)
    at = told.index(read_result(folder).analysis.arm(arm).sentence)
    said = [i for i, line in enumerate(told) if i > at and "to settle it: " in line]
    settling = read_result(folder).analysis.arm(arm).settling
    assert settling
    for plan, i in zip(settling, said, strict=False):
        assert plan.trials > 0
        yield plan, told[i], told[i + 1].strip()


@pytest.mark.parametrize("search", ["grid", "random", "tpe"])
@pytest.mark.parametrize("lrs", [LRS, LRS[:3]], ids=["found", "censored"])
def test_the_command_that_is_printed_runs_as_many_trials_as_it_says(
    search: str, lrs: tuple[float, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result, file = tmp_path / "result", tmp_path / "exp.py"
    swept(result, [str(written(file, search=search, lrs=lrs))])
    line = read_result(result).analysis.arm("mup").transfer_slope
    if line is not None:  # A tolerance that its interval reaches across, but not its estimate.
        near = line.estimate + 0.82 * (line.ci_high - line.estimate)
        swept(result, [str(written(file, search=search, lrs=lrs, tolerance=near))])
    for plan, _, command in list(plans(result, "mup", capsys)):
        copy = Path(shutil.copytree(result, tmp_path / "copy"))
        swept(copy, shlex.split(command)[2:])
        assert count(copy, "mup") - count(result, "mup") == plan.trials
        assert ("--n-trials" in command) == (search != "grid")
        assert lrs == LRS or "--lrs" in command
        for line in printed(copy, capsys):
            options = (
                [word for word in shlex.split(line) if word.startswith("--")] if "mutransfer sweep" in line else []
            )
            assert len(options) == len(set(options))
        shutil.rmtree(copy)


def test_rates_of_an_arms_own_are_set_in_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No option reaches them: with the rates that are told in the file, the command runs what is said."""
    result, file = tmp_path / "result", tmp_path / "exp.py"
    swept(result, [str(written(file, own=LRS[:3]))])
    for plan, said, command in list(plans(result, "own", capsys)):
        assert plan.lrs is not None
        assert said.endswith(f"; first set lrs of arm own in the experiment's file to {told_rates(plan)}")
        assert "--lrs" not in command
        written(file, own=plan.lrs)
        copy = Path(shutil.copytree(result, tmp_path / "copy"))
        swept(copy, shlex.split(command)[2:])
        assert count(copy, "own") - count(result, "own") == plan.trials
        shutil.rmtree(copy)


def told_rates(plan: Settling) -> str:
    flags = settling_flags(plan)
    return flags[flags.index("--lrs") + 1]
