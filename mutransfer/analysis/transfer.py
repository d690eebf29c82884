"""Does the best learning rate transfer across widths, or whatever else varies? From a table of trials to results.

slopes             d log2 lr* / d log2 size, octaves of rate per doubling of width; muP predicts 0
transfer_regret    what the smallest scale's rate costs at the largest, in the unit of the loss
verdict            transfers, does_not_transfer or inconclusive
slope_difference   of every two arms, the first minus the second
and of every arm   the sensitivity to the rate, the lowest unstable rate and the near-optimal band of every scale; the
                   law of the number of parameters; the size that the slope rests on; what would settle the verdict
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from mutransfer.analysis.curve import Array, curves
from mutransfer.analysis.forgiving import (
    Band,
    Sensitivity,
    Unstable,
    bands,
    lowest_unstable,
    lr_sensitivity,
    unstable_slope,
)
from mutransfer.analysis.interval import Interval
from mutransfer.analysis.leverage import Leverage, leverage
from mutransfer.analysis.line import ALONE, SizeLaw, combination, size_law, slopes, together
from mutransfer.analysis.optimum import Optimum, optima
from mutransfer.analysis.regret import Regret, regret
from mutransfer.analysis.settle import Settling, settle
from mutransfer.analysis.verdict import INCONCLUSIVE, judge, reason, sentence
from mutransfer.checks import positive
from mutransfer.config import SweepConfig
from mutransfer.config.scale import varying
from mutransfer.trials.table import Horizon, Trials, from_frame

TOLERANCE = SweepConfig.tolerance
"""Octaves per doubling, unless another is asked for."""


@dataclass(frozen=True)
class ArmResult:
    """What the trials of one arm say; `optima`, `sensitivity`, `unstable` and `bands` ascend in scale."""

    arm: str
    parametrization: str | None
    """None where the table does not say."""
    unit: str
    """What its losses are measured in."""
    horizon: Horizon | None
    """What its rates were tuned for; None where the table does not say."""
    estimator: str
    """How the optima are estimated, joint or alone (`line.together`)."""
    optima: tuple[Optimum, ...]
    """One estimate of each, which every other number here is of."""
    slopes: Mapping[str, Interval]
    """By dimension, d log2 lr* / d log2 size, where several vary with the others held; empty where the optima do not
    tell."""
    transfer_regret: Regret | None
    """Of the smallest scale's rate at the largest."""
    verdict: str
    reason: str
    sentence: str
    sensitivity: tuple[Sensitivity, ...] = ()
    unstable: tuple[Unstable, ...] = ()
    unstable_slope: Interval | None = None
    bands: tuple[Band, ...] = ()
    size_law: SizeLaw | None = None
    leverage: Leverage | None = None
    settling: tuple[Settling, ...] = ()
    """What would settle it; empty unless the verdict is inconclusive."""
    notes: tuple[str, ...] = ()
    """What was left out, and why, a sentence each."""

    @property
    def transfer_slope(self) -> Interval | None:
        """The slope along the one dimension that varies; None where several do, or where there is none."""
        (slope,) = self.slopes.values() if len(self.slopes) == 1 else (None,)
        return slope


@dataclass(frozen=True)
class Analysis:
    """What a sweep says. The arms are in the order of the table; `slope_difference` is by pair of arms, "sp-mup", and
    then by dimension."""

    experiment: str
    dimensions: tuple[str, ...]
    """The dimensions that vary, at least one name."""
    tolerance: float
    loss: str
    """What the losses are: the name of the table's."""
    arms: tuple[ArmResult, ...]
    slope_differences: Mapping[str, Mapping[str, Interval]]
    notes: tuple[str, ...] = ()
    """What a reader should know of how the table was read, a sentence each."""

    @property
    def slope_difference(self) -> Mapping[str, Interval]:
        """By pair of arms the difference of their slopes along the one dimension that varies."""
        return {pair: each[self.dimensions[0]] for pair, each in self.slope_differences.items() if len(each) == 1}

    def arm(self, name: str) -> ArmResult:
        """The arm of that name. Raises ValueError where there is none."""
        for result in self.arms:
            if result.arm == name:
                return result
        raise ValueError(f"found no arm {name!r}; wanted one of {', '.join(result.arm for result in self.arms)}")


