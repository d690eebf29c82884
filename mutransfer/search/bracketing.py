"""The bracket search of an arm, from its records: what bracket.py asks for as trials, and what is to come of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mutransfer.config import SweepConfig
from mutransfer.search.bracket import CLOSE, MOST_RATES, next_round
from mutransfer.search.known import Losses, Task, describe, spent, standard_error
from mutransfer.search.pairs import MOST_SEEDS, expect_pairs
from mutransfer.search.planned import Cell, Point, cell_flops
from mutransfer.search.rounds import DIVERGED_LOSS, Expected, Histories, Observation, Unit

SEARCH = "bracket"

TYPICAL = (18, 7, 5)
"""Trials at the cheapest sizes, and at every further one, in the mean over planted sweeps (experiments/calibration), to
the default standard error."""


@dataclass(frozen=True)
class Searched:
    """How far the search of an arm came. `se` is the standard error of its slope, octaves of rate per doubling of
    size; None where fewer than two sizes have an optimum. `spent` and `budget` are in trials at every size; `more`:
    whether a larger budget would buy a further round."""

    arm: str
    se: float | None
    target_se: float
    spent: float
    budget: float
    more: bool

    @property
    def reached(self) -> bool:
        """Whether the slope is known as well as wanted."""
        return self.se is not None and self.se <= self.target_se

    @property
    def sentence(self) -> str:
        """All of it in a line."""
        cost = f"for the cost of {self.spent:.1f} of {self.budget:g} trials at every size"
        ended = "no further round fits the budget (--budget)"
        if self.se is None:
            found = f"{self.arm}: no standard error of the slope {cost}: fewer than two sizes have an optimum"
            return f"{found}, and {ended}" if self.more else found
        found = f"{self.arm}: standard error of the slope {self.se:.3f}, wanted {self.target_se:g}, {cost}"
        if self.reached:
            return found
        return f"{found}: {ended if self.more else f'every size with an optimum has {MOST_SEEDS} seeds, the most'}"


def propose_round(unit: Unit, histories: Histories) -> list[tuple[Cell, Point]]:
    """As `search.propose`.

    A round is asked for by the records of the rounds before it, and keeps its number until all of it is recorded.
    """
    recorded = {cell: histories[cell.key] for cell in unit.cells}
    last = max((seen.round for each in recorded.values() for seen in each if seen.search == SEARCH), default=0)
    before = {
        cell: [seen for seen in each if seen.search != SEARCH or seen.round < last] for cell, each in recorded.items()
    }
    return _missing(unit, before, recorded, last) or _missing(unit, recorded, recorded, last + 1)


def expect_trials(unit: Unit, histories: Histories) -> dict[Cell, Expected]:
    """As `search.expect`: about as many as the wanted standard error takes, at most as many as the budget buys."""
    proposed = propose_round(unit, histories)
    if not proposed:
        return {cell: Expected(0, 0) for cell in unit.cells}
    task, found = _task(unit), {}
    seen = _seen({cell: histories[cell.key] for cell in unit.cells})
    left = task.budget - spent(task, seen)
    to_come = _expect_further(task, seen, left)
    for cell in _cheapest_first(unit):
        asked = sum(other == cell for other, _ in proposed)
        about = max(to_come[_size(cell)], asked)
        # As if all that is left were spent on the cheapest sizes.
        room = MOST_RATES * MOST_SEEDS - len(histories[cell.key])
        most = max(min(room, math.floor(left / task.price(_size(cell)) + CLOSE)), 0)
        left -= most * task.price(_size(cell))
        found[cell] = Expected(about, max(about, most))
    return found


def _expect_further(task: Task, seen: Mapping[int, Losses], left: float) -> dict[int, int]:
    """About how many trials are to come at each size, for what is left. Once two sizes have an optimum: pairs by the
    search's own rule, and what is usual at sizes without a trial. Before: what is usual."""
    usual = {size: TYPICAL[min(place, len(TYPICAL) - 1)] for place, size in enumerate(task.sizes)}
    done = {size: len(seen[size]) if size in seen else 0 for size in task.sizes}
    new = {size: 0 if done[size] else usual[size] for size in task.sizes}
    known = describe([size for size in task.sizes if size in seen], seen) if seen else {}
    pairs = expect_pairs(task, known, left - sum(count * task.price(size) for size, count in new.items()))
    if pairs is not None:
        wanted = {size: 2.0 * pairs[size] + new[size] for size in task.sizes}
    else:
        # The variance falls as pairs are added, so that half the standard error takes about four times as many.
        effort = max(1.0, (SweepConfig.target_se / task.target_se) ** 2)
        wanted = {size: max(0.0, effort * usual[size] - done[size]) for size in task.sizes}
    cost = sum(count * task.price(size) for size, count in wanted.items())
    part = min(1.0, left / cost) if cost else 0.0
    return {size: math.floor(count * part + CLOSE) for size, count in wanted.items()}


