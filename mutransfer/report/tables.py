"""The results as tables: a row per optimum, per arm, per pair of arms, per diverged trial. Numbers, not text; a missing
number is NaN. Losses and regrets are in the unit of the loss. A page and a terminal show the same ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from mutransfer.analysis import Analysis, ArmResult, Interval, Regret, Trials
from mutransfer.analysis.confirmation import Confirmation
from mutransfer.analysis.forgiving import WITHIN
from mutransfer.config.scale import Scale
from mutransfer.report.commands import settling_flags
from mutransfer.report.words import size_text, size_words


def optima_table(analysis: Analysis) -> pd.DataFrame:
    """Each arm's optimum at each scale (a column for each dimension that varies): `optimal_lr` with `lr_low`,
    `lr_high`, the same as `log2_lr`, `ci_low`, `ci_high`, the loss there, the status, and whether this scale `decides`
    the slope alone."""
    rows = [
        {
            "arm": result.arm,
            **_sizes(analysis, optimum.scale),
            "status": optimum.status,
            "log2_lr": optimum.log2_lr,
            "ci_low": optimum.ci_low,
            "ci_high": optimum.ci_high,
            "loss": optimum.loss,
            "decides": result.leverage is not None and result.leverage.scale == optimum.scale,
        }
        for result in analysis.arms
        for optimum in result.optima
    ]
    numbers = ["log2_lr", "ci_low", "ci_high", "loss"]
    names = ["arm", *analysis.dimensions, "status", *numbers, "decides"]
    table = _numbers(pd.DataFrame(rows, columns=names), numbers)
    for position, (name, log2) in enumerate(
        {"optimal_lr": "log2_lr", "lr_low": "ci_low", "lr_high": "ci_high"}.items(),
        start=2 + len(analysis.dimensions),
    ):
        table.insert(position, name, 2.0 ** table[log2])
    return table


def _sizes(analysis: Analysis, scale: Scale) -> dict[str, float]:
    """The size along each dimension that varies."""
    return {name: scale[name] for name in analysis.dimensions}


def transfer_table(analysis: Analysis) -> pd.DataFrame:
    """Each arm's verdict, its slope `along` each dimension that varies (octaves of learning rate per doubling of the
    size; where several vary, with the others held), its regret from the smallest scale to the largest, with their
    intervals, and the size that alone decides the slope with the slope without it. A row an arm and dimension; what is
    an arm's own stands in its first."""
    rows: list[dict[str, Any]] = []
    for result in analysis.arms:
        for place, along in enumerate(analysis.dimensions):
            row: dict[str, Any] = {"arm": result.arm, "along": along, "parametrization": result.parametrization}
            row |= {"verdict": result.verdict} | _interval("slope", result.slopes.get(along))
            if place == 0:
                row |= _regret(analysis, result.transfer_regret)
                row |= _leverage(result, along)
            rows.append(row)
    numbers = ["slope", "slope_low", "slope_high", "decided_by", "slope_without", "regret", "regret_low", "regret_high"]
    texts = ["arm", "along", "parametrization", "verdict", "proxy", "target"]
    return _numbers(pd.DataFrame(rows, columns=[*texts, *numbers]), numbers)


def difference_table(analysis: Analysis) -> pd.DataFrame:
    """The difference of two arms' slopes along a dimension, first minus second, in octaves of learning rate per
    doubling of the size."""
    rows = [
        {"pair": pair, "along": along} | _interval("difference", value)
        for pair, each in analysis.slope_differences.items()
        for along, value in each.items()
    ]
    numbers = ["difference", "difference_low", "difference_high"]
    return _numbers(pd.DataFrame(rows, columns=["pair", "along", *numbers]), numbers)


def comparison_table(analysis: Analysis) -> pd.DataFrame:
    """The arms side by side: verdict, slope with its interval, and at the arm's largest size the loss at its optimum
    (`at_least` as it stands where the optimum is not bracketed) and the sensitivity to the rate."""
    rows: list[dict[str, Any]] = []
    for result in analysis.arms:
        last = result.optima[-1]
        sensitivity = next((each.estimate for each in result.sensitivity if each.scale == last.scale), math.nan)
        rows.append(
            {
                "arm": result.arm,
                "parametrization": result.parametrization,
                "verdict": result.verdict,
                "size": scale_text(analysis, last.scale),
            }
            | _interval("slope", result.transfer_slope)
            | {"loss": last.loss, "status": last.status, "sensitivity": sensitivity}
        )
    numbers = ["slope", "slope_low", "slope_high", "loss", "sensitivity"]
    texts = ["arm", "parametrization", "verdict", "size", "status"]
    return _numbers(pd.DataFrame(rows, columns=[*texts, *numbers]), numbers)


