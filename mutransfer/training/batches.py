"""The batches of a cohort, the same as each of its trials sees alone.

B batch, T time, K cohort, U different seeds
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from mutransfer.config import TrialConfig
from mutransfer.data import Corpus, sample_batch
from mutransfer.optim import growth_at


def draw_batches(corpus: Corpus, trials: Sequence[TrialConfig], steps: range, device: str) -> Iterator[Tensor]:
    """For each of `steps` the tokens of every trial on the device, shape (K, B, T + 1), int64.

    Trials of one seed see the same. On the host they are drawn once for each seed; to a GPU they go all together, from
    memory that it reads by itself, so that nobody waits. (They are the same bytes whatever the corpus: what would be
    kept on the GPU to cut windows from may be far larger than it. Cutting them here takes 0.1 ms for a batch of 64 x
    1024 tokens.) Where the batch grows, B is that of the step, the same for all.
    """
    for batch_size, alike in groupby(steps, lambda step: batch_at(trials[0], step)):
        yield from _draw(corpus, trials, list(alike), batch_size, device)


def batch_at(trial: TrialConfig, step: int) -> int:
    """Sequences in the batch of a step."""
    return trial.batch_size if trial.largest_batch is None else growth_at(trial, step).batch_size


def _draw(
    corpus: Corpus, trials: Sequence[TrialConfig], steps: Sequence[int], batch_size: int, device: str
) -> Iterator[Tensor]:
    model = trials[0].model
    seeds = list(dict.fromkeys(trial.seed for trial in trials))
    drawn = [[sample_batch(corpus.train, seed, step, batch_size, model.context) for seed in seeds] for step in steps]
    tokens = np.array(drawn)
    if (largest := int(tokens.max())) >= model.vocab:  # of a large corpus only samples were looked at before
        raise ValueError(
            f"expected tokens below model.vocab {model.vocab} in {corpus.name}; got {largest}: set model.vocab to the "
            "size of the tokenizer's vocabulary"
        )
    tokens_SUBT1 = torch.from_numpy(tokens)
    seed_K = torch.tensor([seeds.index(trial.seed) for trial in trials], device="cpu")
    if device.startswith("cuda"):
        tokens_SUBT1, seed_K = (x.pin_memory().to(device, non_blocking=True) for x in (tokens_SUBT1, seed_K))
    for tokens_UBT1 in tokens_SUBT1:
        yield tokens_UBT1 if len(seeds) == len(trials) else tokens_UBT1[seed_K]
