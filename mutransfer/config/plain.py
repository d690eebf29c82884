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
    if cls is ScheduleConfig:
        data = {name: _floor_of_now(name, value, data["name"]) for name, value in data.items()}
    values = {
        name: _from_json(PARTS[name], value) if name in PARTS else tuple(value) if isinstance(value, list) else value
        for name, value in data.items()
    }
    return cls(**values)


def _arm_from_json(data: Mapping[str, Any]) -> Arm:
    changes = tuple((str(name), tuple(value) if isinstance(value, list) else value) for name, value in data["changes"])
    return Arm(data["name"], data["parametrization"], changes)


def differing_fields(one: SweepConfig, other: SweepConfig) -> list[str]:
    """Dotted names of the fields in which two sweeps differ beyond resources and extensions."""
    free = {*RESOURCES, *EXTENSIONS}
    flat_one, flat_other = flatten(to_json(one)), flatten(to_json(other))
    return [name for name in flat_one if name not in free | {"model.width"} and flat_one[name] != flat_other[name]]


def flat_trial(data: Mapping[str, Any]) -> dict[str, Any]:
    """A TrialConfig's JSON with dotted keys; a field that an earlier version did not have gets its default."""
    flat = {**_DEFAULTS, **flatten(data)}
    return {name: _floor_of_now(name, value, flat["schedule.name"]) for name, value in flat.items()}


def _floor_of_now(name: str, value: Any, schedule: str) -> Any:
    """A field of a schedule; its floor was 0 where none was given, and is still but under cosine."""
    return None if name in ("floor", "schedule.floor") and value == 0 and schedule != "cosine" else value


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
