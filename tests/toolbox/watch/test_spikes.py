"""Spikes against the definition, value by value."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pytest

from mutransfer.toolbox.watch.spikes import SpikeScore, find_spikes

FLAT = [3.0, 5.0] * 10
"""Mean 4, standard deviation sqrt(20 / 19)."""
EDGE = 7 * math.sqrt(20 / 19)


def spikes_in(losses: Iterable[float]) -> SpikeScore:
    """Its steps counted from 0."""
    return find_spikes(enumerate(losses))


def test_a_value_seven_standard_deviations_away_stands_out_and_one_below_that_does_not() -> None:
    assert spikes_in([*FLAT, 4 + EDGE - 1e-9]).percent == 0
    found = spikes_in([*FLAT, 4 + EDGE + 1e-9])
    assert found.percent == pytest.approx(100 / 21)
    (spike,) = found.spikes
    assert (spike.step, spike.loss, spike.before, spike.recovered) == (20, 4 + EDGE + 1e-9, 4.0, None)


def test_a_value_far_below_counts_in_the_score_and_is_no_spike() -> None:
    found = spikes_in([*FLAT, 4 - EDGE - 1e-9])
    assert found.percent == pytest.approx(100 / 21)
    assert not found.spikes


def test_the_score_is_that_of_the_last_thousand_before_each_value() -> None:
    draw = np.random.default_rng(0)
    losses = draw.normal(4, 0.1, 2500) + np.where(draw.random(2500) < 0.01, 3.0, 0.0)
    losses[:500] = draw.normal(4, 3.0, 500)  # what is 3 higher stands out once these have left the window
    losses[1450] += 3
    expected = 0
    for at in range(20, 2500):
        before = losses[max(0, at - 1000) : at]
        expected += abs(losses[at] - before.mean()) >= 7 * before.std(ddof=1)
    assert expected > 5
    assert spikes_in(losses).percent == pytest.approx(100 * expected / 2500)


def test_a_spike_recovers_where_the_loss_is_back_at_the_mean_before_it_and_lasts_until_then() -> None:
    found = spikes_in([*FLAT, 50.0, 60.0, 4.5, 4.0, 4.1])
    (spike,) = found.spikes
    assert (spike.step, spike.recovered) == (20, 23)
    assert found.unrecovered is None
    assert spikes_in([*FLAT, 50.0, 60.0, 4.5]).unrecovered == 20


def test_after_a_recovery_another_spike_may_begin() -> None:
    found = spikes_in([*FLAT * 5, 50.0, 3.0, *FLAT * 60, 90.0])
    assert [(spike.step, spike.recovered) for spike in found.spikes] == [(100, 101), (1302, None)]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_a_spike_and_joins_no_window(bad: float) -> None:
    found = spikes_in([*FLAT, bad, 4 + EDGE - 1e-9, 4.0])
    (spike,) = found.spikes
    assert (spike.step, spike.before, spike.recovered) == (20, 4.0, 22)
    assert found.percent == pytest.approx(100 / 23)
    first = spikes_in([bad, 4.0])
    assert (first.unrecovered, first.percent) == (0, 50.0)


def test_a_constant_loss_and_a_short_one_have_no_spikes() -> None:
    assert spikes_in([2.0] * 100).percent == 0
    assert spikes_in([1.0, 1.1, 50.0]).percent == 0
    assert spikes_in([]).percent == 0
