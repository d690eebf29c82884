"""Planted sweeps unlike those that the constants of the analysis were chosen on: a family held out.

It was written before the constants were last changed, so that what it says of them is no echo. Every case has a `plant`
for `calibration.study`.

Curves: a jump above the optimum, a V, a ripple, a skew that drifts with width, optima whose drift dies as 1/width.
Designs: the grid 1, 3, 10 and powers of 4, random rates, a seventh of the runs missing, a sweep half done, more seeds
at the best rates. Noise: seeds that tilt, outliers, three times that of real runs. Scale: large runs, as 80 curves of
Step Law's public table show them (Li et al. 2025, arXiv 2503.04715), and losses that are not nats.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from analysis import planted
from analysis.planted import EDGE, REAL, Array, Noise, Shape, World
from mutransfer.config.scale import Scale

Optima = Callable[[np.random.Generator, Array], Array]
"""log2 of the best rate at every width, before the slope: by log2 width."""
Draw = Callable[[np.random.Generator, str, int], list[Shape]]
"""The curves of excess loss by width."""
Grid = Callable[[np.random.Generator, Array, float], list[Array]]
"""The rates of every width, from its optima and the octaves between rates."""
Design = Callable[[np.random.Generator, Array, Array], Array]
"""Which runs there are, width x seed x rate, of the losses there would be and the rates."""

LATTICE = np.linspace(-2.5, 2.5, 5001)


def lowest(shape: Shape) -> tuple[Shape, float]:
    """The shape moved so that its lowest point is 0 at 0, and how far that was."""
    values = shape(LATTICE)
    at = float(LATTICE[np.argmin(values)])
    bottom = float(values.min())
    return lambda z: shape(z + at) - bottom, at


def curvature(rng: np.random.Generator) -> float:
    return float(rng.uniform(0.015, 0.04))


def smooth(rng: np.random.Generator, a: float) -> Shape:
    return planted._exponential(a, rng.uniform(0.6, 1.2), rng.uniform(-0.3, 0.3))


def alike(one: Shape, widths: int, rng: np.random.Generator) -> list[Shape]:
    factors = np.exp(planted.CURVATURE_SPREAD * rng.standard_normal(widths))
    return [lambda z, factor=factor: factor * one(z) for factor in factors]


def jumps(rng: np.random.Generator, kind: str, widths: int) -> list[Shape]:
    under, foot, height = smooth(rng, curvature(rng)), rng.uniform(0.25, 0.6), rng.uniform(0.1, 0.4)
    return [lambda z, each=each: each(z) + height * (z > foot) for each in alike(under, widths, rng)]


def vees(rng: np.random.Generator, kind: str, widths: int) -> list[Shape]:
    up, down = rng.uniform(0.015, 0.05), rng.uniform(0.015, 0.05)
    return alike(lambda z: np.where(z > 0, up * z, -down * z), widths, rng)


def ripples(rng: np.random.Generator, kind: str, widths: int) -> list[Shape]:
    under, height, length = smooth(rng, curvature(rng)), rng.uniform(0.002, 0.004), rng.uniform(0.6, 1.5)
    found = []
    for each in alike(under, widths, rng):
        phase = rng.uniform(0, 2 * np.pi)
        found.append(lowest(lambda z, e=each, p=phase: e(z) + height * np.sin(2 * np.pi * z / length + p))[0])
    return found


def drifting(rng: np.random.Generator, kind: str, widths: int, *, by: tuple[float, float]) -> list[Shape]:
    a, first, change = curvature(rng), rng.uniform(-0.15, 0.15), rng.choice([-1, 1]) * rng.uniform(*by)
    skews = first + change * np.linspace(-0.5, 0.5, widths)
    return [planted._exponential(a, abs(skew) + 0.6, float(skew)) for skew in skews]


def dying(rng: np.random.Generator, octaves: Array) -> Array:
    """A drift that dies as 1/width."""
    first: Array = rng.choice([-1, 1]) * rng.uniform(0.5, 2.0) * 2.0 ** -(octaves - octaves[0])
    return first


def decades(rng: np.random.Generator, optima: Array, step: float) -> list[Array]:
    """1, 3, 10, 30, ..."""
    low = np.log10(2) * (optima.min() - 4) + rng.uniform(0, 1)
    whole = np.arange(np.floor(low), np.log10(2) * (optima.max() + 5))
    rates = np.sort(np.concatenate([whole, whole + np.log10(3)])) / np.log10(2) + rng.uniform(0, 0.01)
    return [rates[(rates > optima.min() - 4) & (rates < optima.max() + 4)]] * len(optima)


def evenly(rng: np.random.Generator, optima: Array, step: float, *, octaves: float | None = None) -> list[Array]:
    apart = octaves or step
    reach = max(3.0, 1.5 * apart)
    return [np.arange(optima.min() - reach, optima.max() + reach + apart, apart) - rng.uniform(0, apart)] * len(optima)


def at_random(rng: np.random.Generator, optima: Array, step: float) -> list[Array]:
    found = []
    for at in optima:
        rates = np.sort(at + rng.uniform(-3.2, 3.2, rng.integers(6, 10)))
        kept = rates[np.append(True, np.diff(rates) > 0.15)]
        found.append(np.concatenate([kept[kept < at - 3] if not (kept < at - 0.3).any() else [], kept]))
    return found


def few(rng: np.random.Generator, optima: Array, step: float) -> list[Array]:
    """3 to 7 rates about each optimum, the same number at all, as a study of large runs has them."""
    count = int(rng.integers(3, 8)) if step == 1 else int(rng.integers(5, 10))
    return [
        at + step * (np.arange(count) - (count - 1) / 2 + rng.uniform(-0.5, 0.5) * (1 if count % 2 else 0.9))
        for at in optima
    ]


def all_of(rng: np.random.Generator, losses: Array, z: Array) -> Array:
    return np.ones(losses.shape, bool)


def some_missing(rng: np.random.Generator, losses: Array, z: Array) -> Array:
    return rng.random(losses.shape) > 0.15


def half_done(rng: np.random.Generator, losses: Array, z: Array) -> Array:
    """The seeds come one after the other, and stop anywhere."""
    run = np.zeros(losses.shape, bool)
    run[:, 0] = True
    order = [(seed, width, rate) for seed in range(1, losses.shape[1]) for width, rate in np.ndindex(z.shape)]
    for seed, width, rate in order[: int(len(order) * rng.uniform(0.2, 0.8))]:
        run[width, seed, rate] = True
    return run


def at_the_best(rng: np.random.Generator, losses: Array, z: Array) -> Array:
    """One seed everywhere, the others at the three rates that are lowest there."""
    run = np.zeros(losses.shape, bool)
    run[:, 0] = True
    for width, first in enumerate(losses[:, 0]):
        run[width, :, np.argsort(np.where(np.isfinite(first), first, np.inf))[:3]] = True
    return run


@dataclass(frozen=True)
class Case:
    """A world of the family: what is not said is the ordinary one."""

    name: str
    shapes: Draw = planted.shapes
    optima: Optima | None = None
    grid: Grid = evenly
    design: Design = all_of
    real: Noise = REAL
    factor: float = 1.0
    seeds: tuple[int, ...] = (3,)
    steps: tuple[float, ...] = (1.0, 0.5)
    tilted: float = 0.0
    """How far a seed moves the optimum by its tilt, octaves, standard deviation."""
    outliers: float = 0.0
    """The share of runs that end worse, by 0.05 nats on average."""
    large: bool = False
    """Large runs: curvature 0.004 to 0.025 nats/octave^2, noise 0.001 to 0.003 nats, widths from 512."""
    times: float = 1.0
    """The loss in another unit."""
    mixed: bool = True
    """Whether shapes are those of the mixture."""

    def plant(
        self,
        rng: np.random.Generator,
        *,
        slope: float,
        seeds: int,
        widths: Sequence[int],
        step: float,
        kind: str,
        factor: float,
        wobble: float,
    ) -> World:
        """A planted sweep of this case."""
        sizes = np.array(widths) * (16 if self.large else 1)
        octaves = np.log2(sizes)
        optima = -7 + slope * (octaves - octaves.mean()) + wobble * rng.standard_normal(len(sizes))
        if self.optima is not None:
            optima = -7 + self.optima(rng, octaves) + wobble * rng.standard_normal(len(sizes))
        shapes = self.shapes(rng, kind, len(sizes))
        noise, bend = self.real, 0.0275
        if self.large:
            bend, own = np.exp(rng.uniform(*np.log((0.004, 0.025)))), np.exp(rng.uniform(*np.log((0.001, 0.003))))
            part = own / REAL.own
            noise = replace(REAL, own=own, tilt=part * REAL.tilt, bend=part * REAL.bend, offset=part * REAL.offset)
            each = np.exp(0.2 * rng.standard_normal(len(sizes)))
            shapes = [lambda z, s=s, f=f: bend / 0.0275 * f * s(z) for s, f in zip(shapes, each, strict=True)]
        if self.tilted:
            noise = replace(noise, tilt=2 * bend * self.tilted)
        grids = self.grid(rng, optima, step)
        rates = np.unique(np.concatenate(grids))
        z = rates - optima[:, None]
        spread = self.factor * planted.noise(rng, z, sizes, seeds, noise)
        excess = np.array([shape(at) for shape, at in zip(shapes, z, strict=True)])
        losses = 2.3 + 4 / sizes[:, None, None] + excess[:, None] + spread
        losses = losses + np.where(rng.random(losses.shape) < self.outliers, rng.exponential(0.05, losses.shape), 0.0)
        losses[np.broadcast_to((z > rng.uniform(*EDGE))[:, None], losses.shape)] = np.inf
        run = self.design(rng, losses, z)
        run &= np.array([np.isin(rates, grid) for grid in grids])[:, None]
        losses = np.where(run, self.times * losses, np.nan)
        centred = octaves - octaves.mean()
        tried = [~np.isnan(each).all(axis=0) for each in losses]
        return World(
            curves=tuple(
                planted.Curve(Scale(int(size)), rates[kept], each[:, kept])
                for size, each, kept in zip(sizes, losses, tried, strict=True)
            ),
            kind=kind,
            optima=optima,
            slope=float(centred @ optima / (centred @ centred)),
            shapes=tuple(shapes),
        )


CASES = (
    Case("jump .1 to .4 nats, .25 to .6 octaves above", jumps, mixed=False),
    Case("V", vees, mixed=False),
    Case("ripple of 2 to 4 mnats", ripples, mixed=False),
    Case("skew drifts by .1 to .3", partial(drifting, by=(0.1, 0.3)), mixed=False),
    Case("skew drifts by .5 to .8", partial(drifting, by=(0.5, 0.8)), mixed=False),
    Case("drift that dies as 1/width", optima=dying),
    Case("rates 1, 3, 10", grid=decades, seeds=(1, 3), steps=(1.0,)),
    Case("rates a factor 4 apart", grid=partial(evenly, octaves=2.0), seeds=(1, 3), steps=(1.0,)),
    Case("rates at random", grid=at_random, steps=(1.0,)),
    Case("15% of the runs missing", design=some_missing),
    Case("half done", design=half_done),
    Case("more seeds at the best rates", design=at_the_best),
    Case("seeds tilt by .2 octaves", tilted=0.2, seeds=(2, 3, 5)),
    Case("4% outliers", outliers=0.04),
    Case("noise x3", factor=3.0),
    Case("large runs", large=True, grid=few, seeds=(1, 2, 3)),
    Case("losses x 0.1", times=0.1, seeds=(1, 3)),
    Case("losses x 10", times=10.0, seeds=(1, 3)),
)
"""The family."""
