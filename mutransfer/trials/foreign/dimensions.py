"""Along what the runs of a table were scaled: which of the dimensions that it knows say something of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mutransfer.config.scale import DIMENSIONS

SAME_LINE = 0.1
"""Octaves. A dimension that lies on a line through the logarithms of others, as near as that, goes with them, as steps
do with tokens and batch size."""


def choose(values: Mapping[str, NDArray[np.float64]], arm: NDArray[np.intp]) -> tuple[tuple[str, ...], dict[str, str]]:
    """The dimensions that scale the runs, and by name of each other that varies what it goes with, in words.

    Two that vary together cannot be told apart: the first in this order stands for both. Size: the width; the number of
    parameters where width and depth grow together. Then batch size, tokens, steps.

    Args:
        values: the sizes above 0 that are known, a number a row.
        arm: the arm of each row.
    """
    varying = [name for name in DIMENSIONS if name in values and _varies(values[name], arm)]
    chosen: list[str] = []
    goes_with: dict[str, str] = {}
    for name in _order(varying, values):
        others = _goes_with(values[name], {each: values[each] for each in chosen})
        if others:
            goes_with[name] = " and ".join(DIMENSIONS[each].word for each in others)
        else:
            chosen.append(name)
    return tuple(name for name in DIMENSIONS if name in chosen), goes_with


def _order(varying: Sequence[str], values: Mapping[str, NDArray[np.float64]]) -> list[str]:
    first = ["width", "depth", "params"]
    if {"width", "depth", "params"} <= set(varying) and _goes_with(values["depth"], {"width": values["width"]}):
        first = ["params", "width", "depth"]
    return [name for name in (*first, "batch_size", "tokens", "steps") if name in varying]


def _varies(values: NDArray[np.float64], arm: NDArray[np.intp]) -> bool:
    """Whether any arm has sizes that are further apart than SAME_LINE."""
    sizes = pd.Series(np.log2(values)).groupby(arm)
    return bool((sizes.max() - sizes.min() > SAME_LINE).any())


def _goes_with(values: NDArray[np.float64], chosen: Mapping[str, NDArray[np.float64]]) -> list[str]:
    """Of the dimensions chosen, those that say what this one is; none where it says something of its own."""
    for name, other in chosen.items():
        pairs = _points(other, values)
        if len(np.unique(pairs[:, 0])) == len(pairs) and (
            (np.diff(pairs[:, 1]) > 0).all() or (np.diff(pairs[:, 1]) < 0).all()
        ):
            return [name]
    if not chosen:
        return []
    points = np.log2(_points(*chosen.values(), values))
    design = np.column_stack([np.ones(len(points)), points[:, :-1]])
    weights, *_ = np.linalg.lstsq(design, points[:, -1], rcond=None)
    on_line = np.abs(points[:, -1] - design @ weights).max() < SAME_LINE
    return (
        [name for name, weight in zip(chosen, weights[1:], strict=True) if abs(weight) > SAME_LINE] if on_line else []
    )


def _points(*columns: NDArray[Any]) -> NDArray[np.float64]:
    """The different rows of some columns, ascending."""
    found = pd.DataFrame(dict(enumerate(columns))).drop_duplicates()
    return found.sort_values(list(found.columns)).to_numpy(dtype=np.float64)
