import math

import numpy as np
import pytest

from mutransfer.analysis.curve import Curve
from mutransfer.analysis.forgiving import Unstable, lowest_unstable, unstable_slope
from mutransfer.config.scale import Scale

RATES = np.arange(-8.0, -3.0)
WIDTHS = (32, 64, 128, 256)


def of(*losses: float) -> Unstable:
    return lowest_unstable(Curve(Scale(32), RATES[: len(losses)], np.array([losses])))


def cliff(width: int, edge: float, rates: np.ndarray) -> Curve:
    """Trains below the edge, 2 octaves above the best rate, and diverges from it on."""
    losses = 2.3 + 0.02 * (rates - edge + 2) ** 2
    return Curve(Scale(width), rates, np.where(rates >= edge, np.inf, losses)[None])


def slope_of(edges: np.ndarray, rates: np.ndarray) -> tuple[float, float, float]:
    found = unstable_slope([lowest_unstable(cliff(w, edge, rates)) for w, edge in zip(WIDTHS, edges, strict=True)])
    assert found is not None
    return found.estimate, found.ci_low, found.ci_high


@pytest.mark.parametrize(
    ("losses", "bracket"),
    [
        ((3.0, 2.5, 2.6, 3.4, 3.6), (-5.0, -4.0)),
        ((3.0, 2.5, 2.6, 3.5, 3.5), (-4.0, None)),
        ((3.0, 2.5, np.inf, 2.6, 2.6), (-7.0, -6.0)),
        ((9.0, 2.5, 2.6, 2.7, 2.8), (-4.0, None)),
        ((2.5, 3.6, 2.6, 2.7, 2.8), (-8.0, -7.0)),
        ((np.inf,) * 5, (None, -8.0)),
    ],
)
def test_it_is_the_first_above_the_best_by_more_than_one_nat(losses: tuple[float, ...], bracket: object) -> None:
    """The fourth: a rate below the best one is too slow, not unstable."""
    found = of(*losses)
    assert (found.stable, found.unstable) == bracket
    assert found.found == (None not in (found.stable, found.unstable))


def test_a_rate_at_which_one_seed_diverged_is_unstable() -> None:
    losses = np.array([[2.4, 2.3, 2.4], [2.4, 2.3, np.inf]])
    assert lowest_unstable(Curve(Scale(32), RATES[:3], losses)) == Unstable(Scale(32), -7.0, -6.0)


def test_the_slope_of_planted_cliffs_is_recovered() -> None:
    for slope in (-1.0, -0.5, 0.0, 0.3):
        edges = -5 + slope * np.arange(4.0)
        estimate, low, high = slope_of(edges, np.arange(-12.0, -2, 1 / 16))
        assert estimate == pytest.approx(slope, abs=0.03)
        assert high - low < 0.06


def test_its_interval_holds_the_truth_whatever_the_phase_of_the_grid() -> None:
    """At slopes near 0.3 too, where the edges often share one bracket, and for edges that lie on no line."""
    rng = np.random.default_rng(0)
    for slope in (0.0, -0.1, -0.26, -0.3, -0.5, -1.0):
        for _ in range(100):
            rates = np.arange(-13.0, -1.0) + rng.uniform(0, 1)
            edges = -5 + slope * np.arange(4.0) + rng.choice([0.0, 0.3]) * rng.standard_normal(4)
            truth = np.polyfit(np.arange(4.0), edges, 1)[0]
            _, low, high = slope_of(edges, rates)
            assert low - 1e-9 <= truth <= high + 1e-9


def test_its_interval_is_no_wider_than_the_brackets_allow() -> None:
    """Its ends are reached: edges at the lower ends of the narrow and the upper ends of the wide widths' brackets."""
    found = [Unstable(Scale(width), -5.0, -4.0) for width in WIDTHS]
    interval = unstable_slope(found)
    assert interval is not None
    assert interval.ci_high == pytest.approx(np.polyfit(np.arange(4.0), [-5, -5, -4, -4], 1)[0])
    assert interval.ci_low == pytest.approx(-interval.ci_high)


def test_sizes_without_a_bracket_are_left_out() -> None:
    open_ended, failed = Unstable(Scale(64), -3.0, None), Unstable(Scale(512), None, -9.0)
    found = unstable_slope([Unstable(Scale(32), -5.0, -4.0), open_ended, Unstable(Scale(128), -7.0, -6.0), failed])
    assert found is not None
    assert found.estimate == pytest.approx(-2 / math.log2(128 / 32))
    assert unstable_slope([Unstable(Scale(32), -5.0, -4.0), open_ended, failed]) is None