def forgiving_table(analysis: Analysis) -> pd.DataFrame:
    """How forgiving each arm is at each size: `sensitivity` to the rate with its interval and the range of log2 rates
    `from`..`to` it is over; the near-optimal bands, log2 rates `near_low`, `near_high` (loss within 0.25% of the best)
    and `good_low`, `good_high` (1%), each end `_open` where the band may go on; and the log2 rates `stable`, the last
    that trains, and `unstable`, the first that does not."""
    rows: list[dict[str, Any]] = []
    for result in analysis.arms:
        for optimum in result.optima:
            row: dict[str, Any] = {"arm": result.arm, **_sizes(analysis, optimum.scale)}
            for each in result.sensitivity:
                if each.scale == optimum.scale:
                    row |= {"sensitivity": each.estimate, "sensitivity_low": each.ci_low, "from": each.low}
                    row |= {"sensitivity_high": each.ci_high, "to": each.high}
            for band in result.bands:
                if band.scale == optimum.scale:
                    name = dict(zip(WITHIN, ("near", "good"), strict=True))[band.within]
                    row |= {f"{name}_low": band.low, f"{name}_high": band.high}
                    row |= {f"{name}_low_open": band.low_open, f"{name}_high_open": band.high_open}
            for edge in result.unstable:
                if edge.scale == optimum.scale:
                    row |= {"stable": edge.stable, "unstable": edge.unstable}
            rows.append(row)
    numbers = [
        *("sensitivity", "sensitivity_low", "sensitivity_high", "from", "to"),
        *("near_low", "near_high", "good_low", "good_high", "stable", "unstable"),
    ]
    flags = ["near_low_open", "near_high_open", "good_low_open", "good_high_open"]
    table = pd.DataFrame(rows, columns=["arm", *analysis.dimensions, *numbers, *flags])
    table[flags] = table[flags].eq(True)  # a size without a band has no open end
    return _numbers(table, numbers)


def law_table(analysis: Analysis) -> pd.DataFrame:
    """Each arm's laws: how the lowest unstable rate moves (`edge`, octaves per doubling of the size) and the exponent
    of the best rate in the number of parameters (`exponent`), with their intervals."""
    rows: list[dict[str, Any]] = [
        {"arm": result.arm}
        | _interval("edge", result.unstable_slope)
        | _interval("exponent", None if result.size_law is None else result.size_law.exponent)
        for result in analysis.arms
    ]
    numbers = ["edge", "edge_low", "edge_high", "exponent", "exponent_low", "exponent_high"]
    return _numbers(pd.DataFrame(rows, columns=["arm", *numbers]), numbers)


def settling_table(analysis: Analysis) -> pd.DataFrame:
    """What would settle each inconclusive arm: the plan in words, the `flags` behind the sweep's command, and what it
    adds, in trials and FLOPs."""
    rows = [
        {
            "arm": result.arm,
            "what": plan.what,
            "flags": settling_flags(plan),
            "trials": plan.trials,
            "flops": plan.flops,
        }
        for result in analysis.arms
        for plan in result.settling
    ]
    return _numbers(pd.DataFrame(rows, columns=["arm", "what", "flags", "trials", "flops"]), ["flops"])


def confirmation_table(confirmations: Sequence[Confirmation]) -> pd.DataFrame:
    """What was trained to check the regret: the size, the three log2 rates with their mean losses, the regret
    `measured` (`at_least` where the best was at an end) and `predicted`."""
    rows: list[dict[str, Any]] = []
    for found in confirmations:
        row: dict[str, Any] = {"arm": found.arm, "size": found.scale[found.scale.known[0]], "seeds": found.seeds}
        for name, log2_lr, loss in zip(("half", "same", "double"), found.rates, found.losses, strict=True):
            row |= {f"{name}_log2_lr": log2_lr, f"{name}_loss": loss}
        row |= _interval("measured", found.measured) | {"at_least": found.at_least, "predicted": found.predicted}
        row |= {"predicted_low": found.predicted_low, "predicted_high": found.predicted_high}
        rows.append(row)
    rates = [f"{name}_{what}" for what in ("log2_lr", "loss") for name in ("half", "same", "double")]
    numbers = [*rates, *(f"{name}{end}" for name in ("measured", "predicted") for end in ("", "_low", "_high"))]
    return _numbers(pd.DataFrame(rows, columns=["arm", "size", "seeds", "at_least", *numbers]), numbers)


def diverged_table(trials: Trials, dimensions: Sequence[str] = ("width",)) -> pd.DataFrame:
    """The diverged trials, by arm, scale, learning rate and seed, with the step at which each diverged, where the table
    says it."""
    columns = ["arm", *dimensions, "lr", "log2_lr", "seed"]
    frame = trials.frame if "diverged_step" in trials.frame.columns else trials.frame.assign(diverged_step=math.nan)
    failed = frame.loc[frame["diverged"].astype(bool), [*columns, "diverged_step"]]
    return _numbers(failed.sort_values(columns, kind="stable", ignore_index=True), ["diverged_step"])


def _leverage(result: ArmResult, axis: str) -> dict[str, float]:
    found = result.leverage
    return {} if found is None else {"decided_by": found.scale[axis], "slope_without": found.slope_without}


def _interval(name: str, value: Interval | None) -> dict[str, float | None]:
    return {} if value is None else {name: value.estimate, f"{name}_low": value.ci_low, f"{name}_high": value.ci_high}


def _regret(analysis: Analysis, value: Regret | None) -> dict[str, float | str | None]:
    if value is None:
        return {}
    ends: dict[str, float | str | None] = {
        "proxy": scale_text(analysis, value.proxy),
        "target": scale_text(analysis, value.target),
    }
    return ends | {"regret": value.nats, "regret_low": value.ci_low, "regret_high": value.ci_high}


def scale_text(analysis: Analysis, scale: Scale) -> str:
    """A scale by what varies: its size where that is one dimension, else each with its name."""
    if len(analysis.dimensions) == 1:
        return size_text(scale[analysis.dimensions[0]])
    return ", ".join(size_words(name, scale[name]) for name in analysis.dimensions)


def _numbers(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    return table.astype(dict.fromkeys(columns, "float64"))
