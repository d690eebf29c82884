"""JSON is read into its types or refused in one line that names the field."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mutransfer.strict import DEEPEST, parse_json, read_file, structure


@dataclass(frozen=True)
class Inner:
    size: int = 1
    part: float | None = None


@dataclass(frozen=True)
class Outer:
    name: str
    on: bool = False
    inner: Inner = field(default_factory=Inner)
    sizes: tuple[int, ...] = ()
    changes: tuple[tuple[str, Any], ...] = ()
    versions: dict[str, str] = field(default_factory=dict)


WHOLE = {
    "name": "x",
    "on": True,
    "inner": {"size": 2, "part": 0.5},
    "sizes": [1, 2],
    "changes": [["a.b", 1]],
    "versions": {"torch": "2"},
}


def test_what_is_whole_is_read_and_what_came_later_has_its_default() -> None:
    assert structure(WHOLE, Outer) == Outer("x", True, Inner(2, 0.5), (1, 2), (("a.b", 1),), {"torch": "2"})
    assert structure({"name": "x"}, Outer) == Outer("x")


def test_a_whole_number_where_a_float_may_stand_stays_one() -> None:
    """A digest of a config tells 1 and 1.0 apart."""
    found = structure({"part": 1}, Inner)
    assert type(found.part) is int


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"name": 1}, "name: expected text, got 1"),
        ({"on": 1}, "on: expected true or false, got 1"),
        ({"inner": []}, r"inner: expected an object, got \[\]"),
        ({"inner": {"size": True}}, "inner.size: expected a whole number, got True"),
        ({"inner": {"size": 1.0}}, "inner.size: expected a whole number, got 1.0"),
        ({"inner": {"size": None}}, "inner.size: expected a whole number, got None"),
        ({"inner": {"part": "1"}}, "inner.part: expected .*, got '1'|inner.part: expected a number"),
        ({"inner": {"odd": 1}}, "inner: expected no field odd"),
        ({"sizes": [1, "2"]}, r"sizes\[1\]: expected a whole number, got '2'"),
        ({"sizes": "12"}, "sizes: expected a list, got '12'"),
        ({"sizes": {"1": 1}}, "sizes: expected a list"),
        ({"changes": [["a"]]}, r"changes\[0\]: expected 2 values, got 1"),
        ({"changes": [[1, 1]]}, r"changes\[0\]: expected text, got 1"),
        ({"versions": {"torch": 2}}, r"versions\['torch'\]: expected text, got 2"),
        ({"versions": []}, "versions: expected an object"),
        ({"odd": 1, "even": 2}, "expected no field even, odd"),
    ],
)
def test_what_is_not_is_refused_and_named(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=f"^{told}") as refused:
        structure({**WHOLE, **changes}, Outer)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("data", [None, 5, "text", [], True])
def test_what_is_no_object_at_all_is_refused(data: object) -> None:
    with pytest.raises(ValueError, match="expected an object"):
        structure(data, Outer)


def test_a_field_that_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match=r"^name: expected a value, got none$"):
        structure({}, Outer)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "expected JSON, got something else"),
        ("{", "expected JSON, got something else"),
        ("[NaN]", "expected finite numbers, got NaN"),
        ("-Infinity", "expected finite numbers, got -Infinity"),
        ("1e308", r"expected numbers up to 1e\+30, got '1e308'"),
        ("-1e999", r"expected numbers up to 1e\+30"),
        ("1" + "0" * 308, r"expected numbers up to 1e\+30"),
        ("9" * 10_000, r"expected numbers up to 1e\+30"),
        ("[" * 100_000, f"expected JSON of at most {DEEPEST} levels"),
        ("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), f"expected JSON of at most {DEEPEST} levels"),
        ('{"a":' * 2000 + "1" + "}" * 2000, f"expected JSON of at most {DEEPEST} levels"),
    ],
)
def test_what_is_no_json_of_ours_is_refused_in_one_line(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told) as refused:
        parse_json(text)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 200


def test_numbers_at_the_bounds_are_read() -> None:
    assert parse_json("[1e30, -1e-30, 1000000000000000000000000000000, -5]") == [1e30, -1e-30, 10**30, -5]
    deep = "[" * (DEEPEST - 1) + "1" + "]" * (DEEPEST - 1)
    assert parse_json(deep)


def test_a_pipe_or_a_folder_in_place_of_a_file_is_refused_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for place, told in ((pipe, "a pipe or a device"), (tmp_path, "a folder"), (Path(os.devnull), "a pipe or a device")):
        with pytest.raises(ValueError, match=f"expected a file at .*, got {told}"):
            read_file(place)
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "none")
