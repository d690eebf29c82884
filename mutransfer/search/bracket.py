"""The bracket search of an arm, from its records: what bracket_rates.py asks for as trials, and what is to come."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from mutransfer.config import SweepConfig
from mutransfer.config.scale import Scale
from mutransfer.search.bracket_rates import CLOSE, MOST_RATES, next_round
from mutransfer.search.bracket_seeds import MOST_SEEDS, Losses, Task, describe, expect_pairs, spent, standard_error
from mutransfer.search.planned import Cell, Point, cell_flops
from mutransfer.search.protocol import Expected, Histories, Observation, Searched, Unit

TYPICAL = (18, 7, 5)
"""Trials at the cheapest scales, and at every further one, in the mean over planted sweeps (experiments/calibration),
to the default standard error."""


class Bracket:
    """Few trials, placed where they tell most about the slope, until it is known well enough or the budget is spent."""

    def check(self, unit: Unit) -> None:
        """Raises ValueError where the budget does not buy the first rates."""
        task = _task(unit)
        first = sum(task.price(ask.scale) for ask in next_round(replace(task, budget=math.inf), {}))
        if first > task.budget:
            raise ValueError(
                f"found budget {task.budget:g}, in trials at every size, of which the first rates alone cost "
                f"{first:.2g}; wanted more, such as the default 8: give --budget"
            )

    def propose(self, unit: Unit, histories: Histories) -> list[tuple[Cell, Point]]:
        """A round is asked for by the records of the rounds before it, and keeps its number until all of it is
        recorded."""
        name = unit.config.search
        recorded = {cell: histories[cell.key] for cell in unit.cells}
        last = max((seen.round for each in recorded.values() for seen in each if seen.search == name), default=0)
        before = {
            cell: [seen for seen in each if seen.search != name or seen.round < last] for cell, each in recorded.items()
        }
        return _missing(unit, before, recorded, last) or _missing(unit, recorded, recorded, last + 1)

    def expect(self, unit: Unit, histories: Histories) -> dict[Cell, Expected]:
        """About as many as the wanted standard error takes, at most as many as the budget buys."""
        proposed = self.propose(unit, histories)
        if not proposed:
            return {cell: Expected(frozenset(), 0) for cell in unit.cells}
        task, found = _task(unit), {}
        seen = _seen({cell: histories[cell.key] for cell in unit.cells})
        left = task.budget - spent(task, seen)
        to_come = _expect_further(task, seen, left)
        for cell in _cheapest_first(unit):
            asked = sum(other == cell for other, _ in proposed)
            about = max(to_come[cell.scale], asked)
            # As if all that is left were spent on the cheapest scales.
            room = MOST_RATES * MOST_SEEDS - len(histories[cell.key])
            most = max(min(room, math.floor(left / task.price(cell.scale) + CLOSE)), 0)
            left -= most * task.price(cell.scale)
            places = frozenset((unit.config.search, place) for place in range(about))
            found[cell] = Expected(places, max(about, most))
        return found

    def done(self, unit: Unit, histories: Histories) -> Searched:
        return look_back(unit, histories)


SEARCH = Bracket()


def look_back(unit: Unit, histories: Histories) -> Searched:
    """How far a unit's search came."""
    task = _task(unit)
    seen = _seen({cell: histories[cell.key] for cell in unit.cells})
    se = standard_error(task, seen) if seen else None
    more = bool(next_round(replace(task, budget=math.inf), seen))
    several = len(task.dimensions) > 1
    return Searched(
        unit.cells[0].arm.name, se, task.target_se, spent(task, seen), task.budget, more, MOST_SEEDS, several
    )


def _expect_further(task: Task, seen: Mapping[Scale, Losses], left: float) -> dict[Scale, int]:
    """About how many trials are to come at each scale, for what is left. Once the optima tell the slopes: pairs by the
    search's own rule, and what is usual at scales without a trial. Before: what is usual."""
    usual = {scale: TYPICAL[min(place, len(TYPICAL) - 1)] for place, scale in enumerate(task.scales)}
    done = {scale: len(seen[scale]) if scale in seen else 0 for scale in task.scales}
    new = {scale: 0 if done[scale] else usual[scale] for scale in task.scales}
    known = describe([scale for scale in task.scales if scale in seen], seen) if seen else {}
    pairs = expect_pairs(task, known, left - sum(count * task.price(scale) for scale, count in new.items()))
    if pairs is not None:
        wanted = {scale: 2.0 * pairs[scale] + new[scale] for scale in task.scales}
    else:
        # The variance falls as pairs are added, so that half the standard error takes about four times as many.
        effort = max(1.0, (SweepConfig.target_se / task.target_se) ** 2)
        wanted = {scale: max(0.0, effort * usual[scale] - done[scale]) for scale in task.scales}
    cost = sum(count * task.price(scale) for scale, count in wanted.items())
    part = min(1.0, left / cost) if cost else 0.0
    return {scale: math.floor(count * part + CLOSE) for scale, count in wanted.items()}


def _missing(
    unit: Unit, known: Mapping[Cell, Sequence[Observation]], recorded: Mapping[Cell, Sequence[Observation]], number: int
) -> list[tuple[Cell, Point]]:
    """What is asked for by what is known, and not recorded."""
    cells = {cell.scale: cell for cell in unit.cells}
    rates = {math.log2(seen.lr): seen.lr for each in recorded.values() for seen in each}
    done = {(cell, seen.lr, seen.seed) for cell, each in recorded.items() for seen in each}
    asked = [
        # Back to the very rate that is recorded: log2 may have rounded it.
        (cells[ask.scale], rates[ask.log2_lr] if ask.log2_lr in rates else 2.0**ask.log2_lr, ask.seed)
        for ask in next_round(_task(unit), _seen(known))
    ]
    return [(cell, Point(lr, seed, number)) for cell, lr, seed in asked if (cell, lr, seed) not in done]


def _seen(known: Mapping[Cell, Sequence[Observation]]) -> dict[Scale, Losses]:
    return {
        cell.scale: {(math.log2(seen.lr), seen.seed): seen.loss for seen in sorted(each)}
        for cell, each in known.items()
        if each
    }


def _cheapest_first(unit: Unit) -> list[Cell]:
    return sorted(unit.cells, key=lambda cell: (cell_flops(unit.config, cell), cell.scale))


def _task(unit: Unit) -> Task:
    config, ordered = unit.config, _cheapest_first(unit)
    return Task(
        scales=tuple(cell.scale for cell in ordered),
        costs=tuple(cell_flops(config, cell) for cell in ordered),
        low=math.log2(min(config.lrs)),
        high=math.log2(max(config.lrs)),
        target_se=config.target_se,
        budget=config.budget,
        dimensions=unit.cells[0].along,
    )
