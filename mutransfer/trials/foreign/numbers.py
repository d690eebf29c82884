"""Text as numbers: what people and programs write into the cells of a table."""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd
from numpy.typing import NDArray

MISSING = ("", "na", "n/a", "<na>", "null", "none", "-", "--")
"""What a cell holds that holds nothing, in lower case. `nan` is a value: it was measured."""

UNITS = {"k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}
"""By the letter behind a number, as in 130M and 1.2B."""

_UNIT = re.compile(r"([-+]?[\d.]+(?:e[-+]?\d+)?)\s*([kmbgt])", re.IGNORECASE)
_POWER = re.compile(r"([-+]?[\d.]+)\s*(?:\^|\*\*)\s*\(?([-+]?[\d.]+)\)?")
_RATIO = re.compile(r"([-+]?[\d.]+(?:e[-+]?\d+)?)\s*/\s*([\d.]+(?:e[-+]?\d+)?)", re.IGNORECASE)
_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(,\d{3}){2,}(\.\d+)?")
_EITHER = re.compile(r"[-+]?[1-9]\d{0,2},\d{3}")


def without_missing(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of text, with cells that hold nothing but such a word as missing."""
    known = {name: frame[name].mask(frame[name].str.strip().str.lower().isin(MISSING)) for name in frame.columns}
    return pd.DataFrame(known, index=frame.index)


def to_numbers(cells: pd.Series, column: str, decimal: str = ".") -> NDArray[np.float64]:
    """A column of text as float64: NaN where a cell is missing or holds `nan`.

    Read are 0.003, 3e-3, 2^-8, 2**-8, 1/256, 130M, 1.2B, and 0,003 with a decimal comma. The index of `cells` is the
    number of the row in what was read, for the messages.

    Args:
        cells: text, or missing.
        column: its name.
        decimal: "," where the file is known to be written with decimal commas.

    Raises:
        ValueError: on text that is no number, or that could be two, and where some cells have a unit (130M) and others
            are numbers below 1,000.
    """
    codes, texts = pd.factorize(cells)
    try:
        return np.append(np.asarray(texts, dtype=object).astype(np.float64), math.nan)[codes]
    except ValueError:
        pass  # not all of them are plain numbers
    values = np.empty(len(texts) + 1)
    values[-1] = math.nan
    with_unit, bare = -1, -1
    for at, text in enumerate(texts):
        value = parse_number(str(text), decimal)
        if value is None:
            raise ValueError(
                f"expected a number in column {column!r}, got {str(text)[:40]!r} in row {_row(cells, codes, at)}; "
                "correct it, or leave the row out with --where"
            )
        values[at] = value
        if _UNIT.fullmatch(str(text).strip()):
            with_unit = at if with_unit < 0 else with_unit
        elif 0 < abs(value) < 1000:
            bare = at if bare < 0 else bare
    if with_unit >= 0 and bare >= 0:
        raise ValueError(
            f"expected one unit in column {column!r}, got {texts[with_unit]!r} in row {_row(cells, codes, with_unit)} "
            f"and {texts[bare]!r} in row {_row(cells, codes, bare)}; write all of them in one unit"
        )
    return np.asarray(values[codes])


def parse_number(text: str, decimal: str = ".") -> float | None:
    """The number that a text is; NaN where it is empty, None where it is none or could be two."""
    text = text.strip()
    if text.lower() in MISSING:
        return math.nan
    if _THOUSANDS.fullmatch(text) and decimal == ".":
        text = text.replace(",", "")
    elif text.count(",") == 1 and (decimal == "," or not _EITHER.fullmatch(text)):
        whole, _, part = text.partition(",")
        if re.fullmatch(r"[-+]?\d{1,3}(\.\d{3})+", whole):
            whole = whole.replace(".", "")
        text = f"{whole}.{part}" if "." not in whole else text
    try:
        if found := _UNIT.fullmatch(text):
            return float(found[1]) * UNITS[found[2].lower()]
        if found := _POWER.fullmatch(text):
            return math.pow(float(found[1]), float(found[2]))
        if found := _RATIO.fullmatch(text):
            return float(found[1]) / float(found[2])
        return float(text)
    except (ValueError, OverflowError, ZeroDivisionError):
        return None


def _row(cells: pd.Series, codes: NDArray[np.intp], at: int) -> int:
    """The number of the first row that holds a text."""
    return int(cells.index[int(np.argmax(codes == at))])
