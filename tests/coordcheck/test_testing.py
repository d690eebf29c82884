"""An assertion for other people's test suites."""

import pytest
from torch import nn

from mutransfer.coordcheck.result import CoordCheck
from mutransfer.parametrization import parametrize
from mutransfer.testing import assert_coord_check

SETTINGS = {"widths": (16, 32, 64), "seeds": 3, "steps": 2, "lr": 2.0**-8}


def plain(width: int) -> nn.Module:
    return nn.Sequential(nn.Embedding(256, width), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 256))


def test_what_is_mup_returns_what_was_found() -> None:
    found = assert_coord_check(
        lambda width, seed: parametrize(plain, width=width, base_width=16, seed=seed), **SETTINGS
    )
    assert isinstance(found, CoordCheck)
    assert found.passed


def test_what_is_not_fails_with_the_culprit_the_cause_and_every_module() -> None:
    with pytest.raises(AssertionError) as caught:
        assert_coord_check(plain, **SETTINGS)
    told = str(caught.value)
    assert "coordinate check failed: 1 grows: hidden lr is not divided by width" in told
    assert [line.split()[:2] for line in told.splitlines()[:6]] == [
        ["module", "role"],
        ["0", "input"],
        ["1", "hidden"],
        ["*.bias", "vector"],
        ["2", "none"],
        ["3", "output"],
    ]


def test_a_check_that_saw_nothing_is_no_pass() -> None:
    with pytest.raises(AssertionError, match="coordinate check blind"):
        assert_coord_check(plain, **(SETTINGS | {"lr": 1e-14}))
