import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.planted import parabola, world
from mutransfer.analysis.curve import Curve
from mutransfer.analysis.forgiving import WITHIN, Band, bands
from mutransfer.analysis.optimum import optima
from mutransfer.config.scale import Scale

RATES = np.arange(-10.0, -3.0)


def of(curve: Curve) -> tuple[Band, ...]:
    (optimum,) = optima([curve])
    return bands(optimum, curve)


@given(st.floats(-8, -6), st.floats(0.015, 0.1))
@settings(deadline=None)
def test_of_a_parabola_in_closed_form(optimum: float, a: float) -> None:
    best = 2.3 + 0.005
    for band, within in zip(of(parabola(32, optimum, RATES, a=a)), WITHIN, strict=True):
        reach = math.sqrt(within * best / a)
        assert (band.scale.width, band.within, band.low_open, band.high_open) == (32, within, False, False)
        assert band.low == pytest.approx(optimum - reach, abs=2e-4)
        assert band.high == pytest.approx(optimum + reach, abs=2e-4)


@given(st.integers(0, 100))
@settings(deadline=None)
def test_bands_are_nested_about_the_optimum(seed: int) -> None:
    curves = world(np.random.default_rng(seed), slope=-0.2).curves
    for optimum, curve in zip(optima(curves), curves, strict=True):
        narrow, wide = bands(optimum, curve)
        assert wide.low <= narrow.low <= optimum.log2_lr <= narrow.high <= wide.high


def test_a_band_that_runs_to_the_end_of_the_rates_is_open_there() -> None:
    low, wide = of(parabola(32, -9.2, RATES))
    assert (low.low_open, low.high_open) == (False, False)
    assert (wide.low, wide.low_open, wide.high_open) == (-10, True, False)
    censored, _ = of(parabola(32, -12.0, RATES, a=0.001))
    assert (censored.low, censored.low_open, censored.high_open) == (-10, True, False)
    flat, _ = of(Curve(Scale(32), RATES, np.full((2, 7), 2.3)))
    assert (flat.low, flat.high, flat.low_open, flat.high_open) == (-10, -4, True, True)


def test_a_band_ends_where_trials_diverged() -> None:
    curve = parabola(32, -6.2, RATES, a=0.01)
    curve.losses[0, 5:] = np.inf
    _, wide = of(curve)
    assert (wide.high, wide.high_open) == (-6, False)


def test_without_an_optimum_it_is_read_off_the_lines_between_means() -> None:
    curve = Curve(Scale(32), RATES[:3], np.array([[2.0, 2.01, 2.05]]))
    narrow, wide = of(curve)
    assert (narrow.low, narrow.low_open) == (-10, True)
    assert narrow.high == pytest.approx(-9.5)
    assert wide.high == pytest.approx(-9 + 0.01 / 0.04)


def test_where_every_trial_diverged_there_is_none() -> None:
    assert of(Curve(Scale(32), RATES, np.full((2, 7), np.inf))) == ()
