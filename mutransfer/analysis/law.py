"""One law of the best learning rate over sizes, tokens and batch: from optima to the rate of a run to come.

Which form it takes depends on what was run and what is asked:

    line          only sizes differ, between the cells and at the target: log2 lr* is a line in them
    two_regimes   tokens or batch differ: the surface of two_regimes.py

In both, what the cells do not tell is as the literature has it, with a wide standard deviation (theory/lr_priors.py);
a prediction names the dimensions that were `measured`, and those that were `assumed` because all cells have one value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mutransfer.analysis.curve import Array
from mutransfer.analysis.line import located
from mutransfer.analysis.optimum import Optimum
from mutransfer.analysis.two_regimes import Beliefs, Cells, Predicted, Regimes, Surface, surface
from mutransfer.config.scale import Scale
from mutransfer.theory import lr_priors
from mutransfer.theory.lr_priors import Scatter

LINE, TWO_REGIMES = "line", "two_regimes"
SHAPES = ("width", "depth")
WIDEST = 1.0
"""A prediction whose interval reaches further than this to a side supports no choice of a learning rate, octaves."""
CURVATURE_SLOPE = 0.5
"""Prior standard deviation of d log2 curvature / d log2 size, tokens or batch: in the runs of Step Law it halves per
quadrupling of tokens."""
CURVATURE_SCATTER = 0.5
"""Of log2 curvature about that."""


@dataclass(frozen=True, eq=False)
class Measured:
    """The optima of one arm: cell by cell the scale, log2_lr, its covariance with degrees of freedom, and half the
    second derivative of the loss there (nats per octave squared; NaN where not known)."""

    scales: tuple[Scale, ...]
    log2_lr: Array
    covariance: Array
    df: float
    curvature: Array


def measured(optima: Sequence[Optimum]) -> Measured:
    """The interior optima of an arm, as the line takes them."""
    interior = [optimum for optimum in optima if optimum.interior]
    if not interior:
        raise ValueError("expected at least one optimum inside the rates tried, got none; widen the rates")
    scales = tuple(optimum.scale for optimum in interior)
    found = located(interior)
    bends = [
        np.nan if each.quartic is None else each.quartic.derivative(float(at), 2) / 2
        for each, at in zip(interior, found.log2_lr, strict=True)
    ]
    return Measured(scales, found.log2_lr, found.noise + found.shape, found.df, np.array(bends))


@dataclass(frozen=True)
class Prediction:
    """The best learning rate of a run to come, with its 95% interval. All logarithms are to base 2."""

    target: Scale
    """All dimensions that the law takes, those that were not asked for as all cells have them."""
    log2_lr: float
    ci_low: float
    ci_high: float
    sd: float
    form: str
    measured: tuple[str, ...]
    """Dimensions over which the cells differ."""
    assumed: tuple[str, ...]
    """Dimensions in which the target differs from all cells, which are alike in them: from the literature."""
    extrapolation: Mapping[str, float]
    """Octaves beyond the nearest cell, by dimension, below 0 where the target is smaller; without those within."""
    above_knee: float | None
    """Probability that the batch is above the knee, where it no longer matters; None along a line."""
    log2_knee: float | None
    """The batch of the knee at the target."""
    curvature: float | None
    """Expected at the target, nats per octave squared; None where no cell has one."""

    @property
    def supported(self) -> bool:
        """Whether the interval says something: it reaches no further than WIDEST to either side."""
        return max(self.ci_high - self.log2_lr, self.log2_lr - self.ci_low) <= WIDEST

    @property
    def cost(self) -> float | None:
        """Nats per token that the wider side of the interval costs."""
        half = max(self.ci_high - self.log2_lr, self.log2_lr - self.ci_low)
        return None if self.curvature is None else half**2 * self.curvature

    @property
    def expected_cost(self) -> float | None:
        """Nats per token lost on average because the rate is uncertain."""
        return None if self.curvature is None else self.sd**2 * self.curvature


def predict(
    measured: Measured,
    targets: Sequence[Scale],
    parametrization: str = lr_priors.SP,
    scatter: Scatter = lr_priors.COLLECTION,
) -> tuple[Prediction, ...]:
    """The best learning rate at every target, by one law.

    Args:
        measured: at least one optimum.
        targets: the sizes, tokens (or steps) and batch size of runs to come; None: as all cells have it.
        parametrization: what it does about size, a key of `lr_priors.SIZE["width"]`.
        scatter: how alike the models are, `lr_priors.FAMILY` or `lr_priors.COLLECTION`.

    Raises ValueError where a dimension of a target is not known of the cells, or is needed and not given.
    """
    axes = coordinates(measured.scales, targets)
    law = fit(axes.cells, measured, beliefs(axes, parametrization, scatter))
    bends = _curvature(axes.cells, measured.curvature, axes.points)
    found = (law.at(sizes, tokens, batch) for *sizes, tokens, batch in axes.points.tolist())
    return tuple(
        _prediction(axes, target, point, each, bend)
        for target, point, each, bend in zip(axes.targets, axes.points, found, bends, strict=True)
    )


def fit(cells: Array, measured: Measured, rules: Beliefs) -> Surface:
    """The law through the optima, whose scales are the rows of `cells`, log2 of (sizes.., tokens, batch)."""
    optima = (measured.log2_lr, measured.covariance, measured.df)
    return surface(Cells(cells[:, :-2], cells[:, -2], cells[:, -1], *optima), rules)


def _prediction(axes: Coordinates, target: Scale, point: Array, found: Predicted, curvature: float) -> Prediction:
    low, high = axes.cells.min(axis=0), axes.cells.max(axis=0)
    beyond = (np.maximum(point - high, 0) + np.minimum(point - low, 0)).round(6)
    varies = high > low
    return Prediction(
        target=target,
        log2_lr=found.log2_lr,
        ci_low=found.ci_low,
        ci_high=found.ci_high,
        sd=found.sd,
        form=TWO_REGIMES if axes.regimes else LINE,
        measured=tuple(name for name, several in zip(axes.names, varies, strict=True) if several),
        assumed=tuple(
            name for name, several, far in zip(axes.names, varies, beyond, strict=True) if far and not several
        ),
        extrapolation={name: float(far) for name, far in zip(axes.names, beyond, strict=True) if far},
        above_knee=found.above_knee,
        log2_knee=found.log2_knee,
        curvature=curvature if math.isfinite(curvature) else None,
    )


@dataclass(frozen=True, eq=False)
class Coordinates:
    """The cells and the targets in the dimensions that a law takes, log2: sizes, then tokens, then batch. What the
    trials do not know is 0 throughout."""

    sizes: tuple[str, ...]
    cells: Array
    """cell x (sizes.., tokens, batch)."""
    points: Array
    """target x (sizes.., tokens, batch)."""
    targets: tuple[Scale, ...]
    """With what was not asked for filled in."""

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.sizes, "tokens", "batch_size")

    @property
    def regimes(self) -> bool:
        """Whether tokens or batch differ, between the cells or from them to a target."""
        return bool((np.ptp(np.vstack([self.cells, self.points])[:, -2:], axis=0) > 1e-6).any())


def coordinates(scales: Sequence[Scale], targets: Sequence[Scale]) -> Coordinates:
    """The dimensions of a law through cells of these scales to the targets. Raises ValueError as `predict` does."""
    known = scales[0].known
    for name in (name for target in targets for name in target.known if name not in known):
        flags = ", ".join(_flag(each) for each in known)
        raise ValueError(f"expected a target in {flags}, which the trials know, got {_flag(name)}; leave it out")
    by_params = any(target.params is not None for target in targets) or not {*SHAPES} & {*known}
    sizes = tuple(
        name
        for name in (("params",) if by_params else SHAPES)
        if name in known
        and (
            _varies(scales, name) or any(target[name] != scales[0][name] for target in targets if getattr(target, name))
        )
    )
    batch = ("batch_size",) if "batch_size" in known else ()
    filled = tuple(
        target.replace(**{name: _asked(scales, target, name) for name in (*sizes, *batch)}) for target in targets
    )
    lengths, asked = [_tokens(each) for each in scales], [_asked_tokens(scales, each) for each in filled]
    points = [
        [*(scale.log2(name) for name in sizes), tokens, math.log2(scale.batch_size or 1)]
        for scale, tokens in zip((*scales, *filled), (*lengths, *asked), strict=True)
    ]
    return Coordinates(sizes, np.array(points[: len(scales)]), np.array(points[len(scales) :]), filled)


def _varies(scales: Sequence[Scale], name: str) -> bool:
    return len({scale[name] for scale in scales}) > 1


def _asked(scales: Sequence[Scale], target: Scale, name: str) -> float:
    """The target's size along a dimension, or that of all cells."""
    asked: float | None = getattr(target, name)
    if asked is None and _varies(scales, name):
        sizes = sorted(scale[name] for scale in scales)
        raise ValueError(
            f"expected {_flag(name)}, because the trials differ in it ({sizes[0]:g} to {sizes[-1]:g}), got none; "
            "give that of the run to come"
        )
    return scales[0][name] if asked is None else asked


