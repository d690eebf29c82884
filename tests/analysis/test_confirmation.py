import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.planted import frame, parabola
from mutransfer.analysis import Analysis, Curve, analyze
from mutransfer.analysis.confirmation import (
    Confirmation,
    arm_to_follow,
    confirmation,
    is_at_end,
    measure_regret,
    noise_there,
)
from mutransfer.analysis.line import prediction
from mutransfer.analysis.noise import Noise
from mutransfer.config.scale import Scale
from mutransfer.trials.table import from_frame

RATES = np.arange(-12.0, -2.0)
THREE = np.array([-1.0, 0.0, 1.0])
A = 0.025
PROXY = -7.3


def swept(slope: float = 0.0, seeds: int = 2) -> pd.DataFrame:
    """Parabolas at widths 32, 64 and 128, the optimum moving by `slope` octaves a doubling."""
    return frame({"mup": tuple(parabola(32 * 2**n, PROXY + slope * n, RATES, seeds, A) for n in range(3))})


def trained(width: int, optimum: float, seeds: int = 2) -> pd.DataFrame:
    return frame({"mup": (parabola(width, optimum, PROXY + THREE, seeds, A),)})


def confirm(sweep: pd.DataFrame, trials: pd.DataFrame) -> Confirmation:
    found = confirmation(analyze(sweep, 0.25), from_frame(sweep), from_frame(trials))
    assert found is not None
    return found


@settings(deadline=None)
@given(st.floats(-3, 3))
def test_what_is_lost_at_the_proxys_rate_is_measured(shift: float) -> None:
    found = confirm(swept(), trained(256, PROXY + shift))
    assert found.measured is not None
    low, same, high = A * (THREE - shift) ** 2
    assert found.measured.estimate == pytest.approx(same - min(low, same, high), abs=1e-9)
    assert found.measured.ci_low <= found.measured.estimate <= found.measured.ci_high
    assert found.losses == pytest.approx([2.305 + low, 2.305 + same, 2.305 + high])
    assert found.rates == pytest.approx(PROXY + THREE)
    assert (found.arm, found.scale.width, found.seeds, found.log2_lr) == ("mup", 256, 2, pytest.approx(PROXY))
    if abs(shift) <= 1:  # A parabola's minimum within the three rates is not missed, wherever between them it lies.
        assert found.measured.ci_low <= A * shift**2 <= found.measured.ci_high


@settings(deadline=None)
@given(st.floats(0.51, 5) | st.floats(-5, -0.51))
def test_an_optimum_nearer_to_an_end_or_beyond_makes_it_a_lower_bound(shift: float) -> None:
    found = confirm(swept(), trained(256, PROXY + shift))
    assert found.at_least
    assert "at least" in found.sentence
    assert found.measured is not None
    assert found.measured.ci_low <= A * shift**2
    inside = confirm(swept(), trained(256, PROXY + math.copysign(0.49, shift)))
    assert not inside.at_least
    assert "may lie beyond" not in inside.sentence


@settings(deadline=None)
@given(st.floats(-1.5, 1.5), st.lists(st.floats(-1, 1), min_size=3, max_size=3))
def test_a_seeds_offset_does_not_matter(shift: float, offsets: list[float]) -> None:
    losses = 2.3 + A * (THREE - shift) ** 2 + 0.001 * np.array([[0, 1, 2], [2, 0, 1], [1, 1, 0]])
    known = Noise(1e-5, 8)
    plain = measure_regret(Curve(Scale(256), THREE, losses), known)
    moved = measure_regret(Curve(Scale(256), THREE, losses + np.array(offsets)[:, None]), known)
    assert plain is not None
    assert moved is not None
    assert moved.estimate == pytest.approx(plain.estimate, abs=1e-9)
    assert (moved.ci_low, moved.ci_high) == pytest.approx((plain.ci_low, plain.ci_high), abs=1e-9)


@pytest.mark.parametrize(("rates", "z"), [(3, 2.241403), (2, 1.959964)])
def test_its_lower_end_is_a_comparison_with_the_best_of_so_many(rates: int, z: float) -> None:
    for seeds in (1, 2, 8):
        losses = np.tile([2.4, 2.5, 2.6 if rates == 3 else np.inf], (seeds, 1))
        found = measure_regret(Curve(Scale(256), THREE, losses), Noise(1e-4, math.inf))
        assert found is not None
        assert found.ci_low == pytest.approx(0.1 - z * math.sqrt(2e-4 / seeds), abs=1e-6)


