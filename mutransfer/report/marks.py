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
from mutransfer.config.scale import Scale
from mutransfer.report.views import View, loss_view, rate_views

INTERESTING = 0.6
"""Nats above the best loss that a loss panel shows at least."""
ABOVE_A_SIZE = 0.25
"""Nats above each size's own best that it shows at least."""
BAND_ROW = 0.035
"""Height of a row of diverged trials, as a part of the panel."""

LARGEST_BAND = 0.25
"""Part of the panel that all rows together have at most."""

DECIMALS = 6
"""Of a number that a figure draws."""

RECORDED_LOSSES = ("final_loss", "mean_loss", "val_loss")
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


def loss_curves_data(analysis: Analysis, trials: Trials, view: View | None = None) -> pd.DataFrame:
    """Loss against learning rate. `mark` is trial (one seed), diverged (one seed, no loss), mean (over the seeds of a
    rate where none diverged), fitted (a point of the fitted curve), optimum (with `ci_low`, `ci_high`, `status`) or
    leverage (about the optimum of the scale that alone decides the slope). A trial has all its losses and the step at
    which it diverged. `panel` is where it stands, `size` what its colour tells, `where` its scale in words."""
    view = view or loss_view(analysis)
    trials, rows = trials.measured_by(analysis.loss), list[dict[str, Any]]()
    told = [name for name in ("log2_lr", "seed", *RECORDED_LOSSES, "diverged_step") if name in trials.frame.columns]

    def at(arm: str, scale: Scale) -> dict[str, Any]:
        where = scale.describe(analysis.dimensions)
        return {"arm": arm, "panel": view.panel(arm, scale), "size": view.line(arm, scale), "where": where}

    places = {(arm, scale): at(arm, scale) for arm in trials.arms for scale in trials.scales}
    scales = scales_of(trials)
    for trial, scale in zip(trials.frame.to_dict("records"), scales, strict=True):
        end = {"mark": "diverged"} if trial["diverged"] else {"mark": "trial", "loss": trial["loss"]}
        rows.append(places[str(trial["arm"]), scale] | {name: trial[name] for name in told} | end)
    for result in analysis.arms:
        for optimum, curve in measured(analysis, result, trials):
            where = at(result.arm, optimum.scale)
            for log2_lr, loss in zip(curve.log2_lr, curve.means, strict=True):
                if math.isfinite(loss):
                    rows.append(where | {"mark": "mean", "log2_lr": log2_lr, "loss": loss})
            rates = np.linspace(curve.log2_lr[0], curve.log2_lr[-1], 121)
            for log2_lr, loss in zip(rates, optimum.fitted(rates), strict=True):
                if math.isfinite(loss):
                    rows.append(where | {"mark": "fitted", "log2_lr": log2_lr, "loss": loss})
            for mark in _at(optimum, result):
                rows.append(where | {"loss": optimum.loss} | mark)
    places_columns = ["arm", "panel", "size", "where"]
    return _table(rows, [*places_columns, "mark", "loss", "ci_low", "ci_high", "status", *told])


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
    top = low + (high - low) / (1 - min(BAND_ROW * rows, LARGEST_BAND)) if failed else high
    same = data[diverged].groupby(["panel", "size", "log2_lr"])["seed"]
    aside = same.cumcount() - (same.transform("size") - 1) / 2
    row = data.loc[diverged, "size"].map({size: i + 1 for i, size in enumerate(failed)})
    above = (data["mark"] == "trial") & (data["loss"] > high)
    x, y = data["log2_lr"].copy(), data["loss"].mask(above, high)
    x[diverged] += 0.02 * (right - left) * aside
    y[diverged] = high + (top - high) * row / rows
    return data.assign(x=x, y=y, above=above), Panel(left, right, low, high, top, tuple(failed))


