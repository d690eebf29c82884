"""The lowest rate at which training fails: the smallest lr, at or above the best one tried, whose mean loss is above
the best by more than 1 nat per token, or at which a trial diverged (Haas et al. 2025, arXiv 2505.22491).

A grid only brackets it. With the true edge of size w in (s_w, u_w], both in log2, and k_w the least-squares weights,
the slope of the edges is

    sum k_w (s_w + u_w)/2  +-  sum |k_w| (u_w - s_w)/2

and these ends are bounds, whatever lies within the brackets (the identified set of Manski 2003, Partial Identification
of Probability Distributions). A smaller interval from errors uniform in their brackets and independent of each other
would not be honest: on one grid for all sizes they are one function of the grid's phase. Over four widths an octave
apart, an edge that falls 0.26 octaves a doubling stays in one bracket in 22% of all phases of a grid of octaves: then
all midpoints are equal and the slope is missed by 0.26, where independent errors would give a half-width of 0.25.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mutransfer.analysis.curve import Curve
from mutransfer.analysis.interval import Interval
from mutransfer.analysis.line import weights_along
from mutransfer.config.scale import Scale

EXCESS = 1.0
"""Loss above the best one that counts as failed training, nats per token."""


@dataclass(frozen=True)
class Unstable:
    """The bracket of the lowest unstable rate at one scale, as log2: the last `stable` rate (None: the lowest tried
    failed too) and the first `unstable` one (None: none was found up to the highest tried, which is `stable`)."""

    scale: Scale
    stable: float | None
    unstable: float | None

    @property
    def found(self) -> bool:
        """Whether both ends of the bracket are known."""
        return self.stable is not None and self.unstable is not None


def lowest_unstable(curve: Curve) -> Unstable:
    """The lowest unstable rate of a curve."""
    means, rates = curve.means, curve.log2_lr
    best = int(np.argmin(means))
    failed = np.flatnonzero(means[best:] > means[best] + EXCESS) + best if np.isfinite(means[best]) else np.array([0])
    if not len(failed):
        return Unstable(curve.scale, float(rates[-1]), None)
    first = int(failed[0])
    return Unstable(curve.scale, float(rates[first - 1]) if first else None, float(rates[first]))


def unstable_slope(found: Sequence[Unstable], dimension: str = "width") -> Interval | None:
    """d log2 (lowest unstable lr) / d log2 size along the one dimension that varies, through the scales with both
    ends of a bracket; None with fewer than two."""
    brackets = [(each.stable, each.unstable) for each in found if each.stable is not None and each.unstable is not None]
    if len(brackets) < 2:
        return None
    weights = weights_along(np.array([each.scale.log2(dimension) for each in found if each.found]))
    low, high = np.array(brackets).T
    estimate, half = float(weights @ (low + high) / 2), float(np.abs(weights) @ (high - low) / 2)
    return Interval(estimate, estimate - half, estimate + half)
