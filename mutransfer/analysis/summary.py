"""An analysis as plain JSON data: the content of summary.json, an interface for others to build on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from mutransfer.analysis.forgiving import Band, Sensitivity, Unstable
from mutransfer.analysis.interval import Interval
from mutransfer.analysis.leverage import Leverage
from mutransfer.analysis.optimum import Optimum
from mutransfer.analysis.regret import Regret
from mutransfer.analysis.transfer import Analysis, ArmResult
from mutransfer.config.scale import Scale

OPTIMUM_FIELDS = ("log2_lr", "ci_low", "ci_high", "loss", "status")
"""What summary.json tells of an optimum."""
SCHEMA = 2
"""Version of summary.json, which docs/summary.md describes field by field."""


def to_summary(analysis: Analysis) -> dict[str, Any]:
    """Plain JSON data of this schema; what is missing is None, and no number is NaN or infinite."""
    dimensions = analysis.dimensions
    return {
        "schema": SCHEMA,
        "experiment": analysis.experiment,
        "dimensions": list(dimensions),
        "tolerance": analysis.tolerance,
        "loss": analysis.loss,
        "arms": {arm.arm: _arm(arm, dimensions) for arm in analysis.arms},
        "slope_difference": {pair: _intervals(each) for pair, each in analysis.slope_differences.items()},
        "notes": list(analysis.notes),
    }


def _arm(arm: ArmResult, dimensions: Sequence[str]) -> dict[str, Any]:
    return {
        "parametrization": arm.parametrization,
        "unit": arm.unit,
        "estimator": arm.estimator,
        "optima": [_optimum(each, dimensions) for each in arm.optima],
        "slopes": _intervals(arm.slopes),
        "transfer_regret": _regret(arm.transfer_regret, dimensions),
        "verdict": arm.verdict,
        "reason": arm.reason,
        "sensitivity": [_sized(each, dimensions) for each in arm.sensitivity],
        "unstable": [_sized(each, dimensions) for each in arm.unstable],
        "unstable_slope": _interval(arm.unstable_slope),
        "bands": [_sized(each, dimensions) for each in arm.bands],
        "size_law": None if arm.size_law is None else _plain(asdict(arm.size_law)),
        "leverage": None if arm.leverage is None else _sized(arm.leverage, dimensions),
        "settling": [_plain(asdict(each)) for each in arm.settling],
        "notes": list(arm.notes),
    }


def _optimum(optimum: Optimum, dimensions: Sequence[str]) -> dict[str, Any]:
    told = {name: getattr(optimum, name) for name in OPTIMUM_FIELDS}
    own = {"own_log2_lr": None if optimum.own is None else optimum.own.log2_lr}
    return _sizes(optimum.scale, dimensions) | told | own


def _sizes(scale: Scale, dimensions: Sequence[str], prefix: str = "") -> dict[str, float]:
    return {f"{prefix}{name}": scale[name] for name in dimensions}


def _regret(regret: Regret | None, dimensions: Sequence[str]) -> dict[str, Any] | None:
    if regret is None:
        return None
    sizes = _sizes(regret.proxy, dimensions, "proxy_") | _sizes(regret.target, dimensions, "target_")
    return sizes | {"nats": regret.nats, "ci_low": regret.ci_low, "ci_high": regret.ci_high}


def _sized(found: Sensitivity | Unstable | Band | Leverage, dimensions: Sequence[str]) -> dict[str, Any]:
    """All of it, its sizes under the dimensions' names."""
    rest = {each.name: getattr(found, each.name) for each in fields(found) if each.name != "scale"}
    return _sizes(found.scale, dimensions) | rest


def _plain(data: dict[str, Any]) -> dict[str, Any]:
    """With lists for tuples, as JSON gives them back."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in data.items()}


def _intervals(intervals: Mapping[str, Interval]) -> dict[str, Any]:
    return {name: asdict(interval) for name, interval in intervals.items()}


def _interval(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None else asdict(interval)
