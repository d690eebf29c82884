"""Planted sweeps to search in: the shapes and the noise of analysis/planted.py at every rate a search may ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from analysis.planted import EDGE, noise, shapes
from numpy.typing import NDArray

from mutransfer.analysis.curve import Curve
from mutransfer.config.scale import Scale
from mutransfer.search.bracket_rates import next_round
from mutransfer.search.bracket_seeds import Ask, Losses, Task

RATES = np.arange(-20.0, 5.0)
"""log2 of the rates that a trial may have: powers of two."""
SEEDS = 10
COSTS = (8.0, 16.0, 45.0, 135.0)
"""Of a trial at widths 32, 64, 128 and 256, relative to each other."""
GRID = tuple(float(rate) for rate in range(-12, -2))
"""Ten rates, each with two seeds: what a search is compared with."""


@dataclass(frozen=True)
class Planted:
    """The true optima and their slope, and the loss of any trial: size x seed x rate."""

    sizes: tuple[int, ...]
    optima: NDArray[np.float64]
    slope: float
    losses: NDArray[np.float64]

    def loss(self, ask: Ask) -> float:
        """inf where the trial diverges."""
        return float(self.losses[self.sizes.index(ask.scale.width or 0), ask.seed, int(ask.log2_lr - RATES[0])])

    def curves(self, rates: Sequence[float], seeds: int) -> list[Curve]:
        """A grid."""
        at = [int(rate - RATES[0]) for rate in rates]
        return [
            Curve(Scale(size), np.array(rates), losses[:seeds, at])
            for size, losses in zip(self.sizes, self.losses, strict=True)
        ]


def plant(
    rng: np.random.Generator,
    kind: str,
    slope: float,
    factor: float,
    wobble: float = 0.0,
    sizes: tuple[int, ...] = (32, 64, 128, 256),
    jump: float = 0.0,
) -> Planted:
    """Optima about 2^-7.5, `slope` octaves apart with a scatter of `wobble`, that of the last but one off by `jump`;
    real noise times `factor`."""
    octaves = np.log2(np.array(sizes, dtype=np.float64))
    centred = octaves - octaves.mean()
    optima = -7.5 + rng.uniform(-0.5, 0.5) + slope * centred + wobble * rng.standard_normal(len(sizes))
    optima[-2] += jump
    z = RATES - optima[:, None]
    planted = shapes(rng, kind, len(sizes))
    clean = np.array([2.3 + 4 / size + shape(at) for size, shape, at in zip(sizes, planted, z, strict=True)])
    losses = clean[:, None] + factor * noise(rng, z, np.array(sizes), SEEDS)
    losses[np.broadcast_to((z > rng.uniform(*EDGE))[:, None], losses.shape)] = np.inf
    return Planted(sizes, optima, float(centred @ optima / (centred @ centred)), losses)


def play(planted: Planted, task: Task) -> dict[Scale, Losses]:
    """A whole search: the losses of all that it asked for."""
    seen: dict[Scale, dict[tuple[float, int], float]] = {}
    while asked := next_round(task, seen):
        for ask in asked:
            assert (ask.log2_lr, ask.seed) not in seen.setdefault(ask.scale, {})
            seen[ask.scale][ask.log2_lr, ask.seed] = planted.loss(ask)
    return dict(seen)
