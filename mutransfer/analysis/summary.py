"""An analysis as plain JSON data: the content of summary.json, an interface for others to build on."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from mutransfer.analysis.band import Band
from mutransfer.analysis.interval import Interval
from mutransfer.analysis.leverage import Leverage
from mutransfer.analysis.optimum import Optimum
from mutransfer.analysis.regret import Regret
from mutransfer.analysis.sensitivity import Sensitivity
from mutransfer.analysis.stability import Unstable
from mutransfer.analysis.transfer import Analysis, ArmResult
from mutransfer.config import SCHEMA

OPTIMUM_FIELDS = ("log2_lr", "ci_low", "ci_high", "loss", "status")
"""What summary.json tells of an optimum."""


def to_summary(analysis: Analysis) -> dict[str, Any]:
    """Plain JSON data of this schema; what is missing is None, and no number is NaN or infinite."""
    return {
        "schema": SCHEMA,
        "experiment": analysis.experiment,
        "axis": analysis.axis,
        "arms": {arm.arm: _arm(arm, analysis.axis) for arm in analysis.arms},
        "slope_difference": {pair: _interval(interval) for pair, interval in analysis.slope_difference.items()},
    }


def _arm(arm: ArmResult, axis: str) -> dict[str, Any]:
    return {
        "parametrization": arm.parametrization,
        "optima": [_optimum(optimum, axis) for optimum in arm.optima],
        "transfer_slope": _interval(arm.transfer_slope),
        "transfer_regret": _regret(arm.transfer_regret, axis),
        "verdict": arm.verdict,
        "reason": arm.reason,
        "sensitivity": [_sized(each, axis) for each in arm.sensitivity],
        "unstable": [_sized(each, axis) for each in arm.unstable],
        "unstable_slope": _interval(arm.unstable_slope),
        "bands": [_sized(each, axis) for each in arm.bands],
        "size_law": None if arm.size_law is None else _plain(asdict(arm.size_law)),
        "leverage": None if arm.leverage is None else _sized(arm.leverage, axis),
        "settling": [_plain(asdict(each)) for each in arm.settling],
    }


def _optimum(optimum: Optimum, axis: str) -> dict[str, Any]:
    return {axis: optimum.size} | {name: getattr(optimum, name) for name in OPTIMUM_FIELDS}


def _regret(regret: Regret | None, axis: str) -> dict[str, Any] | None:
    if regret is None:
        return None
    sizes = {f"proxy_{axis}": regret.proxy_size, f"target_{axis}": regret.target_size}
    return sizes | {"nats": regret.nats, "ci_low": regret.ci_low, "ci_high": regret.ci_high}


def _sized(found: Sensitivity | Unstable | Band | Leverage, axis: str) -> dict[str, Any]:
    """All of it, its size under the axis' name."""
    return {axis if name == "size" else name: value for name, value in asdict(found).items()}


def _plain(data: dict[str, Any]) -> dict[str, Any]:
    """With lists for tuples, as JSON gives them back."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in data.items()}


def _interval(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None else asdict(interval)
