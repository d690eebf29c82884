"""Proposals: the same whatever the order, complete, and better than chance."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mutransfer.config import SweepConfig
from mutransfer.config.searches import ROUND
from mutransfer.search.listed import find_missing
from mutransfer.search.listed import propose_settings as propose
from mutransfer.search.planned import Point
from mutransfer.search.protocol import Observation

STUDY = "mup/width=64"


def config(
    search: str, n_trials: int = 12, seeds: int = 2, lrs: tuple[float, ...] = (2.0**-12, 2.0**-2)
) -> SweepConfig:
    return SweepConfig(search=search, n_trials=n_trials, seeds=seeds, lrs=lrs)


def loss(point: Point) -> float:
    return (math.log2(point.lr) + 6) ** 2 + 0.01 * point.seed


def observed(points: list[Point], search: str) -> list[Observation]:
    return [Observation(point.lr, point.seed, loss(point), search, point.round) for point in points]


def play(
    sweep: SweepConfig, order: random.Random, history: tuple[Observation, ...] = (), study: str = STUDY
) -> list[Observation]:
    """Run a search to its end, each round's results arriving in any order."""
    seen = list(history)
    while points := propose(sweep, study, seen):
        arrived = observed(points, sweep.search)
        order.shuffle(arrived)
        seen += arrived
        order.shuffle(seen)
    return seen


def test_the_grid_is_every_rate_with_every_seed() -> None:
    points = propose(config("grid", lrs=(0.1, 0.2), seeds=3), STUDY, [])
    assert points == [Point(lr, seed, 0) for lr in (0.1, 0.2) for seed in range(3)]


@pytest.mark.parametrize("search", ["random", "tpe"])
def test_every_rate_lies_in_the_range_and_gets_every_seed(search: str) -> None:
    seen = play(config(search), random.Random(0))
    rates = {point.lr for point in seen}
    assert len(rates) == 12
    assert len(seen) == 24
    assert all(2.0**-12 <= lr <= 2.0**-2 for lr in rates)
    assert {(point.lr, point.seed) for point in seen} == {(lr, seed) for lr in rates for seed in range(2)}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(order=st.randoms(use_true_random=False), lost=st.integers(0, 23), search=st.sampled_from(["random", "tpe"]))
def test_a_killed_search_ends_as_one_that_was_not(order: random.Random, lost: int, search: str) -> None:
    sweep = config(search)
    whole = play(sweep, random.Random(0))
    rounds = max(seen.round for seen in whole) + 1
    # What a kill can leave: earlier rounds whole, a part of the one that was under way.
    current = lost % rounds
    left = [s for s in whole if s.round < current or (s.round == current and order.random() < 0.5)]
    assert sorted(play(sweep, order, tuple(left))) == sorted(whole)


def test_studies_and_rounds_draw_differently() -> None:
    sweep = config("random")
    assert propose(sweep, "mup/width=64", []) != propose(sweep, "mup/width=128", [])
    assert propose(sweep, STUDY, []) == propose(sweep, STUDY, [])


def test_tpe_waits_for_the_whole_round() -> None:
    sweep = config("tpe", seeds=1)
    first = propose(sweep, STUDY, [])
    assert len(first) == ROUND
    assert propose(sweep, STUDY, observed(first[:3], "tpe")) == first[3:]
    second = propose(sweep, STUDY, observed(first, "tpe"))
    assert {point.round for point in second} == {1}


def test_tpe_learns_from_the_rounds_before() -> None:
    sweep = config("tpe", seeds=1)
    first = propose(sweep, STUDY, [])
    good = [Observation(p.lr, 0, loss(p), "tpe", 0) for p in first]
    bad = [Observation(p.lr, 0, -loss(p), "tpe", 0) for p in first]
    assert propose(sweep, STUDY, good) != propose(sweep, STUDY, bad)


def test_the_order_of_arrival_does_not_matter_even_among_equals() -> None:
    sweep = config("tpe", seeds=1)
    rates = [2.0 ** -(e / 8) for e in range(16, 96)]
    seen = [Observation(lr, 0, math.inf if lr > 2**-9 else 2.0, "tpe", 0) for lr in rates]
    proposals = propose(sweep, STUDY, seen)
    for number in range(5):
        random.Random(number).shuffle(seen)
        assert propose(sweep, STUDY, seen) == proposals


def test_tpe_comes_closer_than_random() -> None:
    def mean_error(search: str) -> float:
        seen = [s for study in range(6) for s in play(config(search, 24, 1), random.Random(0), study=f"study{study}")]
        return sum(abs(math.log2(s.lr) + 6) for s in seen) / len(seen)

    assert mean_error("tpe") < 0.9 * mean_error("random")


def test_tpe_learns_from_a_grid_that_was_there_before() -> None:
    sweep = config("tpe", seeds=1)
    grid = [Observation(2.0**e, 0, float((e + 6) ** 2), "grid", 0) for e in range(-12, -1)]
    assert propose(sweep, STUDY, grid) != propose(sweep, STUDY, [])


@pytest.mark.parametrize("search", ["grid", "random", "tpe"])
def test_the_count_of_what_is_missing_is_what_is_then_proposed(search: str) -> None:
    sweep = config(search, 10)
    seen: list[Observation] = []
    total = len(find_missing(sweep, seen))
    while points := propose(sweep, STUDY, seen):
        assert len(find_missing(sweep, seen)) == total - len(seen)
        seen += observed(points, search)
    assert len(seen) == total
    assert len(find_missing(sweep, seen)) == 0


@pytest.mark.parametrize("search", ["random", "tpe"])
def test_more_seeds_keep_the_rates(search: str) -> None:
    seen = play(config(search, seeds=1), random.Random(0))
    more = play(config(search, seeds=3), random.Random(1), tuple(seen))
    assert {s.lr for s in more} == {s.lr for s in seen}
    assert len(more) == 3 * len(seen)


@pytest.mark.parametrize("search", ["random", "tpe"])
def test_fewer_rates_with_more_seeds_are_that_many(search: str) -> None:
    """A narrow sweep in a folder that holds a wider one: it takes the rates that have most of its seeds."""
    wide = play(config(search, 9, seeds=1), random.Random(0))
    both = play(config(search, 5, seeds=3), random.Random(1), tuple(wide))
    assert len(both) == 9 + 5 * 2
    assert {s.lr for s in both} == {s.lr for s in wide}
    assert propose(config(search, 9, seeds=1), STUDY, both) == []
    assert play(config(search, 9, seeds=1), random.Random(2), tuple(both)) == both
    other = play(config(search, 9, seeds=1), random.Random(0), tuple(play(config(search, 5, 3), random.Random(0))))
    assert len(other) == len(both)
    assert propose(config(search, 5, seeds=3), STUDY, other) == []


def test_a_wider_range_keeps_what_was_tried() -> None:
    seen = play(config("tpe", 8, 1), random.Random(0))
    more = play(config("tpe", 12, 1, lrs=(2.0**-14, 1.0)), random.Random(0), tuple(seen))
    assert set(seen) < set(more)
    assert len(more) == 12
