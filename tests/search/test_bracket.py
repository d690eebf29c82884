"""The bracket search: what it finds on planted curves, and that a round is a function of the records alone."""

from __future__ import annotations

import math
import os
import random
from collections import defaultdict
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sweep.fake_training import FakeTrain
from sweep.fakes import assert_journal_agrees, measured, small, sweep

from mutransfer.analysis.line import slope, slopes
from mutransfer.analysis.optimum import optima
from mutransfer.cli import main
from mutransfer.config import Scale, SweepConfig
from mutransfer.search.bracket import SEARCH, look_back
from mutransfer.search.bracket_rates import next_round
from mutransfer.search.bracket_seeds import Ask, Losses, Task, curve_of, spent, standard_error
from mutransfer.search.planned import cell_flops, cells
from mutransfer.search.protocol import Observation, Unit, units
from mutransfer.sweep.plan import estimate
from mutransfer.sweep.progress import PlainLines
from mutransfer.sweep.status import status
from mutransfer.trials import records

from .planted_search import COSTS, GRID, Planted, plant, play

WIDTHS = (32, 64, 128, 256)
SCALES = tuple(map(Scale, WIDTHS))
TASK = Task(SCALES, COSTS, -12.0, -3.0, 0.05, 8.0)
LRS = tuple(2.0**exponent for exponent in range(-11, -3))


def found(seen: dict[Scale, Losses]) -> dict[int | None, Any]:
    return {each.scale.width: each for each in optima([curve_of(size, seen[size]) for size in sorted(seen)])}


def run(task: Task, loss: Any) -> dict[Scale, dict[tuple[float, int], float]]:
    seen: dict[Scale, dict[tuple[float, int], float]] = {}
    while asked := next_round(task, seen):
        for ask in asked:
            seen.setdefault(ask.scale, {})[ask.log2_lr, ask.seed] = loss(ask)
    return seen


def parabola(optima: dict[int, float]) -> Any:
    """With a little noise of each trial's own."""

    def loss(ask: Ask) -> float:
        z = ask.log2_lr - optima[ask.scale.width]
        own = random.Random(f"{ask.scale.width} {ask.log2_lr} {ask.seed}").gauss(0, 0.003)
        return math.inf if z > 3.5 else 2.3 + 0.025 * z**2 + 0.02 * ask.seed + own

    return loss


@pytest.mark.parametrize("slope_", [0.0, -1.0, 0.5])
def test_it_finds_optima_that_stand_still_and_that_move(slope_: float) -> None:
    true = {width: -7.3 + slope_ * (math.log2(width) - 6.5) for width in WIDTHS}
    seen = run(TASK, parabola(true))
    for size, optimum in found(seen).items():
        assert optimum.interior
        assert optimum.log2_lr == pytest.approx(true[size], abs=0.35)
    se = standard_error(TASK, seen)
    assert se is not None
    assert se <= TASK.target_se
    assert spent(TASK, seen) <= TASK.budget
    assert len(seen[Scale(256)]) < len(seen[Scale(32)])


@pytest.mark.parametrize("jump", [-3.0, 3.0])
def test_a_neighbour_is_where_it_starts_and_no_assumption(jump: float) -> None:
    true = {32: -7.3, 64: -7.3, 128: -7.3 + jump, 256: -7.3}
    task = Task(SCALES, COSTS, -16.0, 0.0, 0.05, 12.0)
    for size, optimum in found(run(task, parabola(true))).items():
        assert optimum.log2_lr == pytest.approx(true[size], abs=0.4)


def test_no_rate_lies_beyond_the_range_and_what_does_is_censored() -> None:
    task = Task(SCALES, COSTS, -8.0, -5.0, 0.05, 8.0)
    seen = run(task, parabola(dict.fromkeys(WIDTHS, -11.0)))
    assert all(-8 <= rate <= -5 for losses in seen.values() for rate, _ in losses)
    assert {optimum.status for optimum in found(seen).values()} == {"censored_low"}
    assert standard_error(task, seen) is None


