import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutransfer.analysis.students_t import EXPANSION_DF, t_quantile, t_tail

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


@given(st.floats(0.5001, 0.9995), st.floats(0.5, EXPANSION_DF - 1))
def test_the_quantile_inverts_the_tail_at_fractional_df(probability: float, df: float) -> None:
    assert t_tail(t_quantile(probability, df), df) == pytest.approx(1 - probability, rel=1e-9, abs=1e-13)


@pytest.mark.parametrize("df", [1.0, 1.5, 2.5, 7.3])
def test_the_tail_is_the_integral_of_the_density(df: float) -> None:
    scale = math.gamma((df + 1) / 2) / math.gamma(df / 2) / math.sqrt(df * math.pi)
    steps, end = 20000, 2.0
    density = [scale * (1 + (end * i / steps) ** 2 / df) ** (-(df + 1) / 2) for i in range(steps + 1)]
    area = (sum(density) - (density[0] + density[-1]) / 2) * end / steps
    assert t_tail(end, df) == pytest.approx(0.5 - area, abs=1e-8)


def test_expansion_meets_newton() -> None:
    below, above = t_quantile(0.975, EXPANSION_DF * (1 - 1e-12)), t_quantile(0.975, EXPANSION_DF)
    assert below == pytest.approx(above, abs=1e-9)


@pytest.mark.parametrize(("probability", "df"), [(0.0, 3), (1.0, 3), (0.975, 0), (0.975, -1), (math.nan, 3)])
def test_refuses_what_has_no_quantile(probability: float, df: float) -> None:
    with pytest.raises(ValueError, match="wanted"):
        t_quantile(probability, df)
