"""What the project claims to show: the committed reference is of today's defaults, and says so."""

import json
from pathlib import Path

import pytest

from mutransfer import SweepConfig, read_result
from mutransfer.analysis import to_summary
from mutransfer.cli import main
from mutransfer.sweep.plan import plan_trials

REFERENCE = Path(__file__).parent.parent / "results" / "reference_cpu"


def test_the_reference_holds_every_trial_of_the_default_study_as_a_grid_and_no_other() -> None:
    result = read_result(REFERENCE)
    fingerprint = result.records[0].data_fingerprint
    planned = {trial.trial_id for trial in plan_trials(SweepConfig(search="grid"), fingerprint)}
    assert {record.trial_id for record in result.records} == planned
    assert {path.stem for path in (REFERENCE / "curves").glob("*.npy")} == planned


def test_its_summary_is_what_its_records_say() -> None:
    stored = json.loads((REFERENCE / "summary.json").read_text())
    now = json.loads(json.dumps(to_summary(read_result(REFERENCE).analysis)))
    for name, arm in now["arms"].items():
        assert stored["arms"][name]["verdict"] == arm["verdict"]
        for column in ("estimate", "ci_low", "ci_high"):
            assert stored["arms"][name]["slopes"]["width"][column] == pytest.approx(arm["slopes"]["width"][column])


def check_claims(folder: Path) -> None:
    """The best rate moves under SP and stands still under muP, which is no worse at the widest."""
    analysis = read_result(folder).analysis
    sp, mup = analysis.arm("sp"), analysis.arm("mup")
    assert sp.transfer_slope is not None
    assert mup.transfer_slope is not None
    assert sp.transfer_slope.ci_high < 0
    assert abs(mup.transfer_slope.estimate) < 0.25
    assert analysis.slope_difference["sp-mup"].ci_high < 0
    assert (sp.verdict, mup.verdict) == ("does_not_transfer", "transfers")
    assert mup.optima[-1].loss is not None
    assert sp.optima[-1].loss is not None
    assert mup.optima[-1].loss < sp.optima[-1].loss + 0.01


def test_sp_moves_and_mup_stands_still() -> None:
    check_claims(REFERENCE)


@pytest.mark.slow
def test_a_study_run_now_shows_the_same(tmp_path: Path) -> None:
    """Three widths, two minutes on two cores."""
    assert main(["sweep", "--widths", "32", "64", "128", "--out", str(tmp_path / "now")]) == 0
    check_claims(tmp_path / "now")
