"""What a log of a training run holds, whoever wrote it: a curve for each quantity. Arrays only, no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

FLOAT = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """A quantity at the steps at which it was logged; `step` rises, and a value may be inf or NaN if it was."""

    step: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    value: FLOAT = field(default_factory=lambda: np.empty(0))

    def __len__(self) -> int:
        return len(self.step)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return iter((self.step, self.value))

    def __getitem__(self, part: slice) -> Curve:
        return Curve(self.step[part], self.value[part])

    def since(self, step: int) -> Curve:
        """From a step on."""
        return self[int(np.searchsorted(self.step, step)) :]

    def at(self, steps: NDArray[np.int64]) -> FLOAT:
        """Its values at other steps, straight lines between its own."""
        return np.interp(steps, self.step, self.value)


@dataclass(frozen=True)
class Log:
    """A run as it was read.

    `curves` are by name (`names.py` says which there are), over a `unit`: step, epoch, or logged value where the log
    counts neither. `format` is what the file was taken for, `read_as` which column or tag was taken for which name
    where they differ, `not_read` the columns left out, and `notes` what else was decided, a sentence each.
    """

    name: str
    format: str
    curves: Mapping[str, Curve]
    unit: str = "step"
    read_as: Mapping[str, str] = field(default_factory=dict)
    not_read: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
