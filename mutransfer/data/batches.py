"""Batches of a corpus.

The batch at step t depends on (corpus, seed, t) and the batch's shape only, so trials of one seed see the same batches
at every width and learning rate (common random numbers). Validation batches are the same for all.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mutransfer.data.shards import Tokens, windows


def sample_batch(tokens: Tokens, seed: int, step: int, batch_size: int, context: int) -> NDArray[np.int64]:
    """`batch_size` random windows of context + 1 tokens, shape (batch_size, context + 1), int64.

    A function of (tokens, seed, step) and the shape alone: a counter-based generator is keyed by (seed, step).
    """
    draw = np.random.Generator(np.random.Philox(key=np.array([seed, step], np.uint64)))
    return windows(tokens, draw.integers(0, len(tokens) - context, size=batch_size), context + 1)


def validation_batches(tokens: Tokens, batches: int, batch_size: int, context: int) -> Iterator[NDArray[np.int64]]:
    """`batches` fixed batches, evenly spread over `tokens`, each of shape (batch_size, context + 1), int64."""
    last, count = len(tokens) - context - 1, batches * batch_size
    for batch in range(batches):
        places = np.arange(batch * batch_size, (batch + 1) * batch_size)
        yield windows(tokens, places * last // max(1, count - 1), context + 1)
