import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mutransfer.analysis.assurance import assurance
from mutransfer.analysis.interval import Estimate

TAU = 0.25
HALF = 1.959964


def known(value: float, sd: float, df: float = math.inf) -> Estimate:
    return Estimate(value, ((sd**2, df),))


@pytest.mark.parametrize(
    ("value", "decides"), [(0.0, 1.0), (0.12, 1.0), (0.2, 0.0), (0.25, 0.0), (0.4, 1.0), (-0.4, 1.0)]
)
def test_an_estimate_that_stays_decides_by_its_interval(value: float, decides: float) -> None:
    assert assurance(known(value, 0.06), known(value, 0.06), math.inf, TAU) == decides


@given(st.floats(-0.5, 0.5), st.floats(0.02, 0.3), st.floats(0.1, 0.9))
@settings(deadline=None)
def test_it_is_the_share_of_estimates_to_come_whose_interval_decides(value: float, sd: float, part: float) -> None:
    then = known(value, part * sd)
    z = (np.arange(20000) + 0.5) / 20000
    steps = np.sqrt(sd**2 - then.variance) * np.sqrt(2) * _erfinv(2 * z - 1)
    to_come, half = np.abs(value + steps), HALF * part * sd
    share = np.mean((to_come <= TAU - half) | (to_come >= TAU + half))
    assert assurance(known(value, sd), then, math.inf, TAU) == pytest.approx(share, abs=2e-3)


def _erfinv(y: np.ndarray) -> np.ndarray:
    """By interpolation in a table of erf."""
    x = np.linspace(-5, 5, 20001)
    return np.interp(y, [math.erf(each) for each in x], x)


def test_the_smaller_the_interval_to_come_the_likelier() -> None:
    chances = [assurance(known(0.1, 0.1), known(0.1, sd), 10.0, TAU) for sd in (0.1, 0.08, 0.06, 0.04, 0.02)]
    assert chances == sorted(chances)
    assert chances[0] < 0.1 < 0.8 < chances[-1]


def test_noise_that_is_not_well_known_makes_it_less_sure() -> None:
    """Both ways: what seems certain may fail, and what seems to fail may turn out."""
    for sd, likely in ((0.06, True), (0.12, False)):
        now, then = known(0.1, 1.1 * sd, 1e6), known(0.1, sd, 1e6)
        noisy, sure = assurance(now, then, 3.0, TAU), assurance(now, then, 1e6, TAU)
        assert (noisy < sure - 0.05) if likely else (noisy > sure + 0.05)


def test_shape_is_no_noise() -> None:
    """What has infinitely many degrees of freedom is known, whatever df is."""
    shape = known(0.1, 0.05)
    assert assurance(shape, shape, 1.5, TAU) == assurance(shape, shape, math.inf, TAU)
