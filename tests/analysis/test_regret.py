import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.planted import parabola, world
from mutransfer.analysis.curve import Curve
from mutransfer.analysis.optimum import optima
from mutransfer.analysis.regret import Regret, regret
from mutransfer.config.scale import Scale

RATES = np.arange(-12.0, -2.0)
A = 0.025


def cost(proxy: float, target: float, diverged_above: float = np.inf, rates: np.ndarray = RATES) -> Regret | None:
    curves = [parabola(32, proxy, RATES, a=A), parabola(256, target, rates, a=A)]
    curves[1].losses[:, rates > diverged_above] = np.inf
    found = optima(curves)
    return regret(found[0], found[1], curves[1])


@given(st.floats(-9, -6))
def test_no_shift_costs_nothing(optimum: float) -> None:
    found = cost(optimum, optimum)
    assert found is not None
    assert found.nats == pytest.approx(0, abs=1e-9)
    assert found.ci_low == pytest.approx(0, abs=1e-12)
    assert found.ci_high is not None
    assert 0 < found.ci_high < 0.02


@given(st.floats(-2.5, 2.5))
def test_on_a_parabola_it_is_curvature_times_shift_squared(shift: float) -> None:
    found = cost(-7.5 + shift, -7.5)
    assert found is not None
    assert found.nats == pytest.approx(A * shift**2, abs=1e-6)
    assert found.ci_low is not None
    assert found.ci_high is not None
    assert 0 <= found.ci_low <= found.nats <= found.ci_high


def test_it_grows_with_the_shift_also_beyond_the_fitted_rates() -> None:
    found = [cost(-6.9 + shift, -8.4) for shift in (0, 0.5, 1, 1.5, 2, 2.5, 3)]
    nats = [each.nats for each in found if each is not None and each.nats is not None]
    assert len(nats) == 7
    assert nats == sorted(nats)
    assert nats[-1] == pytest.approx(A * 4.5**2, rel=0.05)


def test_beyond_the_rates_that_trained_it_is_a_lower_bound() -> None:
    found = cost(-5.0, -8.0, diverged_above=-6)
    assert found is not None
    assert (found.nats, found.ci_high) == (None, None)
    assert found.ci_low == pytest.approx(A * 2**2, abs=1e-6)
    off_the_grid = cost(-4.0, -8.5, rates=np.arange(-11.0, -5.0))
    assert off_the_grid is not None
    assert off_the_grid.nats is None


def test_an_interval_that_ends_beyond_the_rates_that_trained_is_open() -> None:
    found = cost(-6.05, -8.0, diverged_above=-6)
    assert found is not None
    assert found.nats is not None
    assert found.ci_high is None


def test_a_best_rate_beside_the_cliff_still_has_a_cost() -> None:
    target = Curve(Scale(256), RATES, 2.3 + 0.05 * np.abs(-6 - RATES) + np.zeros((2, 1)))
    target.losses[:, RATES > -6] = np.inf
    proxy = parabola(32, -8.0, RATES)
    found = optima([proxy, target])
    assert found[1].interior
    assert found[1].quartic is None
    cost = regret(found[0], found[1], target)
    assert cost is not None
    assert cost.nats == pytest.approx(0.1, abs=1e-6)


def test_there_is_none_without_two_interior_optima() -> None:
    assert cost(-14.0, -8.0) is None or RATES[0] < -14
    curves = [parabola(32, -14.0, RATES), parabola(256, -8.0, RATES)]
    low, inside = optima(curves)
    assert regret(low, inside, curves[1]) is None
    assert regret(inside, low, curves[0]) is None
    assert regret(inside, inside, curves[1]) is None


def test_its_intervals_hold_the_true_regret() -> None:
    rng = np.random.default_rng(7)
    held = []
    for sweep in range(240):
        planted = world(rng, slope=(0.0, 0.1, -0.25, -0.5)[sweep % 4], seeds=2 + sweep % 2)
        found = optima(planted.curves)
        estimated = regret(found[0], found[-1], planted.curves[-1])
        if estimated is None or estimated.ci_low is None:
            continue
        high = np.inf if estimated.ci_high is None else estimated.ci_high
        held.append(estimated.ci_low <= planted.regret() <= high)
    assert len(held) > 220
    assert np.mean(held) >= 0.94
