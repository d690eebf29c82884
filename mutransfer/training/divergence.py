"""When a run has diverged."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

DIVERGENCE_WINDOW = 20
"""Steps whose mean loss is held against the loss at initialization (one bad batch is no divergence)."""


def find_divergence(losses: NDArray[Any], warmup: int) -> int | None:
    """The first step at which a run has diverged, or None.

    Its loss is not finite, or, after `warmup` steps, the mean of the last 20 steps is above the loss at initialization.
    The rule compares losses of one kind with each other, so it holds in nats and in squared units alike.
    """
    losses = losses.astype(np.float64)
    bad = ~np.isfinite(losses)
    if len(losses) >= DIVERGENCE_WINDOW:
        means = np.lib.stride_tricks.sliding_window_view(losses, DIVERGENCE_WINDOW).mean(axis=1)
        ends = np.arange(DIVERGENCE_WINDOW - 1, len(losses))
        bad[ends] |= (ends >= warmup) & (means > losses[0])
    return int(bad.argmax()) if bad.any() else None
