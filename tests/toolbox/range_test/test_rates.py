"""The rates read off planted curves, in closed form."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutransfer.toolbox.range_test.rates import Ramp, RangeTest, recommend_lr, smooth, suggest_lrs, take_until_it_leaves

RAMP = Ramp()
LRS = RAMP.lrs


def raw(smoothed: np.ndarray) -> np.ndarray:
    """The losses whose smoothed values these are: loss_t = (s_t (1 - b^t) - b s_(t-1) (1 - b^(t-1))) / (1 - b)."""
    weights = 1 - 0.98 ** np.arange(len(smoothed) + 1)
    sums = weights[1:] * smoothed
    return (sums - 0.98 * np.concatenate([[0.0], sums[:-1]])) / 0.02


def suggested(smoothed: np.ndarray, name: str) -> float | None:
    found = suggest_lrs(RangeTest(LRS, np.array([raw(np.asarray(smoothed, float))])))[name]
    return None if found is None else found.log2_lr


def padded(values: np.ndarray) -> np.ndarray:
    return np.concatenate([values, np.full(RAMP.steps - len(values), np.nan)])


def test_smoothing_is_a_mean_with_weights_that_fall_by_0_98_a_step() -> None:
    assert smooth([3.0, 5.0]).tolist() == pytest.approx([3.0, (0.98 * 3 + 5) / 1.98])
    assert smooth(np.full(50, 7.0)) == pytest.approx(np.full(50, 7.0))
    weights = 0.98 ** np.arange(99, -1, -1)
    losses = np.random.default_rng(0).normal(size=100)
    assert smooth(losses)[-1] == pytest.approx(weights @ losses / weights.sum())
    assert smooth(raw(losses)) == pytest.approx(losses)


def test_a_ramp_rises_by_one_factor_or_by_one_amount() -> None:
    assert (LRS[0], LRS[-1], len(LRS)) == (pytest.approx(1e-7), pytest.approx(10), 100)
    assert np.diff(np.log(LRS)) == pytest.approx(np.full(99, math.log(1e8) / 99))
    linear = Ramp(low=0.1, high=0.5, steps=5, shape="linear").lrs
    assert linear == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shape": "cosine"}, "expected a known ramp.shape, got 'cosine'"),
        ({"low": 0.0}, "expected ramp.low above 0, got 0"),
        ({"low": 1.0, "high": 0.5}, "wanted it to rise"),
        ({"steps": 1}, "found ramp.steps 1"),
        ({"stop": 1.0}, "found ramp.stop 1"),
        ({"high": math.inf}, "expected ramp.high at most"),
    ],
)
def test_what_is_no_ramp_is_refused(changes: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Ramp(**changes).validate()


def test_the_valley_is_a_half_of_the_way_down_its_longest_fall() -> None:
    """It rises up to step 29, falls to step 69, 41 points with both ends, and rises again: 69 - 41 + 13 + 6 = 47."""
    at = np.arange(100)
    curve = np.where(at <= 29, 0.01 * at, np.where(at <= 69, 0.29 - 0.02 * (at - 29), -0.51 + 0.1 * (at - 69)))
    assert suggested(curve, "valley") == pytest.approx(math.log2(LRS[47]))


@given(st.lists(st.integers(0, 30), min_size=85, max_size=85))
def test_the_valley_is_that_of_the_longest_falling_subsequence(values: list[int]) -> None:
    longest = [1]
    for i in range(1, 85):
        longest.append(1 + max((longest[j] for j in range(i) if values[j] > values[i]), default=0))
    n = max(longest)
    first_end = longest.index(n)
    curve = np.concatenate([np.zeros(10), values, np.zeros(5)])
    # what is equal rises a little, so that no rounding makes it fall
    found = suggested(curve + 1e-9 * np.arange(100), "valley")
    assert found == pytest.approx(math.log2(LRS[10 + max(first_end - n + n // 3 + n // 6, 0)]))


def test_where_nothing_falls_the_valley_is_the_first_rate() -> None:
    assert suggested(np.zeros(100), "valley") == pytest.approx(math.log2(LRS[10]))
    assert suggested(np.arange(100.0), "valley") == pytest.approx(math.log2(LRS[10]))


def test_steep_is_where_the_loss_falls_fastest_per_log_rate() -> None:
    curve = 5 - 0.01 * np.arange(100.0)
    curve[51:] -= 1
    assert suggested(curve, "steep") == pytest.approx(math.log2(LRS[50]))


def test_minimum_is_a_tenth_of_the_rate_of_the_least_loss() -> None:
    assert suggested(np.abs(np.arange(100.0) - 60), "minimum") == pytest.approx(math.log2(LRS[60] / 10))


def test_the_first_tenth_and_the_last_five_steps_are_not_looked_at() -> None:
    curve = np.abs(np.arange(100.0) - 60)
    curve[9], curve[95] = -100, -200
    assert suggested(curve, "minimum") == pytest.approx(math.log2(LRS[60] / 10))
    curve[10] = -50
    assert suggested(curve, "minimum") == pytest.approx(math.log2(LRS[10] / 10))


def test_slide_stops_where_the_loss_changes_alike_at_both_ends_of_its_window() -> None:
    """0 up to step 40, then 0.001 (i - 40)^2, which changes by 0.002 (i - 40) a step: by more than 0.005 from step 43,
    the right end of the window that begins at 28."""
    at = np.arange(100.0)
    assert suggested(np.where(at > 40, 0.001 * (at - 40) ** 2, 0), "slide") == pytest.approx(math.log2(LRS[28]))


def test_slide_begins_with_the_last_16_points() -> None:
    assert suggested(np.ones(100), "slide") == pytest.approx(math.log2(LRS[79]))


def edge(losses: np.ndarray) -> float | None:
    found = suggest_lrs(RangeTest(LRS, padded(losses)[None]))["edge"]
    return None if found is None else found.log2_lr


def test_the_edge_is_the_last_rate_before_the_loss_is_above_where_it_began() -> None:
    at = np.arange(100.0)
    losses = np.where(at <= 60, 5 - 0.05 * at, 2 + 0.4 * (at - 60))  # 5.2 at step 68
    assert edge(losses) == pytest.approx(math.log2(LRS[67]))
    losses[5] = 9  # noise before the least
    assert edge(losses) == pytest.approx(math.log2(LRS[67]))
    assert edge(losses[:64]) == pytest.approx(math.log2(LRS[63]))  # it stopped there
    assert edge(np.minimum(losses, 4.9)) is None  # never


def test_seeds_give_a_median_with_its_range_and_nothing_where_one_gives_nothing() -> None:
    at = np.arange(100.0)
    losses = [raw(np.abs(at - lowest)) for lowest in (50, 60, 64)]
    found = suggest_lrs(RangeTest(LRS, np.array(losses)))["minimum"]
    assert found is not None
    assert [found.low, found.log2_lr, found.high] == pytest.approx(np.log2(LRS[[50, 60, 64]] / 10))
    short = suggest_lrs(RangeTest(LRS, np.array([*losses, padded(np.arange(30.0))])))
    assert short["slide"] is None  # 15 points, of 16
    assert short["minimum"] is not None
    assert set(suggest_lrs(RangeTest(LRS, np.full((1, 100), np.nan))).values()) == {None}


def counted(losses: list[float], drawn: list[float]) -> Iterator[float]:
    for loss in losses:
        drawn.append(loss)
        yield loss


def test_it_stops_where_the_smoothed_loss_is_above_four_times_its_least() -> None:
    """After 49 losses of 1 the next one, x, has weight w = 0.02 / (1 - 0.98^50): their mean is 4 at x = 1 + 3 / w."""
    weight = 0.02 / (1 - 0.98**50)
    for x, stops in ((1 + 3 / weight - 1e-6, False), (1 + 3 / weight + 1e-6, True)):
        drawn: list[float] = []
        kept = take_until_it_leaves(counted([1.0] * 49 + [x] + [1.0] * 50, drawn), RAMP)
        assert len(drawn) == (50 if stops else 100)
        assert np.isfinite(kept).sum() == len(drawn)
        assert len(kept) == 100


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_it_stops_at_a_loss_that_is_not_finite_and_leaves_it_out(bad: float) -> None:
    drawn: list[float] = []
    kept = take_until_it_leaves(counted([2.0, 1.0, bad, 1.0], drawn), RAMP)
    assert len(drawn) == 3
    assert kept[:2].tolist() == [2.0, 1.0]
    assert np.isnan(kept[2:]).all()


def test_losses_below_zero_stop_nothing() -> None:
    assert np.isfinite(take_until_it_leaves([-1.0, -2.0] * 50, RAMP)).all()


@pytest.mark.parametrize("steps", [60, 100, 300])
@pytest.mark.parametrize("curvatures", [[1.0], [4.0, 1.0, 0.5], [30.0, 5.0]])
def test_on_a_loss_that_goes_to_zero_the_edge_is_two_over_the_curvature(curvatures: list[float], steps: int) -> None:
    """Gradient descent on a parabola along the ramp."""
    ramp = Ramp(steps=steps, low=1e-4)
    c, x, losses = np.array(curvatures), np.ones(len(curvatures)), []
    for lr in ramp.lrs:
        losses.append(float((c * x**2).sum() / 2))
        x = x * (1 - lr * c)
    test = RangeTest(ramp.lrs, np.array([take_until_it_leaves(losses, ramp)]))
    edge = suggest_lrs(test)["edge"]
    assert edge is not None
    assert 1 / 1.5 < 2**edge.log2_lr / (2 / max(curvatures)) < 1.5
    recommended = recommend_lr(test)
    assert recommended.lr is not None
    assert recommended.lr < 2 / max(curvatures)


def test_one_rate_is_recommended_with_its_reason() -> None:
    ramp = Ramp(steps=100)
    falling = np.array([3.0 - 0.02 * i for i in range(100)])
    found = recommend_lr(RangeTest(ramp.lrs, falling[None]))
    assert found.lr == pytest.approx(ramp.lrs[94] / 10)
    assert "no edge was reached" in found.reason
    lost = recommend_lr(RangeTest(ramp.lrs, np.full((1, 100), np.nan)))
    assert lost.lr is None
