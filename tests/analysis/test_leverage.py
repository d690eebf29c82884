import dataclasses

import numpy as np
import pytest

from analysis.planted import world
from mutransfer.analysis.leverage import leverage
from mutransfer.analysis.line import slope
from mutransfer.analysis.optimum import Optimum, optima
from mutransfer.config.scale import Scale

WIDTHS = (32, 64, 128, 256, 512)
TAU = 0.25


def line(drift: float = 0.0, sd: float = 0.05, widths: tuple[int, ...] = WIDTHS) -> list[Optimum]:
    return [
        Optimum(Scale(width), -7 + drift * octave, -8, -6, 2.3, "interior", sd**2, 0.0, 50.0)
        for octave, width in enumerate(widths)
    ]


def moved(line: list[Optimum], at: int, by: float) -> list[Optimum]:
    return [dataclasses.replace(each, log2_lr=each.log2_lr + by * (at == index)) for index, each in enumerate(line)]


@pytest.mark.parametrize("drift", [-1.0, 0.0, 0.3])
@pytest.mark.parametrize(("at", "widths"), [(0, WIDTHS), (4, WIDTHS), (0, WIDTHS[:4]), (3, WIDTHS[:4])])
@pytest.mark.parametrize("by", [-1.0, 1.0])
def test_the_planted_outlier_is_named_and_the_slope_without_it_is_the_line_s(
    drift: float, at: int, widths: tuple[int, ...], by: float
) -> None:
    """At four widths the neighbour's residual is the larger one."""
    found = leverage(moved(line(drift, widths=widths), at, by), TAU)
    assert found is not None
    assert found.scale.width == widths[at]
    assert found.slope_without == pytest.approx(drift, abs=1e-9)


@pytest.mark.parametrize("drift", [-1.0, -0.25, 0.0, 0.3])
def test_nothing_is_named_on_a_straight_line(drift: float) -> None:
    assert leverage(line(drift), TAU) is None


def test_an_outlier_in_the_middle_decides_nothing() -> None:
    assert leverage(moved(line(), 2, 1.0), TAU) is None


def test_noise_alone_is_seldom_named() -> None:
    rng = np.random.default_rng(1)
    named = [
        leverage(optima(world(rng, slope=slope, seeds=2, widths=widths).curves), TAU) is not None
        for slope in (0.0, -0.25, -1.0)
        for widths in ((32, 64, 128), (32, 64, 128, 256))
        for _ in range(40)
    ]
    assert np.mean(named) <= 0.1


def test_hat_value_and_dfbeta_are_those_of_a_second_fit() -> None:
    rng = np.random.default_rng(2)
    planted = [dataclasses.replace(each, log2_lr=float(rng.normal(0, 3))) for each in line(sd=0.01)]
    found, whole = leverage(planted, TAU), slope(planted)
    assert found is not None
    assert whole is not None
    without = slope([optimum for optimum in planted if optimum.scale.width != found.scale.width])
    assert without is not None
    assert found.slope_without == pytest.approx(without.value)
    assert found.dfbeta == pytest.approx(whole.value - without.value)
    # The hat matrix of log2 width and 1; dfbeta = k e / (1 - h).
    x = np.stack([np.ones(5), np.log2(WIDTHS)], axis=1)
    hat = x @ np.linalg.inv(x.T @ x) @ x.T
    at = WIDTHS.index(found.scale.width)
    y = np.array([optimum.log2_lr for optimum in planted])
    weight = (x[at, 1] - x[:, 1].mean()) / np.sum((x[:, 1] - x[:, 1].mean()) ** 2)
    assert found.hat == pytest.approx(hat[at, at])
    assert found.dfbeta == pytest.approx(weight * (y - hat @ y)[at] / (1 - hat[at, at]))


def test_two_sizes_have_nothing_to_compare() -> None:
    assert leverage(moved(line(widths=(32, 64)), 1, 1.0), TAU) is None
    censored = dataclasses.replace(line()[1], status="censored_low")
    assert leverage([line()[0], censored, line()[2]], TAU) is None


def test_a_change_within_the_noise_is_not_named() -> None:
    assert leverage(moved(line(sd=0.5), 4, 0.6), TAU) is None
    assert leverage(moved(line(sd=0.05), 4, 0.6), TAU) is not None
