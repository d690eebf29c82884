"""When a run has diverged."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

DIVERGENCE_WINDOW = 20
"""Steps whose mean loss is held against the loss at initialization (one bad batch is no divergence)."""


def find_divergence(losses: NDArray[Any], warmup: int, steps: int) -> int | None:
    """The first step at which a run has diverged, or None.

    Its loss is not finite, or, after `warmup` steps, the mean of the last 20 steps is above the loss at initialization;
    of a run of fewer `steps` the mean of all. `losses` may be the first part of the run, and is judged as that.
    The rule compares losses of one kind with each other, so it holds in nats and in squared units alike.
    """
    losses = losses.astype(np.float64)
    bad = ~np.isfinite(losses)
    window = min(DIVERGENCE_WINDOW, steps)
    if len(losses) >= window:
        means = np.lib.stride_tricks.sliding_window_view(losses, window).mean(axis=1)
        ends = np.arange(window - 1, len(losses))
        bad[ends] |= (ends >= warmup) & (means > losses[0])
    return int(bad.argmax()) if bad.any() else None
