"""What the figures of rates draw, as data: a row is one mark. Rates and sizes (widths, or whatever the axis is) are in
log2 units where they say so, losses in their own unit. Nothing measured is left out; what cannot be known has a row
that says so. The printed figures and the interactive ones draw the same rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mutransfer.analysis import Analysis, ArmResult, Curve, Optimum, Trials, curves

INTERESTING = 0.6
"""Nats above the best loss that a loss panel shows at least."""
ABOVE_A_SIZE = 0.25
"""Nats above each size's own best that it shows at least."""
BAND_ROW = 0.035
"""Height of a row of diverged trials, as a part of the panel."""

DECIMALS = 6
"""Of a number that a figure draws."""

LOSSES = ("final_loss", "mean_loss", "val_loss")
"""The losses a record holds."""


@dataclass(frozen=True)
class Panel:
    """What every loss panel spans: log2 rates from `left` to `right`, losses from `low` to `high`, and above them, up
    to `top`, a band of diverged trials with a row for each of the sizes `failed`."""

    left: float
    right: float
    low: float
    high: float
    top: float
    failed: tuple[int, ...]


def loss_curves_data(analysis: Analysis, trials: Trials) -> pd.DataFrame:
    """Loss against rate. `mark` is trial (one seed), diverged (one seed, no loss), mean (over the seeds of a rate where
    none diverged), fitted (a point of the fitted curve), optimum (with `ci_low`, `ci_high`, `status`) or leverage
    (about the optimum of the size that alone decides the slope). A trial has all its losses and the step at which it
    diverged."""
    trials, rows = trials.measured_by(analysis.loss), list[dict[str, Any]]()
    told = [name for name in ("log2_lr", "seed", *LOSSES, "diverged_step") if name in trials.frame.columns]
    for trial in trials.frame.to_dict("records"):
        end = {"mark": "diverged"} if trial["diverged"] else {"mark": "trial", "loss": trial["loss"]}
        where = {"arm": trial["arm"], "size": trial[analysis.dimensions[0]]}
        rows.append(where | {name: trial[name] for name in told} | end)
    for result in analysis.arms:
        for optimum, curve in measured(analysis, result, trials):
            where = {"arm": result.arm, "size": optimum.scale[analysis.dimensions[0]]}
            for log2_lr, loss in zip(curve.log2_lr, curve.means, strict=True):
                if math.isfinite(loss):
                    rows.append(where | {"mark": "mean", "log2_lr": log2_lr, "loss": loss})
            rates = np.linspace(curve.log2_lr[0], curve.log2_lr[-1], 121)
            for log2_lr, loss in zip(rates, optimum.fitted(rates), strict=True):
                if math.isfinite(loss):
                    rows.append(where | {"mark": "fitted", "log2_lr": log2_lr, "loss": loss})
            for mark in _at(optimum, result):
                rows.append(where | {"loss": optimum.loss} | mark)
    return _table(rows, ["arm", "size", "mark", "loss", "ci_low", "ci_high", "status", *told])


def place(data: pd.DataFrame) -> tuple[pd.DataFrame, Panel]:
    """`loss_curves_data` with `x` and `y`, where each mark stands, and what the panels span.

    Losses near the initialization would squash everything else: the panels go up to 0.6 nats above the best, and at
    least 0.25 above the best of each size. A trial above stands on the upper edge and is `above`. Diverged trials stand
    in the band over it, a row per size, those of one rate side by side.
    """
    low, high = _limits(data)
    rates = data["log2_lr"].dropna()
    margin = 0.05 * (rates.max() - rates.min()) or 1.0
    left, right = float(rates.min() - margin), float(rates.max() + margin)
    diverged = data["mark"] == "diverged"
    failed = sorted(set(data.loc[diverged, "size"]))
    rows = len(failed) + 1
    top = low + (high - low) / (1 - BAND_ROW * rows) if failed else high
    same = data[diverged].groupby(["arm", "size", "log2_lr"])["seed"]
    aside = same.cumcount() - (same.transform("size") - 1) / 2
    row = data.loc[diverged, "size"].map({size: i + 1 for i, size in enumerate(failed)})
    above = (data["mark"] == "trial") & (data["loss"] > high)
    x, y = data["log2_lr"].copy(), data["loss"].mask(above, high)
    x[diverged] += 0.02 * (right - left) * aside
    y[diverged] = high + (top - high) * row / rows
    return data.assign(x=x, y=y, above=above), Panel(left, right, low, high, top, tuple(failed))


