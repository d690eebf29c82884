"""Where trials run. The driver knows only the protocol.

| executor   | trials at once                  | a trial gets                                                    |
|------------|---------------------------------|-----------------------------------------------------------------|
| in process | 1                               | this process                                                    |
| Ray, cpu   | the cluster's CPUs              | one CPU, one thread                                             |
| Ray, cuda  | what fits on the cluster's GPUs | `gpus_per_trial`, as its own CUDA_VISIBLE_DEVICES; its `cuda:0` |
"""

from __future__ import annotations

import os
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from mutransfer.config import SweepConfig, TrialConfig

if TYPE_CHECKING:
    from mutransfer.data import Corpus
    from mutransfer.training import TrialResult

MOST_IN_COHORT = 64
"""Trials that are trained as one at most, where a measurement decides."""


class Leg(NamedTuple):
    """A part of a trial's run: from `state` (None: from the first step) up to step `until`."""

    trial: TrialConfig
    until: int
    state: bytes | None


Work = Sequence[TrialConfig] | Sequence[Leg]
"""What is trained as one: whole trials, or legs of them that end at one step."""

Run = Callable[[Any, "Corpus", str], "list[TrialResult]"]
"""Trains `Work` of the kind that it is for."""


class Finished(NamedTuple):
    """A submission that has ended: its results, or the text of its error, whose first line names it."""

    key: str
    results: list[TrialResult]
    error: str | None


class Executor(Protocol):
    """Runs submissions of trials that are trained as one, `slots` of them at once, on `device`: cpu or cuda."""

    slots: int
    device: str

    def cohort_size(self, trial: TrialConfig) -> int:
        """How many trials of this shape one submission should hold, as measured where they run; waits for it."""

    def submit(self, key: str, trials: Work) -> None:
        """Start a submission; `key` names it when it has ended."""

    def next_finished(self) -> Finished:
        """Wait for any submission to end."""

    def close(self) -> None:
        """Kill what still runs."""


def train_trials(trials: Sequence[TrialConfig], corpus: Corpus, device: str) -> list[TrialResult]:
    """`mutransfer.training.train`; torch is loaded in the process that trains, and in no other."""
    from mutransfer.training import train

    return train(trials, corpus, device)


def train_legs(legs: Sequence[Leg], corpus: Corpus, device: str) -> list[TrialResult]:
    """The same for legs."""
    from mutransfer.training import Part, train

    part = Part(legs[0].until, tuple(leg.state for leg in legs))
    return train([leg.trial for leg in legs], corpus, device, part)


def training_of(config: SweepConfig) -> Run:
    """What trains the trials of a sweep: in legs where they are pruned."""
    return train_trials if config.prune == "none" else train_legs


def measure_cohort(trial: TrialConfig, corpus: Corpus, device: str) -> int:
    """`mutransfer.training.cohort_size`, in the process that trains."""
    from mutransfer.training import cohort_size

    return cohort_size(trial, corpus, device, MOST_IN_COHORT)


class InProcess:
    """One submission after another in this process."""

    slots = 1

    def __init__(self, run: Run, corpus: Corpus, device: str) -> None:
        self.device = device
        self._run = run
        self._corpus = corpus
        self._waiting: deque[tuple[str, Work]] = deque()

    def cohort_size(self, trial: TrialConfig) -> int:
        return 1 if self.device == "cpu" else measure_cohort(trial, self._corpus, self.device)

    def submit(self, key: str, trials: Work) -> None:
        self._waiting.append((key, trials))

    def next_finished(self) -> Finished:
        key, trials = self._waiting.popleft()
        try:
            return Finished(key, self._run(trials, self._corpus, self.device), None)
        except Exception as error:
            return Finished(key, [], describe_error(error, traceback.format_exc()))

    def close(self) -> None:
        self._waiting.clear()


def describe_error(error: BaseException, trace: str) -> str:
    """What failed in one line, and below it where."""
    return f"{type(error).__name__}: {error}".strip().splitlines()[0] + "\n" + trace.strip()


def check_gpus(total: float, most_on_one_node: float, gpus_per_trial: float) -> None:
    """Raises ValueError if a trial's GPUs are not there: it would wait for ever."""
    if total == 0 and gpus_per_trial > 1:
        raise ValueError(
            f"found no GPU; wanted {gpus_per_trial:g} for each trial: leave --gpus-per-trial out, or give --device cpu"
        )
    if total == 0:
        raise ValueError("found no GPU; wanted one for device cuda: give --device cpu, or auto")
    if gpus_per_trial > most_on_one_node:
        raise ValueError(
            f"found {most_on_one_node:g} GPUs on a machine; wanted gpus_per_trial {gpus_per_trial:g}: "
            f"give --gpus-per-trial {most_on_one_node:g} or less"
        )


def may_use_cpu(device: str, gpus_per_trial: float) -> bool:
    """Whether trials may run on the CPU where there is no GPU: not where each was to have several."""
    return device == "auto" and gpus_per_trial <= 1


def local_gpus() -> int:
    """GPUs that torch can use on this machine."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def local_device(device: str, gpus_per_trial: float) -> str:
    """`auto` resolved to cuda or cpu on this machine. Raises ValueError if a trial's GPUs are not there."""
    if device == "cpu":
        return "cpu"
    gpus = local_gpus()
    if gpus == 0 and may_use_cpu(device, gpus_per_trial):
        return "cpu"
    check_gpus(gpus, gpus, gpus_per_trial)
    return "cuda"


def local_slots(config: SweepConfig) -> int:
    """Trials that this machine runs at once. Raises ValueError if a trial's GPUs are not there."""
    if config.executor == "inprocess":
        return 1
    if local_device(config.device, config.gpus_per_trial) == "cpu":
        return usable_cpus()
    return gpu_slots(local_gpus(), config.gpus_per_trial)


def gpu_slots(gpus: float, gpus_per_trial: float) -> int:
    """Trials that fit on the GPUs of one machine at once."""
    return int(gpus) * int(1 / gpus_per_trial + 1e-9) if gpus_per_trial <= 1 else int(gpus // gpus_per_trial)


def usable_cpus() -> int:
    """CPUs this process may use: its affinity, and its container's quota where there is one."""
    # macOS has no affinity
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota_file = Path("/sys/fs/cgroup/cpu.max")
    if quota_file.exists():
        quota, period = quota_file.read_text().split()
        if quota != "max":
            cpus = min(cpus, max(1, int(quota) // int(period)))
    return cpus
