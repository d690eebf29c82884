"""What would settle a verdict, as a bracket search goes about it: its own count of trials, and a budget for them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mutransfer.analysis import Analysis, Settling
from mutransfer.config import DIMENSIONS, SweepConfig
from mutransfer.search.planned import cell_flops
from mutransfer.search.protocol import Histories, group_by_cell, units
from mutransfer.trials.records import Record

ROOM = 2.0
"""A budget holds so many times what is expected, for a search that takes more."""
UNBOUNDED = 1e6
"""A budget that no search spends."""


def with_costs(analysis: Analysis, config: SweepConfig, recorded: Sequence[Record]) -> Analysis:
    """An analysis whose plans for brackets cost what `plan` says of their commands, which have the budget for it.

    Args:
        analysis: of the records.
        config: the sweep that was asked for last, to whose command the plans are added.
        recorded: all that its folder holds.
    """
    histories = group_by_cell(recorded, config)
    arms = [
        replace(result, settling=tuple(_with_cost(plan, result.arm, config, histories) for plan in result.settling))
        for result in analysis.arms
    ]
    return replace(analysis, arms=tuple(arms))


def _with_cost(plan: Settling, arm: str, config: SweepConfig, histories: Histories) -> Settling:
    if not plan.adaptive:
        return plan
    then = _sweep(plan, arm, config)
    (unit,) = units(replace(then, budget=UNBOUNDED))
    prices = {cell: cell_flops(then, cell) for cell in unit.cells}
    whole = sum(prices.values())
    spent = sum(len(histories[cell.key]) * prices[cell] for cell in unit.cells) / whole
    wanted = sum(count.about * prices[cell] for cell, count in unit.search.expect(unit, histories).items()) / whole
    budget = max(config.budget, math.ceil(spent + ROOM * wanted))
    (unit,) = units(replace(then, budget=budget))
    to_come = unit.search.expect(unit, histories)
    found = replace(
        plan,
        trials=sum(count.about for count in to_come.values()),
        flops=sum(count.about * prices[cell] for cell, count in to_come.items()),
        budget=budget if budget > config.budget else None,
    )
    return replace(found, what=plan.what.replace(plan.cost, found.cost))


def _sweep(plan: Settling, arm: str, config: SweepConfig) -> SweepConfig:
    """The sweep of the arm that a plan is."""
    (own,) = (each for each in config.arms if each.name == arm)
    then = replace(config.for_arm(own), search="bracket")
    changes: dict[str, Any] = {
        DIMENSIONS[config.dimensions[0]].sizes: plan.sizes,
        "lrs": plan.lrs,
        "target_se": plan.target_se,
    }
    return replace(then, **{name: value for name, value in changes.items() if value is not None})
