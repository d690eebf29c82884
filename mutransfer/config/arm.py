"""One line of a comparison, and what a sweep can vary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from mutransfer.checks import one_of
from mutransfer.theory.parametrizations import TABLES


class Axis(NamedTuple):
    """What a sweep varies beside rate and seed: the field that lists its sizes, and the words for one and several."""

    sizes: str
    word: str
    words: str


AXES: Mapping[str, Axis] = {
    "width": Axis("widths", "width", "widths"),
    "depth": Axis("depths", "depth", "depths"),
    "batch_size": Axis("batch_sizes", "batch size", "batch sizes"),
    "steps": Axis("step_counts", "number of steps", "numbers of steps"),
}
"""By the name of the record's column."""


def one_size(sizes: Mapping[str, int], axis: str) -> int:
    """The size that a command line gives along an axis. Raises ValueError where it gives none, or another axis'."""
    option = _option(axis)
    if not sizes:
        raise ValueError(f"found no size to train; wanted one: give {option}")
    if list(sizes) != [axis]:
        given = " and ".join(map(_option, sizes))
        raise ValueError(f"found {given} for a sweep of {AXES[axis].words}; wanted {option} alone")
    return sizes[axis]


def _option(axis: str) -> str:
    return f"--{axis.replace('_', '-')}"


@dataclass(frozen=True)
class Arm:
    """One line of a comparison: a parametrization, and what its trials change of the sweep's config."""

    name: str
    parametrization: str
    changes: tuple[tuple[str, Any], ...] = ()
    """Dotted fields of the SweepConfig with their values for this arm, as (("model.qk_norm", True),)."""

    def validate(self) -> None:
        """Raises ValueError on a name that is none and on changes that are no pairs."""
        if not isinstance(self.name, str) or not plain_name(self.name):
            raise ValueError(f"found an arm named {self.name!r}; wanted a plain name, without a slash: rename it")
        one_of("parametrization", self.parametrization, TABLES)
        pairs = isinstance(self.changes, tuple) and all(isinstance(each, tuple) for each in self.changes)
        if not pairs or not all(len(each) == 2 and isinstance(each[0], str) for each in self.changes):
            raise ValueError(
                f"found the changes {self.changes!r} in arm {self.name}; wanted pairs of a field and its value, such "
                'as (("model.qk_norm", True),)'
            )


def plain_name(name: str) -> bool:
    """Whether a name may be that of a folder, and stands in one line."""
    return bool(name) and name.isprintable() and not name.startswith(".") and "/" not in name and "\\" not in name
