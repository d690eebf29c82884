"""Which column of a table is taken for what: by the names that trackers use, or as the user says."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mutransfer.checks import nearest
from mutransfer.trials.foreign.names import MEASURED, ROLES, SETTING, flag, parse_name
from mutransfer.trials.foreign.numbers import parse_number, to_numbers

NONE = "none"
"""What a user gives in place of a column that is not to be taken."""
IN_COLUMNS = ("lr", "loss", "arm", "parametrization", "state", "diverged")
"""Roles that no number for all rows can have."""


@dataclass(frozen=True)
class Columns:
    """What the columns of a table are taken for: None, where one is found by its name, or COLUMN, COLUMN*FACTOR, a
    number that holds for all rows, or "none"; and what counts as diverged."""

    lr: str | None = None
    """Column of the peak learning rate."""
    loss: str | None = None
    """Column of the loss."""
    width: str | None = None
    """Column of the width."""
    depth: str | None = None
    """Column of the depth."""
    params: str | None = None
    """Column of the number of parameters."""
    batch_size: str | None = None
    """Column of the batch size."""
    tokens: str | None = None
    """Column of the tokens trained on, such as 'tokens_B*1e9'."""
    steps: str | None = None
    """Column of the number of steps."""
    seed: str | None = None
    """Column of the seed."""
    arm: str | None = None
    """COLUMN, or several with commas: an arm for each combination of their values."""
    parametrization: str | None = None
    """Column of the parametrization's name, such as mup."""
    state: str | None = None
    """Column that says whether a run finished."""
    diverged: str | None = None
    """Column that says whether a run diverged."""
    reached: str | None = None
    """Column of the step that a run came to: one that stopped early is left out."""
    init_loss: str | None = None
    """Column of the loss at initialization."""
    flops: str | None = None
    """Column of the FLOPs of a run; without one 6 x parameters x tokens, where both are known."""
    seconds: str | None = None
    """Column of the time of a run, in seconds."""
    diverged_above: float | None = None
    """A loss above it is a run that diverged; None: diverged_over_best decides."""
    diverged_over_best: float = 1.0
    """A loss so far above the best of its cell, at a larger learning rate than the best's, is a run that diverged. Of
    951 runs of Step Law (arXiv 2503.04715) none lies between 0.29 and 1.56 nats above it."""
    unit: str = "nats"
    """What the loss is measured in, per token."""


@dataclass(frozen=True)
class ReadOptions(Columns):
    """How a table is to be read."""

    along: tuple[str, ...] = ()
    """Dimensions along which the learning rate may transfer, of width, depth, params, batch_size, tokens, steps; none:
    those that vary and do not go with another."""
    where: tuple[str, ...] = ()
    """COLUMN=VALUE[,VALUE...] or COLUMN!=VALUE[,...]: the rows to keep; nothing after the sign is an empty cell."""
    ignore: tuple[str, ...] = ()
    """Columns that decide nothing, each a name or several with commas."""


class Taken(NamedTuple):
    """What was taken for a role: a column and the factor that it is multiplied by, or a number for all rows."""

    column: str | None
    factor: float = 1.0

    def text(self) -> str:
        """As a user would give it."""
        if self.column is None:
            return f"{self.factor:.17g}"
        return self.column if self.factor == 1 else f"{self.column}*{self.factor:.17g}"


def take(frame: pd.DataFrame, role: str, given: str | None, decimal: str, needed: bool = False) -> Taken | None:
    """The column of a role; None where there is none, or it is not to be taken.

    Raises:
        ValueError: where the given column does not exist, where two columns could be meant, and where one is `needed`
            and there is none.
    """
    option = flag(role)
    if given is not None:
        return _given(frame, role, given)
    found = _candidates(frame, role)
    if len(found) > 1:
        found = _different(frame, found, decimal)
    if len(found) > 1:
        choices = " or ".join(f"{option} {shlex.quote(column)}" for column in found)
        raise ValueError(f"expected one column for {_word(role)}, got {quoted(found)}; choose one with {choices}")
    if not found and needed:
        raise ValueError(
            f"expected a column for {_word(role)}, got {quoted(frame.columns)}; name it with {option} COLUMN"
        )
    return Taken(found[0]) if found else None


def values_of(frame: pd.DataFrame, taken: Taken, decimal: str) -> NDArray[np.float64]:
    """The numbers of a role, a row each."""
    if taken.column is None:
        return np.full(len(frame), taken.factor)
    numbers = to_numbers(frame[taken.column], taken.column, decimal)
    with np.errstate(over="ignore"):
        scaled = numbers * taken.factor
    if (np.isfinite(numbers) & ~np.isfinite(scaled)).any():
        raise ValueError(f"expected finite numbers in {taken.text()!r}, got some too large; give a smaller factor")
    return scaled


def existing(frame: pd.DataFrame, column: str, option: str) -> str:
    """The column of that name. Raises ValueError, with the nearest name, where there is none."""
    if column in frame.columns:
        return column
    raise ValueError(f"expected a column of the table after {option}, got {column!r}; {nearest(column, frame.columns)}")


