"""The bracket search: few trials, placed where they tell most about the slope. A pure function of what is recorded.

An arm is searched over all its scales, the cheapest first, in powers of two:

    bracket    the first scale at every second power of two of the range, every other one beside the rate that those
               before it point to: then the rates beside the best one, and on either side as far as a loss that is
               clearly higher. What a neighbour says is where to start and nothing more: while the best rate is the
               last, the search goes on beyond it, as far as the range
    seeds      at the first scale a second seed over the whole bracket, then pairs: a new seed at two rates, one on
               either side of the optimum, whose offset cancels. All are rates that the first seed was run at, so that
               offsets are known
    stop       at the wanted standard error of the slope, or where nothing more fits the budget

A round has pairs at the scales that narrow the slope most for their cost. Where the optimum is, how sure, and how noisy
runs are is the analysis' word: nothing is fitted here. The constants were chosen by simulation
(experiments/calibration/search.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from mutransfer.analysis.line import located, octaves
from mutransfer.analysis.optimum import CENSORED_HIGH, CENSORED_LOW, TOO_FEW
from mutransfer.config.scale import Scale
from mutransfer.search.bracket_seeds import Ask, Known, Losses, Task, describe, new_pairs, repeat, spent, whole_seed

COARSE = 2.0
"""Octaves between the first rates of the first scale."""
REACH = 3.0
"""Octaves from the best rate at which a side is closed whatever its loss."""
MOST_RATES = 14
"""Rates at one scale from which on no side is followed further."""
MOST_DRIFT = 1.5
"""Most octaves that the scales before are taken to point away from the nearest of them."""
BEYOND = {CENSORED_LOW: (-1,), CENSORED_HIGH: (1,), TOO_FEW: (-1, 1)}
"""Sides on which the analysis wants rates when both are closed: beside a cliff two may be all that trained."""
FIRST_PAIRS = (2, 1)
"""Pairs of the cheapest scales before any precision is asked for; the others have none."""
CLOSE = 1e-6
"""Octaves, or trials, within which two numbers are one."""


def next_round(task: Task, seen: Mapping[Scale, Losses]) -> list[Ask]:
    """The trials to run next; none when the search is done. `seen` has the losses of every scale that has any."""
    left = task.budget - spent(task, seen) + CLOSE
    asked = _bracket(task, seen)
    if not asked and all(scale in seen for scale in task.scales):
        asked = repeat(task, describe(task.scales, seen), left)
    return asked if sum(task.price(ask.scale) for ask in asked) <= left else []


def next_at_one_scale(low: float, high: float, losses: Losses, start: float | None = None) -> list[float]:
    """The rates to run next, as log2, where there is one scale and no slope to end at: after the bracket pair upon
    pair. `start`: a neighbour's optimum; None: the middle of the range."""
    alone = Scale(width=1)
    task = Task((alone,), (1.0,), low, high, 0.0, math.inf)
    if not losses and start is not None:
        middle = float(round(min(max(start, low), high)))
        return sorted({min(max(middle + step, low), high) for step in (-1.0, 0.0, 1.0)})
    seen = {alone: losses} if losses else {}
    asked = _bracket(task, seen)
    if not asked:
        known = describe((alone,), seen)
        asked = new_pairs(task, known, alone, 1) or whole_seed(alone, known[alone])
    return [ask.log2_lr for ask in asked]


def _bracket(task: Task, seen: Mapping[Scale, Losses]) -> list[Ask]:
    """What the first scale without a whole bracket, or without its first pairs, still needs."""
    for at, scale in enumerate(task.scales):
        if scale not in seen:
            return [Ask(scale, rate, 0) for rate in _first_rates(task, task.scales[:at], seen, scale)]
        known = describe(task.scales[: at + 1], seen)
        asked = [Ask(scale, rate, 0) for rate in _missing_rates(task, known[scale])]
        if not asked and at == 0 and len(known[scale].repeated) < 2:
            asked = whole_seed(scale, known[scale])
        first = FIRST_PAIRS[at] + (at == 0) if at < len(FIRST_PAIRS) else 0
        wanted = 1 + first - len(known[scale].repeated)
        if not asked and wanted > 0:
            asked = new_pairs(task, known, scale, wanted)
        if asked:
            return asked
    return []


