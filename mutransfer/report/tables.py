"""The results as tables: a row per optimum, per arm, per pair of arms, per diverged trial. Numbers, not text; a missing
number is NaN. A page and a terminal show the same ones."""

from __future__ import annotations

from typing import Any

import pandas as pd

from mutransfer.analysis import Analysis, Interval, Regret


def optima_table(analysis: Analysis) -> pd.DataFrame:
    """Each arm's optimum at each width: `optimal_lr` with `lr_low`, `lr_high`, the same as `log2_lr`, `ci_low`,
    `ci_high`, the loss there in nats per token, and the status."""
    rows = [
        {
            "arm": result.arm,
            "width": optimum.width,
            "status": optimum.status,
            "log2_lr": optimum.log2_lr,
            "ci_low": optimum.ci_low,
            "ci_high": optimum.ci_high,
            "loss": optimum.loss,
        }
        for result in analysis.arms
        for optimum in result.optima
    ]
    table = _numbers(
        pd.DataFrame(rows, columns=["arm", "width", "status", "log2_lr", "ci_low", "ci_high", "loss"]),
        ["log2_lr", "ci_low", "ci_high", "loss"],
    )
    for position, (name, log2) in enumerate(
        {"optimal_lr": "log2_lr", "lr_low": "ci_low", "lr_high": "ci_high"}.items(), start=3
    ):
        table.insert(position, name, 2.0 ** table[log2])
    return table


def transfer_table(analysis: Analysis) -> pd.DataFrame:
    """Each arm's verdict, its slope (octaves of rate per doubling of width) and regret (nats) with their intervals."""
    rows: list[dict[str, Any]] = [
        {"arm": result.arm, "parametrization": result.parametrization, "verdict": result.verdict}
        | _interval("slope", result.transfer_slope)
        | _regret(result.transfer_regret)
        for result in analysis.arms
    ]
    numbers = [
        *("slope", "slope_low", "slope_high"),
        *("proxy_width", "target_width", "regret", "regret_low", "regret_high"),
    ]
    return _numbers(pd.DataFrame(rows, columns=["arm", "parametrization", "verdict", *numbers]), numbers)


def difference_table(analysis: Analysis) -> pd.DataFrame:
    """The difference of two arms' slopes, first minus second, in octaves of rate per doubling of width."""
    rows = [{"pair": pair} | _interval("difference", value) for pair, value in analysis.slope_difference.items()]
    numbers = ["difference", "difference_low", "difference_high"]
    return _numbers(pd.DataFrame(rows, columns=["pair", *numbers]), numbers)


def diverged_table(frame: pd.DataFrame) -> pd.DataFrame:
    """The diverged trials, by arm, width, rate and seed, with the step at which each diverged."""
    columns = ["arm", "width", "lr", "log2_lr", "seed", "diverged_step"]
    failed = frame.loc[frame["diverged"].astype(bool), columns]
    return _numbers(failed.sort_values(columns[:-1], kind="stable", ignore_index=True), ["diverged_step"])


def _interval(name: str, value: Interval | None) -> dict[str, float | None]:
    return {} if value is None else {name: value.estimate, f"{name}_low": value.ci_low, f"{name}_high": value.ci_high}


def _regret(value: Regret | None) -> dict[str, float | None]:
    if value is None:
        return {}
    widths: dict[str, float | None] = {"proxy_width": value.proxy_width, "target_width": value.target_width}
    return widths | {"regret": value.nats, "regret_low": value.ci_low, "regret_high": value.ci_high}


def _numbers(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    return table.astype(dict.fromkeys(columns, "float64"))
