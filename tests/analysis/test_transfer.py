import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from analysis.planted import along, frame, parabola, world
from mutransfer.analysis import analyze, from_frame
from mutransfer.analysis.curve import Curve

RATES = np.arange(-11.0, -2.0)
WIDTHS = (32, 64, 128, 256)


def arm(slope: float, widths: tuple[int, ...] = WIDTHS, seeds: int = 2) -> tuple[Curve, ...]:
    return tuple(parabola(width, -7 + slope * (math.log2(width) - 6.5), RATES, seeds) for width in widths)


def both(sp: float = -1.0, mup: float = 0.0) -> pd.DataFrame:
    return frame({"sp": arm(sp), "mup": arm(mup)})


def test_planted_arms_get_their_slopes_verdicts_and_regret() -> None:
    analysis = analyze(both(), 0.25)
    assert (analysis.dimensions, analysis.tolerance) == (("width",), 0.25)
    sp, mup = analysis.arms
    assert (sp.arm, sp.verdict, mup.arm, mup.verdict) == ("sp", "does_not_transfer", "mup", "transfers")
    assert sp.transfer_slope is not None
    assert sp.transfer_slope.estimate == pytest.approx(-1, abs=1e-6)
    assert mup.transfer_slope is not None
    assert mup.transfer_slope.estimate == pytest.approx(0, abs=1e-6)
    assert sp.transfer_regret is not None
    assert (sp.transfer_regret.proxy.width, sp.transfer_regret.target.width) == (32, 256)
    assert sp.transfer_regret.nats == pytest.approx(0.025 * 9, abs=0.007)
    assert mup.transfer_regret is not None
    assert mup.transfer_regret.nats == pytest.approx(0, abs=1e-9)
    assert mup.sentence.startswith("mup: transfers: log2 lr* moves by")
    assert sp.horizon is not None
    assert sp.horizon.tokens == 150 * 16 * 64


def test_slope_differences_are_the_first_less_the_second_in_the_order_of_the_frame() -> None:
    analysis = analyze(frame({"sp": arm(-1.0), "mup": arm(0.0), "ntk": arm(-0.5)}), 0.25)
    assert list(analysis.slope_difference) == ["sp-mup", "sp-ntk", "mup-ntk"]
    difference = analysis.slope_difference["sp-mup"]
    assert difference.estimate == pytest.approx(-1, abs=1e-6)
    halves = [(a.transfer_slope.ci_high - a.transfer_slope.ci_low) / 2 for a in analysis.arms[:2] if a.transfer_slope]
    half = (difference.ci_high - difference.ci_low) / 2
    assert max(halves) < half < sum(halves)


def test_every_arm_has_its_further_measures() -> None:
    trials = both()
    trials["n_params"] = trials["width"] ** 2
    sp, mup = analyze(trials, 0.25).arms
    assert [each.scale.width for each in sp.sensitivity] == list(WIDTHS)
    assert {(each.low, each.high) for each in sp.sensitivity} == {(-11, -3)}
    assert [(each.scale.width, each.within) for each in mup.bands] == [
        (w, part) for w in WIDTHS for part in (0.0025, 0.01)
    ]
    # The highest rate is 5.5 octaves above the best one of width 256, where it costs 0.76 nats.
    assert [each.unstable for each in sp.unstable] == [None] * 4
    assert sp.unstable_slope is None
    assert sp.size_law is not None
    assert sp.size_law.exponent.estimate == pytest.approx(-0.5, abs=1e-6)
    assert sp.size_law.excludes == (-1.0,)
    assert (sp.leverage, mup.leverage, sp.settling, mup.settling) == (None, None, (), ())


def test_rates_that_fail_at_ever_lower_rates_have_a_slope() -> None:
    trials = both()
    gone = trials["log2_lr"] > -3.5 - np.log2(trials["width"] / 32)
    trials.loc[gone, "diverged"] = True
    found = analyze(trials, 0.25).arm("sp").unstable_slope
    assert found is not None
    assert found.estimate == pytest.approx(-1)


def test_an_arm_along_steps_has_no_law_of_size() -> None:
    trials = along(both(), "steps")
    assert {result.size_law for result in analyze(trials, 0.25).arms} == {None}


def test_only_an_inconclusive_arm_says_what_would_settle_it() -> None:
    near, far = analyze(both(sp=-1.0, mup=0.23), 0.25).arms[::-1]
    assert (near.verdict, far.verdict) == ("inconclusive", "does_not_transfer")
    assert near.settling
    assert near.settling[0].adds
    assert far.settling == ()


