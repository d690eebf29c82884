import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.planted import parabola
from mutransfer.analysis.curve import Curve
from mutransfer.analysis.quartic import DISCREPANCY, PEAKEDNESS, SKEW, TYPICAL_CURVATURE, Quartic, fit, powers, window
from mutransfer.config.scale import Scale

RATES = np.arange(-10.0, -3.0)
VARIANCE = 0.005**2


def fitted(curve: Curve) -> Quartic:
    points = window(curve)
    assert points is not None
    quartic = fit(points, VARIANCE)
    return fit(points, VARIANCE, fit(points, VARIANCE, quartic))


@given(st.floats(-8.4, -5.6), st.floats(0.008, 0.15), st.integers(1, 3))
def test_a_parabola_is_found_exactly(optimum: float, a: float, seeds: int) -> None:
    quartic = fitted(parabola(32, optimum, RATES, seeds, a))
    assert quartic.minimum == pytest.approx(optimum, abs=1e-7)
    assert quartic.derivative(optimum, 2) == pytest.approx(2 * a, rel=1e-6)


def test_it_is_the_weighted_ridge_fit_to_the_seed_means() -> None:
    """The recipe written out for complete seeds: weights 1 / (sigma^2/S + (0.15 e)^2), penalties on b3 and b4."""
    rng = np.random.default_rng(1)
    losses = 2.3 + 0.02 * (RATES + 7.2) ** 2 + rng.normal(0, 0.01, (3, 7)) + rng.normal(0, 0.01, (3, 1))
    points = window(Curve(Scale(32), RATES, losses))
    assert points is not None
    first = fit(points, VARIANCE)
    y, z = points.losses.mean(axis=0), points.z
    weights = np.diag(1 / (VARIANCE / 3 + (DISCREPANCY * (y - y.min())) ** 2))
    penalty = np.diag([0, 0, 0, (SKEW * TYPICAL_CURVATURE) ** -2, (PEAKEDNESS * TYPICAL_CURVATURE) ** -2])
    design = powers(z)
    posterior = np.linalg.inv(design.T @ weights @ design + penalty)
    beta = posterior @ design.T @ weights @ (y - y.min())
    np.testing.assert_allclose(first.coefficients, beta, atol=1e-9)
    np.testing.assert_allclose(first.posterior[1:, 1:], posterior[1:, 1:], rtol=1e-6)


def test_influence_is_the_derivative_of_the_minimum() -> None:
    rng = np.random.default_rng(2)
    losses = 2.3 + 0.02 * (RATES + 7.2) ** 2 + rng.normal(0, 0.005, (2, 7))
    points = window(Curve(Scale(32), RATES, losses))
    assert points is not None
    before = fit(points, VARIANCE)
    base = fit(points, VARIANCE, before)
    assert base.minimum is not None
    gradient = base.minimum_gradient() @ base.influence
    for run in range(len(gradient)):
        moved = points.losses.copy()
        moved[points.seed[run], points.rate[run]] += 1e-6
        shifted = fit(type(points)(**{**vars(points), "losses": moved}), VARIANCE, before)
        assert shifted.minimum is not None
        assert (shifted.minimum - base.minimum) / 1e-6 == pytest.approx(gradient[run], rel=1e-3, abs=1e-4)
    assert gradient.sum() == pytest.approx(0, abs=1e-6)


def test_derivatives_of_the_powers() -> None:
    z, h = np.array([-1.3, 0.0, 0.7]), 1e-5
    for order in (1, 2):
        numeric = (powers(z + h, order - 1) - powers(z - h, order - 1)) / (2 * h)
        np.testing.assert_allclose(powers(z, order), numeric, atol=1e-8)


def test_the_window_is_contiguous_and_holds_both_neighbours() -> None:
    excess = np.array([0.0, 0.1, 0.3, 0.05, 0.0, 0.3, 0.31, 0.2])
    points = window(Curve(Scale(32), np.arange(8.0), (2 + excess - 0.001 * (np.arange(8) == 4))[None]))
    assert points is not None
    assert (points.low, points.high) == (3.0, 5.0)
    coarse = window(Curve(Scale(32), np.array([-8.0, -6.0, -4.0]), np.array([[3.0, 2.0, 3.0]])))
    assert coarse is not None
    assert len(coarse.z) == 3


def test_the_window_ends_at_three_octaves_and_at_a_divergence() -> None:
    curve = parabola(32, 0.0, np.arange(-5.0, 6.0), a=0.005)
    points = window(curve)
    assert points is not None
    assert (points.low, points.high) == (-3.0, 3.0)
    curve.losses[1, 7] = np.inf
    points = window(curve)
    assert points is not None
    assert (points.low, points.high) == (-3.0, 1.0)


def test_too_few_points_have_no_window() -> None:
    assert window(Curve(Scale(32), np.arange(3.0), np.array([[2.0, 1.0, np.inf]]))) is None
    assert window(Curve(Scale(32), np.arange(3.0), np.full((1, 3), np.inf))) is None


def test_a_curve_without_a_minimum_has_none() -> None:
    assert fitted(Curve(Scale(32), RATES, 2.3 + 0.05 * np.arange(7.0)[None])).minimum is None
    assert fitted(Curve(Scale(32), RATES, 2.3 - 0.002 * np.square(np.arange(7.0))[None])).minimum is None
