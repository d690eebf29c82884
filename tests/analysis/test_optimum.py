import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.planted import World, parabola, world
from mutransfer.analysis.curve import Curve
from mutransfer.analysis.optimum import Optimum, optima
from mutransfer.config.scale import Scale

RATES = np.arange(-10.0, -3.0)


def only(curve: Curve) -> Optimum:
    (optimum,) = optima([curve])
    return optimum


def planted(seed: int = 0, seeds: int = 2) -> World:
    return world(np.random.default_rng(seed), slope=-0.2, seeds=seeds, factor=1.0)


@given(st.floats(-8.4, -5.6), st.floats(0.01, 0.1), st.integers(1, 4))
@settings(max_examples=50)
def test_a_planted_parabola_is_found_and_its_interval_holds_it(optimum: float, a: float, seeds: int) -> None:
    found = only(parabola(32, optimum, RATES, seeds, a))
    assert found.status == "interior"
    assert found.log2_lr == pytest.approx(optimum, abs=1e-6)
    assert found.ci_low is not None
    assert found.ci_high is not None
    assert found.ci_low < optimum < found.ci_high
    assert found.loss == pytest.approx(2.3 + 0.01 * (seeds - 1) / 2, abs=1e-6)


@pytest.mark.parametrize(("optimum", "status", "end"), [(-12.0, "censored_low", -10), (-2.0, "censored_high", -4)])
def test_an_unbracketed_optimum_is_refused(optimum: float, status: str, end: float) -> None:
    found = only(parabola(32, optimum, RATES))
    assert (found.status, found.log2_lr, found.ci_low, found.ci_high) == (status, end, None, None)
    assert found.interior is False


def test_an_optimum_at_the_lowest_rate_is_no_winner() -> None:
    found = only(parabola(32, -10.0, RATES))
    assert found.status == "censored_low"


@pytest.mark.parametrize("losses", [np.full((2, 7), 5.545), np.full((1, 7), 5.545)])
def test_equal_losses_are_flat(losses: np.ndarray) -> None:
    found = only(Curve(Scale(32), RATES, losses))
    assert (found.status, found.ci_low) == ("flat", None)


def test_noise_alone_is_flat() -> None:
    rng = np.random.default_rng(3)
    statuses = [
        optimum.status
        for _ in range(20)
        for optimum in optima(
            [Curve(Scale(width), RATES, 2.3 + rng.normal(0, 0.01, (3, 7))) for width in (32, 64, 128, 256)]
        )
    ]
    assert statuses.count("flat") >= 0.9 * len(statuses)


@pytest.mark.parametrize("losses", [[[2.3]], [[2.3, 2.2]], [[2.4, 2.3, np.inf]]])
def test_fewer_than_three_rates_are_too_few(losses: list[list[float]]) -> None:
    found = only(Curve(Scale(32), RATES[: len(losses[0])], np.array(losses)))
    assert found.status == "too_few"


def test_where_every_trial_diverged_the_optimum_is_lower() -> None:
    found = only(Curve(Scale(32), RATES, np.full((2, 7), np.inf)))
    assert (found.status, found.log2_lr, found.loss) == ("censored_low", -10, None)


def test_a_diverged_right_cliff_closes_its_side() -> None:
    curve = parabola(32, -6.2, RATES)
    curve.losses[:, 5:] = np.inf
    found = only(curve)
    assert found.status == "interior"
    assert found.log2_lr == pytest.approx(-6.2, abs=0.01)


def test_a_best_rate_beside_the_cliff_is_known_to_a_grid_step() -> None:
    curve = Curve(Scale(32), RATES, 2.3 + 0.05 * (-6 - RATES) + np.zeros((2, 1)))
    curve.losses[:, 5:] = np.inf
    found = only(curve)
    assert (found.status, found.log2_lr) == ("interior", -6.0)
    assert found.ci_low is not None
    assert found.ci_high is not None
    assert found.ci_low <= -7
    assert found.ci_high >= -5
    assert np.isnan(found.fitted(RATES)).all()