def test_row_order_and_seed_names_do_not_matter() -> None:
    trials = frame({"mup": world(np.random.default_rng(0), slope=-0.2).curves})
    shuffled = trials.sample(frac=1, random_state=1)
    renamed = trials.assign(seed=trials["seed"].map({0: 17, 1: 3, 2: 9}))
    one, two, three = (analyze(each, 0.25).arms[0] for each in (trials, shuffled, renamed))
    assert one == two
    assert one.transfer_slope is not None
    assert three.transfer_slope is not None
    assert three.transfer_slope.estimate == pytest.approx(one.transfer_slope.estimate, abs=1e-6)
    assert three.transfer_slope.ci_low == pytest.approx(one.transfer_slope.ci_low, abs=1e-6)


def test_one_width_has_an_optimum_and_no_slope() -> None:
    analysis = analyze(frame({"sp": arm(0.0, (64,)), "mup": arm(0.0)}), 0.25)
    lone = analysis.arm("sp")
    assert lone.optima[0].status == "interior"
    assert (lone.transfer_slope, lone.transfer_regret, lone.verdict) == (None, None, "inconclusive")
    assert lone.sentence.startswith("sp: inconclusive: the best rate at width 64 is 2^-7.00 (95% CI")
    assert analysis.slope_difference == {}


def test_one_seed_is_enough() -> None:
    analysis = analyze(frame({"mup": arm(0.0, seeds=1)}), 0.25)
    assert analysis.arms[0].verdict == "transfers"


def test_a_censored_target_is_named_with_what_to_do() -> None:
    trials = both(sp=-1.5)
    result = analyze(trials[trials["log2_lr"] >= -8], 0.25).arm("sp")
    assert [optimum.status for optimum in result.optima] == ["interior", "interior", "censored_low", "censored_low"]
    assert "width 256 is censored_low" in result.reason
    assert "widen --lrs below 2^-8" in result.reason
    assert result.transfer_regret is None


def test_diverged_trials_close_a_side_and_are_never_fitted() -> None:
    trials = both(mup=0.1)
    gone = trials["log2_lr"] > -5.5
    trials.loc[gone, "diverged"] = True
    result = analyze(trials, 0.25).arm("mup")
    assert {optimum.status for optimum in result.optima} == {"interior"}
    assert result.transfer_slope is not None
    assert result.transfer_slope.estimate == pytest.approx(0.1, abs=0.01)


def test_an_interrupted_sweep_is_analyzed_with_what_there_is() -> None:
    trials = frame({"mup": world(np.random.default_rng(3), seeds=3, factor=0.5, kind="skewed_right").curves})
    half = trials.drop(trials[(trials["width"] == 256) & (trials["seed"] > 0) & (trials["log2_lr"] > -7)].index)
    full, part = (analyze(each, 0.25).arms[0] for each in (trials, half))
    assert part.optima[-1].status == "interior"
    assert part.optima[-1].log2_lr == pytest.approx(full.optima[-1].log2_lr, abs=0.2)


def test_another_loss_column_may_be_analyzed() -> None:
    trials = both()
    trials["val_loss"] = trials["loss"] + 0.01 * trials["log2_lr"]
    shifted = analyze(from_frame(trials).measured_by("val_loss"), 0.25)
    assert shifted.loss == "val_loss"
    assert shifted.arms[0].optima[0].log2_lr < analyze(trials, 0.25).arms[0].optima[0].log2_lr - 0.1


def test_what_cannot_be_analyzed_together_is_refused() -> None:
    trials = both()
    with pytest.raises(ValueError, match="expected at least one finished trial"):
        analyze(trials.iloc[:0], 0.25)
    with pytest.raises(ValueError, match="found no arm 'ntk'; wanted one of sp, mup"):
        analyze(trials, 0.25).arm("ntk")


def test_reading_results_needs_no_torch() -> None:
    code = "import sys, mutransfer.analysis; print(*{'torch', 'ray', 'optuna'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""


def test_a_sentence_is_in_the_unit_of_the_loss() -> None:
    trials = frame({"mup": world(np.random.default_rng(0), slope=0.0, seeds=2).curves})
    squared = trials.assign(unit="squared error")
    assert " nats (" in analyze(trials, 0.25).arm("mup").sentence
    told = analyze(squared, 0.25).arm("mup").sentence
    assert " squared error (" in told
    assert "nats" not in told


def test_the_noise_that_the_user_knows_decides_how_wide_intervals_are() -> None:
    halves = []
    for noise in (0.001, 0.004, 0.016):
        (found,) = analyze(both().query("arm == 'mup'"), 0.25, noise).arms
        assert found.transfer_slope is not None
        halves.append(found.transfer_slope.ci_high - found.transfer_slope.estimate)
    assert halves[0] < 0.9 * halves[1] < 0.6 * halves[2]


@pytest.mark.parametrize("noise", [0.0, -1.0, float("nan"), float("inf")])
def test_a_noise_that_cannot_be_is_refused(noise: float) -> None:
    with pytest.raises(ValueError, match="noise"):
        analyze(both(), 0.25, noise)
