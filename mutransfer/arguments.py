"""Words of the command line as values: ranges of learning rates, lists with commas or spaces."""

from __future__ import annotations

import math
from collections.abc import Iterable


def parse_lrs(words: Iterable[str]) -> tuple[float, ...]:
    """Learning rates from the command line: `2^-10..2^-4` (powers of two), `2^-7.5`, `0.003`, commas or spaces.

    Raises ValueError on anything else.
    """
    lrs: list[float] = []
    for word in split_words(words):
        first, dots, last = word.partition("..")
        if not dots:
            lrs.append(_parse_lr(word))
            continue
        low, high = math.log2(_parse_lr(first)), math.log2(_parse_lr(last))
        if low % 1 or high % 1 or low > high:
            raise ValueError(f"found the range {word!r}; wanted powers of two, the lower first, such as 2^-10..2^-4")
        lrs += [2.0**e for e in range(int(low), int(high) + 1)]
    return tuple(lrs)


def _parse_lr(word: str) -> float:
    base, power, exponent = word.partition("^")
    try:
        lr = float(base) ** float(exponent) if power else float(word)
    except (ValueError, OverflowError, ZeroDivisionError):
        raise ValueError(f"found the learning rate {word!r}; wanted a number such as 0.003 or 2^-7") from None
    if isinstance(lr, complex) or not (math.isfinite(lr) and lr > 0):
        raise ValueError(f"found the learning rate {word!r}; wanted a finite number above 0, such as 0.003 or 2^-7")
    return lr


def split_words(words: Iterable[str]) -> list[str]:
    """`["64,128", "256"]` as `["64", "128", "256"]`."""
    return [part for word in words for part in word.replace(",", " ").split()]
