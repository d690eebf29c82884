"""Token arrays that lie in several files, as one sequence, and windows of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.integer[Any]]
"""Tokens of one file, 1-D: of any whole-number type, in memory or mapped."""


class Shards:
    """The tokens of several arrays, end to end. Nothing is copied: slices are views."""

    def __init__(self, parts: Sequence[Array]) -> None:
        self.parts = tuple(part for part in parts if len(part))
        self._ends = np.cumsum([len(part) for part in self.parts], dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def slice(self, start: int, stop: int) -> Shards:
        """The tokens from `start` up to `stop`."""
        begins = self._ends - [len(part) for part in self.parts]
        pieces = [
            part[max(0, start - begin) : max(0, stop - begin)]
            for part, begin in zip(self.parts, begins.tolist(), strict=True)
        ]
        return Shards(pieces)

    def windows(self, starts: NDArray[np.int64], length: int) -> NDArray[np.int64]:
        """The tokens from each start on, shape (len(starts), length), int64."""
        found = np.empty((len(starts), length), np.int64)
        for row, start in enumerate(starts.tolist()):
            found[row] = np.concatenate(list(self._pieces(start, length)))
        return found

    def _pieces(self, start: int, length: int) -> Iterator[Array]:
        """The parts of one window, which may reach over the end of a file into the next."""
        at = int(np.searchsorted(self._ends, start, side="right"))
        while length > 0:
            begin = start - (int(self._ends[at]) - len(self.parts[at]))
            piece = self.parts[at][begin : begin + length]
            yield piece
            start, length, at = start + len(piece), length - len(piece), at + 1


Tokens = Array | Shards
"""What batches are cut from."""


def windows(tokens: Tokens, starts: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """The tokens from each start on, shape (len(starts), length), int64."""
    if isinstance(tokens, Shards):
        return tokens.windows(starts, length)
    found: NDArray[np.int64] = tokens[starts[:, None] + np.arange(length)].astype(np.int64)
    return found


def parts_of(tokens: Tokens) -> tuple[Array, ...]:
    """The arrays that hold the tokens, in order."""
    return tokens.parts if isinstance(tokens, Shards) else (tokens,)


def slice_of(tokens: Tokens, start: int, stop: int) -> Tokens:
    """The tokens from `start` up to `stop`, as a view."""
    return tokens.slice(start, stop) if isinstance(tokens, Shards) else tokens[start:stop]
