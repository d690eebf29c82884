"""Checks of what a user asked for. Each raises ValueError in one line: what was expected, what came, what to do."""

from __future__ import annotations

import dataclasses
import difflib
import reprlib
import types
from collections.abc import Iterable, Mapping
from typing import Any, get_args, get_origin, get_type_hints


def nearest(name: str, valid: Iterable[str]) -> str:
    """A hint that names the nearest valid name, or all of them."""
    valid = list(valid)
    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}? ({', '.join(valid)})" if close else f"use one of {', '.join(valid)}"


def one_of(field_name: str, value: str, valid: Iterable[str]) -> None:
    """Raises ValueError, with the nearest valid name, if `value` is not in `valid`."""
    valid = list(valid)
    if value not in valid:
        raise ValueError(f"expected a known {field_name}, got {value!r}; {nearest(value, valid)}")


MOST = 1e15
"""No count, size or factor that anyone trains with is larger; one that is, is a slip of the keyboard."""


def positive(field_name: str, value: float, most: float = MOST) -> None:
    """Raises ValueError if `value` is not a number above 0, and at most `most`."""
    if not 0 < value <= most:
        limit = f"at most {most:.15g}" if value > most else "above 0"
        told = f"{value:g}" if abs(value) <= MOST else reprlib.repr(value)
        raise ValueError(f"expected {field_name} {limit}, got {told}; change it")


def fitting(field_name: str, value: Any, fits: bool, words: str) -> None:
    """Raises ValueError unless `fits`: the value is not what the words say."""
    if not fits:
        raise ValueError(f"expected {field_name} {words}, got {reprlib.repr(value)}; change it")


def several(field_name: str, values: tuple[Any, ...]) -> None:
    """Raises ValueError if `values` is empty or holds a value twice."""
    if not values:
        raise ValueError(f"expected at least one of {field_name}, got none; give one")
    twice = sorted({str(value) for value in values if values.count(value) > 1})
    if twice:
        raise ValueError(f"expected each of {field_name} once, got {twice[0]} twice; remove one")


def of_its_types(prefix: str, config: Any) -> None:
    """Raises ValueError if a field of a dataclass holds a value of another type than its annotation says."""
    for name, expected in get_type_hints(type(config)).items():
        value = getattr(config, name)
        if not _fits(value, expected):
            words = expected.__name__ if isinstance(expected, type) and not get_args(expected) else str(expected)
            raise ValueError(f"expected {prefix}{name} to be {words}, got {reprlib.repr(value)}; change it")


def _fits(value: Any, expected: Any) -> bool:
    if get_origin(expected) is types.UnionType:
        return any(_fits(value, choice) for choice in get_args(expected))
    if get_origin(expected) is tuple:
        return isinstance(value, tuple) and all(_fits(item, get_args(expected)[0]) for item in value)
    if expected is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if expected is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, expected)


def all_used(prefix: str, config: Any, used: Mapping[str, bool], by: str) -> None:
    """Raises ValueError if a field that is not used differs from its default: nothing is accepted and ignored."""
    defaults = {field.name: field.default for field in dataclasses.fields(config)}
    for name, is_used in used.items():
        if not is_used and getattr(config, name) != defaults[name]:
            raise ValueError(
                f"expected settings of {by}, got {prefix}{name} {getattr(config, name)!r}, which {by} does not use; "
                "leave it out"
            )