def optimal_lr_data(analysis: Analysis) -> pd.DataFrame:
    """Optimal rate against size. `mark` is optimum (with its interval and `status`), leverage (about the optimum of the
    size that alone decides the slope), line (of the fitted slope through the centroid of the interior optima, `ci_low`
    and `ci_high` where the slope's interval takes it: a bow-tie), or still (the proxy's rate, where a slope of 0 would
    stay)."""
    rows: list[dict[str, Any]] = []
    for result in analysis.arms:
        octaves = np.array([math.log2(optimum.scale[analysis.dimensions[0]]) for optimum in result.optima])
        for octave, optimum in zip(octaves, result.optima, strict=True):
            for mark in _at(optimum, result):
                rows.append({"arm": result.arm, "log2_size": octave, "loss": optimum.loss} | mark)
        slope, interior = result.transfer_slope, np.array([optimum.interior for optimum in result.optima])
        if slope is None:
            continue
        x_mean = octaves[interior].mean()
        y_mean = np.mean([optimum.log2_lr for optimum in result.optima if optimum.interior])
        for octave in np.unique([octaves[0], x_mean, octaves[-1]]):
            reach = octave - x_mean
            low, high = sorted((slope.ci_low * reach, slope.ci_high * reach))
            line = {"log2_lr": y_mean + slope.estimate * reach, "ci_low": y_mean + low, "ci_high": y_mean + high}
            rows.append({"arm": result.arm, "mark": "line", "log2_size": octave} | line)
        proxy = result.optima[0]
        if proxy.interior:
            for octave in (octaves[0], octaves[-1]):
                rows.append({"arm": result.arm, "mark": "still", "log2_size": octave, "log2_lr": proxy.log2_lr})
    return _table(rows, ["arm", "mark", "log2_size", "log2_lr", "ci_low", "ci_high", "loss", "status"])


OCTAVES = 4.0
"""The least range of rates that a figure of optima shows: what stands still should look as if it did."""


def rate_limits(data: pd.DataFrame) -> tuple[float, float] | None:
    """The log2 rates between which `optimal_lr_data` is drawn; None where it is empty. An interval of many octaves is
    cut, so that it does not flatten the others."""
    shown = data[data["mark"] != "line"]
    reach = pd.concat([shown["log2_lr"], shown["ci_low"], shown["ci_high"]])
    reach = reach.clip(shown["log2_lr"].min() - 3, shown["log2_lr"].max() + 3).dropna()
    if reach.empty:
        return None
    half = max((reach.max() - reach.min()) / 2 + 0.4, OCTAVES / 2)
    middle = (reach.max() + reach.min()) / 2
    return float(middle - half), float(middle + half)


def sizes(analysis: Analysis) -> list[float]:
    """All sizes that were tried, ascending."""
    return sorted({optimum.scale[analysis.dimensions[0]] for result in analysis.arms for optimum in result.optima})


def dodges(analysis: Analysis) -> dict[str, float]:
    """How far aside each arm's marks stand, in octaves of size, so that those of one size do not hide each other."""
    tried, n = sizes(analysis), len(analysis.arms)
    step = min(0.08, 0.3 / n) * (math.log2(tried[-1] / tried[0]) / max(len(tried) - 1, 1) or 1.0)
    return {result.arm: step * (i - (n - 1) / 2) for i, result in enumerate(analysis.arms)}


def measured(analysis: Analysis, result: ArmResult, trials: Trials) -> Iterator[tuple[Optimum, Curve]]:
    """Each optimum of an arm with the losses it was estimated from."""
    return zip(result.optima, curves(trials.measured_by(analysis.loss).of_arm(result.arm)), strict=True)


def _at(optimum: Optimum, result: ArmResult) -> list[dict[str, Any]]:
    """The mark of an optimum, and that about it where its size alone decides the slope."""
    estimate = {name: getattr(optimum, name) for name in ("log2_lr", "ci_low", "ci_high", "status")}
    marks: list[dict[str, Any]] = [{"mark": "optimum"} | estimate]
    if result.leverage is not None and result.leverage.scale == optimum.scale:
        marks.append({"mark": "leverage", "log2_lr": optimum.log2_lr})
    return marks


def _limits(data: pd.DataFrame) -> tuple[float, float]:
    means = data[data["mark"] == "mean"]
    losses = data.loc[data["mark"].isin(["trial", "fitted", "optimum"]), "loss"].dropna()
    if means.empty:
        return 0.0, 1.0
    best = losses.min()
    worst_best = means.groupby(["arm", "size"])["loss"].min().max()
    high = min(losses.max(), max(best + INTERESTING, worst_best + ABOVE_A_SIZE))
    margin = 0.05 * (high - best) or 0.05
    # A mark on an edge lies on it, however its number is written.
    return round(float(best - margin), DECIMALS), round(float(high + margin), DECIMALS)


def _table(rows: list[dict[str, Any]], columns: list[str]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=columns)
    texts = ("arm", "mark", "status", "size")
    return table.astype({name: "float64" for name in columns if name not in texts})