def noisy(rng: np.random.Generator, sd: float, size: int, z: np.ndarray, seeds: int, skew: float) -> Curve:
    """A skewed curve whose optimum is at z = 0: half of the variance belongs to the seed, a fifth tilts its curve."""
    offset, tilt, own = (rng.standard_normal((seeds, columns)) for columns in (1, 1, len(z)))
    noise = math.sqrt(0.5) * offset + math.sqrt(0.2) * tilt * z / math.sqrt(2) + math.sqrt(0.3) * own
    return Curve(Scale(size), z, 2.3 + excess(z, skew) + sd * noise)


def excess(z: np.ndarray, skew: float) -> np.ndarray:
    return 2 * A * (np.expm1((1 + skew) * z) / (1 + skew) + np.expm1(-(1 - skew) * z) / (1 - skew)) / 2


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_its_interval_holds_the_true_regret(seeds: int) -> None:
    rng = np.random.default_rng(11)
    closed, held, told = [], [], []
    for _ in range(500):
        sd, skew = math.exp(rng.uniform(math.log(0.003), math.log(0.02))), rng.uniform(-0.3, 0.3)
        shift = rng.uniform(-1.2, 1.2)
        curves = [noisy(rng, sd, 32 * 2**n, np.arange(-3.0, 4.0), 2, skew) for n in range(3)]
        there = noisy(rng, sd, 256, shift + THREE, seeds, skew)
        found = measure_regret(there, noise_there(curves, there))
        assert found is not None
        assert found.ci_low <= found.estimate <= found.ci_high
        true = float(excess(np.array([shift]), skew)[0])
        held.append(found.ci_low <= true <= (math.inf if is_at_end(there.means) else found.ci_high))
        if not is_at_end(there.means):
            closed.append(held[-1])
        if true - float(min(excess(shift + THREE, skew))) > 0.03:
            told.append(found.ci_low > 0)
    assert np.mean(held) >= 0.95
    assert np.mean(closed) >= 0.94
    assert min(len(closed), len(told)) > 40
    assert np.mean(told) >= 0.7  # An interval that says nothing would hold everything.


def test_three_rates_that_tie_are_not_told_apart_by_their_noise() -> None:
    """The best of three equals is best by noise alone: an interval that forgot the choice would exclude 0 too often."""
    rng = np.random.default_rng(5)
    excluded = [
        found.ci_low > 0
        for _ in range(4000)
        if (found := measure_regret(Curve(Scale(256), THREE, rng.normal(2.3, 0.01, (2, 3))), Noise(1e-4, math.inf)))
    ]
    assert np.mean(excluded) <= 0.03


def test_the_noise_is_that_of_the_sweep_until_the_seeds_there_say_more() -> None:
    rng = np.random.default_rng(2)
    curves = [noisy(rng, 0.02, 32 * 2**n, np.arange(-3.0, 4.0), 3, 0.0) for n in range(3)]
    one, many = (noisy(rng, 0.002, 256, THREE, seeds, 0.0) for seeds in (1, 40))
    first, last = noise_there(curves, one), noise_there(curves, many)
    assert first is not None
    assert last is not None
    assert first.df == 6
    assert last.df == 6 + 2 * 39
    assert last.variance < first.variance / 5
    alone = noise_there([], many)
    assert alone is not None
    assert alone.df == 2 + 2 * 39
    assert noise_there([], one) is None


def test_what_was_predicted_stands_beside_it() -> None:
    sweep = swept(0.1)
    line = prediction(analyze(sweep, 0.25).arm("mup").optima, Scale(256))
    elsewhere = confirm(sweep, trained(256, PROXY + 0.3))
    assert elsewhere.predicted == pytest.approx(A * (0.3**2 + line.variance), rel=1e-3)
    assert elsewhere.predicted_low == pytest.approx(A * max(0, line.interval.ci_low - PROXY) ** 2, rel=1e-3)
    assert elsewhere.predicted_high == pytest.approx(A * (line.interval.ci_high - PROXY) ** 2, rel=1e-3)
    assert "from the line through the optima of widths 32, 64, 128" in elsewhere.sentence
    there = confirm(sweep, trained(128, PROXY + 0.2))
    assert there.predicted == pytest.approx(A * 0.2**2, abs=1e-6)
    assert "from the curve that was fitted at width 128" in there.sentence
    short = sweep[sweep["width"] == 32]
    alone = confirm(short, trained(256, PROXY))
    assert (alone.predicted, alone.predicted_low, alone.predicted_high) == (None, None, None)
    assert "nothing was predicted" in alone.sentence


def test_it_says_whether_the_prediction_came_true() -> None:
    still, moving = swept(), swept(1.0)
    for sweep, optimum, agrees, words in (
        (still, PROXY, True, "the two agree"),
        (still, PROXY + 0.3, True, "the two agree"),
        (still, PROXY + 2.0, False, "more was lost"),
        (moving, PROXY, False, "less was lost"),
        (moving, PROXY + 3.0, True, "the two agree"),
    ):
        found = confirm(sweep, trained(256, optimum))
        assert found.agrees is agrees
        assert words in found.sentence


