"""The seeds of a bracket search: which are repeated, at which rates, once every size has its bracket.

A round has pairs at the sizes that narrow the slope most for their cost.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from mutransfer.analysis.curve import Array
from mutransfer.analysis.line import located, slope_weights, weights_along
from mutransfer.analysis.optimum import FLAT, curvatures
from mutransfer.analysis.quartic import TYPICAL_CURVATURE
from mutransfer.search.known import Ask, Size, Task

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
    seeds = {size: len(known[size].repeated) for size in sorted(known) if known[size].optimum.interior}
    wanted = _choose(task, weights, joint.noise + joint.shape, seeds, left, PAIRS_AT_ONCE)
    return [ask for size, count in wanted.items() for ask in new_pairs(task, known, size, count)]


def expect_pairs(task: Task, known: Mapping[int, Size], left: float) -> dict[int, int] | None:
    """How many pairs are to come at each size; None where fewer than two sizes have an optimum to tell it from.

    A size that has none yet is put on the line, its curve as sure as the others' and its one seed as noisy as theirs.
    """
    interior = [known[size].optimum for size in sorted(known) if known[size].optimum.interior]
    if len(interior) < 2:
        return None
    joint = located(interior)
    seeds = {size: len(known[size].repeated) for size in sorted(known) if known[size].optimum.interior}
    new = [size for size in task.sizes if size not in seeds]
    then, old = joint.planned(1.0, np.zeros(len(new))), len(interior)
    noise = then.noise.copy()
    of_a_seed = float(np.mean(np.diag(joint.noise) * np.maximum(1, list(seeds.values()))))
    noise[range(old, old + len(new)), range(old, old + len(new))] = of_a_seed
    seeds |= dict.fromkeys(new, 1)
    weights = weights_along(np.log2(list(seeds)))
    return _choose(task, weights, noise + then.shape, seeds, left, len(seeds) * MOST_SEEDS)


def _choose(
    task: Task, weights: Array, covariance: Array, seeds: Mapping[int, int], left: float, most: int
) -> dict[int, int]:
    """New pairs, at most so many, each at the size where it narrows the slope most for its cost, until that is expected
    to be as sure as wanted. `weights` and `covariance` of the optima, as `seeds` has their sizes."""
    variance = float(weights @ covariance @ weights)
    parts = {size: float(part) for size, part in zip(seeds, weights**2 * np.diag(covariance), strict=True)}
    wanted = dict.fromkeys(seeds, 0)
    for _ in range(most):
        repeated = {size: seeds[size] + wanted[size] for size in seeds}
        free = [size for size in parts if repeated[size] < MOST_SEEDS and 2 * task.price(size) <= left]
        if variance <= task.target_se**2 or not free:
            break
        size = max(free, key=lambda each: (parts[each] / (repeated[each] + 1) / task.price(each), -each))
        variance -= parts[size] / (repeated[size] + 2)
        parts[size] *= (repeated[size] + 1) / (repeated[size] + 2)
        wanted[size], left = wanted[size] + 1, left - 2 * task.price(size)
    return wanted


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
    bends = curvatures(each.optimum for each in known.values())
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