def look_back(unit: Unit, histories: Histories) -> Searched:
    """How far a unit's search came."""
    task = _task(unit)
    seen = _seen({cell: histories[cell.key] for cell in unit.cells})
    se = standard_error(task, seen) if seen else None
    more = bool(next_round(replace(task, budget=math.inf), seen))
    return Searched(unit.cells[0].arm.name, se, task.target_se, spent(task, seen), task.budget, more)


def check_budget(unit: Unit) -> None:
    """Raises ValueError where the budget does not buy the first rates."""
    if len(unit.cells[0].along) > 1:
        raise ValueError(
            f"expected one dimension for search bracket, got {', '.join(unit.cells[0].along)}; give --search grid"
        )
    task = _task(unit)
    first = sum(task.price(ask.size) for ask in next_round(replace(task, budget=math.inf), {}))
    if first > task.budget:
        raise ValueError(
            f"found budget {task.budget:g}, in trials at every size, of which the first rates alone cost {first:.2g}; "
            "wanted more, such as the default 8: give --budget"
        )


def _missing(
    unit: Unit, known: Mapping[Cell, Sequence[Observation]], recorded: Mapping[Cell, Sequence[Observation]], number: int
) -> list[tuple[Cell, Point]]:
    """What is asked for by what is known, and not recorded."""
    cells = {_size(cell): cell for cell in unit.cells}
    rates = {math.log2(seen.lr): seen.lr for each in recorded.values() for seen in each}
    done = {(cell, seen.lr, seen.seed) for cell, each in recorded.items() for seen in each}
    asked = [
        # Back to the very rate that is recorded: log2 may have rounded it.
        (cells[ask.size], rates[ask.log2_lr] if ask.log2_lr in rates else 2.0**ask.log2_lr, ask.seed)
        for ask in next_round(_task(unit), _seen(known))
    ]
    return [(cell, Point(lr, seed, number)) for cell, lr, seed in asked if (cell, lr, seed) not in done]


def _seen(known: Mapping[Cell, Sequence[Observation]]) -> dict[int, Losses]:
    return {
        _size(cell): {
            (math.log2(seen.lr), seen.seed): math.inf if seen.loss >= DIVERGED_LOSS else seen.loss
            for seen in sorted(each)
        }
        for cell, each in known.items()
        if each
    }


def _cheapest_first(unit: Unit) -> list[Cell]:
    return sorted(unit.cells, key=lambda cell: (cell_flops(unit.config, cell), _size(cell)))


def _task(unit: Unit) -> Task:
    config, ordered = unit.config, _cheapest_first(unit)
    return Task(
        sizes=tuple(_size(cell) for cell in ordered),
        costs=tuple(cell_flops(config, cell) for cell in ordered),
        low=math.log2(min(config.lrs)),
        high=math.log2(max(config.lrs)),
        target_se=config.target_se,
        budget=config.budget,
    )


def _size(cell: Cell) -> int:
    return int(cell.scale[cell.along[0]])
