"""Does the best learning rate transfer across widths, or whatever else the axis is? From a frame of trials to results.

transfer_slope     d log2 lr* / d log2 size, octaves of rate per doubling of width; muP predicts 0
transfer_regret    what the smallest size's rate costs at the largest, in the unit of the loss
verdict            transfers, does_not_transfer or inconclusive
slope_difference   of every two arms, the first minus the second
and of every arm   the sensitivity to the rate, the lowest unstable rate and the near-optimal band of every size; the
                   law of the number of parameters; the size that the slope rests on; what would settle the verdict
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import pandas as pd

from mutransfer.analysis.band import Band, bands
from mutransfer.analysis.curve import curves
from mutransfer.analysis.interval import Interval
from mutransfer.analysis.leverage import Leverage, leverage
from mutransfer.analysis.line import slope
from mutransfer.analysis.optimum import Optimum, optima
from mutransfer.analysis.regret import Regret, regret
from mutransfer.analysis.sensitivity import Sensitivity, lr_sensitivity
from mutransfer.analysis.settle import Settling, settle
from mutransfer.analysis.size_law import SizeLaw, size_law
from mutransfer.analysis.stability import Unstable, lowest_unstable, unstable_slope
from mutransfer.analysis.verdict import INCONCLUSIVE, judge, reason, sentence
from mutransfer.config import LOSSES


@dataclass(frozen=True)
class Horizon:
    """The training that the rates were tuned for; the optimal rate depends on it."""

    steps: int
    tokens: int
    batch_size: int
    context: int
    data: str
    loss: str
    """What was trained on: a key of LOSSES, which says its unit."""

    @classmethod
    def of(cls, trials: pd.DataFrame) -> Horizon:
        """That of trials which were all trained alike, by the first of them."""
        first = trials.iloc[0]
        return cls(
            steps=int(first["steps"]),
            tokens=int(first["tokens"]),
            batch_size=int(first["batch_size"]),
            context=int(first["context"]),
            data=str(first["data"]),
            loss=str(json.loads(first["setting"])["loss"]),
        )


@dataclass(frozen=True)
class ArmResult:
    """What the trials of one arm say; `optima`, `sensitivity`, `unstable` and `bands` ascend in size."""

    arm: str
    parametrization: str
    horizon: Horizon
    optima: tuple[Optimum, ...]
    transfer_slope: Interval | None
    transfer_regret: Regret | None
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


@dataclass(frozen=True)
class Analysis:
    """What a sweep says. The arms are in the order of the frame; `slope_difference` is keyed "sp-mup"."""

    experiment: str
    axis: str
    tolerance: float
    loss: str
    arms: tuple[ArmResult, ...]
    slope_difference: Mapping[str, Interval]

    def arm(self, name: str) -> ArmResult:
        """The arm of that name. Raises ValueError where there is none."""
        for result in self.arms:
            if result.arm == name:
                return result
        raise ValueError(f"found no arm {name!r}; wanted one of {', '.join(result.arm for result in self.arms)}")


def analyze(frame: pd.DataFrame, tolerance: float, loss: str = "final_loss", axis: str = "width") -> Analysis:
    """The analysis of a frame of trials (`records.to_frame`) by the loss in one of its columns.

    `axis` names the column along which the rate may transfer: width, depth, batch_size or steps.

    The slopes of two arms are taken as independent. Arms share their seeds, and at base_width even their runs, so
    their errors have a positive covariance, and the interval of the difference is rather too wide than too narrow.
    Raises ValueError where there are no trials, where they mix experiments or data, or where an arm mixes anything but
    rates, seeds and sizes.
    """
    if frame.empty:
        raise ValueError("found no trials; wanted at least one that finished: run the sweep first")
    for name in ("experiment", "data_fingerprint"):
        values = sorted({str(value) for value in frame[name]})
        if len(values) != 1:
            raise ValueError(
                f"found {len(values)} values of {name} ({', '.join(values)}); wanted one: analyze their trials apart"
            )
    arms = {
        str(name): _analyze_arm(str(name), frame[frame["arm"] == name], tolerance, loss, axis)
        for name in dict.fromkeys(frame["arm"])
    }
    slopes = {name: line for name, result in arms.items() if (line := slope(result.optima)) is not None}
    return Analysis(
        experiment=str(frame["experiment"].iloc[0]),
        axis=axis,
        tolerance=tolerance,
        loss=loss,
        arms=tuple(arms.values()),
        slope_difference={
            f"{one}-{other}": slopes[one].minus(slopes[other]).interval for one, other in combinations(slopes, 2)
        },
    )


def _analyze_arm(name: str, trials: pd.DataFrame, tolerance: float, loss: str, axis: str) -> ArmResult:
    measured = curves(trials, loss, axis)
    found = optima(measured)
    line = slope(found)
    interval = None if line is None else line.interval
    cost = regret(found[0], found[-1], measured[-1])
    verdict, why = judge(found, tolerance), reason(found, tolerance, axis)
    unstable = tuple(lowest_unstable(curve) for curve in measured)
    by_size = trials.groupby(axis)
    init_losses = [
        by_size.get_group(curve.size).groupby("seed")["init_loss"].mean().to_numpy(dtype="float64")
        for curve in measured
    ]
    horizon = Horizon.of(trials)
    return ArmResult(
        arm=name,
        parametrization=str(trials["parametrization"].iloc[0]),
        horizon=horizon,
        optima=found,
        transfer_slope=interval,
        transfer_regret=cost,
        verdict=verdict,
        reason=why,
        sentence=sentence(name, verdict, found, interval, cost, why, axis, LOSSES[horizon.loss]),
        sensitivity=lr_sensitivity(measured, init_losses),
        unstable=unstable,
        unstable_slope=unstable_slope(unstable),
        bands=tuple(band for optimum, curve in zip(found, measured, strict=True) for band in bands(optimum, curve)),
        size_law=size_law(found, [int(count) for count in by_size["n_params"].first()]),
        leverage=leverage(found, tolerance),
        settling=settle(found, trials, tolerance, axis) if verdict == INCONCLUSIVE else (),
    )