def _tokens(scale: Scale) -> float:
    """log2 of the number of tokens: in batches' units where no tokens are known, in steps where no batches are."""
    if scale.tokens is not None:
        return scale.log2("tokens")
    return math.log2(scale.steps or 1) + (math.log2(scale.batch_size or 1) if scale.steps else 0.0)


def _asked_tokens(scales: Sequence[Scale], target: Scale) -> float:
    """The same of a target: from its tokens or its steps, or as all cells have them."""
    known = scales[0].known
    if target.tokens is not None or not {"tokens", "steps"} & {*known}:
        return _tokens(target.replace(steps=None))
    if "steps" not in known or ("tokens" in known and target.steps is None and _varies(scales, "steps")):
        return math.log2(_asked(scales, target, "tokens"))
    at = target.replace(steps=_asked(scales, target, "steps"))
    # What a step of a batch of 1 takes in, the same in all cells: the context, where tokens are known.
    context = float(np.median([_tokens(each) - _tokens(each.replace(tokens=None)) for each in scales]))
    return _tokens(at) + context


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def beliefs(axes: Coordinates, parametrization: str, scatter: Scatter) -> Beliefs:
    """What the literature lets one expect of the law in these dimensions."""
    sizes = tuple(lr_priors.SIZE[name][parametrization] for name in axes.sizes)
    knees = (lr_priors.KNEE, lr_priors.KNEE_TOKENS, *[lr_priors.KNEE_SIZE] * len(sizes))
    regimes = Regimes(lr_priors.TOKENS, lr_priors.BATCH, knees) if axes.regimes else None
    return Beliefs(sizes, regimes, scatter)


def _curvature(cells: Array, curvature: Array, points: Array) -> Array:
    """Half the second derivative of the loss at each target, NaN where no cell has one: log2 of it is a line in all
    dimensions, whose slopes are CURVATURE_SLOPE at most, more or less."""
    known = np.isfinite(curvature) & (curvature > 0)
    if not known.any():
        return np.full(len(points), np.nan)
    bends, where = np.log2(curvature[known]), cells[known]
    design = where - where.mean(axis=0)
    ridge = (CURVATURE_SCATTER / CURVATURE_SLOPE) ** 2 * np.eye(design.shape[1])
    slopes = np.linalg.solve(design.T @ design + ridge, design.T @ (bends - bends.mean()))
    expected: Array = 2 ** (bends.mean() + (points - where.mean(axis=0)) @ slopes)
    return expected