def columns_in(frame: pd.DataFrame, text: str, option: str) -> tuple[str, ...]:
    """The columns in a list with commas; a name that itself has a comma is found too."""
    if text in frame.columns:
        return (text,)
    return tuple(existing(frame, part.strip(), option) for part in text.split(",") if part.strip())


def keep_where(frame: pd.DataFrame, conditions: Sequence[str], decimal: str) -> pd.DataFrame:
    """The rows that meet all conditions, COLUMN=VALUE[,VALUE...] or COLUMN!=VALUE[,VALUE...].

    Raises:
        ValueError: on another form, an unknown column, and where no row is left.
    """
    for condition in conditions:
        matched = re.fullmatch(r"(.+?)\s*(!?=)\s*(.*)", condition, re.DOTALL)
        if matched is None:
            raise ValueError(f"expected COLUMN=VALUE after --where, got {condition!r}; write it so")
        column = existing(frame, matched[1], "--where")
        wanted = [part.strip() for part in matched[3].split(",")]
        same = _equal(frame[column], wanted, decimal)
        kept = frame[same if matched[2] == "=" else ~same]
        if kept.empty:
            known = [str(text) for text in frame[column].dropna().unique()]
            raise ValueError(
                f"expected rows that meet --where {shlex.quote(condition)}, got none; {column!r} holds {quoted(known)}"
            )
        frame = kept
    return frame


def codes_of(cells: pd.Series, decimal: str) -> tuple[NDArray[np.intp], list[str]]:
    """A column as the numbers of its different values, and these as text. 0.1 and 0.10 are one value, as are all empty
    cells, whose text is ""."""
    codes, texts = pd.factorize(cells)
    keys = [_value(text, decimal) for text in texts]
    same, different = pd.factorize(np.array(keys, dtype=object))
    shown = ["" for _ in different]
    for place, text in zip(reversed(same), reversed(texts), strict=True):
        shown[place] = text.strip()  # the first stays
    return np.append(same, len(different))[codes], [*shown, ""]


def quoted(names: Iterable[str], most: int = 8) -> str:
    """The first of some names, in one line."""
    listed = [repr(str(name))[:60] for name in names]
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    if len(listed) == 2:
        return " and ".join(listed)
    return (", ".join(listed[:most]) or "none") + more


def _given(frame: pd.DataFrame, role: str, given: str) -> Taken | None:
    option = flag(role)
    if given.strip().lower() == NONE and given not in frame.columns:
        return None
    if given in frame.columns:
        return Taken(given)
    name, star, factor = given.rpartition("*")
    if star:
        number = parse_number(factor)
        if number is None or not 0 < number < float("inf"):
            raise ValueError(f"expected COLUMN*NUMBER after {option}, got {given!r}; write it so, as in 'tokens_B*1e9'")
        return Taken(existing(frame, name.strip(), option), number)
    number = parse_number(given)
    if (
        number is not None
        and number == number
        and role not in ("lr", "loss", "arm", "parametrization", "state", "diverged")
    ):
        return Taken(None, number)
    return Taken(existing(frame, given, option))


def _candidates(frame: pd.DataFrame, role: str) -> list[str]:
    """Columns whose whole name is one of the role's, or else whose last part is."""
    kind = ROLES[role].kind
    other = {SETTING: MEASURED, MEASURED: SETTING}.get(kind)
    names = {str(column): parse_name(str(column)) for column in frame.columns}
    fit = {column: name for column, name in names.items() if name.kind != other and name.ends_among(role)}
    fit |= {column: name for column, name in names.items() if name.kind != other and name.among(role)}
    fit = {column: name for column, name in fit.items() if frame[column].notna().any()}
    found = [column for column, name in fit.items() if name.among(role)] or list(fit)
    if kind == SETTING:
        # Of config/lr and lr, the one whose prefix says what it is.
        return [column for column in found if fit[column].kind == SETTING] or found
    return found


def _different(frame: pd.DataFrame, columns: Sequence[str], decimal: str) -> list[str]:
    """The columns, without those that hold the same as an earlier one."""
    found: list[str] = []
    seen: list[NDArray[np.object_]] = []
    for column in columns:
        codes, texts = codes_of(frame[column], decimal)
        values = np.array([_value(text, decimal) for text in texts], dtype=object)[codes]
        if not any(np.array_equal(values, other) for other in seen):
            seen.append(values)
            found.append(column)
    return found


def _value(text: str, decimal: str) -> str | float:
    """A text's number, or the text where it is none."""
    number = parse_number(text, decimal)
    return text.strip() if number is None or math.isnan(number) else number


def _equal(cells: pd.Series, wanted: Sequence[str], decimal: str) -> NDArray[np.bool_]:
    codes, texts = codes_of(cells, decimal)
    numbers = {number for text in wanted if text and (number := parse_number(text, decimal)) is not None}
    same = [text in wanted or (bool(text) and parse_number(text, decimal) in numbers) for text in texts]
    return np.asarray(np.array(same, dtype=bool)[codes])


def _word(role: str) -> str:
    return {"lr": "the learning rate", "arm": "the arm", "params": "the number of parameters"}.get(
        role, f"the {role.replace('_', ' ')}"
    )
