"""Checks of what a user asked for: each raises ValueError in one line that says what was found and what was wanted."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from typing import Any


def nearest(name: str, valid: Iterable[str]) -> str:
    """A hint that names the nearest valid name, or all of them."""
    valid = list(valid)
    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}? ({', '.join(valid)})" if close else f"use one of {', '.join(valid)}"


def one_of(field_name: str, value: str, valid: Iterable[str]) -> None:
    """Raises ValueError, with the nearest valid name, if `value` is not in `valid`."""
    valid = list(valid)
    if value not in valid:
        raise ValueError(f"found {field_name} {value!r}; wanted a known one: {nearest(value, valid)}")


def positive(field_name: str, value: float) -> None:
    """Raises ValueError if `value` is not a finite number above 0."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"found {field_name} {value:g}; wanted a finite number above 0")


def several(field_name: str, values: tuple[Any, ...]) -> None:
    """Raises ValueError if `values` is empty or holds a value twice."""
    if not values:
        raise ValueError(f"found no {field_name}; wanted at least one")
    twice = sorted({str(value) for value in values if values.count(value) > 1})
    if twice:
        raise ValueError(f"found {twice[0]} twice in {field_name}; wanted each once: remove one")
