"""Numbers with their intervals, as the package's analysis gives them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from gates import Quantity

from mutransfer.analysis import Interval
from mutransfer.analysis.interval import Estimate


def quantity(interval: Interval | None) -> Quantity:
    """An interval of the analysis as a quantity; none where there is none."""
    return Quantity(None) if interval is None else Quantity(interval.estimate, interval.ci_low, interval.ci_high)


def over_seeds(values: Sequence[float]) -> Quantity:
    """The mean over seeds with its 95% interval, by Student's t."""
    spread = float(np.var(values, ddof=1)) / len(values)
    return quantity(Estimate(float(np.mean(values)), ((spread, len(values) - 1),)).interval)


def log_slope(widths: Sequence[int], sizes: Sequence[Sequence[float]]) -> Quantity:
    """d log2 size / d log2 width by least squares, one line for each seed; `sizes` is seed x width, all above 0."""
    octaves = np.log2(widths) - np.log2(widths).mean()
    return over_seeds([float(octaves @ np.log2(row) / (octaves @ octaves)) for row in sizes])