@pytest.mark.parametrize("cliff", [0.6, 1.1])
def test_beside_a_cliff_three_rates_train_at_every_size(cliff: float) -> None:
    """Where the loss falls steeply up to the rate at which it diverges, as under SGD."""

    def loss(ask: Ask) -> float:
        z = ask.log2_lr + 7.3
        return math.inf if z > cliff else 2.3 + 0.1 * (cliff - z) + 0.002 * ask.seed

    for losses in run(TASK, loss).values():
        assert len({rate for (rate, _), each in losses.items() if math.isfinite(each)}) >= 3


def test_beside_a_cliff_seeds_are_repeated_until_the_slope_is_known() -> None:
    """The one rate above the optimum that trains lies so near that it does not weigh the sides."""
    curve = parabola(dict.fromkeys(WIDTHS, -7.25))
    seen = run(TASK, lambda ask: math.inf if ask.log2_lr > -7 else curve(ask))
    se = standard_error(TASK, seen)
    assert se is not None
    assert se <= TASK.target_se or spent(TASK, seen) > TASK.budget - 1


def test_where_everything_diverges_it_ends() -> None:
    seen = run(TASK, lambda ask: math.inf)
    assert sum(map(len, seen.values())) <= 14 * len(WIDTHS)


def test_a_budget_is_never_passed_and_more_of_it_goes_on_from_what_there_is() -> None:
    planted = plant(np.random.default_rng(3), "symmetric", 0.0, 2.0)
    before: dict[Scale, Losses] = {}
    for budget in (2.0, 4.0, 6.0, 9.0):
        task = Task(SCALES, COSTS, -12.0, -3.0, 0.001, budget)
        seen = play(planted, task)
        assert spent(task, seen) <= budget + 1e-6
        assert sum(map(len, seen.values())) >= sum(map(len, before.values()))
        before = seen


def test_seeds_are_on_both_sides_of_the_optimum_at_rates_of_the_first_seed() -> None:
    seen = run(Task(SCALES, COSTS, -12.0, -3.0, 0.02, 8.0), parabola(dict.fromkeys(WIDTHS, -7.3)))
    for losses in seen.values():
        first = {rate for rate, seed in losses if seed == 0}
        for seed in {seed for _, seed in losses} - {0}:
            rates = {rate for rate, other in losses if other == seed}
            assert rates <= first
            assert min(rates) < -7.3 < max(rates)


