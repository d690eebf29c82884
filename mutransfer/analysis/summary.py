"""An analysis as plain JSON data: the content of summary.json, an interface for others to build on."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from mutransfer.analysis.interval import Interval
from mutransfer.analysis.optimum import Optimum
from mutransfer.analysis.transfer import Analysis, ArmResult
from mutransfer.config import SCHEMA

OPTIMUM_FIELDS = ("width", "log2_lr", "ci_low", "ci_high", "loss", "status")
"""What summary.json tells of an optimum."""


def to_summary(analysis: Analysis) -> dict[str, Any]:
    """Plain JSON data of this schema; what is missing is None, and no number is NaN or infinite."""
    return {
        "schema": SCHEMA,
        "experiment": analysis.experiment,
        "axis": analysis.axis,
        "arms": {arm.arm: _arm(arm) for arm in analysis.arms},
        "slope_difference": {pair: _interval(interval) for pair, interval in analysis.slope_difference.items()},
    }


def _arm(arm: ArmResult) -> dict[str, Any]:
    return {
        "parametrization": arm.parametrization,
        "optima": [_optimum(optimum) for optimum in arm.optima],
        "transfer_slope": _interval(arm.transfer_slope),
        "transfer_regret": None if arm.transfer_regret is None else asdict(arm.transfer_regret),
        "verdict": arm.verdict,
        "reason": arm.reason,
    }


def _optimum(optimum: Optimum) -> dict[str, Any]:
    return {name: getattr(optimum, name) for name in OPTIMUM_FIELDS}


def _interval(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None else asdict(interval)
