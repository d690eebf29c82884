"""The bracket search: few trials, placed where they tell most about the slope. A pure function of what is recorded.

An arm is searched over all its sizes, the cheapest first, in powers of two:

    bracket    the first size at every second power of two of the range, every other size beside the rate that the sizes
               before it point to: then the rates beside the best one, and on either side as far as a loss that is
               clearly higher. What a neighbour says is where to start and nothing more: while the best rate is the
               last, the search goes on beyond it, as far as the range
    seeds      at the first size a second seed over the whole bracket, then pairs: a new seed at two rates, one on
               either side of the optimum, whose offset cancels. All are rates that the first seed was run at, so that
               offsets are known
    stop       at the wanted standard error of the slope, or where nothing more fits the budget

A round has pairs at the sizes that narrow the slope most for their cost. Where the optimum is, how sure, and how noisy
runs are is the analysis' word: nothing is fitted here. The constants were chosen by simulation
(experiments/calibration/search.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from mutransfer.analysis.line import located
from mutransfer.analysis.optimum import CENSORED_HIGH, CENSORED_LOW, TOO_FEW
from mutransfer.search.known import Ask, Losses, Size, Task, describe, spent
from mutransfer.search.pairs import new_pairs, repeat, whole_seed

COARSE = 2.0
"""Octaves between the first rates of the first size."""
REACH = 3.0
"""Octaves from the best rate at which a side is closed whatever its loss."""
MOST_RATES = 14
"""Rates at one size from which on no side is followed further."""
MOST_DRIFT = 1.5
"""Most octaves that the sizes before are taken to point away from the last of them."""
BEYOND = {CENSORED_LOW: (-1,), CENSORED_HIGH: (1,), TOO_FEW: (-1, 1)}
"""Sides on which the analysis wants rates when both are closed: beside a cliff two may be all that trained."""
FIRST_PAIRS = (2, 1)
"""Pairs of the cheapest sizes before any precision is asked for; the others have none."""
CLOSE = 1e-6
"""Octaves, or trials, within which two numbers are one."""


def next_round(task: Task, seen: Mapping[int, Losses]) -> list[Ask]:
    """The trials to run next; none when the search is done. `seen` has the losses of every size that has any."""
    left = task.budget - spent(task, seen) + CLOSE
    asked = _bracket(task, seen)
    if not asked and all(size in seen for size in task.sizes):
        asked = repeat(task, describe(task.sizes, seen), left)
    return asked if sum(task.price(ask.size) for ask in asked) <= left else []


def next_at_one_size(low: float, high: float, losses: Losses, start: float | None = None) -> list[float]:
    """The rates to run next, as log2, where there is one size and no slope to end at: after the bracket pair upon pair.
    `start`: a neighbour's optimum; None: the middle of the range."""
    task = Task((1,), (1.0,), low, high, 0.0, math.inf)
    if not losses and start is not None:
        middle = float(round(min(max(start, low), high)))
        return sorted({min(max(middle + step, low), high) for step in (-1.0, 0.0, 1.0)})
    seen = {1: losses} if losses else {}
    asked = _bracket(task, seen)
    if not asked:
        known = describe((1,), seen)
        asked = new_pairs(task, known, 1, 1) or whole_seed(1, known[1])
    return [ask.log2_lr for ask in asked]


def _bracket(task: Task, seen: Mapping[int, Losses]) -> list[Ask]:
    """What the first size without a whole bracket, or without its first pairs, still needs."""
    for at, size in enumerate(task.sizes):
        if size not in seen:
            return [Ask(size, rate, 0) for rate in _first_rates(task, task.sizes[:at], seen, size)]
        known = describe(task.sizes[: at + 1], seen)
        asked = [Ask(size, rate, 0) for rate in _missing_rates(task, known[size])]
        if not asked and at == 0 and len(known[size].repeated) < 2:
            asked = whole_seed(size, known[size])
        first = FIRST_PAIRS[at] + (at == 0) if at < len(FIRST_PAIRS) else 0
        wanted = 1 + first - len(known[size].repeated)
        if not asked and wanted > 0:
            asked = new_pairs(task, known, size, wanted)
        if asked:
            return asked
    return []


def _first_rates(task: Task, before: Sequence[int], seen: Mapping[int, Losses], size: int) -> list[float]:
    start = (task.low + task.high) / 2
    steps: tuple[float, ...] = ()
    if before:
        known = describe(before, seen)
        points = located([known[each].optimum for each in sorted(before)]).log2_lr
        log2_lr = dict(zip(sorted(before), points.tolist(), strict=True))
        start, steps = log2_lr[before[-1]], (-1.0, 0.0, 1.0)
        if len(before) > 1:
            octaves = [math.log2(each) for each in (*before[-2:], size)]
            drift = (start - log2_lr[before[-2]]) / (octaves[1] - octaves[0]) * (octaves[2] - octaves[1])
            start += min(max(drift, -MOST_DRIFT), MOST_DRIFT)
    middle = float(round(min(max(start, task.low), task.high)))
    if before and task.high - task.low >= 2:
        middle = min(max(middle, task.low + 1), task.high - 1)  # so that the first three rates lie in the range
    if not before:
        down, up = math.floor((middle - task.low) / COARSE), math.floor((task.high - middle) / COARSE)
        steps = tuple(COARSE * step for step in range(-down, up + 1))
    return sorted({min(max(middle + step, task.low), task.high) for step in steps})


def _missing_rates(task: Task, size: Size) -> list[float]:
    """The rates beside the best one; then further ones, where a side is not clearly worse; then those in between."""
    rates, excess = size.curve.log2_lr.tolist(), size.excess
    if len(rates) >= MOST_RATES:
        return []
    best = int(np.argmin(size.curve.means))
    asked = [_beside(task, rates, best, side) for side in (-1, 1)]
    if asked == [None, None] and math.isfinite(excess[best]):
        asked = [_beyond(task, rates, excess, best, side, size.clearly) for side in (-1, 1)]
        if asked == [None, None]:
            inside = rates[size.span]
            asked = [low + 1 for low, high in pairwise(inside) if high - low > 1 + CLOSE]
        if size.optimum.status in BEYOND and all(rate is None for rate in asked):
            ends = [(side, -1 if side > 0 else 0) for side in BEYOND[size.optimum.status]]
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
