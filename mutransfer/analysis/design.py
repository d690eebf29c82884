"""Which runs tell most about a run to come, per FLOP.

Before anything is run at a cell its optimum and the target's have a joint distribution under the law (two_regimes.py).
Measuring the optimum of cell c with variance r lowers the target's variance by

    cov(target, c)^2 / (var(c) + r)

whatever is found there (as far as the law is linear in what is not known), so cells can be chosen ahead: one by one the
one that lowers it most per FLOP, as long as the budget lasts. Other choices take what lowers it most by the root of its
FLOPs, and whatever it costs; the best of the three is planned (the usual guard of greedy choices under a budget).
Rates: an octave apart about the optimum that is expected there, more of them the less sure that is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.special import ndtri

from mutransfer.analysis.curve import Array
from mutransfer.analysis.interval import CONFIDENCE
from mutransfer.analysis.law import Measured, beliefs, coordinates, fit
from mutransfer.analysis.two_regimes import expected
from mutransfer.config.scale import Scale
from mutransfer.theory.lr_priors import Scatter

MEASURED_SD = 0.12
"""Of the optimum of a cell with three to five rates an octave apart, octaves: of one seed of a language model."""
FEWEST_RATES, MOST_RATES = 3, 9
LEAST_GAIN = 0.01
"""A cell that lowers the target's variance by a smaller part is not worth a line."""
SMALLER: Mapping[str, tuple[int, ...]] = {
    "width": (0, 1, 2, 3, 4, 5),
    "depth": (0, 1, 2, 3),
    "params": (0, 1, 2, 3, 4, 5, 6, 7),
    "tokens": (0, 2, 4, 6),
    "steps": (0, 2, 4, 6),
    "batch_size": (0, 2, 4),
}
"""How often the target is halved, by dimension: the cells that are looked at."""
A_CELL = 0.02
"""What a cell costs beside its FLOPs, in budgets: many tiny runs are a burden too. Only the choice knows of it."""
FEWEST_STEPS = 100
"""A run of fewer says little: warmup and decay are most of it."""
SIZE_POWER = {"width": 2.0, "depth": 1.0, "params": 1.0}
"""FLOPs of a token go as this power of a size, embeddings left out."""


@dataclass(frozen=True)
class Rung:
    """A cell to run next."""

    scale: Scale
    log2_lrs: tuple[float, ...]
    """An octave apart about the optimum that is expected there; about 0 where no rate is known at all yet."""
    share: float
    """FLOPs of all its runs, in those of the target."""
    half: float
    """Expected half-width of the 95% interval at the target once this and what stands before it are run, octaves."""


@dataclass(frozen=True)
class Ladder:
    """The runs to come, in the order in which they were chosen."""

    rungs: tuple[Rung, ...]
    before: float
    """Half-width at the target before them, octaves."""

    @property
    def share(self) -> float:
        return sum(rung.share for rung in self.rungs)

    @property
    def half(self) -> float:
        """Half-width at the target after them."""
        return self.rungs[-1].half if self.rungs else self.before


def ladder(
    target: Scale,
    budget: float,
    parametrization: str,
    scatter: Scatter,
    measured: Measured | None = None,
    cells: Sequence[Scale] = (),
) -> Ladder:
    """The runs that tell most about a target.

    Args:
        target: the run to come, with all dimensions of the runs that may be made.
        budget: FLOPs of all runs, in those of the target.
        parametrization: a key of `lr_priors.SIZE["width"]`.
        scatter: how alike the models are.
        measured: what is known so far.
        cells: what may be run; none: halvings of the target in every dimension.

    Raises ValueError where the target does not name what the measured optima differ in.
    """
    known = () if measured is None else measured.scales
    choices = [each for each in (cells or halvings(target)) if each not in known and cost(each, target) <= budget]
    axes = coordinates((*known, *choices, target), [target])
    rules = beliefs(axes, parametrization, scatter)
    places = axes.cells[len(known) :]
    law = expected(places.mean(axis=0), rules) if measured is None else fit(axes.cells[: len(known)], measured, rules)
    mean, covariance = law.covariance_of(places[[-1, *range(len(choices))]])
    flops = np.array([cost(each, target) for each in choices])
    plans = [_greedy(mean, covariance, choices, flops, budget, power) for power in (1.0, 0.5, 0.0)]
    return min(plans, key=lambda plan: (round(plan.half, 3), plan.share))


def cost(scale: Scale, target: Scale) -> float:
    """FLOPs of a run over those of the target: tokens (steps x batch where they are not known) times size."""
    size = 1.0
    for name in ("params",) if target.params is not None else ("width", "depth"):
        if getattr(target, name) is not None:
            size *= (scale[name] / target[name]) ** SIZE_POWER[name]
    if target.tokens is not None:
        return size * scale["tokens"] / target["tokens"]
    batch = 1.0 if target.batch_size is None else scale["batch_size"] / target["batch_size"]
    return size * batch * (1.0 if target.steps is None else scale["steps"] / target["steps"])


def halvings(target: Scale) -> list[Scale]:
    """The target with every dimension halved as often as SMALLER says, where that leaves whole numbers and enough
    steps. Steps follow from tokens and batch: fewer tokens at every batch."""
    known = [name for name in SMALLER if getattr(target, name) is not None]
    found = []
    for halved in product(*(SMALLER[name] for name in known)):
        sizes = {name: target[name] / 2**times for name, times in zip(known, halved, strict=True)}
        if "steps" in sizes and "batch_size" in sizes:
            sizes["steps"] *= target["batch_size"] / sizes["batch_size"]  # the halvings were of tokens
        whole = all(sizes[name] == int(sizes[name]) for name in known if name in ("width", "depth", "batch_size"))
        if whole and sizes.get("steps", FEWEST_STEPS) >= FEWEST_STEPS:
            found.append(Scale(**{name: round(size) for name, size in sizes.items()}))
    return found


def _greedy(
    mean: Array, covariance: Array, choices: Sequence[Scale], flops: Array, budget: float, power: float
) -> Ladder:
    """The choice by gain per FLOPs^power; the target stands first in `mean` and `covariance`."""
    known, left, rungs = covariance.copy(), budget, list[Rung]()
    while True:
        variances = np.diag(known)[1:]
        counts = np.clip(FEWEST_RATES + 2 * np.floor(np.sqrt(variances)), FEWEST_RATES, MOST_RATES)
        costs = counts * flops
        gains = known[0, 1:] ** 2 / (variances + MEASURED_SD**2)
        open_ = (costs <= left) & (gains >= LEAST_GAIN * known[0, 0])
        worth = np.where(open_, gains / (costs + A_CELL * budget) ** power, 0.0)
        if not worth.max(initial=0.0) > 0:
            return Ladder(tuple(rungs), _half(covariance))
        at = int(np.argmax(worth))
        column = known[:, at + 1]
        known = known - np.outer(column, column) / (column[at + 1] + MEASURED_SD**2)
        left -= float(costs[at])
        reach = np.arange(counts[at]) - (counts[at] - 1) / 2
        rates = tuple((float(mean[at + 1]) + reach).tolist())
        rungs.append(Rung(choices[at], rates, float(costs[at]), _half(known)))


def _half(known: Array) -> float:
    return float(ndtri((1 + CONFIDENCE) / 2)) * math.sqrt(max(float(known[0, 0]), 0.0))
