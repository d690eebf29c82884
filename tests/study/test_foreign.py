"""A sweep that others made, from its files to the report: real ones, in excerpts."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest

import mutransfer as mt
from mutransfer import ReadOptions
from mutransfer.cli import main
from mutransfer.study.foreign import ForeignResult, analyze_runs

SWEEPS = Path(__file__).parents[1] / "data" / "sweeps"
REFERENCE = Path(__file__).parents[2] / "results" / "reference_cpu"


def run(*words: object) -> int:
    return main([str(word) for word in words])


def analyzed(runs: Path, out: Path, options: ReadOptions | None = None) -> ForeignResult:
    return analyze_runs([runs], out, "mutransfer analyze", options or ReadOptions(), 0.25)


def write_widths(path: Path, slope: float = 0.0) -> None:
    """Losses about a minimum at 2^-7 at width 64 that moves by `slope` octaves a doubling."""
    rows = ["width,lr,seed,loss"]
    for place, width in enumerate((64, 128, 256, 512)):
        for octave in range(-11, -3):
            excess = 0.03 * (octave + 7 - slope * place) ** 2
            rows += [f"{width},{2.0**octave},{s},{3 - 0.1 * place + excess + 0.002 * s}" for s in (0, 1)]
    path.write_text("\n".join(rows))


def test_marin_7381_gives_the_rates_that_its_authors_found(tmp_path: Path) -> None:
    """A log-quadratic of theirs found 0.97 and 0.92 of the base rate."""
    result = analyzed(SWEEPS / "marin_7381.csv", tmp_path / "out", ReadOptions(width="1024"))
    best = {arm.arm: arm.optima[0].log2_lr for arm in result.analysis.arms}
    # Two fits of one curve, of another form, agree to a quarter of what either knows.
    theirs = {"GQA": math.log2(0.97), "MLA": math.log2(0.92)}
    assert best == {arm: pytest.approx(rate, abs=0.04) for arm, rate in theirs.items()}
    for arm in result.analysis.arms:
        (optimum,) = arm.optima
        assert optimum.ci_low is not None
        assert optimum.ci_high is not None
        assert 0.1 < optimum.ci_high - optimum.ci_low < 0.6


def test_step_law_has_a_slope_along_each_dimension(tmp_path: Path) -> None:
    """Over 215M and 429M parameters, 4 to 23 billion tokens and batches of 64 to 256 sequences the best rate falls with
    size (as N^-0.713 by its authors' law, which takes the best batch) and rises with batch."""
    options = ReadOptions(loss="smooth loss", params="N", tokens="D", batch_size="bs")
    result = analyzed(SWEEPS / "steplaw_dense.csv", tmp_path / "out", options)
    (arm,) = result.analysis.arms
    assert set(arm.slopes) == {"batch_size", "params", "tokens"}
    assert -1.2 < arm.slopes["params"].estimate < -0.3
    assert 0.1 < arm.slopes["batch_size"].estimate < 0.6
    assert all(each.ci_low < each.estimate < each.ci_high for each in arm.slopes.values())


def test_a_noise_that_is_known_decides_the_interval_and_is_kept(tmp_path: Path) -> None:
    widths = []
    for noise in (0.0005, 0.005):
        out = tmp_path / f"{noise}"
        analyze_runs([SWEEPS / "marin_7381.csv"], out, "analyze", ReadOptions(width="1024"), 0.25, noise)
        result = mt.read_result(out)
        assert isinstance(result, ForeignResult)
        assert result.origin.noise == noise
        (optimum,) = result.analysis.arm("GQA").optima
        assert optimum.ci_high is not None
        assert optimum.ci_low is not None
        widths.append(optimum.ci_high - optimum.ci_low)
    assert widths[0] < 0.7 * widths[1]


def test_mixtures_of_experts_want_a_larger_rate_with_a_larger_batch(tmp_path: Path) -> None:
    """At 64 and 128 sequences, 2 and 4 billion tokens: nothing in the file says that moe_name makes the arms."""
    options = ReadOptions(loss="smooth loss", params="N", tokens="D", batch_size="bs")
    result = analyzed(SWEEPS / "steplaw_moe.csv", tmp_path / "out", options)
    assert sorted(arm.arm for arm in result.analysis.arms) == ["1in8", "2in88"]
    for arm in result.analysis.arms:
        assert all(optimum.interior for optimum in arm.optima)
        assert 0.1 < arm.slopes["batch_size"].estimate < 0.8
        assert abs(arm.slopes["tokens"].estimate) < 0.3


def test_rates_a_factor_of_2_apart_of_which_half_diverged_have_no_verdict(tmp_path: Path) -> None:
    options = ReadOptions(
        arm="optimizer",
        params="size",
        tokens="tokens_label*1e9",
        where=("changed=,learning_rate",),
        ignore=("changed",),
    )
    result = analyzed(SWEEPS / "marin_optimizers.csv", tmp_path / "out", options)
    assert [arm.verdict for arm in result.analysis.arms] == ["inconclusive", "inconclusive"]
    assert result.trials.frame["diverged"].sum() >= 10


def test_what_is_committed_of_marin_7381_is_what_it_gives(tmp_path: Path) -> None:
    """To 0.05 octaves, about a third of its interval's half: the constants of the noise may be calibrated anew."""
    committed = json.loads((REFERENCE.parent / "marin_7381" / "summary.json").read_text())
    result = analyzed(SWEEPS / "marin_7381.csv", tmp_path / "out", ReadOptions(width="1024"))
    for arm in result.analysis.arms:
        (told,) = committed["arms"][arm.arm]["optima"]
        assert told["log2_lr"] == pytest.approx(arm.optima[0].log2_lr, abs=0.05)
    source = json.loads((REFERENCE.parent / "marin_7381" / "source.json").read_text())
    assert [each["sha256"] for each in source["sources"]] == [each.sha256 for each in result.origin.sources]


def test_from_the_command_line_to_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "marin"
    assert run("analyze", SWEEPS / "marin_7381.csv", "--width", 1024, "--out", out) == 0
    printed = capsys.readouterr().out
    assert "trained by others" in printed
    assert "2 arms by 'arm', scaled along nothing: one scale" in printed
    summary = (out / "summary.json").read_bytes()
    page = (out / "report.html").read_text()
    assert "Others trained these runs" in page
    assert "2 arms by &#39;arm&#39;" in page
    files = ["figures", "report.html", "source.json", "summary.json", "trials.csv"]
    assert sorted(path.name for path in out.iterdir()) == files
    (out / "summary.json").unlink()
    assert run("report", out) == 0
    assert (out / "summary.json").read_bytes() == summary
    capsys.readouterr()
    assert run("status", out) == 0
    printed = capsys.readouterr().out
    assert "MLA" in printed
    assert "all done, by others" in printed
    assert run("confirm", out, "--width", 64) == 2
    assert "others ran" in capsys.readouterr().err


def test_a_rate_is_recommended_from_other_peoples_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_widths(tmp_path / "runs.csv")
    analyzed(tmp_path / "runs.csv", tmp_path / "out")
    assert run("recommend", tmp_path / "out", "--width", 1024, "--json") == 0
    advice = json.loads(capsys.readouterr().out)
    assert advice["recommendation"]["lr"] == pytest.approx(2**-7, rel=0.1)
    assert advice["groups"] == []
    assert run("recommend", tmp_path / "out", "--width", 1024) == 0
    assert "per parameter group" not in capsys.readouterr().out


def test_analyzing_again_replaces_the_same_runs_and_refuses_others(tmp_path: Path) -> None:
    runs, other, out = tmp_path / "runs.csv", tmp_path / "other.csv", tmp_path / "out"
    write_widths(runs)
    write_widths(other, slope=-1)
    first = analyzed(runs, out)
    assert first.replaced is None
    before = {path: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(ValueError, match=r"got those of .*runs\.csv; give another --out"):
        analyzed(other, out)
    assert {path: path.read_bytes() for path in out.iterdir()} == before
    write_widths(runs, slope=-1)
    assert analyzed(runs, out).replaced == first.origin
    result = mt.read_result(out)
    assert isinstance(result, ForeignResult)
    assert result.analysis.arms[0].verdict == "does_not_transfer"


def test_a_sweep_of_our_own_is_not_overwritten(tmp_path: Path) -> None:
    write_widths(tmp_path / "runs.csv")
    (tmp_path / "sweep").mkdir()
    shutil.copy(REFERENCE / "config.json", tmp_path / "sweep")
    with pytest.raises(ValueError, match="holds a sweep; give another --out"):
        analyzed(tmp_path / "runs.csv", tmp_path / "sweep")


def test_nothing_is_written_where_the_runs_say_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "runs.csv").write_text("width,lr,loss\n64,0.1,crash\n")
    assert run("analyze", tmp_path / "runs.csv", "--out", tmp_path / "out") == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_our_own_records_give_the_verdicts_of_their_sweep(tmp_path: Path) -> None:
    """What a sweep says does not depend on whether its records are read as our own or as a table."""
    theirs, ours = analyzed(REFERENCE, tmp_path / "out").analysis, mt.read_result(REFERENCE).analysis
    for arm in ours.arms:
        again = theirs.arm(arm.arm)
        assert again.verdict == arm.verdict
        assert [each.log2_lr for each in again.optima] == [each.log2_lr for each in arm.optima]
        assert again.slopes == arm.slopes


def test_the_same_in_python(tmp_path: Path) -> None:
    write_widths(tmp_path / "runs.csv")
    trials = mt.read_trials(tmp_path / "runs.csv", options=ReadOptions(where=("width!=512",)))
    assert [scale.width for scale in trials.scales] == [64, 128, 256]
    assert mt.analyze(trials).arms[0].verdict == "transfers"
