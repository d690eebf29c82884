"""Configs as plain JSON data, and back."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from mutransfer.config.arm import Arm
from mutransfer.config.scale import DIMENSIONS
from mutransfer.config.schedule import ScheduleConfig
from mutransfer.config.sweep import EXTENSIONS, PARTS, RESOURCES, SweepConfig
from mutransfer.config.trial import TrialConfig
from mutransfer.strict import structure


def to_json(config: Any) -> dict[str, Any]:
    """A config as plain JSON data."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def sweep_from_json(data: Mapping[str, Any]) -> SweepConfig:
    """The SweepConfig that `to_json` wrote; a field that an earlier version did not have gets its default.

    Raises ValueError on a field that it does not know, and on a value of another type.
    """
    config = structure(data, SweepConfig)
    return dataclasses.replace(config, variants=tuple(map(_frozen, config.variants)))


def _frozen(arm: Arm) -> Arm:
    """An arm whose lists, which JSON has in place of tuples, are tuples again."""
    changes = tuple((name, tuple(value) if isinstance(value, list) else value) for name, value in arm.changes)
    return dataclasses.replace(arm, changes=changes)


def differing_fields(found: SweepConfig, wanted: SweepConfig) -> list[str]:
    """Dotted names of the fields in which a sweep that there is and one that is wanted differ, beyond resources,
    extensions, and the one size of a dimension that the other lists."""
    listed = {DIMENSIONS[name].field for name in {*found.listed, *wanted.listed}}
    free = {*RESOURCES, *EXTENSIONS, "model.width", *listed}
    if all(_floor(found, arm) == _floor(wanted, arm) for arm in found.arms):
        free.add("schedule.floor")
    flat, other = flatten(to_json(found)), flatten(to_json(wanted))
    return [name for name in flat if name not in free and flat[name] != other[name]]


def _floor(config: SweepConfig, arm: Arm) -> float:
    """Of an arm's schedule, given or not."""
    of_schedule = {name.partition(".")[2]: value for name, value in arm.changes if name.startswith("schedule.")}
    return dataclasses.replace(config.schedule, **of_schedule).end


def flat_trial(data: Mapping[str, Any]) -> dict[str, Any]:
    """A TrialConfig's JSON with dotted keys; a field that an earlier version did not have gets its default, and a floor
    that was not given is the one it stands for."""
    flat = {**_DEFAULTS, **flatten(data)}
    return flat | {"schedule.floor": ScheduleConfig(flat["schedule.name"], floor=flat["schedule.floor"]).end}


def flatten(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys."""
    flat: dict[str, Any] = {}
    for name, value in data.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


_DEFAULTS = {
    **flatten({name: to_json(cls()) for name, cls in PARTS.items()}),
    **{
        field.name: field.default
        for field in dataclasses.fields(TrialConfig)
        if field.default is not dataclasses.MISSING
    },
}
