"""Numbers and names as a page says them: pure functions from a value to text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from mutransfer.trials.table import Trials

VERDICTS = {"transfers": "✓ transfers", "does_not_transfer": "✗ does not transfer", "inconclusive": "? inconclusive"}
STATUSES = {
    "interior": "interior",
    "censored_low": "below range",
    "censored_high": "above range",
    "flat": "flat",
    "too_few": "too few rates",
}
LOSS_WORDS = {"loss": "loss", "final_loss": "final loss", "mean_loss": "mean loss", "val_loss": "validation loss"}


def loss_unit(trials: Trials) -> str:
    """What the losses of the trials are measured in."""
    return " or ".join(f"{unit} per token" for unit in trials.unit.split(" or "))


SHORT = {"batch_size": "batch", "params": "params", "tokens": "tokens"}
"""Words for a dimension in a title, where its name is too long or not what one says."""


def size_text(value: float) -> str:
    """A size as short as it can be said: 64, 16384, 214M, 2.1B."""
    for unit, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if value >= unit:
            return f"{value / unit:.4g}{letter}"
    return f"{value:.6g}"


def size_words(dimension: str, value: float) -> str:
    """A size with the name of its dimension, as "width 64" or "params 214M"."""
    return f"{SHORT.get(dimension, dimension)} {size_text(value)}"


def number(value: float | None, digits: int = 2, signed: bool = False) -> str:
    """A number with so many decimals and a true minus sign; a dash where it is missing."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:{'+' if signed else ''}.{digits}f}".replace("-", "−")


def significant(value: float) -> str:
    """A number with four significant digits; a dash where it is missing."""
    return f"{value:.4g}" if math.isfinite(value) else "–"


def interval(low: float | None, high: float | None, digits: int = 2, signed: bool = False) -> str:
    """Both ends of an interval; a question mark for one that is missing, a dash for both."""
    ends = [number(end, digits, signed) for end in (low, high)]
    return "–" if ends == ["–", "–"] else f"[{', '.join(ends)}]".replace("–", "?")


def rate(value: float | None) -> str:
    """A learning rate with three digits; a dash where it is missing."""
    return "–" if value is None or not math.isfinite(value) else f"{value:#.3g}"


def rates(low: float | None, high: float | None) -> str:
    """Both ends of a range of rates; a dash where it is missing."""
    return "–" if rate(low) == "–" else f"{rate(low)} to {rate(high)}"


def power(exponent: float, base: str = "2", digits: int = 2) -> Markup:
    """base to the power of the exponent, as HTML; a whole exponent without decimals."""
    return Markup("{}<sup>{}</sup>").format(base, number(exponent, 0 if exponent == round(exponent) else digits))


def span(seconds: float) -> str:
    """A time in its two largest units."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def scientific(value: float | None) -> str:
    """A large number as 1.23 × 10⁴; a dash where it is missing."""
    if value is None or not math.isfinite(value):
        return "–"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa} × 10{str(int(exponent)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def plain(value: Any) -> str:
    """A config's value: a list or mapping without brackets, nothing as a dash."""
    if isinstance(value, Mapping):
        return "; ".join(f"{name} {plain(item)}" for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(item) for item in value) or "–"
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def band(low: float, high: float, low_open: bool, high_open: bool) -> str:
    """A range of log2 rates, with signs where it may go on; a dash where it is missing."""
    if not math.isfinite(low):
        return "–"
    return f"{'≤ ' if low_open else ''}{number(low)} to {'≥ ' if high_open else ''}{number(high)}"


def edge(stable: float, unstable: float) -> str:
    """The bracket of the lowest unstable log2 rate: between two rates, above the highest tried, or all of them."""
    if not math.isfinite(unstable):
        return "–" if not math.isfinite(stable) else f"> {number(stable)}"
    return f"≤ {number(unstable)}" if not math.isfinite(stable) else f"{number(stable)} to {number(unstable)}"
