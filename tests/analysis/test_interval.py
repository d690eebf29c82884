import math

import pytest

from mutransfer.analysis.interval import Estimate, t_quantile


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


# Abramowitz and Stegun, table 26.10, and closed forms: df 1 is tan(pi (p - 1/2)), df 2 is (2p - 1) / sqrt(2p (1 - p)).
TABLE = [
    (0.975, 1, math.tan(math.pi * 0.475)),
    (0.995, 1, math.tan(math.pi * 0.495)),
    (0.975, 2, 0.95 / math.sqrt(2 * 0.975 * 0.025)),
    (0.9, 2, 0.8 / math.sqrt(2 * 0.9 * 0.1)),
    (0.975, 3, 3.182446305),
    (0.95, 4, 2.131846786),
    (0.975, 5, 2.570581836),
    (0.975, 10, 2.228138852),
    (0.995, 30, 2.749995654),
    (0.975, 120, 1.979930405),
    (0.975, math.inf, 1.959963985),
]


@pytest.mark.parametrize(("probability", "df", "quantile"), TABLE)
def test_quantiles_of_the_tables(probability: float, df: float, quantile: float) -> None:
    assert t_quantile(probability, df) == pytest.approx(quantile, abs=1e-8)
    assert t_quantile(1 - probability, df) == pytest.approx(-quantile, abs=1e-8)


@pytest.mark.parametrize(("probability", "df"), [(0.0, 3), (1.0, 3), (0.975, 0), (0.975, -1), (math.nan, 3)])
def test_refuses_what_has_no_quantile(probability: float, df: float) -> None:
    with pytest.raises(ValueError, match="expected"):
        t_quantile(probability, df)
