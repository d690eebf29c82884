"""The best rate against the number of parameters: lr* ~ N^exponent, the least-squares line of log2 lr* on log2 N.

Rules of thumb for SP are exponents of it: -1/2 (lr ~ 1/sqrt(N)) and -1 (lr ~ 1/N). N grows with the square of the width
where the blocks outweigh the embeddings, so that a slope of -1 per doubling of width is -1/2 here; in small models it
grows slower. Variance and interval are those of the transfer slope, with log2 N in the place of log2 size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mutransfer.analysis.interval import Interval
from mutransfer.analysis.line import slope
from mutransfer.analysis.optimum import Optimum
from mutransfer.config.scale import Scale

RULES = (-0.5, -1.0)
"""Exponents of the rules of thumb."""


@dataclass(frozen=True)
class SizeLaw:
    """d log2 lr* / d log2 N with its 95% interval, and the rules of thumb that the interval leaves out."""

    exponent: Interval
    excludes: tuple[float, ...]


def size_law(optima: Sequence[Optimum], n_params: Sequence[float]) -> SizeLaw | None:
    """The law through the interior optima, `n_params` the number of parameters at each scale; None where fewer than two
    of them differ in it, as along batch size and steps."""
    counted = [replace(optimum, scale=Scale(params=count)) for optimum, count in zip(optima, n_params, strict=True)]
    line = slope(counted, "params")
    if line is None:
        return None
    exponent = line.interval
    excludes = tuple(rule for rule in RULES if not exponent.ci_low <= rule <= exponent.ci_high)
    return SizeLaw(exponent, excludes)