def test_a_rate_that_diverged_for_one_seed_counts_as_diverged() -> None:
    curve = parabola(32, -6.2, RATES)
    whole = only(curve)
    curve.losses[0, 5] = np.inf
    curve.losses[1, 5] = 0.1
    found = only(curve)
    assert found.log2_lr == pytest.approx(whole.log2_lr, abs=1e-6)


def test_a_fit_that_falls_to_the_end_of_the_range_is_censored() -> None:
    """Best rate inside, but the fit falls to the lowest rate tried: the optimum may lie below it."""
    losses = np.array([2.310, 2.307, 2.334, 2.305, 2.365, 2.385, 2.459])
    noise = 0.01 * np.array([[-1], [0], [1]]) * (-1) ** np.arange(7)
    found = only(Curve(Scale(32), RATES, losses + noise))
    assert (found.status, found.log2_lr) == ("censored_low", -10)


@given(st.floats(-5, 5), st.floats(-1, 3), st.integers(0, 20), st.sampled_from([1, 2, 3]))
@settings(max_examples=40, deadline=None)
def test_equivariant_to_rate_and_invariant_to_loss(shift: float, offset: float, seed: int, seeds: int) -> None:
    sweep = planted(seed, seeds)
    moved = [Curve(curve.scale, curve.log2_lr + shift, curve.losses + offset) for curve in sweep.curves]
    for before, after in zip(optima(sweep.curves), optima(moved), strict=True):
        assert after.status == before.status
        assert after.log2_lr == pytest.approx(before.log2_lr + shift, abs=1e-6)
        if before.ci_low is not None and after.ci_low is not None:
            assert after.ci_low == pytest.approx(before.ci_low + shift, abs=1e-6)
        assert after.loss == pytest.approx((before.loss or 0) + offset, abs=1e-6)


@given(st.permutations([0, 1, 2]), st.integers(0, 20), st.floats(0, 0.3))
@settings(max_examples=40, deadline=None)
def test_seeds_have_no_order(order: list[int], seed: int, missing: float) -> None:
    sweep = planted(seed, 3)
    holes = np.random.default_rng(seed).random((3, 40)) < missing
    curves = [
        Curve(c.scale, c.log2_lr, np.where(holes[:, : len(c.log2_lr)], np.nan, c.losses))
        for c in sweep.curves
        if not holes[:, : len(c.log2_lr)].all(axis=0).any()
    ]
    relabelled = [Curve(c.scale, c.log2_lr, c.losses[order]) for c in curves]
    for before, after in zip(optima(curves), optima(relabelled), strict=True):
        assert after.status == before.status
        assert after.log2_lr == pytest.approx(before.log2_lr, abs=1e-6)
        assert after.noise == pytest.approx(before.noise, rel=1e-5)


def test_widths_share_their_noise() -> None:
    """A quiet width beside a noisy one is not as sure as alone."""
    quiet, noisy = parabola(32, -7.0, RATES), parabola(64, -7.0, RATES)
    noisy.losses[:] += np.random.default_rng(0).normal(0, 0.02, noisy.losses.shape)
    assert optima([quiet, noisy])[0].noise > 2 * only(quiet).noise


def test_a_seed_that_moves_the_optimum_widens_the_interval() -> None:
    together, apart = parabola(32, -7.0, RATES), parabola(32, -7.0, RATES)
    noise = np.random.default_rng(0).normal(0, 0.005, together.losses.shape)
    together.losses[:] += noise
    apart.losses[:] += noise + 0.01 * np.array([[-1], [1]]) * (RATES + 7)
    assert only(apart).noise > 3 * only(together).noise


def test_more_seeds_narrow_the_interval() -> None:
    widths = [only(planted(4, seeds).curves[0]) for seeds in (2, 8)]
    assert widths[1].noise < widths[0].noise


def test_the_fitted_curve_is_drawn_only_where_it_was_fitted() -> None:
    found = only(parabola(32, -7.0, RATES))
    drawn = found.fitted(np.array([-11.0, -9.5, -7.0, -4.5, -3.0]))
    assert np.isnan(drawn).tolist() == [True, False, False, False, True]
    assert drawn[2] == pytest.approx(found.loss)


def test_rates_need_not_be_a_grid_nor_shared_by_widths() -> None:
    rng = np.random.default_rng(5)
    curves = [parabola(width, -7.1, np.sort(rng.uniform(-10, -4, 12))) for width in (32, 64)]
    for found in optima(curves):
        assert found.log2_lr == pytest.approx(-7.1, abs=1e-3)


