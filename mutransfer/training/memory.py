"""How many trials to train as one on a device: what its memory holds, and what a step then takes.

K cohort
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import NamedTuple

import torch

from mutransfer.config import ScheduleConfig, TrialConfig
from mutransfer.data import Corpus
from mutransfer.training.batches import draw_batches
from mutransfer.training.trainer import stackable, start

CPU_COHORT = 8
"""Trials trained as one on a CPU where that pays."""

CPU_LIMIT = 2**19
"""Tokens of a step times width squared up to which it pays on a CPU.

A step's time for each of 8 trials over a single one's, from results/bench/cohort.json (experiments/bench/cohort.py):

| tokens | width 32 | 64   | 128  | 256  |
|--------|----------|------|------|------|
| 64     | 0.56     | 0.83 | 1.19 | 1.09 |
| 256    | 0.89     | 0.95 | 1.01 | 1.08 |
| 512    | 0.96     | 1.06 | 0.99 | 1.02 |
| 1024   | 1.04     | 1.04 | 1.02 | 1.04 |

2 trials are always slower than one by one, and 4 hardly ever do better than 8. Beyond the limit a cohort saves a
twentieth at most and soon nothing, while it rounds otherwise than a single trial: the default study, of 1024 tokens a
step, is trained trial by trial, so that its losses do not depend, in their last bits, on which trials were started
together.
"""

ROOM = 0.9
"""The part of a GPU's free memory that a cohort may take."""

GAIN = 0.95
"""A cohort must take at most this part of the time for each trial of one half as large, and of a single trial."""

WARM, TIMED = 2, 3
"""Steps before and within a measurement; the first makes the optimizers' state."""


class Cost(NamedTuple):
    """Seconds of a step of a whole cohort, and the most bytes it ever held."""

    seconds: float
    bytes: int


def cohort_size(trial: TrialConfig, corpus: Corpus, device: str, most: int) -> int:
    """How many trials of this shape, at most `most`, to train as one on `device`: 1 where that is fastest.

    On a CPU by the rule above. On a GPU by a few real steps of cohorts of 1, 2, 4...: not measured on a GPU.

    Raises ValueError if `most` is below 1.
    """
    if most < 1:
        raise ValueError(f"found room for {most} trials at most; wanted 1 or more")
    if most == 1 or not stackable(trial):
        return 1
    if not device.startswith("cuda"):
        work = trial.batch_size * trial.model.context * trial.model.width**2
        return CPU_COHORT if most >= CPU_COHORT and work <= CPU_LIMIT else 1
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(device)
    try:
        return find_size(lambda size: measure_step(trial, corpus, device, size), free, most)
    finally:
        torch.cuda.empty_cache()


def find_size(measure: Callable[[int], Cost], free: int, most: int) -> int:
    """The cohort whose step takes the least time for each trial.

    Cohorts are doubled while the larger one fits, by what the smaller one took (parameters, gradients, optimizer state
    and activations all grow with K), and is faster. From a single trial, which is no cohort, the next step is taken
    in any case: `vmap` costs the host time that only a larger cohort makes good.

    Args:
        measure: a real cohort of that size; raises torch.OutOfMemoryError where it does not fit.
        free: bytes on the device.
        most: the largest size to try.
    """
    try:
        costs = {1: measure(1)}
    except torch.OutOfMemoryError:
        return 1  # and `train` will say what is too large
    size, room = 1, ROOM * free
    while (larger := min(2 * size, most, int(size * room / costs[size].bytes))) > size:
        try:
            cost = measure(larger)
        except torch.OutOfMemoryError:
            break
        if cost.bytes > room:
            break
        costs[larger] = cost
        if size > 1 and cost.seconds / larger > GAIN * costs[size].seconds / size:
            break
        size = larger
    each = {size: cost.seconds / size for size, cost in costs.items()}
    fastest = min(each, key=each.__getitem__)
    return fastest if each[fastest] <= GAIN * each[1] else 1


def measure_step(trial: TrialConfig, corpus: Corpus, device: str, size: int) -> Cost:
    """What a step of `size` such trials takes, each with a seed of its own, on a GPU."""
    steps = WARM + TIMED
    steady = dataclasses.replace(trial, schedule=ScheduleConfig("constant"))  # plateau would wait for losses
    trials = [dataclasses.replace(steady, seed=trial.seed + place) for place in range(size)]
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    cohort = start(trials, device)
    clock = 0.0
    for step, tokens in enumerate(draw_batches(corpus, trials, range(steps), device)):
        if step == WARM:
            torch.cuda.synchronize(device)
            clock = time.perf_counter()
        cohort.advance(tokens)
    torch.cuda.synchronize(device)
    seconds = (time.perf_counter() - clock) / TIMED
    return Cost(seconds, torch.cuda.max_memory_allocated(device) - before)
