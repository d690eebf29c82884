"""Configs as plain JSON data, and back."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, TypeVar

from mutransfer.config.arm import Arm
from mutransfer.config.schedule import ScheduleConfig
from mutransfer.config.space import Range
from mutransfer.config.sweep import EXTENSIONS, PARTS, RESOURCES, SweepConfig
from mutransfer.config.trial import TrialConfig

T = TypeVar("T")


def to_json(config: Any) -> dict[str, Any]:
    """A config as plain JSON data."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def sweep_from_json(data: Mapping[str, Any]) -> SweepConfig:
    """The SweepConfig that `to_json` wrote; a field that an earlier version did not have gets its default.

    Raises ValueError on a field it does not know.
    """
    return _from_json(SweepConfig, data)


def _from_json(cls: type[T], data: Mapping[str, Any]) -> T:
    names = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    if not set(data) <= names:
        odd = sorted(set(data) - names)
        raise ValueError(f"found a {cls.__name__} with the fields {', '.join(odd)}; it is of another version")
    if "variants" in data:
        data = {**data, "variants": [_arm_from_json(entry) for entry in data["variants"]]}
    if "space" in data:
        data = {**data, "space": [_from_json(Range, entry) for entry in data["space"]]}
    values = {
        name: _from_json(PARTS[name], value) if name in PARTS else tuple(value) if isinstance(value, list) else value
        for name, value in data.items()
    }
    return cls(**values)


def _arm_from_json(data: Mapping[str, Any]) -> Arm:
    changes = tuple((str(name), tuple(value) if isinstance(value, list) else value) for name, value in data["changes"])
    return Arm(data["name"], data["parametrization"], changes)


def differing_fields(found: SweepConfig, wanted: SweepConfig) -> list[str]:
    """Dotted names of the fields in which a sweep that there is and one that is wanted differ, beyond resources and
    extensions."""
    free = {*RESOURCES, *EXTENSIONS, "model.width"}
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
