import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.planted import parabola, world
from mutransfer.analysis.curve import Curve
from mutransfer.analysis.forgiving import Sensitivity, lr_sensitivity
from mutransfer.config.scale import Scale

RATES = np.arange(-10.0, -3.0)


def only(curve: Curve, init: float = 5.545) -> Sensitivity:
    (found,) = lr_sensitivity([curve], [np.full(len(curve.losses), init)])
    return found


@given(st.integers(-9, -5), st.floats(0.005, 0.08), st.sampled_from([0.5, 1.0, 2.0]))
@settings(deadline=None)
def test_of_a_parabola_in_closed_form(optimum: int, a: float, step: float) -> None:
    """Mean of a (x - m)^2 over low..high, and a h^2/6 because a straight line lies above a parabola."""
    rates = np.arange(optimum - 4 * step, optimum + 3 * step + step / 2, step)
    found = only(parabola(32, optimum, rates, a=a), init=100.0)
    mean = a * (4**3 + 3**3) * step**3 / (3 * 7 * step)
    assert found.estimate == pytest.approx(mean + a * step**2 / 6, rel=1e-6)
    assert (found.scale.width, found.low, found.high) == (32, rates[0], rates[-1])


def test_of_equal_losses_is_nothing() -> None:
    found = only(Curve(Scale(32), RATES, np.array([[2.3], [2.4]]) + np.zeros(7)))
    assert (found.estimate, found.ci_low) == (pytest.approx(0, abs=1e-12), 0.0)


@given(st.floats(-1, 3), st.integers(0, 20))
@settings(deadline=None)
def test_only_differences_of_losses_matter(constant: float, seed: int) -> None:
    curves = world(np.random.default_rng(seed), seeds=2).curves
    moved = [Curve(curve.scale, curve.log2_lr, curve.losses + constant) for curve in curves]
    for one, other in zip(
        lr_sensitivity(curves, [np.full(2, 5.5)] * 4),
        lr_sensitivity(moved, [np.full(2, 5.5 + constant)] * 4),
        strict=True,
    ):
        assert other.estimate == pytest.approx(one.estimate, abs=1e-9)
        assert other.ci_high == pytest.approx(one.ci_high, abs=1e-9)


@pytest.mark.parametrize("failed", [np.inf, 4.0, 9.0])
def test_failed_training_counts_as_the_loss_at_initialization(failed: float) -> None:
    found = only(Curve(Scale(32), RATES[:3], np.array([[1.0, 1.0, failed]])), init=4.0)
    assert found.estimate == pytest.approx((1.0 + 2.5) / 2 - 1.0)


def test_every_seed_has_its_own_initialization() -> None:
    (found,) = lr_sensitivity(
        [Curve(Scale(32), RATES[:2], np.array([[1.0, np.inf], [1.0, np.inf]]))], [np.array([4.0, 4.1])]
    )
    assert found.estimate == pytest.approx((3 / 2 + 3.1 / 2) / 2)
    # t at 1 degree of freedom times the standard error of 1.5 and 1.55.
    assert found.ci_high == pytest.approx(1.525 + 12.7062047 * 0.025)


def test_no_interval_reaches_above_what_a_range_can_cost() -> None:
    """Where the seeds part by a whole capped rate, t at 1 degree of freedom would go beyond."""
    torn = Curve(Scale(32), RATES[:3], np.array([[1.0, 1.0, 1.1], [1.0, 1.0, np.inf]]))
    found = only(torn, init=4.0)
    assert found.ci_high == pytest.approx(4.0 - 1.0)
    assert found.ci_low == 0.0


def test_the_range_is_that_of_all_sizes() -> None:
    narrow, wide = parabola(32, -7.0, RATES[1:]), parabola(64, -7.0, RATES[:-1])
    for found in lr_sensitivity([narrow, wide], [np.full(2, 5.5)] * 2):
        assert (found.low, found.high) == (-9, -5)
        assert found.estimate == pytest.approx(0.025 * (2 * 2**3 / (3 * 4) + 1 / 6))
    assert lr_sensitivity([parabola(32, -9.0, RATES[:3]), parabola(64, -5.0, RATES[-3:])], [np.full(2, 5.5)] * 2) == ()


def test_one_seed_has_no_interval_and_an_incomplete_one_does_not_count() -> None:
    assert only(parabola(32, -7.0, RATES, seeds=1)).ci_low is None
    torn = parabola(32, -7.0, RATES, seeds=2)
    whole = only(torn)
    torn.losses[1, 2] = np.nan
    assert only(torn).ci_high is None
    assert only(torn).estimate == pytest.approx(whole.estimate, abs=1e-4)


def test_sizes_share_their_variance_unless_a_trial_failed() -> None:
    quiet, noisy, broken = (parabola(size, -7.0, RATES) for size in (32, 64, 128))
    noisy.losses[1] += 0.01 * (RATES + 7)
    broken.losses[1, -1] = np.inf
    one, two, three = lr_sensitivity([quiet, noisy, broken], [np.full(2, 5.5)] * 3)
    halves = [found.ci_high - found.estimate for found in (one, two, three) if found.ci_high is not None]
    assert halves[0] == pytest.approx(halves[1])
    assert halves[2] > 10 * halves[0]


@pytest.mark.parametrize("seeds", [2, 3])
def test_intervals_hold_the_truth(seeds: int) -> None:
    rng, init, held = np.random.default_rng(20250607), 4.5, []
    for _ in range(250):
        planted = world(rng, slope=float(rng.choice([0.0, -0.25, -0.5])), seeds=seeds)
        found = lr_sensitivity(planted.curves, [np.full(seeds, init)] * 4)
        for each, curve, optimum, shape in zip(found, planted.curves, planted.optima, planted.shapes, strict=True):
            rates = curve.log2_lr
            true = np.where(
                curve.diverged, init, np.minimum(2.3 + 4 / curve.scale.width + shape(rates - optimum), init)
            )
            truth = np.trapezoid(true, rates) / (rates[-1] - rates[0]) - true.min()
            assert each.ci_low is not None
            assert each.ci_high is not None
            held.append(each.ci_low <= truth <= each.ci_high)
    assert 0.9 <= np.mean(held) <= 0.98


def test_a_size_at_which_nothing_trained_has_none() -> None:
    failed = Curve(Scale(64), RATES, np.full((2, 7), np.inf))
    assert [
        found.scale.width for found in lr_sensitivity([parabola(32, -7.0, RATES), failed], [np.full(2, 5.5)] * 2)
    ] == [32]