def test_the_sentence_names_the_training_it_holds_for() -> None:
    found = confirm(swept(), trained(256, PROXY))
    assert found.sentence.startswith("mup: width 256 at the rate tuned at width 32, 2^-7.30, costs 0.000 nats (95% CI")
    assert "150 steps of 16 x 64 tokens (153,600 in all) on stdlib; a longer run was not measured" in found.sentence
    assert "\n" not in found.sentence


def test_what_is_lost_is_told_in_the_unit_of_the_loss() -> None:
    def squared(trials: pd.DataFrame) -> pd.DataFrame:
        return trials.assign(unit="squared error")

    found = confirm(squared(swept(0.1)), squared(trained(256, PROXY + 0.3)))
    assert found.unit == "squared error"
    assert found.sentence.count(" squared error (") == 2
    assert "nats" not in found.sentence


NOT = math.inf
DIVERGED = [
    ((NOT, NOT, NOT), False, False, "diverged, and so did half and double of it"),
    ((2.5, NOT, NOT), False, False, "diverged; 2^-8.30 trained, to a loss of 2.500"),
    ((2.4, NOT, 2.6), False, False, "diverged; 2^-8.30 trained, to a loss of 2.400"),
    ((NOT, 2.5, NOT), False, False, "nothing to compare it with"),
    ((2.6, 2.5, NOT), True, False, "the best of half, same and double is same"),
    ((2.4, 2.5, NOT), True, True, "costs at least 0.100 nats"),
]


@pytest.mark.parametrize(("losses", "measured", "at_least", "words"), DIVERGED)
def test_divergence_is_a_result(losses: tuple[float, ...], measured: bool, at_least: bool, words: str) -> None:
    found = confirm(swept(), frame({"mup": (Curve(Scale(256), PROXY + THREE, np.array([losses, losses])),)}))
    assert (found.measured is not None, found.at_least) == (measured, at_least)
    assert words in found.sentence
    assert found.losses == tuple(loss if loss < NOT else None for loss in losses)
    assert "nan" not in found.sentence
    assert "inf" not in found.sentence


def test_one_lucky_seed_is_no_loss() -> None:
    losses = np.array([[2.4, 2.5, 2.6], [NOT, 2.5, 2.6]])
    found = confirm(swept(), frame({"mup": (Curve(Scale(256), PROXY + THREE, losses),)}))
    assert found.losses == (None, pytest.approx(2.5), pytest.approx(2.6))


def test_one_seed_that_nobody_repeated_has_no_interval() -> None:
    found = confirm(swept(seeds=1), trained(256, PROXY + 0.8, seeds=1))
    assert found.measured is None
    assert found.at_least
    assert "costs at least 0.015 nats (how sure that is cannot be said" in found.sentence
    assert "give --seeds 2" in found.sentence
    assert confirm(swept(seeds=2), trained(256, PROXY, seeds=1)).measured is not None
    assert confirm(swept(seeds=1), trained(256, PROXY, seeds=2)).measured is not None


def test_only_whole_seeds_count() -> None:
    sweep, trials = swept(), trained(256, PROXY + 0.4, seeds=3)
    whole = confirm(sweep, trials[trials["seed"] < 2])
    assert confirm(sweep, trials.drop(index=trials.index[-1])) == whole
    analysis = analyze(sweep, 0.25)
    assert confirmation(analysis, from_frame(sweep), from_frame(trials.iloc[:2])) is None
    assert confirmation(analysis, from_frame(sweep), from_frame(trials.iloc[[0, 4, 8]])) is None


def test_trials_of_another_training_are_refused() -> None:
    sweep = swept()
    relu = '{"model.activation": "relu", "optimizer.beta2": 0.95}'
    with pytest.raises(ValueError, match=r"expected one model\.activation in arm mup"):
        confirm(sweep, trained(256, PROXY).assign(setting=relu))


def test_the_arm_to_follow_is_the_first_that_transfers_else_the_last() -> None:
    def both(first: float, second: float) -> Analysis:
        arms = {"sp": swept(first), "mup": swept(second)}
        return analyze(pd.concat([trials.assign(arm=arm) for arm, trials in arms.items()], ignore_index=True), 0.25)

    assert arm_to_follow(both(-1.0, 0.0)) == "mup"
    assert arm_to_follow(both(0.0, 0.0)) == "sp"
    assert arm_to_follow(both(-1.0, -1.0)) == "mup"
    assert arm_to_follow(both(-1.0, 0.0), "sp") == "sp"
    with pytest.raises(ValueError, match="found no arm 'ntk'"):
        arm_to_follow(both(0.0, 0.0), "ntk")