THREE = np.array([-7.97, -6.97, -5.97]), np.array([[3.5496, 3.5291, 3.5382]])
"""Three runs of Step Law's public table (N 214,663,680, width 960), whose noise is 0.002 nats."""


@pytest.mark.parametrize(
    ("scale", "noise", "status"),
    [
        (Scale(960), None, "interior"),
        (Scale(params=214_663_680, tokens=4e9, batch_size=32), None, "interior"),
        (Scale(64), None, "flat"),
        (Scale(64), 0.002, "interior"),
        (Scale(960), 0.02, "flat"),
    ],
)
def test_what_is_flat_depends_on_the_noise_of_runs_of_that_size(scale: Scale, noise: float | None, status: str) -> None:
    (found,) = optima([Curve(scale, *THREE)], noise)
    assert found.status == status


def test_many_quiet_curves_of_one_seed_know_their_noise() -> None:
    """Runs a tenth as noisy as expected: alone a curve of four rates tells little of it, forty together do."""
    rng = np.random.default_rng(0)
    rates = np.arange(-9.0, -4.0)
    shapes = [2.3 + 0.02 * (rates - at) ** 2 for at in rng.uniform(-7.5, -6.5, 40)]
    table = [
        Curve(Scale(128, steps=at + 1), rates, (each + rng.normal(0, 0.0006, len(rates)))[None])
        for at, each in enumerate(shapes)
    ]
    together = np.median([each.noise for each in optima(table)])
    apart = np.median([only(curve).noise for curve in table])
    assert together < apart
    assert together < 0.5 * np.median([each.noise for each in optima(table, 0.006)])


@pytest.mark.parametrize("times", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("seeds", [1, 3])
def test_the_unit_of_the_loss_changes_little(times: float, seeds: int) -> None:
    """Bits, nats a word, or a loss that is not one of a language model: the same rates, about as sure."""
    ratios = []
    for seed in range(12):
        sweep = planted(seed, seeds)
        scaled = [Curve(c.scale, c.log2_lr, times * c.losses) for c in sweep.curves]
        for before, after in zip(optima(sweep.curves), optima(scaled), strict=True):
            assert before.interior
            assert after.interior
            assert before.ci_low is not None
            assert before.ci_high is not None
            assert before.ci_low < after.log2_lr < before.ci_high
            ratios.append((after.noise + after.shape) / (before.noise + before.shape))
    assert 0.5 < np.sqrt(np.median(ratios)) < 2


@pytest.mark.parametrize(("spacing", "half"), [(1.0, 1.3), (0.5, 0.8)])
@pytest.mark.parametrize("seeds", [1, 3])
def test_a_step_closes_its_side_as_a_divergence_does(spacing: float, half: float, seeds: int) -> None:
    """0.3 nats, 0.4 octaves above the best rate: a quartic through the step puts the optimum half an octave off."""
    rng = np.random.default_rng(0)
    held, widths = [], []
    for _ in range(30):
        rates = np.arange(-11.0, -3.0, spacing) - rng.uniform(0, spacing)
        excess = 0.02 * (rates + 7) ** 2 + 0.3 * (rates > -6.6)
        found = only(Curve(Scale(128), rates, 2.3 + excess + rng.normal(0, 0.005, (seeds, len(rates)))))
        assert found.status == "interior"
        assert found.ci_low is not None
        assert found.ci_high is not None
        held.append(found.ci_low <= -7 <= found.ci_high)
        widths.append((found.ci_high - found.ci_low) / 2)
    assert np.mean(held) >= 0.8
    assert np.median(widths) <= half


def test_what_falls_again_is_no_step() -> None:
    """One bad rate beside the best one hides nothing beyond it."""
    curve = parabola(128, -7.0, np.arange(-10.0, -3.0), 3, a=0.02)
    curve.losses[:] += np.random.default_rng(0).normal(0, 0.004, curve.losses.shape)
    curve.losses[:, 4] += 0.15
    found = only(curve)
    assert found.quartic is not None
    assert found.quartic.points.high == -4
