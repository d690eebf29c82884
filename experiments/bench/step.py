"""Our training step against a plain hand-written PyTorch loop of the same model, and against the machine itself."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import torch
from plain_loop import train_plain
from ratios import ratio

from mutransfer import Corpus, SweepConfig
from mutransfer.config import Scale
from mutransfer.search.cost import training_flops
from mutransfer.training.batches import draw_batches
from mutransfer.training.trainer import start

ROUNDS, STEPS = 11, 40
PRODUCT = 1024
"""Rows and columns of the matrices whose product says what the machine can do."""


def our_steps(corpus: Corpus, width: int) -> float:
    """Seconds of the trainer's own steps after the first, for all of them, as in the plain loop."""
    config = SweepConfig(steps=STEPS)
    trial = config.trial(config.arms[1], Scale(width), 2**-7, 0)
    cohort, losses, begin = start([trial], "cpu"), [], 0.0
    for tokens in draw_batches(corpus, [trial], range(STEPS), "cpu"):
        losses.append(cohort.advance(tokens))
        begin = begin or time.perf_counter()
    seconds = (time.perf_counter() - begin) * STEPS / (STEPS - 1)
    assert torch.stack(losses).isfinite().all()
    return seconds


def product_rate() -> float:
    """Floating-point operations a second of one thread's fp32 matrix product."""
    one, other = torch.randn(2, PRODUCT, PRODUCT)
    times = []
    for _ in range(6):
        begin = time.perf_counter()
        one @ other
        times.append(time.perf_counter() - begin)
    return 2 * PRODUCT**3 / statistics.median(times[1:])


def bench_step(corpus: Corpus) -> dict[str, Any]:
    """By width; at the widest also the share of the machine's matrix product, timed in the same rounds."""
    torch.set_num_threads(1)
    data = torch.from_numpy(np.array(corpus.train))
    config = SweepConfig(steps=STEPS)
    found: dict[str, Any] = {}
    for width in config.widths:
        ours, plain, shares = [], [], []
        flops = training_flops(config.trial(config.arms[1], Scale(width), 2**-7, 0))
        for _ in range(ROUNDS + 1):
            ours.append(our_steps(corpus, width))
            plain.append(train_plain(data, width, STEPS, 2**-7, 0)[1])
            shares.append(flops / ours[-1] / product_rate())
        found[str(width)] = {
            "ours_ms": 1e3 * statistics.median(ours[1:]) / STEPS,
            "plain_ms": 1e3 * statistics.median(plain[1:]) / STEPS,
            "plain_over_ours": ratio(plain[1:], ours[1:]),
            "share_of_product": statistics.median(shares[1:]),
        }
    return found
