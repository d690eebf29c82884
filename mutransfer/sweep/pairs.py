"""The seeds of a bracket search: which are repeated, at which rates, once every size has its bracket.

A round has pairs at the sizes that narrow the slope most for their cost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from mutransfer.analysis.line import located, slope_weights
from mutransfer.analysis.optimum import FLAT
from mutransfer.analysis.quartic import TYPICAL_CURVATURE
from mutransfer.sweep.known import Ask, Size, Task

PAIR_EXCESS = 0.035
"""Loss of a pair's rates above the optimum, in nats: far enough to weigh the sides, near enough to be fitted."""
DISCREPANCY = 0.15
"""The same is at least the standard deviation of a run over this: there a fit trusts far points as little as noise."""
PAIR_REACH = (0.75, 2.5)
"""Least and most octaves of a pair's rates from the optimum."""
SPREAD = 1.25
"""Pairs take turns among the rates up to this times as far: at one rate they would soon tell nothing new."""
NEAREST = 0.4
"""Octaves from the optimum within which a rate does not weigh the sides."""
PAIRS_AT_ONCE = 2
"""Most pairs of a later round."""
MOST_SEEDS = 9
"""Most seeds at one size."""


def repeat(task: Task, known: Mapping[int, Size], left: float) -> list[Ask]:
    """Seeds for the next round, that cost no more than what is left: at a size whose seeds do not tell its optimum
    from its neighbours, else pairs where they tell most until the slope is expected to be as sure as wanted."""
    for size in task.sizes:
        asked = whole_seed(size, known[size]) if known[size].optimum.status == FLAT else []
        if asked and len(known[size].repeated) < MOST_SEEDS and len(asked) * task.price(size) <= left:
            return asked
    interior = [known[size].optimum for size in sorted(known) if known[size].optimum.interior]
    if len(interior) < 2:
        return []
    joint, weights = located(interior), slope_weights(interior)
    covariance = joint.noise + joint.shape
    variance = float(weights @ covariance @ weights)
    parts = {each.size: float(part) for each, part in zip(interior, weights**2 * np.diag(covariance), strict=True)}
    seeds = {size: len(known[size].repeated) for size in parts}
    wanted = dict.fromkeys(parts, 0)
    for _ in range(PAIRS_AT_ONCE):
        free = [size for size in parts if seeds[size] < MOST_SEEDS and 2 * task.price(size) <= left]
        if variance <= task.target_se**2 or not free:
            break
        size = max(free, key=lambda each: (parts[each] / (seeds[each] + 1) / task.price(each), -each))
        variance -= parts[size] / (seeds[size] + 2)
        parts[size] *= (seeds[size] + 1) / (seeds[size] + 2)
        seeds[size], wanted[size], left = seeds[size] + 1, wanted[size] + 1, left - 2 * task.price(size)
    return [ask for size, count in wanted.items() for ask in new_pairs(task, known, size, count)]


def _weighing(rates: list[float], center: float) -> list[float]:
    """Those of one side that weigh it; all of them where none lies far enough out, as below a cliff."""
    return [rate for rate in rates if abs(rate - center) >= NEAREST] or rates


def whole_seed(size: int, known: Size) -> list[Ask]:
    """A new seed at every rate up to those that are clearly worse."""
    (seed,) = known.new_seeds(1)
    rates = zip(known.curve.log2_lr[known.span].tolist(), known.excess[known.span], strict=True)
    wanted = [rate for rate, excess in rates if math.isfinite(excess)]
    return [Ask(size, rate, seed) for rate in wanted if (rate, seed) not in known.losses]


def new_pairs(task: Task, known: Mapping[int, Size], size: int, count: int) -> list[Ask]:
    """New seeds on either side of an optimum, at the rates that were run least; of an optimum that no curve tells, at
    all rates about it."""
    own = known[size]
    if count and (own.optimum.quartic is None or own.optimum.quartic.minimum is None):
        return whole_seed(size, own)
    bends = [
        each.optimum.quartic.derivative(each.optimum.log2_lr, 2) / 2
        for each in known.values()
        if each.optimum.interior and each.optimum.quartic is not None
    ]
    bend = math.exp(float(np.mean(np.log(bends)))) if bends else TYPICAL_CURVATURE
    reach = min(max(math.sqrt(max(PAIR_EXCESS, own.sigma / DISCREPANCY) / bend), PAIR_REACH[0]), PAIR_REACH[1])
    center = own.optimum.log2_lr
    runs = {
        rate: sum(other == rate for other, _ in own.losses)
        for rate, excess in zip(own.curve.log2_lr.tolist(), own.excess, strict=True)
        if math.isfinite(excess)
    }
    sides = [_weighing([rate for rate in runs if side * (rate - center) > 0], center) for side in (-1, 1)]
    if not all(sides):
        return whole_seed(size, own) if count else []
    asked = []
    for seed in own.new_seeds(count):
        for side in sides:
            near = [rate for rate in side if abs(rate - center) <= SPREAD * reach]
            off = {rate: abs(abs(rate - center) - reach) for rate in side}
            rate = min(near, key=lambda each: (runs[each], off[each])) if near else min(side, key=off.__getitem__)
            runs[rate] += 1
            if (rate, seed) not in own.losses:
                asked.append(Ask(size, rate, seed))
    return asked