def optimal_lr_data(analysis: Analysis, view: View | None = None) -> pd.DataFrame:
    """Optimal rate against the size along the view's dimension. `mark` is optimum (with its interval and `status`),
    leverage (about the optimum of the scale that alone decides the slope), line (the fitted law; along one dimension,
    `ci_low` and `ci_high` where the slope's interval takes it about the centroid of the interior optima: a bow-tie), or
    still (the proxy's rate, where a slope of 0 would stay; along one dimension alone). `line` tells its colour."""
    view = view or rate_views(analysis)[analysis.dimensions[0]]
    rows: list[dict[str, Any]] = []
    for result in analysis.arms:
        for optimum in result.optima:
            where = placed(view, result.arm, optimum.scale)
            rows += [where | {"loss": optimum.loss} | mark for mark in _at(optimum, result)]
        rows += _law_marks(analysis, result, view)
    columns = ["arm", "panel", "line", "mark", "log2_size", "log2_lr", "ci_low", "ci_high", "loss", "status"]
    return _table(rows, columns)


def placed(view: View, arm: str, scale: Scale) -> dict[str, Any]:
    """Where a mark of an arm at a scale stands."""
    return {"arm": arm, "panel": view.panel(arm, scale), "line": view.line(arm, scale)} | {
        "log2_size": scale.log2(view.along)
    }


def _law_marks(analysis: Analysis, result: ArmResult, view: View) -> list[dict[str, Any]]:
    """The fitted law: the plane with the slopes of all dimensions through the centroid of the interior optima."""
    interior = [optimum for optimum in result.optima if optimum.interior]
    if not result.slopes or not interior:
        return []
    x_mean = {name: np.mean([each.scale.log2(name) for each in interior]) for name in result.slopes}
    y_mean = float(np.mean([each.log2_lr for each in interior]))
    alone = len(analysis.dimensions) == 1
    groups: dict[tuple[Any, Any], list[Optimum]] = {}
    for each in result.optima:
        groups.setdefault((view.panel(result.arm, each.scale), view.line(result.arm, each.scale)), []).append(each)
    rows: list[dict[str, Any]] = []
    for members in groups.values():
        along = sorted(each.scale.log2(view.along) for each in members)
        start = placed(view, result.arm, members[0].scale)
        ends = {along[0], along[-1], *([float(x_mean[view.along])] if alone else [])}
        for octave in sorted(ends):
            beyond = {name: members[0].scale.log2(name) - x_mean[name] for name in result.slopes}
            if view.along in beyond:
                beyond[view.along] = octave - x_mean[view.along]
            at = y_mean + sum(result.slopes[name].estimate * reach for name, reach in beyond.items())
            row = start | {"mark": "line", "log2_size": octave, "log2_lr": at}
            if alone:
                slope, reach = result.slopes[view.along], beyond[view.along]
                low, high = sorted((slope.ci_low * reach, slope.ci_high * reach))
                row |= {"ci_low": y_mean + low, "ci_high": y_mean + high}
            rows.append(row)
        proxy = result.optima[0]
        if alone and proxy.interior:
            still = start | {"mark": "still", "log2_lr": proxy.log2_lr}
            rows += [still | {"log2_size": octave} for octave in (along[0], along[-1])]
    return rows


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


def scales_of(trials: Trials) -> list[Scale]:
    """The scale of every trial, along the dimensions that the table knows."""
    known = {scale: scale for scale in trials.scales}
    columns = trials.frame[list(trials.known)].to_dict("records")
    return [known[Scale(**{str(name): size for name, size in row.items()})] for row in columns]


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
    worst_best = means.groupby(["panel", "size"])["loss"].min().max()
    high = min(losses.max(), max(best + INTERESTING, worst_best + ABOVE_A_SIZE))
    margin = 0.05 * (high - best) or 0.05
    # A mark on an edge lies on it, however its number is written.
    return round(float(best - margin), DECIMALS), round(float(high + margin), DECIMALS)


def _table(rows: list[dict[str, Any]], columns: list[str]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=columns)
    texts = ("arm", "panel", "line", "size", "where", "mark", "status")
    return table.astype({name: "float64" for name in columns if name not in texts})
