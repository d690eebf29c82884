"""Which runs tell most about a run to come: by Gaussian conditioning in full, and against other designs."""

import numpy as np
import pytest

from analysis.planted_law import cells as planted_cells
from mutransfer.analysis import design
from mutransfer.analysis.design import FEWEST_STEPS, Ladder, cost, halvings, ladder
from mutransfer.analysis.law import Measured, beliefs, coordinates, fit
from mutransfer.analysis.two_regimes import expected
from mutransfer.config.scale import Scale
from mutransfer.theory.lr_priors import COLLECTION, FAMILY, MUP, SP

TARGET = Scale(params=2**30, tokens=2.0**36, batch_size=512)
GRID = [
    Scale(params=2**n, tokens=2.0**d, batch_size=2**b)
    for n in (25, 26, 27, 28)
    for d in (31, 32.5, 34)
    for b in (5, 6, 7, 8, 9)
]


def half_after(chosen: list[Scale]) -> float:
    """Half-width at the target once the optima of these cells are measured, from the prior."""
    axes = coordinates((*GRID, TARGET), [TARGET])
    law = expected(axes.cells.mean(axis=0), beliefs(axes, SP, COLLECTION))
    places = np.array([GRID.index(scale) for scale in chosen])
    _, known = law.covariance_of(axes.cells[[-1, *places]])
    measured = known[1:, 1:] + design.MEASURED_SD**2 * np.eye(len(chosen))
    return 1.96 * float(np.sqrt(known[0, 0] - known[0, 1:] @ np.linalg.solve(measured, known[1:, 0])))


@pytest.fixture(scope="module")
def planned() -> Ladder:
    budget = sum(5 * cost(scale, TARGET) for scale in GRID) / 3
    return ladder(TARGET, budget, SP, COLLECTION, cells=GRID)


def test_the_expected_interval_is_that_of_the_cells_together(planned: Ladder) -> None:
    """Chosen one by one, conditioned on all at once."""
    assert planned.half == pytest.approx(half_after([rung.scale for rung in planned.rungs]), rel=1e-3)
    halves = [planned.before, *(rung.half for rung in planned.rungs)]
    assert halves == sorted(halves, reverse=True)


def test_a_third_of_the_factorial_s_cost_tells_as_much(planned: Ladder) -> None:
    """The factorial: every cell, five rates."""
    factorial = sum(5 * cost(scale, TARGET) for scale in GRID)
    assert planned.share <= factorial / 3
    assert planned.half <= 1.1 * half_after(GRID)


def test_it_beats_random_designs_of_its_cost() -> None:
    """Of a twentieth of the factorial's cost, where not everything can be run."""
    budget = sum(5 * cost(scale, TARGET) for scale in GRID) / 20
    planned = ladder(TARGET, budget, SP, COLLECTION, cells=GRID)
    others = []
    for seed in range(20):
        left, chosen = budget, list[Scale]()
        for at in np.random.default_rng(seed).permutation(len(GRID)):
            # The first cell is to find the rates, as in the ladder.
            if (spent := (3 if chosen else 9) * cost(GRID[at], TARGET)) <= left:
                left, chosen = left - spent, [*chosen, GRID[at]]
        others.append(half_after(chosen))
    assert planned.half < min(others)


def test_the_budget_holds_and_more_of_it_tells_more() -> None:
    target = Scale(width=1024, depth=8, batch_size=256, steps=20000)
    found = [ladder(target, budget, MUP, FAMILY) for budget in (0.005, 0.05)]
    assert [plan.share <= budget for plan, budget in zip(found, (0.005, 0.05), strict=True)] == [True, True]
    assert found[0].half > found[1].half
    assert ladder(target, 0.005, MUP, FAMILY) == found[0]
    for rung in found[1].rungs:
        assert rung.share == pytest.approx(len(rung.log2_lrs) * cost(rung.scale, target))
        assert np.diff(rung.log2_lrs) == pytest.approx(1.0)


def test_what_is_measured_is_not_planned_again_and_its_rates_are_known() -> None:
    cells = [Scale(params=2**n, tokens=2.0**31, batch_size=64) for n in (25, 27)]
    known = Measured(tuple(cells), np.array([-8.0, -9.0]), 0.1**2 * np.eye(2), 10.0, np.full(2, np.nan))
    found = ladder(TARGET, 1.0, SP, COLLECTION, known, GRID)
    assert not {*cells} & {rung.scale for rung in found.rungs}
    near = next(rung for rung in found.rungs if rung.scale.params in (2**25, 2**26))
    assert -10 < np.mean(near.log2_lrs) < -7
    assert found.before < 5


def test_halvings_are_whole_and_cost_what_their_sizes_say() -> None:
    target = Scale(width=4096, depth=32, batch_size=1024, steps=100_000)
    found = halvings(target)
    assert target in found
    assert all(each.steps is not None and each.steps >= FEWEST_STEPS for each in found)
    smaller = Scale(width=1024, depth=16, batch_size=256, steps=100_000)
    assert smaller in found
    assert cost(smaller, target) == pytest.approx((1 / 16) * (1 / 2) * (1 / 4))
    assert cost(Scale(params=2**28, tokens=2.0**34, batch_size=32), TARGET) == pytest.approx(1 / 16)


def test_a_law_that_was_fitted_tells_the_same_of_one_cell_as_of_many() -> None:
    """`covariance_of` and `at`: one variance of one prediction."""
    rng = np.random.default_rng(3)
    where = planted_cells(rng, "two regimes")
    scales = [Scale(params=2.0 ** (27 + n), tokens=2.0 ** (32 + d), batch_size=2.0 ** (6 + b)) for n, d, b in where]
    known = Measured(
        tuple(scales), -9 - 0.5 * where[:, 0], 0.1**2 * np.eye(len(scales)), 10.0, np.full(len(scales), np.nan)
    )
    between = Scale(params=2**27.5, tokens=2.0**32.5, batch_size=200)
    axes = coordinates(scales, [between])
    law = fit(axes.cells, known, beliefs(axes, SP, COLLECTION))
    mean, covariance = law.covariance_of(axes.points)
    found = law.at(axes.points[0, :1], *axes.points[0, 1:])
    assert mean[0] == pytest.approx(found.log2_lr, abs=0.1)
    assert np.sqrt(covariance[0, 0]) == pytest.approx(found.sd, rel=0.1)
