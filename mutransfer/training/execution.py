"""How trials of one shape are best trained on a device: how many as one, and by which kind of step. By measurement.

K cohort
"""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from mutransfer.config import MODES, Execution, ScheduleConfig, TrialConfig, on_cpu
from mutransfer.data import Corpus
from mutransfer.optim import needs_curvature
from mutransfer.training.batches import draw_batches
from mutransfer.training.trainer import stackable, start

ROOM = 0.9
"""The part of a GPU's free memory that a cohort may take."""

GAIN = 0.95
"""A cohort must take at most this part of the time for each trial of one half as large; and whatever is chosen, of the
time of a single trial trained eagerly."""

WORTH_COMPILING = 60.0
"""Seconds that a trial must take eagerly for compiling to be tried: that takes 4 to 12 on one CPU core for the 2 blocks
of the default study, and more for more (results/bench/compiled.json)."""

WARM, TIMED = 2, 3
"""Steps before and within a measurement; the first makes the optimizers' state."""


class Cost(NamedTuple):
    """Of a cohort: the seconds that pass before its steps take what they take (recording, compiling), the seconds of a
    step, and the most bytes it ever held."""

    begin: float
    step: float
    bytes: int


Measure = Callable[[Execution], Cost]
"""Trains a real cohort for a few steps; raises torch.OutOfMemoryError where it does not fit."""


def find_execution(
    trial: TrialConfig, corpus: Corpus, device: str, most: int, modes: Sequence[str] = MODES
) -> Execution:
    """How to train trials of this shape, at most `most` as one, so that they take the least time on `device`.

    On a CPU by the rule of `config.on_cpu`. On a GPU by a few real steps of cohorts of 1, 2, 4..., eager, recorded and
    compiled: not measured on a GPU.

    Args:
        trial: one of them.
        corpus: what it is trained on.
        device: a torch device, such as `cpu` or `cuda:0`.
        most: the largest cohort.
        modes: kinds of step to choose from. Trials whose model is your own, of which nobody knows what it does from
            step to step, those whose optimizer looks at the curvature and those whose batch grows, each size of which
            would be recorded and compiled by itself, are trained eagerly.

    Raises ValueError if `most` is below 1.
    """
    if most < 1:
        raise ValueError(f"found room for {most} trials at most; wanted 1 or more")
    if not device.startswith("cuda"):
        found = on_cpu(trial)
        return found if found.cohort_size <= most and stackable(trial) else Execution()
    if trial.build or needs_curvature(trial.optimizer, 0) or trial.largest_batch is not None:
        modes = ("eager",)
    most = most if stackable(trial) else 1
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(device)
    try:
        return fastest(lambda way: measure(trial, corpus, device, way), trial.steps, free, most, modes)
    finally:
        torch.cuda.empty_cache()


def fastest(measure: Measure, steps: int, free: int, most: int, modes: Sequence[str]) -> Execution:
    """Of what was measured, that which takes the least time for each trial of so many `steps`, beginning included.

    A single trial, trained eagerly, unless another way gains something. (Where not even one fits, `train` says so.)

    Args:
        measure: what a cohort costs.
        steps: of a trial.
        free: bytes on the device.
        most: the largest cohort to try.
        modes: kinds of step to choose from.
    """
    simplest, seconds = Execution(), dict[Execution, float]()
    for mode in (mode for mode in MODES if mode in modes):
        if mode == "eager":
            seconds |= doubled(measure, mode, steps, free, most)
        elif mode == "graph":
            seconds |= recorded(measure, steps, free, most)
        elif simplest in seconds and seconds[simplest] >= WORTH_COMPILING:
            seconds |= compiled_alone(measure, steps, free)
    best = min(seconds, key=seconds.__getitem__, default=simplest)
    return simplest if simplest in seconds and seconds[best] > GAIN * seconds[simplest] else best


def doubled(measure: Measure, mode: str, steps: int, free: int, most: int) -> dict[Execution, float]:
    """Seconds for each trial, in cohorts of 1, 2, 4... up to `most`: as long as the larger one fits, by what the
    smaller one took (parameters, gradients, optimizer state and activations all grow with K), and is faster.

    From a single trial, which is no cohort, the next step is taken in any case: `vmap` costs the host time that only a
    larger cohort makes good. Nothing where a single one does not fit.
    """
    found: dict[Execution, float] = {}
    size, room, before = 1, ROOM * free, float("inf")
    while True:
        way = Execution(size, mode)
        try:
            cost = measure(way)
        except torch.OutOfMemoryError:
            return found
        if size > 1 and cost.bytes > room:
            return found
        found[way] = seconds = (cost.begin + steps * cost.step) / size
        larger = min(2 * size, most, int(size * room / cost.bytes))
        if larger <= size or (size > 2 and seconds > GAIN * before):
            return found
        size, before = larger, seconds


def recorded(measure: Measure, steps: int, free: int, most: int) -> dict[Execution, float]:
    """Seconds for each trial of recorded steps; nothing, with a warning, where they hold what cannot be recorded."""
    try:
        return doubled(measure, "graph", steps, free, most)
    except RuntimeError as error:  # what CUDA raises of a recording has no type of its own
        reason = str(error).strip().partition("\n")[0]
        warnings.warn(f"recorded steps could not be measured ({reason}); training without", stacklevel=3)
        return {}


def compiled_alone(measure: Measure, steps: int, free: int) -> dict[Execution, float]:
    """Seconds for a single trial of compiled steps; nothing, with a warning, where there is no compiler to do it."""
    from torch._dynamo.exc import TorchDynamoException  # takes a second to load

    try:
        return doubled(measure, "compiled", steps, free, 1)
    except TorchDynamoException as error:
        reason = str(error).strip().partition("\n")[0]
        warnings.warn(f"compiled steps could not be measured ({reason}); training without", stacklevel=3)
        return {}


def measure(trial: TrialConfig, corpus: Corpus, device: str, way: Execution) -> Cost:
    """What a cohort of such trials, each with a seed of its own, takes on a GPU.

    What a process does once (libraries that load their kernels) would be counted among what comes before the first
    eager step, so that there it counts as nothing.
    """
    steady = dataclasses.replace(trial, schedule=ScheduleConfig("constant"))  # plateau would wait for losses
    trials = [dataclasses.replace(steady, seed=trial.seed + place) for place in range(way.cohort_size)]
    torch.cuda.empty_cache()
    # reserved and not allocated: what a recording works in counts as free, and stays its own
    before = torch.cuda.memory_reserved(device)
    torch.cuda.reset_peak_memory_stats(device)
    cohort = start(trials, device, mode=way.mode)
    clocks = [_now(device)]
    for step, tokens in enumerate(draw_batches(corpus, trials, range(WARM + TIMED), device), 1):
        cohort.advance(tokens)
        if step in (WARM, WARM + TIMED):
            clocks.append(_now(device))
    first, warm, last = clocks
    seconds = (last - warm) / TIMED
    begin = 0.0 if way.mode == "eager" else max(0.0, warm - first - WARM * seconds)
    return Cost(begin, seconds, torch.cuda.max_memory_reserved(device) - before)


def _now(device: str) -> float:
    torch.cuda.synchronize(device)
    return time.perf_counter()
