"""Text as numbers."""

from __future__ import annotations

import math

import pytest

from mutransfer.trials.foreign.numbers import parse_number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.003", 0.003),
        (" 3e-3 ", 0.003),
        ("2^-8", 2**-8),
        ("2**-7.5", 2**-7.5),
        ("2^(-8)", 2**-8),
        ("1/256", 1 / 256),
        ("130M", 130e6),
        ("1.2b", 1.2e9),
        ("64k", 64e3),
        ("1,234,567", 1234567),
        ("0,003", 0.003),
        ("3,5e-4", 3.5e-4),
        ("-inf", -math.inf),
        ("Infinity", math.inf),
    ],
)
def test_a_number_is_read_as_it_is_written(text: str, value: float) -> None:
    assert parse_number(text) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize("text", ["", " ", "NA", "null", "None", "-", "NaN"])
def test_nothing_is_nan(text: str) -> None:
    found = parse_number(text)
    assert found is not None
    assert math.isnan(found)


@pytest.mark.parametrize("text", ["x", "1,234", "1e", "2^x", "1/0", "10^400", "1.2.3", "12 apples"])
def test_what_is_no_number_or_could_be_two_is_none(text: str) -> None:
    assert parse_number(text) is None


def test_decimal_commas_where_the_file_has_them() -> None:
    assert parse_number("1,234", ",") == 1.234
    assert parse_number("1.234,5", ",") == 1234.5
