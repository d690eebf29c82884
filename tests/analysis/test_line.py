import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.planted import parabola
from mutransfer.analysis.line import WOBBLE, WOBBLE_DF, prediction, slope, slope_weights
from mutransfer.analysis.optimum import Optimum, optima
from mutransfer.config.scale import Scale

WIDTHS = (32, 64, 128, 256)


def at(width: int, log2_lr: float, noise: float = 0.01, shape: float = 0.0, df: float = 10.0) -> Optimum:
    return Optimum(Scale(width), log2_lr, log2_lr - 0.2, log2_lr + 0.2, 2.3, "interior", noise, shape, df)


def censored(width: int) -> Optimum:
    return Optimum(Scale(width), -10, None, None, 2.3, "censored_low")


@given(st.floats(-2, 2), st.floats(-12, 0))
def test_the_slope_of_a_line_is_its_slope(drift: float, level: float) -> None:
    line = slope([at(width, level + drift * math.log2(width)) for width in WIDTHS])
    assert line is not None
    assert line.value == pytest.approx(drift, abs=1e-9)


@given(st.floats(-1, 1))
def test_planted_parabolas_have_the_planted_slope(drift: float) -> None:
    rates = np.arange(-11.0, -2.0)
    line = slope(optima([parabola(w, -7 + drift * (math.log2(w) - 6.5), rates) for w in WIDTHS]))
    assert line is not None
    assert line.value == pytest.approx(drift, abs=1e-6)


def test_variance_is_that_of_the_weights_with_half_the_shape() -> None:
    line = slope([at(width, -7, noise=0.01, shape=0.02) for width in WIDTHS])
    assert line is not None
    # Widths an octave apart: sum of squared deviations 5.
    assert line.variance == pytest.approx((0.01 + 0.02 / 2) / 5)
    assert line.df == pytest.approx(10 * (0.02 / 0.01) ** 2)


def test_only_interior_optima_make_a_slope() -> None:
    assert slope([at(32, -7)]) is None
    assert slope([at(32, -7), censored(64)]) is None
    line = slope([at(32, -7), censored(64), at(128, -8)])
    assert line is not None
    assert line.value == pytest.approx(-0.5)


def test_weights_sum_to_nothing_and_give_one_for_the_line_itself() -> None:
    optimum = [at(width, 0) for width in (32, 96, 500)]
    weights = slope_weights(optimum)
    assert weights.sum() == pytest.approx(0, abs=1e-12)
    assert weights @ np.log2([32, 96, 500]) == pytest.approx(1)


def test_a_prediction_is_the_line_and_is_less_sure_the_further_it_goes() -> None:
    line = [at(width, -7 + 0.1 * math.log2(width)) for width in WIDTHS]
    variances = []
    for width in (90, 256, 1024, 8192):
        predicted = prediction(line, Scale(width))
        assert predicted.value == pytest.approx(-7 + 0.1 * math.log2(width))
        variances.append(predicted.variance)
    assert variances == sorted(variances)


def test_the_variance_of_a_prediction_in_closed_form() -> None:
    x = math.log2(1024) - 6.5
    predicted = prediction([at(width, -7.0, noise=0.01, shape=0.02) for width in WIDTHS], Scale(1024))
    leverage = 1 / 4 + x**2 / 5
    wobble = WOBBLE_DF * WOBBLE**2 / (WOBBLE_DF + 2)
    assert predicted.variance == pytest.approx(leverage * (0.01 + 0.01) + 0.01 + wobble * (1 + leverage))


def test_scatter_beyond_the_noise_counts_as_wobble() -> None:
    straight = [at(width, -7) for width in WIDTHS]
    scattered = [at(width, -7 + 0.5 * sign) for width, sign in zip(WIDTHS, (1, -1, -1, 1), strict=True)]
    assert prediction(scattered, Scale(512)).variance > 2 * prediction(straight, Scale(512)).variance


def test_scatter_that_the_noise_explains_is_no_wobble() -> None:
    straight = [at(width, -7, noise=0.04) for width in WIDTHS]
    scattered = [at(width, -7 + 0.1 * sign, noise=0.04) for width, sign in zip(WIDTHS, (1, -1, -1, 1), strict=True)]
    assert prediction(scattered, Scale(512)).variance == pytest.approx(prediction(straight, Scale(512)).variance)
