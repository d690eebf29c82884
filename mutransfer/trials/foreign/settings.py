"""What else varies in a table beside scale, learning rate and seed: settings, which make arms or a mixture."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mutransfer.config.scale import DIMENSIONS
from mutransfer.trials.foreign.dimensions import choose
from mutransfer.trials.foreign.names import MEASURED, parse_name
from mutransfer.trials.foreign.numbers import parse_number
from mutransfer.trials.foreign.taking import NONE, ReadOptions, Taken, codes_of, columns_in, quoted, take

ALONE = "all"
"""The name of the one arm of a table that has no arms."""

MOSTLY = 0.5
"""A column that may be measured or a setting, by its name, is measured if more than this part of its values differ."""


class Setting(NamedTuple):
    """A column of settings: for every row the number of its value, and the values as text."""

    codes: NDArray[np.intp]
    texts: Sequence[str]

    @property
    def in_words(self) -> bool:
        """Whether its values are words rather than numbers."""
        return all(parse_number(text) is None for text in self.texts if text)


@dataclass(frozen=True, eq=False)
class Cells:
    """The arms and scales of the rows of a table."""

    arm_columns: tuple[str, ...]
    arms: Sequence[str]
    arm: NDArray[np.intp]
    """Of each row, its place in `arms`."""
    along: tuple[str, ...]
    """The dimensions that scale the runs."""
    goes_with: Mapping[str, str]
    """By another dimension that varies: what it goes with, in words."""
    cell: NDArray[np.intp]
    """Of each row, the number of its arm and scale."""
    between: tuple[str, ...]
    """Settings that differ between cells alone."""


def in_cells(
    frame: pd.DataFrame,
    sizes: Mapping[str, NDArray[np.float64]],
    lr: NDArray[np.float64],
    seed: NDArray[np.float64] | None,
    taken: Mapping[str, Taken],
    options: ReadOptions,
    decimal: str,
) -> Cells:
    """The cells of a table. Without `options.arm` the arms are those of a column of that name, or of the single setting
    in words that varies within the cells.

    Args:
        frame: rows of text.
        sizes: by dimension, a number a row.
        lr, seed: of each row; seed None where no column has it.
        taken: what the columns were taken for.
        options: the arms, dimensions and columns to ignore that were asked for.
        decimal: the decimal sign.

    Raises:
        ValueError: where anything but learning rate and seed varies in a cell.
    """
    if options.arm is not None:
        arm_columns = () if options.arm == NONE else columns_in(frame, options.arm, "--arm")
    else:
        found = take(frame, "arm", None, decimal)
        arm_columns = () if found is None else (str(found.column),)
    ignored = {column for text in options.ignore for column in columns_in(frame, text, "--ignore")}
    known = {each.column for role, each in taken.items() if role not in (*sizes, "parametrization")}
    settings = settings_of(frame, known | ignored, decimal)
    asked = tuple(name for name in DIMENSIONS if name in options.along)
    while True:
        arm, arms = arms_of({name: Setting(*codes_of(frame[name], decimal)) for name in arm_columns}, len(frame))
        along, goes_with = (asked, {}) if asked else choose(sizes, arm)
        cell = groups_of([arm, *(sizes[name] for name in along)])
        explained = {taken[name].column for name in (*along, *goes_with)} | set(arm_columns)
        idle = {each.column for role, each in taken.items() if role == "parametrization"}
        others = {name: each for name, each in settings.items() if name not in explained}
        varying = mixed(others, cell, lr, seed)
        in_words = [name for name in varying if others[name].in_words]
        if arm_columns or options.arm is not None or len(in_words) != 1:
            break
        arm_columns = (in_words[0],)
    if varying:
        raise ValueError(explain_mixture(varying, others))
    return Cells(arm_columns, arms, arm, along, goes_with, cell, tuple(name for name in others if name not in idle))


def settings_of(frame: pd.DataFrame, but: Collection[str | None], decimal: str) -> dict[str, Setting]:
    """The columns that vary and were chosen before a run: not `but` those, nor names of runs, nor what was measured."""
    found: dict[str, Setting] = {}
    for column in map(str, frame.columns):
        name = parse_name(column)
        if column in but or name.kind == MEASURED or name.is_label:
            continue
        if name.may_be_measured and frame[column].nunique() > MOSTLY * len(frame):
            continue
        setting = Setting(*codes_of(frame[column], decimal))
        if (setting.codes != setting.codes[0]).any():
            found[column] = setting
    return found


def arms_of(settings: Mapping[str, Setting], rows: int) -> tuple[NDArray[np.intp], list[str]]:
    """For every row the number of its arm, and the names of the arms, in the order in which they first stand."""
    if not settings:
        return np.zeros(rows, dtype=np.intp), [ALONE]
    groups = groups_of([setting.codes for setting in settings.values()])
    _, first = np.unique(groups, return_index=True)
    names = [", ".join(_part(column, setting, at) for column, setting in settings.items()) for at in first]
    order = np.argsort(first)
    place = np.empty(len(first), dtype=np.intp)
    place[order] = np.arange(len(first))
    return place[groups], [names[at] for at in order]


def mixed(
    settings: Mapping[str, Setting],
    cell: NDArray[np.intp],
    lr: NDArray[np.float64],
    seed: NDArray[np.float64] | None,
) -> list[str]:
    """The settings of which a cell has several values, but for those in proportion to the learning rate, and those
    that are the seed by another name."""
    return [
        column
        for column, setting in settings.items()
        if _several(cell, setting.codes)
        and not _in_proportion(setting, lr)
        and (seed is None or _several(groups_of([seed]), setting.codes) or _several(setting.codes, groups_of([seed])))
    ]


def explain_mixture(columns: Sequence[str], settings: Mapping[str, Setting]) -> str:
    """What is wrong with settings that vary in a cell, and the options that decide."""
    seen = [
        f"{column} ({quoted(dict.fromkeys(settings[column].texts[code] for code in settings[column].codes), most=4)})"
        for column in columns[:4]
    ]
    more = f" and {len(columns) - 4} more" if len(columns) > 4 else ""
    first = columns[0]
    value = settings[first].texts[int(np.bincount(settings[first].codes).argmax())]
    where = shlex.quote(f"{first}={value}")
    named = shlex.quote(first)
    return (
        f"expected nothing but learning rate and seed to vary in a cell (arm x scale), got several values of "
        f"{', '.join(seen)}{more}; compare them with --arm {named}, keep one with --where {where}, say that it decides "
        f"nothing with --ignore {named}, or name a size with --width, --depth, --params, --tokens, ..."
    )


def groups_of(columns: Sequence[NDArray[np.intp] | NDArray[np.float64]]) -> NDArray[np.intp]:
    """The number of each row's combination of values, from 0."""
    found = np.zeros(len(columns[0]), dtype=np.intp)
    for column in columns:
        _, codes = np.unique(column, return_inverse=True)
        _, found = np.unique(found * (int(codes.max()) + 1) + codes, return_inverse=True)
    return np.asarray(found, dtype=np.intp)


def _several(group: NDArray[np.intp], codes: NDArray[np.intp]) -> bool:
    """Whether any group has several values."""
    return len(np.unique(groups_of([group, codes]))) > len(np.unique(group))


def _in_proportion(setting: Setting, lr: NDArray[np.float64]) -> bool:
    numbers = np.array([np.nan if (value := parse_number(text)) is None else value for text in setting.texts])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = numbers[setting.codes] / lr
    return bool(np.isfinite(ratio).all() and (np.abs(ratio - ratio[0]) <= 1e-6 * abs(ratio[0])).all())


def _part(column: str, setting: Setting, at: int) -> str:
    text = setting.texts[setting.codes[at]]
    name = column if parse_name(column).last in DIMENSIONS else parse_name(column).last
    if not text:
        return f"no {name}"
    return text if setting.in_words else f"{name} {text}"
