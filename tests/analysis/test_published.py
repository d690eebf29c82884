"""Published optima and losses, each with its source, in tests/data/published.json.

No source prints these slopes: they are ordinary least squares of its points in log2, ours."""

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.planted import frame
from mutransfer.analysis import Interval, analyze
from mutransfer.analysis.curve import Curve
from mutransfer.analysis.leverage import Leverage, leverage
from mutransfer.analysis.line import slope
from mutransfer.analysis.optimum import Optimum
from mutransfer.analysis.verdict import judge, reason
from mutransfer.config.scale import Scale

PUBLISHED: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "published.json").read_text())
TAU = 0.25


def read(sizes: list[int], log2_lr: list[float]) -> list[Optimum]:
    """Optima of a grid of factor 2, each uniform within half a step about its rate: variance 1/12."""
    return [
        Optimum(Scale(size), rate, None, None, None, "interior", 1 / 12)
        for size, rate in zip(sizes, log2_lr, strict=True)
    ]


def line(sizes: list[int], log2_lr: list[float]) -> Interval:
    found = slope(read(sizes, log2_lr))
    assert found is not None
    return found.interval


@pytest.mark.parametrize(
    ("arm", "ours"), list(zip(PUBLISHED["haas_2025"]["arms"], (-0.416, -0.381, -0.500, -0.465), strict=True))
)
def test_the_slope_of_haas_measured_optima(arm: dict[str, Any], ours: float) -> None:
    """The rates stand in the source's code; their slopes are recomputed, by ordinary least squares."""
    assert line(arm["widths"], list(np.log2(arm["optimal_lr"]))).estimate == pytest.approx(ours, abs=2e-3)


@pytest.mark.parametrize(
    ("arm", "ours"), list(zip(PUBLISHED["haas_2025"]["arms"][:3], (-0.603, -0.500, -0.501), strict=True))
)
def test_the_slope_of_haas_lowest_unstable_rates(arm: dict[str, Any], ours: float) -> None:
    """The rates stand in the source's code; their slopes are recomputed, by ordinary least squares."""
    assert line(arm["widths"], list(np.log2(arm["min_unstable_lr"]))).estimate == pytest.approx(ours, abs=2e-3)


def test_megatron_s_sp_drifts_and_its_mup_rests_on_one_width() -> None:
    """The rates are the source's table; their slopes are recomputed, by ordinary least squares."""
    table = PUBLISHED["megatron_pr_3058"]
    sp, mup = (read(table["widths"], list(np.log2(table[arm]))) for arm in ("sp", "mup"))
    assert line(table["widths"], list(np.log2(table["sp"]))).estimate == pytest.approx(-1.000, abs=1e-3)
    assert (judge(sp, TAU), leverage(sp, TAU)) == ("does_not_transfer", None)
    assert line(table["widths"], list(np.log2(table["mup"]))).estimate == pytest.approx(0.199, abs=1e-3)
    assert leverage(mup, TAU) == Leverage(
        Scale(2048), pytest.approx(0.0), pytest.approx(0.6), pytest.approx(0.199, abs=1e-3)
    )
    assert judge(mup, TAU) == "inconclusive"
    assert "the slope rests on width 2048 alone: without it +0.00, with it +0.20" in reason(mup, TAU)


@pytest.mark.parametrize(
    ("source", "arm", "ours", "error"),
    [
        ("tensor_programs_v_fig1", "sp_log2_lr", -0.96, 0.08),
        ("tensor_programs_v_fig1", "mup_log2_lr", 0.05, 0.03),
        ("nanogpt_mup_shakespeare", "sp_fixed_std_log2_lr", -1.60, 0.14),
        ("nanogpt_mup_shakespeare", "mup_log2_lr", 0.0, 1e-9),
        ("lingle_2024", "sp_log2_lr", -1.0, 1e-9),
        ("lingle_2024", "mup_log2_lr", 0.0, 1e-9),
    ],
)
def test_the_slope_of_optima_read_off_figures(source: str, arm: str, ours: float, error: float) -> None:
    """The points are read off the figures by eye, lingle_2024's taken from a secondary source; their slopes and the
    standard errors within which ours must lie are recomputed, by ordinary least squares. The verdicts are plain, and
    none rests on one width. They are judged to 0.26: a point read to half a grid step leaves four widths' slope no
    surer than 1.96 * sqrt(1/12 / 5) = 0.253, which no points, not even equal ones, could bring within 0.25."""
    table = PUBLISHED[source]
    assert line(table["widths"], table[arm]).estimate == pytest.approx(ours, abs=error)
    verdict = "transfers" if arm.startswith("mup") else "does_not_transfer"
    found = read(table["widths"], table[arm])
    assert judge(found, 0.26) == verdict
    assert leverage(found, TAU) is None


def test_the_whole_analysis_of_published_losses_finds_the_drift() -> None:
    """mup issue 66: a model said to be in muP, whose rates drift like unscaled ones. One trial was not run (null) and
    one diverged (nan)."""
    table = PUBLISHED["mup_issue_66"]
    order = np.argsort(table["log2_lr"])
    rates = np.array(table["log2_lr"], dtype=np.float64)[order]
    cells = {"nan": math.inf, None: math.nan}
    curves = tuple(
        Curve(Scale(width), rates, np.array([[cells.get(loss, loss) for loss in table["loss"][str(width)]]])[:, order])
        for width in table["widths"]
    )
    trials = frame({"mup": curves}, init_loss=math.log(50257))
    assert len(trials) == 4 * 5 - 1
    (arm,) = analyze(trials, TAU).arms
    assert arm.transfer_slope is not None
    assert -1.0 <= arm.transfer_slope.estimate <= -0.8
    assert (arm.verdict, arm.leverage, arm.settling) == ("does_not_transfer", None, ())
    assert [optimum.status for optimum in arm.optima] == ["interior"] * 4
    # The vertices of parabolas through three points, by hand.
    for optimum, vertex in zip(arm.optima, (-8.70, -9.54, -10.58, -11.27), strict=True):
        assert optimum.log2_lr == pytest.approx(vertex, abs=0.15)
        assert optimum.ci_low is not None
        assert optimum.ci_high is not None
        assert optimum.ci_low < vertex < optimum.ci_high
    losses = [optimum.loss for optimum in arm.optima if optimum.loss is not None]
    assert all(wide < narrow for narrow, wide in pairwise(losses))
    # What diverged at width 768 brackets its edge over the rate that was not run.
    assert [(each.stable, each.unstable) for each in arm.unstable] == [(-8.0, None)] * 3 + [(-10.0, -8.0)]
    assert arm.unstable_slope is None
    *others, widest = arm.sensitivity
    assert widest.estimate > 10 * max(each.estimate for each in others)
    assert {(each.low, each.high, each.ci_low) for each in arm.sensitivity} == {(-12.0, -8.0, None)}