def analyze(trials: Trials | pd.DataFrame, tolerance: float = TOLERANCE, noise: float | None = None) -> Analysis:
    """The analysis of a table of trials, or of a DataFrame with its columns (`trials.table.from_frame`).

    The slopes of two arms are taken as independent. Arms share their seeds, and at base_width even their runs, so
    their errors have a positive covariance, and the interval of the difference is rather too wide than too narrow.

    Args:
        trials: a row per trial.
        tolerance: octaves per doubling of a size within which a slope counts as none.
        noise: the standard deviation of one run about its seed's curve, in the unit of the loss, where it is known;
            else it is estimated from the runs themselves and what is known of others.

    Raises ValueError where there are no trials, where columns are missing, where an arm mixes anything but rates,
    seeds and scales, or where the noise is no finite number above 0.
    """
    if noise is not None:
        positive("noise", noise)
    table = from_frame(trials) if isinstance(trials, pd.DataFrame) else trials
    if table.frame.empty:
        raise ValueError("expected at least one finished trial, got none; run the sweep first")
    dimensions = table.dimensions
    arms = {name: _analyze_arm(name, table.of_arm(name), tolerance, dimensions, noise) for name in table.arms}
    lines = {name: slopes(result.optima, tuple(result.slopes)) for name, result in arms.items() if result.slopes}
    return Analysis(
        experiment=table.name,
        dimensions=dimensions,
        tolerance=tolerance,
        loss=table.loss,
        arms=tuple(arms.values()),
        slope_differences={
            f"{one}-{other}": {
                name: lines[one][name].minus(lines[other][name]).interval for name in lines[one] if name in lines[other]
            }
            for one, other in combinations(lines, 2)
        },
        notes=table.notes,
    )


def _analyze_arm(name: str, trials: Trials, tolerance: float, every: tuple[str, ...], noise: float | None) -> ArmResult:
    measured = curves(trials)
    # An arm with one size of a dimension that varies in others has no slope along it.
    dimensions = varying(trials.scales) or every[:1]
    found, estimator = together(optima(measured, noise))
    lines = {along: line.interval for along, line in slopes(found, dimensions).items()}
    from_target = np.zeros(len(found))
    from_target[0], from_target[-1] = 1.0, -1.0
    cost = regret(found[0], found[-1], measured[-1], combination(from_target, found) if len(found) > 1 else None)
    verdict, why = judge(found, tolerance, dimensions), reason(found, tolerance, dimensions)
    unstable = tuple(lowest_unstable(curve) for curve in measured)
    alone, notes = (dimensions[0] if len(dimensions) == 1 else None), _of_estimates(found, estimator, dimensions)
    if alone is None:
        notes.append(
            "several dimensions vary: which size a slope rests on, how the lowest unstable rate moves, and what would "
            "settle a verdict are told of one alone"
        )
    sensitivity: tuple[Sensitivity, ...] = ()
    if trials.has("init_loss"):
        sensitivity = lr_sensitivity(measured, [_by_seed(trials.at(curve.scale), "init_loss") for curve in measured])
    else:
        notes.append("no losses at initialization (init_loss): no sensitivity to the learning rate")
    law = None
    if trials.has("n_params"):
        law = size_law(found, [float(trials.at(optimum.scale).frame["n_params"].iloc[0]) for optimum in found])
    elif "params" not in dimensions:
        notes.append("no numbers of parameters (n_params): no law of them")
    if alone is not None and verdict == INCONCLUSIVE and not trials.has("flops"):
        notes.append("no FLOPs (flops): what would settle the verdict is priced in trials alone")
    return ArmResult(
        arm=name,
        parametrization=str(trials.frame["parametrization"].iloc[0]) if trials.has("parametrization") else None,
        unit=trials.unit,
        horizon=trials.horizon,
        estimator=estimator,
        optima=found,
        slopes=lines,
        transfer_regret=cost,
        verdict=verdict,
        reason=why,
        sentence=sentence(name, verdict, found, lines, cost, why, dimensions, trials.unit),
        sensitivity=sensitivity,
        unstable=unstable,
        unstable_slope=None if alone is None else unstable_slope(unstable, alone),
        bands=tuple(band for optimum, curve in zip(found, measured, strict=True) for band in bands(optimum, curve)),
        size_law=law,
        leverage=None if alone is None else leverage(found, tolerance, alone),
        settling=settle(found, trials, tolerance, alone) if alone is not None and verdict == INCONCLUSIVE else (),
        notes=tuple(notes),
    )


def _of_estimates(optima: Sequence[Optimum], estimator: str, dimensions: Sequence[str]) -> list[str]:
    """What a reader should know of how the optima are estimated."""
    several = sum(optimum.interior for optimum in optima) > 1
    if estimator == ALONE and several:
        bare = [each.scale.describe(dimensions) for each in optima if each.interior and each.quartic is None]
        why = f"no curve could be fitted at {', '.join(bare)}" if bare else "one fit of all curves does not converge"
        if len(varying(optimum.scale for optimum in optima if optimum.interior)) > 1:
            why = "several dimensions vary, along which curves differ in shape"
        return [f"each optimum is estimated from its own curve alone, because {why}"]
    return [
        f"{each.scale.describe(dimensions)}: its own curve alone puts the optimum at 2^{each.own.log2_lr:.2f}, where "
        f"all curves together put it at 2^{each.log2_lr:.2f}: its curve may be of another shape"
        for each in optima
        if each.apart and each.own is not None
    ]


def _by_seed(trials: Trials, column: str) -> Array:
    """The mean of a column over the trials of every seed."""
    means: Array = trials.frame.groupby("seed")[column].mean().to_numpy(dtype="float64")
    return means
