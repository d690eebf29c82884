"""How large a training run is: the `Scale` of a trial, and the words for each of its dimensions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple


class Dimension(NamedTuple):
    """A dimension of a scale: the field of a SweepConfig that lists its sizes ("" where no sweep of ours varies it),
    the words for one size and for several, and the dotted field of a trial's config that holds it."""

    sizes: str
    word: str
    words: str
    field: str


DIMENSIONS: Mapping[str, Dimension] = {
    "width": Dimension("widths", "width", "widths", "model.width"),
    "depth": Dimension("depths", "depth", "depths", "model.depth"),
    "batch_size": Dimension("batch_sizes", "batch size", "batch sizes", "batch_size"),
    "steps": Dimension("step_counts", "number of steps", "numbers of steps", "steps"),
    "params": Dimension("", "number of parameters", "numbers of parameters", ""),
    "tokens": Dimension("", "number of tokens", "numbers of tokens", ""),
}
"""By name, which is the field of a `Scale` and the column of a table of trials. Our own sweeps vary the first four.
Tables that others made may know parameters in place of width and depth, and tokens in place of steps."""


SWEPT = tuple(name for name, dimension in DIMENSIONS.items() if dimension.sizes)
"""The dimensions that our own sweeps vary."""


@dataclass(frozen=True, order=True)
class Scale:
    """How large a run is. `batch_size` is in sequences (in the units of its column where others made the table),
    `tokens` the number seen in training. None: not known, or no coordinate of this table; all scales of one table know
    the same dimensions."""

    width: int | None = None
    depth: int | None = None
    batch_size: float | None = None
    steps: int | None = None
    params: float | None = None
    tokens: float | None = None

    def __getitem__(self, dimension: str) -> float:
        """The size along a dimension that is known."""
        size: float | None = getattr(self, dimension)
        if size is None:
            raise KeyError(dimension)
        return size

    @property
    def known(self) -> tuple[str, ...]:
        """The dimensions that it knows, in the order of DIMENSIONS."""
        return tuple(name for name in DIMENSIONS if getattr(self, name) is not None)

    def log2(self, dimension: str) -> float:
        """The size along a dimension, in octaves (powers of 2)."""
        return math.log2(self[dimension])

    def octaves_to(self, other: Scale) -> float:
        """How far another scale of the same dimensions lies, in octaves of all of them."""
        return math.dist([self.log2(name) for name in self.known], [other.log2(name) for name in self.known])

    def only(self, dimensions: Iterable[str]) -> Scale:
        """This scale along some dimensions; the others are None."""
        return Scale(**{name: getattr(self, name) for name in dimensions})

    def replace(self, **sizes: float | None) -> Scale:
        """This scale with other sizes."""
        return dataclasses.replace(self, **sizes)  # type: ignore[arg-type]

    def describe(self, dimensions: Iterable[str] | None = None) -> str:
        """Words such as "width 64, depth 2", of the dimensions given, or of all that are known."""
        names = self.known if dimensions is None else tuple(dimensions)
        return ", ".join(f"{DIMENSIONS[name].word} {in_digits(self[name])}" for name in names)


def in_digits(size: float) -> str:
    """A size as text: all its digits, or of millions and more the first three, as 1024, 215M, 11.4B."""
    for unit, factor in (("T", 1e12), ("B", 1e9), ("M", 1e6)):
        if size >= factor:
            return f"{size / factor:.3g}{unit}"
    return f"{size:.15g}"


def varying(scales: Iterable[Scale]) -> tuple[str, ...]:
    """The dimensions in which some scales differ, in the order of DIMENSIONS."""
    found = list(scales)
    return tuple(name for name in DIMENSIONS if len({getattr(scale, name) for scale in found}) > 1)
