import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.planted import World, parabola, world
from mutransfer.analysis.curve import Curve
from mutransfer.analysis.line import apart, combination, located, slope, slope_weights
from mutransfer.analysis.noise import SEEDS_SIGMA
from mutransfer.analysis.optimum import Optimum, optima
from mutransfer.analysis.pooled import Located, common_df, pool
from mutransfer.analysis.quartic import Quartic, typical_noise
from mutransfer.config.scale import Scale

RATES = np.arange(-11.0, -2.0)
WIDTHS = (32, 64, 128, 256)


def quartics(found: tuple[Optimum, ...]) -> list[Quartic]:
    return [optimum.quartic for optimum in found if optimum.quartic is not None]


def pooled(curves: list[Curve] | tuple[Curve, ...]) -> Located:
    found = pool(quartics(optima(curves)))
    assert found is not None
    return found


def planted(seed: int, seeds: int = 2, kind: str | None = None) -> World:
    return world(np.random.default_rng(seed), slope=-0.2, seeds=seeds, factor=1.0, kind=kind)


@given(st.lists(st.floats(-8.0, -5.0), min_size=2, max_size=4), st.floats(0.012, 0.05), st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_planted_parabolas_are_found(minima: list[float], a: float, seeds: int) -> None:
    """But for the pull of the prior curvature, which moves the vertex of a window that is not symmetric."""
    curves = [parabola(width, at, RATES, seeds, a) for width, at in zip(WIDTHS, minima, strict=False)]
    np.testing.assert_allclose(pooled(curves).log2_lr, minima, atol=0.01)


def test_curves_of_one_skewed_shape_are_found_together() -> None:
    """Skew and peakedness beyond what one width alone dares to believe."""
    minima = np.array([-6.4, -6.9, -7.3, -7.1])

    def losses(at: float) -> np.ndarray:
        t = RATES - at
        return 2.3 + 0.02 * t**2 * (1 + 0.12 * t + 0.02 * t**2) + np.zeros((2, 1))

    curves = [Curve(Scale(width), RATES, losses(at)) for width, at in zip(WIDTHS, minima, strict=True)]
    found = optima(curves)
    together = abs(pooled(curves).log2_lr - minima)
    assert together.max() < 0.02
    assert together.max() < 0.5 * max(abs(optimum.log2_lr - at) for optimum, at in zip(found, minima, strict=True))


def test_slopes_have_less_error_than_through_minima_one_by_one() -> None:
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(150):
        sweep = world(rng, slope=-0.2, seeds=2, factor=1.0)
        found = optima(sweep.curves)
        line = slope(found)
        if line is None or not all(optimum.interior for optimum in found):
            continue
        single = apart(found).combination(slope_weights(found))
        errors.append((line.value - sweep.slope, single.value - sweep.slope))
    pooled_error, single_error = np.sqrt(np.mean(np.square(errors), axis=0))
    assert len(errors) > 140
    assert pooled_error < 0.85 * single_error


@pytest.mark.parametrize("seeds", [1, 3])
def test_equivariant_to_rate_and_invariant_to_loss(seeds: int) -> None:
    sweep = planted(3, seeds, "skewed_right")
    before = pooled(sweep.curves)
    after = pooled([Curve(c.scale, c.log2_lr + 2, c.losses + 1) for c in sweep.curves])
    np.testing.assert_allclose(after.log2_lr, before.log2_lr + 2, atol=1e-6)
    np.testing.assert_allclose(after.noise, before.noise, rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(after.shape, before.shape, rtol=1e-4, atol=1e-9)


def test_neither_seeds_nor_widths_have_an_order() -> None:
    sweep = planted(5, 3, "measured")
    before = pooled(sweep.curves)
    seeds = pooled([Curve(c.scale, c.log2_lr, c.losses[[2, 0, 1]]) for c in sweep.curves])
    np.testing.assert_allclose(seeds.log2_lr, before.log2_lr, atol=1e-7)
    np.testing.assert_allclose(seeds.noise, before.noise, rtol=1e-6, atol=1e-12)
    widths = pooled(sweep.curves[::-1])
    np.testing.assert_allclose(widths.log2_lr[::-1], before.log2_lr, atol=1e-7)
    np.testing.assert_allclose(widths.noise[::-1, ::-1], before.noise, rtol=1e-6, atol=1e-12)


def test_noise_is_what_runs_do_to_minima() -> None:
    """The covariance over many draws of the noise that the fit is told of, with kappa^2 near its prior of 1."""
    rng = np.random.default_rng(1)
    minima = np.array([-7.2, -7.0, -6.9])
    found = []
    for _ in range(200):
        curves = [parabola(width, at, RATES, 3) for width, at in zip(WIDTHS[:3], minima, strict=True)]
        noise = [SEEDS_SIGMA * typical_noise(c.scale) * rng.normal(size=c.losses.shape) for c in curves]
        found.append(pooled([Curve(c.scale, RATES, c.losses + own) for c, own in zip(curves, noise, strict=True)]))
    scatter = np.cov(np.array([each.log2_lr for each in found]).T)
    promised = np.mean([each.noise for each in found], axis=0)
    np.testing.assert_allclose(np.diag(promised), np.diag(scatter), rtol=0.3)


def test_errors_have_a_covariance_and_a_common_part() -> None:
    """The skew is estimated from the noise of all, so it moves all minima alike, which leaves the slope alone."""
    found = pooled(planted(2).curves)
    for covariance in (found.noise, found.shape):
        assert np.linalg.eigvalsh(covariance).min() > -1e-12
        assert covariance.min() > 0


def test_a_seed_that_was_not_run_at_all_rates_does_not_tilt_the_curve() -> None:
    """Its offset is told from its curve."""
    curves = [parabola(width, -7.0, RATES, 3) for width in WIDTHS[:2]]
    for curve in curves:
        curve.losses[2] += 0.03
        curve.losses[2, RATES > -7.5] = np.nan
    np.testing.assert_allclose(pooled(curves).log2_lr, -7.0, atol=0.02)


def test_it_is_the_line_where_all_curves_were_fitted_and_else_the_optima_are() -> None:
    found = optima(planted(4).curves)
    weights = slope_weights(found)
    assert slope(found) == pool_of(found).combination(weights)
    without = [*found[:3], Optimum(Scale(256), -7.0, -8.0, -6.0, 2.3, "interior", noise=1.0)]
    assert combination(weights, without) == apart(without).combination(weights)


def pool_of(found: tuple[Optimum, ...]) -> Located:
    together = pool(quartics(found))
    assert together is not None
    return together


def test_a_censored_optimum_is_a_number_beside_them() -> None:
    found = optima(planted(4).curves)
    end = Optimum(Scale(512), -10.0, None, None, 2.3, "censored_low")
    both, inner = located([*found, end]), pool_of(found)
    np.testing.assert_array_equal(both.log2_lr, [*inner.log2_lr, -10.0])
    np.testing.assert_array_equal(both.noise[:4, :4], inner.noise)
    assert not both.noise[4].any()
    assert not both.shape[4].any()


def test_the_degrees_of_freedom_of_a_common_variance() -> None:
    assert common_df(np.array([2.0, 1.0]), np.array([6.0, 6.0])) == pytest.approx(6)
    assert common_df(np.array([1.0, 1.0]), np.array([4.0, 12.0])) == pytest.approx(6)
    assert common_df(np.array([0.0, 1.0]), np.array([4.0, 12.0])) == pytest.approx(12)
    assert common_df(np.zeros(2), np.array([4.0, 12.0])) == np.inf


def test_a_plan_has_less_noise_and_more_sizes() -> None:
    now = Located(np.array([-7.0, -7.5]), np.array([[4.0, 0.5], [0.5, 2.0]]), 10.0, np.full((2, 2), 1.0))
    then = now.planned(2.0, np.array([-8.0]))
    np.testing.assert_array_equal(then.log2_lr, [-7.0, -7.5, -8.0])
    np.testing.assert_allclose(then.noise, [[2.0, 0.25, 0.25], [0.25, 1.0, 0.25], [0.25, 0.25, 1.5]])
    np.testing.assert_allclose(then.shape, np.full((3, 3), 1.0))
    assert then.df == 20.0
