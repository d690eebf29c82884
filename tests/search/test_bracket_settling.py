"""What a bracket's page says would settle a verdict is what its command then does."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from sweep.fake_training import FakeTrain
from sweep.fakes import sweep

from mutransfer.analysis import Settling
from mutransfer.arguments import read_sweep
from mutransfer.config import to_json
from mutransfer.report.commands import settling_flags, settling_step
from mutransfer.study.result import read_result
from mutransfer.study.settling import with_costs
from mutransfer.sweep.driver import Outcome
from mutransfer.sweep.plan import estimate
from mutransfer.trials import records

EXPERIMENT = """
from mutransfer.config import SweepConfig
def sweep():
    return SweepConfig(experiment="small", parametrizations=("mup",), widths=(32, 64, 128, 256), lrs={lrs}, steps=20,
                       tolerance={tolerance}, search="bracket", target_se=0.3, executor="inprocess", device="cpu")
"""


def swept(folder: Path, words: list[str]) -> Outcome:
    command = shlex.join(["mutransfer", "sweep", *words])
    found = sweep(
        read_sweep("sweep", [*words, "--out", str(folder)]), FakeTrain(str(folder.parent / "calls")), command=command
    )
    assert isinstance(found, Outcome)
    return found


@pytest.mark.parametrize(
    ("lrs", "grid"),
    [((2.0**-11, 2.0**-4), 0), ((2.0**-11, 2.0**-9), 0), ((2.0**-11, 2.0**-8, 2.0**-6, 2.0**-4), 4)],
    ids=["found", "censored", "after a grid"],
)
def test_the_command_that_is_printed_goes_on_as_it_says(lrs: tuple[float, ...], grid: int, tmp_path: Path) -> None:
    """As many trials as `plan` says of it."""
    result, file = tmp_path / "result", tmp_path / "exp.py"
    file.write_text(EXPERIMENT.format(lrs=lrs, tolerance=0.25))
    if grid:
        swept(result, [str(file), "--search", "grid", "--seeds", str(grid)])
    swept(result, [str(file), *(["--budget", "20", "--target-se", "0.02"] if grid else [])])
    line = read_result(result).analysis.arm("mup").transfer_slope
    if line is not None:  # A tolerance that its interval reaches across, but not its estimate.
        near = line.estimate + 0.8 * (line.ci_high - line.estimate)
        file.write_text(EXPERIMENT.format(lrs=lrs, tolerance=near))
        swept(result, [str(file)])  # where a grid came first this asks for nothing, its budget being spent
    before = len(records.read(result / "records.jsonl"))
    found = read_result(result)
    settling = found.analysis.arm("mup").settling
    assert settling
    for plan in settling:
        assert f"(about {plan.trials} more trials)" in plan.what
        step = settling_step("mup", plan.what, settling_flags(plan), found.command, to_json(found.config))
        assert "--seeds" not in step.command
        assert "--n-trials" not in step.command
        copy = Path(shutil.copytree(result, tmp_path / "copy"))
        words = shlex.split(step.command)[2:]
        planned = estimate(read_sweep("sweep", words), {}, 1, found.records)
        assert (plan.trials, plan.flops) == (planned.trials, planned.flops)
        outcome = swept(copy, words)
        assert outcome.ran > 0
        assert outcome.recorded == before + outcome.ran
        (searched,) = outcome.searched
        if plan.target_se is not None:
            assert searched.target_se == plan.target_se
            assert searched.reached or searched.spent > searched.budget - 2
        if plan.sizes:
            assert [optimum.scale.width for optimum in read_result(copy).analysis.arms[0].optima] == list(plan.sizes)
        if plan.lrs:
            tried = read_result(copy).trials.frame["lr"]
            assert plan.lrs[0] <= tried.min() <= tried.max() <= plan.lrs[-1]
            assert line is not None or tried.max() > max(lrs)
        shutil.rmtree(copy)


def test_a_plan_has_a_budget_beyond_what_a_grid_has_spent(tmp_path: Path) -> None:
    """What it says would else be the count of a command that runs nothing."""
    result, file = tmp_path / "result", tmp_path / "exp.py"
    file.write_text(EXPERIMENT.format(lrs=(2.0**-11, 2.0**-8, 2.0**-6, 2.0**-4), tolerance=0.25))
    swept(result, [str(file), "--search", "grid", "--seeds", "4"])
    assert swept(result, [str(file)]).ran == 0
    found = read_result(result)
    plan = Settling("surer (about 0 more trials)", target_se=0.01, search="bracket", adaptive=True)
    (arm,) = found.analysis.arms
    analysis = replace(found.analysis, arms=(replace(arm, settling=(plan,)),))
    (costed,) = with_costs(analysis, found.asked, found.records).arms[0].settling
    assert costed.what == f"surer (about {costed.trials} more trials)"
    words = [str(file), *settling_flags(costed)]
    assert estimate(read_sweep("sweep", words), {}, 1, found.records).trials == costed.trials > 0
    (searched,) = (outcome := swept(result, words)).searched
    assert outcome.ran > 0
    assert searched.reached or not searched.more  # it was not the budget that ended it


def test_an_arm_that_the_last_command_leaves_out_is_advised_too(tmp_path: Path) -> None:
    result, file = tmp_path / "result", tmp_path / "exp.py"
    file.write_text(EXPERIMENT.format(lrs=(2.0**-11, 2.0**-4), tolerance=0.32))
    swept(result, [str(file), "--parametrizations", "sp", "mup"])
    swept(result, [str(file)])
    left_out, asked = read_result(result).analysis.arms
    assert (left_out.arm, asked.arm) == ("sp", "mup")
    assert left_out.verdict == "inconclusive"
    assert left_out.settling[0].trials > 0