def test_it_comes_near_a_grid_of_three_times_its_cost() -> None:
    """The whole of it is results/calibration/search.md; a slope of a grid of 20 trials at every width is 0.03 off."""
    rng, ours, grid, cost = np.random.default_rng(11), [], [], []
    for number in range(24):
        kind = ("symmetric", "skewed_right", "skewed_left", "measured")[number % 4]
        planted = plant(rng, kind, -1.0 * (number // 4 % 2), 1.0, wobble=0.05)
        seen = play(planted, TASK)
        ours.append(error([curve_of(size, seen[size]) for size in SCALES], planted))
        grid.append(error(planted.curves(GRID, 2), planted))
        cost.append(spent(TASK, seen) / 20)
    assert np.mean(cost) < 0.35
    assert np.sqrt(np.mean(np.square(ours))) < 1.5 * np.sqrt(np.mean(np.square(grid)))


def error(curves: Any, planted: Planted) -> float:
    line = slope(optima(curves))
    assert line is not None
    return line.value - planted.slope


def unit(**changes: Any) -> Unit:
    (one,) = units(small(Path("unused"), search="bracket", widths=WIDTHS, lrs=LRS, seeds=2, **changes))
    return one


def observed(proposed: Any, loss: Any) -> list[tuple[tuple[str, int], Observation]]:
    return [
        (
            cell.key,
            Observation(
                point.lr,
                point.seed,
                loss(Ask(cell.scale.only(("width",)), math.log2(point.lr), point.seed)),
                "bracket",
                point.round,
            ),
        )
        for cell, point in proposed
    ]


def search(one: Unit, loss: Any, histories: Any, order: random.Random | None = None, stop: int = 10**6) -> Any:
    """Run rounds until `stop` trials more are recorded; `order` shuffles the arrivals."""
    while proposed := SEARCH.propose(one, histories):
        arrived = observed(proposed, loss)
        if order:
            order.shuffle(arrived)
        for key, seen in arrived:
            if stop == 0:
                return histories
            stop -= 1
            histories[key].append(seen)
            if order:
                order.shuffle(histories[key])
    return histories


def told(histories: Any) -> dict[Any, list[Observation]]:
    return {key: sorted(seen) for key, seen in histories.items()}


@settings(max_examples=10, deadline=None)
@given(order=st.randoms(use_true_random=False), stops=st.lists(st.integers(0, 12), max_size=3))
def test_any_order_and_any_kills_lead_to_the_same_trials(order: random.Random, stops: list[int]) -> None:
    one, loss = unit(), parabola({32: -6.8, 64: -7.4, 128: -7.1, 256: -7.7})
    whole = search(one, loss, defaultdict(list))
    histories: Any = defaultdict(list)
    for stop in stops:
        search(one, loss, histories, order, stop)
    assert told(search(one, loss, histories, order)) == told(whole)


def test_a_round_that_is_recorded_in_part_asks_for_the_rest_of_it() -> None:
    one, loss = unit(), parabola(dict.fromkeys(WIDTHS, -7.3))
    histories: Any = defaultdict(list)
    while proposed := SEARCH.propose(one, histories):
        kept = observed(proposed, loss)[::2]
        for key, seen in kept:
            histories[key].append(seen)
        rest = SEARCH.propose(one, histories)
        assert [point for _, point in rest] == [point for _, point in proposed[1::2]] or len(proposed) == 1
        for key, seen in observed(proposed, loss)[1::2]:
            histories[key].append(seen)


def at(width: int) -> Scale:
    return small(Path("unused")).whole(Scale(width))


def test_it_goes_on_from_what_is_recorded() -> None:
    loss = parabola({32: -6.8, 64: -7.4, 128: -7.1, 256: -7.7, 512: -7.5})
    histories = search(unit(), loss, defaultdict(list))
    before = {key: list(seen) for key, seen in histories.items()}
    surer = unit(target_se=0.012, budget=12.0)
    search(surer, loss, histories)
    assert look_back(surer, histories).spent > look_back(unit(), before).spent
    (wider,) = units(small(Path("unused"), search="bracket", widths=(*WIDTHS, 512), lrs=(2.0**-12, *LRS)))
    after = search(wider, loss, histories)
    assert after["mup", at(512)]
    for key, seen in before.items():
        assert set(seen) <= set(after[key])
        assert len({(each.lr, each.seed) for each in after[key]}) == len(after[key])


def test_it_goes_on_from_a_grid() -> None:
    loss = parabola(dict.fromkeys(WIDTHS, -7.3))
    histories: Any = defaultdict(list)
    for width in WIDTHS[:3]:
        for lr in (0.001, 0.003, 0.009, 0.03):
            value = loss(Ask(Scale(width), math.log2(lr), 0))
            histories["mup", at(width)].append(Observation(lr, 0, value, "grid", 0))
    search(unit(budget=12.0), loss, histories)
    for histories_at in histories.values():
        rates = {seen.lr for seen in histories_at}
        assert len({round(math.log2(rate), 6) for rate in rates}) == len(rates), "a rate ran twice, rounded otherwise"
    assert len({seen.seed for seen in histories["mup", at(32)]}) > 1


def test_what_diverged_is_no_large_loss() -> None:
    """Equal losses everywhere would be flat and call for seeds; where all diverged no seed will help."""
    histories = search(unit(), lambda ask: math.inf, defaultdict(list))
    assert {seen.seed for seen_at in histories.values() for seen in seen_at} == {0}


def test_a_sweep_by_bracket(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = small(tmp_path, search="bracket", widths=WIDTHS, lrs=LRS, target_se=0.05)
    lines: list[str] = []
    outcome = sweep(config, FakeTrain(os.devnull), PlainLines(lines.append, every=0))
    planned = estimate(config, {}, 1)
    assert " of about " in lines[1]
    assert lines[-1] == f"{outcome.ran}/{outcome.ran} trials"
    assert 0 < planned.trials < planned.most
    assert outcome.ran <= planned.most
    (searched,) = outcome.searched
    assert searched.spent <= config.budget
    assert "standard error of the slope" in searched.sentence
    assert {record.search for record in records.read(tmp_path / "records.jsonl")} == {"bracket"}
    assert_journal_agrees(tmp_path)
    again = sweep(config, FakeTrain(os.devnull))
    assert (again.ran, again.searched) == (0, outcome.searched)
    now = status(tmp_path)
    assert (now.done, now.planned, now.searches) == (outcome.ran, outcome.ran, False)
    lines_left = (tmp_path / "records.jsonl").read_text().splitlines(keepends=True)[:9]
    (tmp_path / "records.jsonl").write_text("".join(lines_left))
    assert main(["status", str(tmp_path)]) == 0
    now = status(tmp_path)
    assert f"9 of about {now.planned} trials done" in capsys.readouterr().out


def test_a_budget_that_is_too_small_is_said(tmp_path: Path) -> None:
    config = small(tmp_path, search="bracket", widths=WIDTHS, lrs=LRS, target_se=0.001)
    (searched,) = sweep(config, FakeTrain(os.devnull)).searched
    assert not searched.reached
    assert searched.spent < config.budget
    assert searched.sentence.endswith(": no further round fits the budget (--budget)")
    start = sum(price(config, 32) for _ in range(4))
    one = small(tmp_path / "start", search="bracket", widths=WIDTHS, lrs=LRS, budget=start + 0.01)
    (searched,) = sweep(one, FakeTrain(os.devnull)).searched
    assert searched.sentence.endswith("an optimum, and no further round fits the budget (--budget)")


def price(config: SweepConfig, width: int) -> float:
    costs = {cell.scale.width: cell_flops(config, cell) for cell in cells(config)}
    return costs[width] / sum(costs.values())


def test_what_ended_it_is_said_where_it_was_not_the_budget() -> None:
    endless = unit(target_se=1e-6, budget=1e6)
    most = look_back(endless, search(endless, parabola(dict.fromkeys(WIDTHS, -7.3)), defaultdict(list)))
    assert not most.reached
    assert most.sentence.endswith(": every size with an optimum has 9 seeds, the most")
    censored = look_back(endless, search(endless, parabola(dict.fromkeys(WIDTHS, -20.0)), defaultdict(list)))
    assert censored.sentence.endswith(": fewer than two sizes have an optimum")
    for ended in (most, censored):
        assert "--budget" not in ended.sentence
    loose = unit(target_se=0.5)
    reached = look_back(loose, search(loose, parabola(dict.fromkeys(WIDTHS, -7.3)), defaultdict(list)))
    assert reached.reached
    assert reached.sentence.endswith("of 8 trials at every size")


def test_a_budget_below_the_first_rates_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    config = small(tmp_path / "result", search="bracket", widths=WIDTHS, lrs=LRS, budget=0.01)
    for refused in (lambda: sweep(config, FakeTrain(os.devnull)), lambda: estimate(config, {}, 1)):
        with pytest.raises(ValueError, match=r"^found budget 0\.01, .*; wanted more, .*: give --budget$"):
            refused()
    assert not (tmp_path / "result").exists()


@pytest.mark.parametrize(
    ("axis", "sizes"), [("depths", (1, 2, 4)), ("batch_sizes", (2, 4, 8)), ("step_counts", (4, 8))]
)
def test_it_works_along_every_axis(tmp_path: Path, axis: str, sizes: tuple[int, ...]) -> None:
    config = small(tmp_path, search="bracket", widths=(32,), lrs=LRS, steps=SweepConfig.steps, **{axis: sizes})
    outcome = sweep(config, FakeTrain(os.devnull))
    assert outcome.ran == len(measured(tmp_path)) > 4 * len(sizes)
    assert sweep(config, FakeTrain(os.devnull)).ran == 0


LADDER = tuple(Scale(width, steps=steps) for width, steps in ((32, 100), (64, 100), (32, 400), (64, 400), (128, 400)))
OVER_TWO = Task(LADDER, (1.0, 2.0, 4.0, 8.0, 30.0), -16.0, -2.0, 0.08, 40.0, ("width", "steps"))


@pytest.mark.parametrize(("by_width", "by_steps"), [(0.0, 0.0), (-1.0, 0.5), (0.5, -1.0)])
def test_over_two_dimensions_each_partial_slope_is_told(by_width: float, by_steps: float) -> None:
    """A ladder: a new scale starts where the nearest, or the plane through those there are, points to."""
    true = {each: -8 + by_width * (each.log2("width") - 6) + by_steps * (each.log2("steps") - 8) for each in LADDER}

    def loss(ask: Ask) -> float:
        own = random.Random(f"{ask}").gauss(0, 0.003)
        return 2.3 + 0.025 * (ask.log2_lr - true[ask.scale]) ** 2 + 0.02 * ask.seed + own

    seen = run(OVER_TWO, loss)
    known = slopes(optima([curve_of(scale, seen[scale]) for scale in sorted(seen)]), OVER_TWO.dimensions)
    assert known["width"].value == pytest.approx(by_width, abs=0.25)
    assert known["steps"].value == pytest.approx(by_steps, abs=0.25)
    se = standard_error(OVER_TWO, seen)
    assert se == max(math.sqrt(each.variance) for each in known.values())
    assert se <= OVER_TWO.target_se
    assert spent(OVER_TWO, seen) <= OVER_TWO.budget
    # the last scale begins beside its optimum, which lies up to 2.5 octaves from any before it
    first = list(seen[LADDER[-1]])[:3]
    assert min(abs(rate - true[LADDER[-1]]) for rate, _ in first) <= 1


def test_a_sweep_by_bracket_over_two_dimensions(tmp_path: Path) -> None:
    config = small(tmp_path, search="bracket", widths=(32, 64), batch_sizes=(4, 8), lrs=LRS, target_se=0.5, budget=12.0)
    found = sweep(config, FakeTrain(os.devnull))
    assert "the least sure slope" in found.searched[0].sentence
    assert {record.scale for record in records.read(tmp_path / "records.jsonl")} == {
        config.whole(scale) for scale in config.scales
    }
    assert sweep(config, FakeTrain(os.devnull)).ran == 0
    assert_journal_agrees(tmp_path)


def test_what_is_expected_ends_at_nothing() -> None:
    one, loss = unit(), parabola(dict.fromkeys(WIDTHS, -7.3))
    fresh = SEARCH.expect(one, defaultdict(list))
    assert all(0 < count.about <= count.most for count in fresh.values())
    assert set(SEARCH.expect(one, search(one, loss, defaultdict(list))).values()) == {(frozenset(), 0)}


def test_a_begun_search_takes_about_as_many_trials_as_expected() -> None:
    """To a surer slope, or over a further size, from what a bracket has found, or a grid."""
    rng, expected, ran = np.random.default_rng(3), 0, 0
    for further, after_grid in product(({"target_se": 0.025}, {"target_se": 0.025, "widths": WIDTHS}), (False, True)):
        for planted in (plant(rng, "measured", slope_, 1.0) for slope_ in (0.0, -0.2, 0.2)):
            config = small(Path("unused"), search="bracket", widths=WIDTHS[:3], lrs=LRS, budget=40.0)
            grid = [(width, lr) for width in config.widths for lr in LRS if after_grid]
            histories: Any = defaultdict(list)
            for width, lr in grid:
                loss = planted.loss(Ask(Scale(width), math.log2(lr), 0))
                histories["mup", at(width)].append(Observation(lr, 0, loss, "grid", 0))
            (begun,), (whole,) = units(config), units(replace(config, **further))
            search(begun, planted.loss, histories)
            before = sum(map(len, histories.values()))
            expected += sum(count.about for count in SEARCH.expect(whole, histories).values())
            ran += sum(map(len, search(whole, planted.loss, histories).values())) - before
    assert expected == pytest.approx(ran, rel=0.4)


def test_a_surer_slope_is_expected_to_take_more() -> None:
    """Where the budget allows it; and no more than that."""
    nothing: Any = defaultdict(list)

    def about(**changes: Any) -> int:
        return sum(count.about for count in SEARCH.expect(unit(**changes), nothing).values())

    assert about(target_se=0.2) == about() < about(target_se=0.02, budget=100.0)
    one = unit(target_se=0.01)
    cost = sum(count.about * cell_flops(one.config, cell) for cell, count in SEARCH.expect(one, nothing).items())
    assert cost <= one.config.budget * sum(cell_flops(one.config, cell) for cell in one.cells)
