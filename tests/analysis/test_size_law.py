import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mutransfer.analysis.line import size_law, slope
from mutransfer.analysis.optimum import Optimum
from mutransfer.config.scale import Scale

WIDTHS = (32, 64, 128, 256)


def line(drift: float, noise: float = 0.01) -> list[Optimum]:
    return [
        Optimum(Scale(width), -7 + drift * octave, -8, -6, 2.3, "interior", noise, 0.0, 20.0)
        for octave, width in enumerate(WIDTHS)
    ]


@given(st.floats(-2, 1), st.floats(0.5, 3))
@settings(deadline=None)
def test_its_exponent_is_the_slope_over_the_growth_of_n_with_width(drift: float, power: float) -> None:
    counts = [round(1e9 * width**power) for width in WIDTHS]
    law, transfer = size_law(line(drift), counts), slope(line(drift))
    assert law is not None
    assert transfer is not None
    assert law.exponent.estimate == pytest.approx(drift / power, abs=1e-6)
    assert law.exponent.ci_high == pytest.approx(transfer.interval.ci_high / power, abs=1e-6)


@given(st.floats(-1.5, 0.5))
@settings(deadline=None)
def test_rates_on_an_exact_law_have_its_exponent_whatever_the_counts(exponent: float) -> None:
    counts = [32, 100, 1001, 5000]
    optima = [Optimum(Scale(1), exponent * math.log2(n), None, None, 2.3, "interior", 0.01) for n in counts]
    law = size_law(optima, counts)
    assert law is not None
    assert law.exponent.estimate == pytest.approx(exponent, abs=1e-9)


def test_it_names_the_rules_of_thumb_that_it_excludes() -> None:
    counts = [width**2 for width in WIDTHS]
    for drift, noise, excludes in [
        (-1.0, 0.01, (-1.0,)),
        (-2.0, 0.01, (-0.5,)),
        (0.0, 0.01, (-0.5, -1.0)),
        (-1.5, 2, ()),
    ]:
        law = size_law(line(drift, noise), counts)
        assert law is not None
        assert law.excludes == excludes


def test_it_needs_two_interior_optima_of_different_counts() -> None:
    assert size_law(line(-1.0), [1000] * 4) is None
    one, two, *_ = line(-1.0)
    assert size_law([one, Optimum(Scale(64), -10, None, None, 2.3, "censored_low")], [1000, 4000]) is None
    assert size_law([one, two], [1000, 4000]) is not None
