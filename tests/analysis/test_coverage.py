"""The intervals and verdicts over the mixture of planted worlds: do they hold as often as they say?

Half of the sweeps have a scatter of 0.1 octaves of the true optima by width; true slopes are 0, 0.1, -0.25, -0.5, -1.
"Truth" is the line through the true optima of the measured widths.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from analysis.planted import world
from mutransfer.analysis.line import slope
from mutransfer.analysis.optimum import optima
from mutransfer.analysis.verdict import judge

TOLERANCE = 0.25
SLOPES = (0.0, 0.1, -0.25, -0.5, -1.0)
SWEEPS = 1200


@dataclass(frozen=True)
class Study:
    """Per width: whether the interval held the truth, its half-width, the shape. Per sweep: the same of the slope, and
    the verdict beside the true slope and the intended one."""

    lr_held: np.ndarray
    lr_half: np.ndarray
    kind: np.ndarray
    slope_held: np.ndarray
    slope_half: np.ndarray
    verdict: np.ndarray
    truth: np.ndarray
    intended: np.ndarray

    def power(self, verdict: str, intended: float) -> float:
        return float(np.mean(self.verdict[self.intended == intended] == verdict))

    def wrong(self) -> float:
        """Share of sweeps whose verdict is contradicted by the true slope."""
        within = np.abs(self.truth) <= TOLERANCE
        return float(
            np.mean(((self.verdict == "transfers") & ~within) | ((self.verdict == "does_not_transfer") & within))
        )


def study(seeds: int, sweeps: int, step: float = 1.0) -> Study:
    rng = np.random.default_rng(20250600 + seeds)
    widths, lines = [], []
    for sweep in range(sweeps):
        intended = SLOPES[sweep % len(SLOPES)]
        planted = world(rng, slope=intended, seeds=seeds, step=step, wobble=0.1 * (sweep // len(SLOPES) % 2))
        found = optima(planted.curves)
        for optimum, true in zip(found, planted.optima, strict=True):
            if optimum.ci_low is not None and optimum.ci_high is not None:
                held = optimum.ci_low <= true <= optimum.ci_high
                widths.append((held, (optimum.ci_high - optimum.ci_low) / 2, planted.kind))
        line = slope(found)
        assert line is not None
        held = line.interval.ci_low <= planted.slope <= line.interval.ci_high
        half = (line.interval.ci_high - line.interval.ci_low) / 2
        lines.append((held, half, judge(found, TOLERANCE), planted.slope, intended))
    assert len(widths) >= 0.98 * 4 * sweeps
    return Study(*(np.array(column) for column in (*zip(*widths, strict=True), *zip(*lines, strict=True))))


@pytest.fixture(scope="module", params=[2, 3])
def studied(request: pytest.FixtureRequest) -> Study:
    return study(request.param, SWEEPS)


def test_intervals_of_optima_hold_the_truth(studied: Study) -> None:
    assert 0.92 <= studied.lr_held.mean() <= 0.99


def test_intervals_of_slopes_hold_the_truth(studied: Study) -> None:
    assert 0.92 <= studied.slope_held.mean() <= 0.995


def test_no_shape_is_left_out(studied: Study) -> None:
    for kind in np.unique(studied.kind):
        assert studied.lr_held[studied.kind == kind].mean() >= 0.85, kind


def test_they_are_not_bought_by_width(studied: Study) -> None:
    """An interval as wide as the grid would hold the truth too."""
    assert np.median(studied.lr_half) <= 0.25
    assert np.median(studied.slope_half) <= 0.11


def test_wrong_verdicts_are_rare(studied: Study) -> None:
    assert studied.wrong() <= 0.02


def test_verdicts_are_reached_where_they_should_be(studied: Study) -> None:
    assert studied.power("transfers", 0.0) >= 0.85
    assert studied.power("does_not_transfer", -0.5) >= 0.85
    assert studied.power("does_not_transfer", -1.0) >= 0.98


def test_one_seed_over_octaves_holds_the_truth_too() -> None:
    single = study(1, 500)
    assert single.lr_held.mean() >= 0.92
    assert single.slope_held.mean() >= 0.92