def _first_rates(task: Task, before: Sequence[Scale], seen: Mapping[Scale, Losses], scale: Scale) -> list[float]:
    start = (task.low + task.high) / 2
    steps: tuple[float, ...] = ()
    if before:
        start, steps = _start(task, before, seen, scale), (-1.0, 0.0, 1.0)
    middle = float(round(min(max(start, task.low), task.high)))
    if before and task.high - task.low >= 2:
        middle = min(max(middle, task.low + 1), task.high - 1)  # so that the first three rates lie in the range
    if not before:
        down, up = math.floor((middle - task.low) / COARSE), math.floor((task.high - middle) / COARSE)
        steps = tuple(COARSE * step for step in range(-down, up + 1))
    return sorted({min(max(middle + step, task.low), task.high) for step in steps})


def _start(task: Task, before: Sequence[Scale], seen: Mapping[Scale, Losses], scale: Scale) -> float:
    """Where the scales before point to, log2 lr: from the optimum of the nearest, along the slopes as far as these are
    known, and not far. Where one dimension varies the last two tell the slope."""
    known = describe(before, seen)
    points = located([known[each].optimum for each in sorted(before)]).log2_lr
    log2_lr = dict(zip(sorted(before), points.tolist(), strict=True))
    if len(task.dimensions) == 1:
        nearest, pair = before[-1], list(before[-2:])
    else:
        where = {each: each.only(task.dimensions) for each in (*before, scale)}
        nearest, pair = min(before, key=lambda each: where[each].octaves_to(where[scale])), list(before)
    weights = task.slopes_of(pair)
    if weights is None:
        return float(log2_lr[nearest])
    slopes = weights @ np.array([log2_lr[each] for each in pair])
    away = octaves([scale], task.dimensions)[0] - octaves([nearest], task.dimensions)[0]
    return float(log2_lr[nearest] + min(max(float(slopes @ away), -MOST_DRIFT), MOST_DRIFT))


def _missing_rates(task: Task, known: Known) -> list[float]:
    """The rates beside the best one; then further ones, where a side is not clearly worse; then those in between."""
    rates, excess = known.curve.log2_lr.tolist(), known.excess
    if len(rates) >= MOST_RATES:
        return []
    best = int(np.argmin(known.curve.means))
    asked = [_beside(task, rates, best, side) for side in (-1, 1)]
    if asked == [None, None] and math.isfinite(excess[best]):
        asked = [_beyond(task, rates, excess, best, side, known.clearly) for side in (-1, 1)]
        if asked == [None, None]:
            inside = rates[known.span]
            asked = [low + 1 for low, high in pairwise(inside) if high - low > 1 + CLOSE]
        if known.optimum.status in BEYOND and all(rate is None for rate in asked):
            ends = [(side, -1 if side > 0 else 0) for side in BEYOND[known.optimum.status]]
            asked = [_within(task, rates[end], side) for side, end in ends if math.isfinite(excess[end])]
    return [rate for rate in asked if rate is not None]


def _beside(task: Task, rates: Sequence[float], best: int, side: int) -> float | None:
    """The neighbour of the best rate on one side, where there is none within an octave."""
    near = 0 <= best + side < len(rates) and abs(rates[best + side] - rates[best]) <= 1 + CLOSE
    return None if near else _within(task, rates[best], side)


def _beyond(
    task: Task, rates: Sequence[float], excess: Sequence[float], best: int, side: int, clearly: float
) -> float | None:
    """The next rate out on one side, where none there is clearly worse."""
    outward = excess[best + 1 :] if side > 0 else excess[:best]
    last = rates[-1] if side > 0 else rates[0]
    closed = any(each >= clearly for each in outward) or abs(last - rates[best]) >= REACH - CLOSE
    return None if closed else _within(task, last, side)


def _within(task: Task, rate: float, step: float) -> float | None:
    """A step from a rate, no further than the range; None where it is at its end already."""
    at = min(max(rate + step, task.low), task.high)
    return at if abs(at - rate) > CLOSE else None
