"""What a GPU makes of cohorts and of one large trial. Nothing here needs Ray; a CPU runs it too, at toy sizes.

cohort   trials per hour of a cohort against single trials one after another in one process, eager and compiled with
         CUDA graphs (torch.compile, mode reduce-overhead)
large    floating-point operations a second of one bf16 trial over those of the machine's bf16 matrix product
rates    what a study at one width costs with more rates

Ours run as `find_execution` finds best for trials of the default study's length, and the large one for ten thousand
steps; how that is, is written beside.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from plain_loop import train_plain

from mutransfer import Corpus, ModelConfig, SweepConfig, TrialConfig
from mutransfer.config import Execution, Scale
from mutransfer.search.cost import training_flops
from mutransfer.training.batches import draw_batches
from mutransfer.training.execution import find_execution
from mutransfer.training.trainer import start

ROUNDS, STEPS = 3, 40
WIDTHS, CONTEXTS, MOST = (64, 128, 256), (64, 256), 256
LARGE, LARGE_DEPTH, LARGE_CONTEXT, LARGE_BATCH, LARGE_STEPS = (2048, 4096), 8, 1024, 8, 10_000
RATES = (8, 16, 32, 64)
PRODUCT = 8192


def bench_gpu(corpus: Corpus, device: str) -> dict[str, Any]:
    """All three, with the device's name."""
    cuda = device.startswith("cuda")
    return {
        "device": torch.cuda.get_device_name(device) if cuda else device,
        "cohort": {
            f"width {width}, context {context}": bench_cohort(corpus, device, width, context)
            for width in WIDTHS
            for context in CONTEXTS
        },
        "large": {str(width): bench_large(corpus, device, width) for width in LARGE} if cuda else {},
        "rates": bench_rates(corpus, device),
    }


def bench_cohort(corpus: Corpus, device: str, width: int, context: int) -> dict[str, Any]:
    """Medians of rounds in which the three take turns. Trials per hour are of the default study's steps."""
    trial = _trial(width, ModelConfig(context=context))
    way = _way(trial, corpus, device, MOST, SweepConfig.steps)
    data = torch.from_numpy(np.array(corpus.train)).to(device)
    cohort, eager, graphs = [], [], []
    for _ in range(ROUNDS + 1):
        cohort.append(_seconds(_spread(trial, way.cohort_size), corpus, device, way.mode) / way.cohort_size)
        eager.append(_seconds([trial], corpus, device, "eager"))
        graphs.append(train_plain(data, width, STEPS, trial.lr, 0, context, compiled=device != "cpu")[1])
    seconds = {name: statistics.median(each[1:]) for name, each in (("cohort", cohort), ("eager", eager))}
    compiled = statistics.median(graphs[1:])
    return {
        **way._asdict(),
        "trials_per_hour": 3600 / seconds["cohort"] * STEPS / SweepConfig.steps,
        "over_eager": seconds["eager"] / seconds["cohort"],
        "over_compiled": compiled / seconds["cohort"],
    }


def bench_large(corpus: Corpus, device: str, width: int) -> dict[str, Any]:
    """Of one trial in bf16."""
    model = ModelConfig(depth=LARGE_DEPTH, context=LARGE_CONTEXT, head_dim=64)
    trial = replace(_trial(width, model), batch_size=LARGE_BATCH, dtype="bfloat16", steps=STEPS)
    mode = _way(trial, corpus, device, 1, LARGE_STEPS).mode
    rates = [training_flops(trial) / _seconds([trial], corpus, device, mode) for _ in range(ROUNDS)]
    product = _product_rate(device)
    return {
        "mode": mode,
        "flops_per_s": statistics.median(rates),
        "product": product,
        "share": statistics.median(rates) / product,
    }


def bench_rates(corpus: Corpus, device: str) -> dict[str, float]:
    """Seconds of a study at width 128 by its number of rates, one seed."""
    trial = _trial(128, ModelConfig())
    size, mode = _way(trial, corpus, device, max(RATES), SweepConfig.steps)
    found = {}
    for count in RATES:
        parts = [min(size, count - first) for first in range(0, count, size)]
        found[str(count)] = sum(_seconds(_spread(trial, part), corpus, device, mode) for part in parts)
    return {**found, "most_over_least": found[str(RATES[-1])] / found[str(RATES[0])]}


def _trial(width: int, model: ModelConfig) -> TrialConfig:
    config = SweepConfig(model=model, steps=STEPS)
    return config.trial(config.arms[1], Scale(width), 2**-8, 0)


def _way(trial: TrialConfig, corpus: Corpus, device: str, most: int, steps: int) -> Execution:
    return find_execution(replace(trial, steps=steps), corpus, device, most)


def _spread(trial: TrialConfig, size: int) -> list[TrialConfig]:
    """Trials of as many rates, within three octaves, and of three seeds."""
    return [replace(trial, lr=trial.lr * 2 ** (3 * each / size - 1.5), seed=each % 3) for each in range(size)]


def _seconds(trials: list[TrialConfig], corpus: Corpus, device: str, mode: str) -> float:
    """Of all steps, from the first one's end."""
    cohort, begin = start(trials, device, mode=mode), 0.0
    for step, tokens in enumerate(draw_batches(corpus, trials, range(STEPS), device)):
        cohort.advance(tokens)
        if step == 0:
            begin = _now(device)
    return (_now(device) - begin) * STEPS / (STEPS - 1)


def _product_rate(device: str) -> float:
    one, other = torch.randn(2, PRODUCT, PRODUCT, device=device, dtype=torch.bfloat16)
    times = []
    for _ in range(6):
        begin = _now(device)
        for _ in range(10):
            one @ other
        times.append((_now(device) - begin) / 10)
    return 2 * PRODUCT**3 / statistics.median(times[1:])


def _now(device: str) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter()
