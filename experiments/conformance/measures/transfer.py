"""Claims about optima and losses of sweeps: slopes, differences of slopes, regrets, losses at the optimum.

Every estimate and interval is `mutransfer.analysis`'s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from gates import Measurement, Quantity
from place import Place

from measures.intervals import quantity
from mutransfer import Analysis, SweepConfig, analyze
from mutransfer.analysis import ArmResult, Curve, Optimum, curves


@dataclass(frozen=True)
class TransferSlope:
    """d log2 lr* / d log2 width of one arm, by the loss in a column of the records."""

    sweep: SweepConfig
    arm: str
    loss: str = "final_loss"

    def measure(self, place: Place) -> Measurement:
        analysis = analysis_by(self.sweep, place, self.loss)
        arm = analysis.arm(self.arm)
        return Measurement({f"{self.arm} slope": quantity(arm.transfer_slope)}, describe(analysis, self.sweep, arm))


@dataclass(frozen=True)
class SlopeDifference:
    """The slope of one arm minus that of another, in the order of the sweep's arms."""

    sweep: SweepConfig
    first: str
    second: str

    def measure(self, place: Place) -> Measurement:
        analysis = analysis_by(self.sweep, place)
        arms = [analysis.arm(name) for name in (self.first, self.second)]
        pair = f"{self.first}-{self.second}"
        # an arm without a slope leaves no difference
        difference = analysis.slope_difference.get(pair)
        found = {f"{arm.arm} slope": quantity(arm.transfer_slope) for arm in arms}
        return Measurement(
            found | {f"{self.first} slope - {self.second} slope": quantity(difference)},
            describe(analysis, self.sweep, *arms),
        )


@dataclass(frozen=True)
class Wider:
    """How the loss at the optimum changes with width, nats."""

    sweep: SweepConfig
    arm: str
    loss: str = "final_loss"

    def measure(self, place: Place) -> Measurement:
        result = place.result(self.sweep)
        measured = curves(result.trials.measured_by(self.loss).of_arm(self.arm))
        rises = {f"{one.scale.width} to {other.scale.width}": rise(one, other) for one, other in pairwise(measured)}
        beyond = max(mean - sem for mean, sem in rises.values())
        steps = ", ".join(f"{mean:+.4f} (SEM {sem:.4f}) from {way}" for way, (mean, sem) in rises.items())
        arm = analysis_by(self.sweep, place, self.loss).arm(self.arm)
        first, last = arm.optima[0].loss, arm.optima[-1].loss
        return Measurement(
            {
                "largest rise per doubling, less its seed SEM": Quantity(beyond),
                "rise from the narrowest to the widest": Quantity(
                    None if first is None or last is None else last - first
                ),
            },
            f"loss at the best rate of the grid, paired by seed: {steps}; {training_text(self.sweep, self.arm)}",
        )


@dataclass(frozen=True)
class TransferRegret:
    """What the narrowest width's rate costs at the widest, nats, in two arms."""

    sweep: SweepConfig
    arms: tuple[str, str]

    def measure(self, place: Place) -> Measurement:
        analysis = analysis_by(self.sweep, place)
        arms = [analysis.arm(name) for name in self.arms]
        found = {}
        for arm in arms:
            cost = arm.transfer_regret
            found[f"{arm.arm} regret"] = (
                Quantity(None) if cost is None else Quantity(cost.nats, cost.ci_low, cost.ci_high)
            )
        return Measurement(found, f"{'; '.join(arm.sentence for arm in arms)}; {training_text(self.sweep, *self.arms)}")


@dataclass(frozen=True)
class SlopeAndLoss:
    """The slope of an arm, and its loss at the widest model's optimum over that of an arm of another sweep."""

    sweep: SweepConfig
    arm: str
    against: SweepConfig
    other: str

    def measure(self, place: Place) -> Measurement:
        slope = TransferSlope(self.sweep, self.arm).measure(place)
        mine = analysis_by(self.sweep, place).arm(self.arm).optima[-1]
        theirs = analysis_by(self.against, place).arm(self.other).optima[-1]
        known = mine.loss is not None and theirs.loss is not None and mine.scale == theirs.scale
        more = Quantity(mine.loss - theirs.loss if known else None)  # type: ignore[operator]
        return Measurement(
            {**slope.quantities, f"loss at width {mine.scale.width}, {self.arm} - {self.other}": more}, slope.conditions
        )


def analysis_by(sweep: SweepConfig, place: Place, loss: str = "final_loss") -> Analysis:
    """The sweep's analysis by the loss in a column."""
    result = place.result(sweep)
    return analyze(result.trials.measured_by(loss), result.config.tolerance)


def rise(one: Curve, other: Curve) -> tuple[float, float]:
    """Mean over seeds of the rise of the loss at each curve's best rate, and its standard error."""
    best = [curve.losses[:, int(np.argmin(curve.means))] for curve in (one, other)]
    rises = best[1] - best[0]
    return float(rises.mean()), float(rises.std(ddof=1) / math.sqrt(len(rises)))


def describe(analysis: Analysis, sweep: SweepConfig, *arms: ArmResult) -> str:
    """The optima of some arms, and how they were trained."""
    found = []
    for arm in arms:
        rates = ", ".join(optimum_text(optimum) for optimum in arm.optima)
        found.append(
            f"{arm.arm}: log2 lr* {rates} at {', '.join(o.scale.describe(analysis.dimensions) for o in arm.optima)}"
        )
    return f"{'; '.join(found)}; {training_text(sweep, *(arm.arm for arm in arms))}"


def optimum_text(optimum: Optimum) -> str:
    """The logarithm of an optimal rate, with its status where that is not `interior`."""
    return f"{optimum.log2_lr:.2f}{'' if optimum.interior else f' ({optimum.status})'}"


def training_text(sweep: SweepConfig, *arms: str) -> str:
    """How some arms were trained."""
    tried = {
        arm.name: f"2^{math.log2(min(lrs)):g} to 2^{math.log2(max(lrs)):g}"
        for arm in sweep.arms
        if arm.name in arms and (lrs := sweep.for_arm(arm).lrs)
    }
    rates = " and ".join(dict.fromkeys(tried.values()))
    return (
        f"{sweep.steps} steps of {sweep.batch_size} x {sweep.model.context} tokens, {sweep.seeds} seeds, rates {rates}"
    )
