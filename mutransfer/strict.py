"""JSON that some program wrote, read strictly: into the types that are expected, or a line that says what is wrong."""

from __future__ import annotations

import dataclasses
import json
import math
import reprlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_origin

if TYPE_CHECKING:
    from cattrs import Converter

T = TypeVar("T")

LARGEST_NUMBER = 1e30
"""No number that we write is larger; one that is, is damaged."""
DEEPEST = 50
"""No JSON that we write has more levels."""


def read_file(path: Path) -> bytes:
    """A file's bytes. Raises FileNotFoundError where there is none, and ValueError where it cannot be read."""
    if path.exists() and not path.is_file():  # a pipe or a device may never end
        found = "a folder" if path.is_dir() else "a pipe or a device"
        raise ValueError(f"expected a file at {path}, got {found}; restore the file, or give another folder")
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(
            f"expected {path} to be readable, got {error.strerror}; restore the file, or give another folder"
        ) from None


def parse_json(text: str | bytes) -> Any:
    """JSON as plain data. Raises ValueError on what is no JSON, too deep, or holds a number beyond `LARGEST_NUMBER`."""
    try:
        data = json.loads(text, parse_float=_number, parse_int=_whole, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        raise ValueError(f"expected JSON, got something else ({error})") from None
    except RecursionError:
        raise ValueError(f"expected JSON of at most {DEEPEST} levels, got more") from None
    level, depth = [data], 0
    while level:
        depth += 1
        if depth > DEEPEST:
            raise ValueError(f"expected JSON of at most {DEEPEST} levels, got more")
        level = [
            child
            for each in level
            if isinstance(each, list | dict)
            for child in (each.values() if isinstance(each, dict) else each)
        ]
    return data


def structure(data: Any, kind: type[T]) -> T:
    """Plain JSON data as a dataclass, with the dataclasses, tuples and dicts that it is made of.

    A field with a default may be missing: an earlier version did not have it. A whole number does for a float, and
    stays one. Nothing else is converted.

    Raises ValueError, naming the field, on one that is missing, unknown, or holds a value of another type.
    """
    from cattrs import transform_error  # here and below, so that what reads nothing need not wait for it

    try:
        return _converter().structure(data, kind)
    except Exception as error:
        told, _, place = transform_error(error, format_exception=_told)[0].rpartition(" @ $")
        raise ValueError(f"{place.lstrip('.')}: {told}" if place else told) from None


def _is_tuple(kind: Any) -> bool:
    return get_origin(kind) is tuple


@cache
def _converter() -> Converter:
    from cattrs import Converter
    from cattrs.cols import homogenous_tuple_structure_factory, is_mapping, mapping_structure_factory
    from cattrs.gen import make_dict_structure_fn

    converter = Converter(forbid_extra_keys=True)
    for kinds, kind in (((int,), int), ((str,), str), ((bool,), bool), ((int, float), float)):
        converter.register_structure_hook(kind, _only(*kinds))

    def checked(factory: Any, plain: type) -> Any:
        """The hook of a factory, for data of one plain type alone."""
        check = _only(plain)

        def make(kind: Any, converter: Converter) -> Any:
            inner = factory(kind, converter)
            return lambda data, kind: inner(check(data, kind), kind)

        return make

    def of_dataclass(kind: Any, converter: Converter) -> Any:
        return make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=True)

    def of_tuple(kind: Any, converter: Converter) -> Any:
        if kind.__args__[-1] is ...:
            return homogenous_tuple_structure_factory(kind, converter)

        def pair(data: Any, _: Any) -> Any:
            if len(data) != len(kind.__args__):
                raise ValueError(f"expected {len(kind.__args__)} values, got {len(data)}")
            return tuple(converter.structure(*each) for each in zip(data, kind.__args__, strict=True))

        return pair

    converter.register_structure_hook_factory(dataclasses.is_dataclass, checked(of_dataclass, dict))
    converter.register_structure_hook_factory(is_mapping, checked(mapping_structure_factory, dict))
    converter.register_structure_hook_factory(_is_tuple, checked(of_tuple, list))
    return converter


_WORDS = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    dict: "an object",
    list: "a list",
}


def _only(*kinds: type) -> Any:
    """A check that data is of one of these types exactly: True is no number."""

    def check(data: Any, _: Any) -> Any:
        if type(data) not in kinds:
            raise ValueError(f"expected {_WORDS[kinds[-1]]}, got {reprlib.repr(data)}")
        return data

    return check


def _told(error: BaseException, _: Any) -> str:
    """An error of cattrs in our words."""
    from cattrs import ForbiddenExtraKeysError

    if isinstance(error, KeyError):
        return "expected a value, got none"
    if isinstance(error, ForbiddenExtraKeysError):
        return f"expected no field {', '.join(sorted(error.extra_fields))}, which this version does not know"
    return str(error)


def _number(text: str) -> float:
    value = float(text)
    if not abs(value) <= LARGEST_NUMBER:
        raise ValueError(f"expected numbers up to {LARGEST_NUMBER:g}, got {reprlib.repr(text)}")
    return value


def _whole(text: str) -> int:
    if len(text) > math.log10(LARGEST_NUMBER) + 1:
        raise ValueError(f"expected numbers up to {LARGEST_NUMBER:g}, got {reprlib.repr(text)}")
    return int(text)


def _refuse(text: str) -> float:
    raise ValueError(f"expected finite numbers, got {text}")
