"""One estimate of every optimum: what is printed, drawn, recommended and judged is of the same fit."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from analysis.planted import frame, parabola, world
from mutransfer import read_result
from mutransfer.analysis import Analysis, analyze, recommend
from mutransfer.analysis.line import ALONE, JOINT, located, together
from mutransfer.analysis.optimum import optima
from mutransfer.config.scale import Scale
from mutransfer.report.marks import optimal_lr_data

RESULTS = Path(__file__).parents[2] / "results"
COMMITTED = sorted(path.parent.relative_to(RESULTS) for path in RESULTS.glob("**/records.jsonl"))
KINDS = ("symmetric", "skewed_right", "skewed_left", "cliff", "flat", "measured")
RATES = np.arange(-11.0, -2.0)


@cache
def committed(name: str) -> Analysis:
    return read_result(RESULTS / name).analysis


@cache
def planted(kind: str, seeds: int) -> Analysis:
    rng = np.random.default_rng([KINDS.index(kind), seeds])
    still, moving = (world(rng, slope=slope, seeds=seeds, kind=kind).curves for slope in (0.0, -0.6))
    return analyze(frame({"mup": still, "sp": moving}), 0.25)


def check_one_estimate(analysis: Analysis) -> None:
    drawn = optimal_lr_data(analysis)
    for arm in analysis.arms:
        slope = arm.transfer_slope
        interior = [optimum for optimum in arm.optima if optimum.interior]
        if slope is None:
            continue
        along = analysis.dimensions[0]
        octaves = np.array([optimum.scale.log2(along) for optimum in interior])
        printed, _ = np.polyfit(octaves, [optimum.log2_lr for optimum in interior], 1)
        assert slope.ci_low <= printed <= slope.ci_high
        assert printed == pytest.approx(slope.estimate, abs=1e-9)
        line = drawn[(drawn["arm"] == arm.arm) & (drawn["mark"] == "line")]
        for octave, log2_lr in zip(line["log2_size"], line["log2_lr"], strict=True):
            middle = np.mean([optimum.log2_lr for optimum in interior])
            assert log2_lr == pytest.approx(middle + slope.estimate * (octave - octaves.mean()), abs=1e-9)
            # What is recommended leans on the literature too: it stands beside the line, and its interval holds it.
            found = recommend(analysis, arm.arm, Scale(**{along: 2.0**octave}))
            assert math.log2(found.ci_low) < log2_lr < math.log2(found.ci_high)


@pytest.mark.parametrize("name", [str(each) for each in COMMITTED])
def test_a_line_through_the_printed_optima_has_the_slope_and_what_is_recommended_holds_it(name: str) -> None:
    check_one_estimate(committed(name))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seeds", [1, 3])
def test_so_it_is_of_planted_sweeps(kind: str, seeds: int) -> None:
    check_one_estimate(planted(kind, seeds))


@pytest.mark.parametrize("kind", KINDS)
def test_a_joint_optimum_lies_at_the_bottom_of_its_curve_and_is_as_sure_as_that(kind: str) -> None:
    for arm in planted(kind, 3).arms:
        for optimum in arm.optima:
            if arm.estimator == JOINT and optimum.interior:
                assert optimum.quartic is not None
                assert optimum.covariance is not None
                assert optimum.quartic.derivative(optimum.log2_lr, 1) == pytest.approx(0, abs=1e-9)
                assert optimum.loss == pytest.approx(float(optimum.quartic(optimum.log2_lr)))
                gradient = optimum.quartic.minimum_gradient()
                assert gradient @ optimum.covariance @ gradient == pytest.approx(optimum.noise + optimum.shape)


def test_a_curve_of_the_joint_fit_is_the_shared_shape_about_its_minimum() -> None:
    """Parabolas of one curvature: every coefficient but three is none, however far the centre is from the minimum."""
    own = optima([parabola(width, -7.3 - 0.4 * at, RATES, 3) for at, width in enumerate((32, 64, 128))])
    found, how = together(own)
    assert how == JOINT
    for optimum in found:
        assert optimum.quartic is not None
        z = np.linspace(-2, 2, 9)
        np.testing.assert_allclose(
            optimum.quartic(optimum.log2_lr + z) - float(optimum.loss or 0.0), 0.025 * z**2, atol=2e-4
        )


def test_where_there_is_no_joint_fit_the_result_says_so() -> None:
    one = analyze(frame({"mup": (parabola(64, -7.0, RATES),)})).arms[0]
    assert (one.estimator, one.optima[0].own) == (ALONE, None)
    curves = [parabola(width, -7.0, RATES) for width in (32, 64, 128)]
    # A tooth: both neighbours are worse, and no quartic with a minimum goes through.
    curves[1].losses[:] = np.inf
    curves[1].losses[:, 3:6] = [[2.8, 2.3, 2.8]] * 2
    known = together(optima(curves))[0]
    bare = [optimum for optimum in known if optimum.interior and optimum.quartic is None]
    told = analyze(frame({"mup": tuple(curves)})).arms[0]
    assert told.estimator == (ALONE if bare else JOINT)
    assert any("its own curve alone" in note for note in told.notes) == bool(bare)


def test_a_scale_whose_own_curve_disagrees_is_named() -> None:
    """Three curves that rise twice as fast above the optimum as below, and one the other way round."""

    def bent(width: int, side: float) -> object:
        curve = parabola(width, -7.0, RATES, 3)
        curve.losses[:] = 2.3 + 0.03 * (RATES + 7) ** 2 * np.exp(0.35 * side * np.tanh(RATES + 7))
        return curve

    table = frame({"mup": (*(bent(width, 1.0) for width in (32, 64, 128)), bent(256, -1.0))})  # type: ignore[arg-type]
    (arm,) = analyze(table).arms
    apart = [optimum.scale.width for optimum in arm.optima if optimum.apart]
    assert [note.split(":")[0] for note in arm.notes if "another shape" in note] == [f"width {each}" for each in apart]


def test_estimates_do_not_change_when_they_are_taken_together_twice() -> None:
    own = optima(world(np.random.default_rng(7), seeds=2).curves)
    once, how = together(own)
    assert (together(once), how) == ((once, how), JOINT)
    np.testing.assert_array_equal(located(once).log2_lr, located(own).log2_lr)
