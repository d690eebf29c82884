import math

import pytest

from mutransfer.analysis.interval import Estimate


def test_one_part_is_an_ordinary_t_interval() -> None:
    interval = Estimate(1.0, ((0.04, 5.0),)).interval
    assert interval.estimate == 1.0
    assert interval.ci_high - 1.0 == pytest.approx(2.570581836 * 0.2)
    assert 1.0 - interval.ci_low == pytest.approx(2.570581836 * 0.2)


def test_satterthwaite_adds_the_df_of_equal_parts_and_ignores_exact_ones() -> None:
    assert Estimate(0.0, ((2.0, 3.0), (2.0, 3.0))).df == pytest.approx(6)
    assert Estimate(0.0, ((1.0, 4.0), (1.0, math.inf))).df == pytest.approx(16)
    assert Estimate(0.0, ((0.0, 4.0), (1.0, math.inf))).df == math.inf


def test_a_difference_has_both_variances() -> None:
    difference = Estimate(3.0, ((1.0, 4.0),)).minus(Estimate(1.0, ((2.0, 8.0),)))
    assert (difference.value, difference.variance) == (2.0, 3.0)
    assert difference.df == pytest.approx(9 / (1 / 4 + 4 / 8))


def test_no_variance_no_width() -> None:
    interval = Estimate(1.0, ()).interval
    assert interval.ci_low == interval.ci_high == 1.0
