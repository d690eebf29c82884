"""Where trials run. The driver knows only the protocol.

| executor   | slots                           | what is trained as one gets                                         |
|------------|---------------------------------|---------------------------------------------------------------------|
| in process | 1                               | this process                                                        |
| Ray, cpu   | the cluster's CPUs              | one CPU, one thread                                                 |
| Ray, cuda  | the cluster's GPUs              | a GPU or a share of one, as CUDA_VISIBLE_DEVICES; its `cuda:0`      |
| the same,  | what fits on the cluster's GPUs | `gpus_per_trial`, as CUDA_VISIBLE_DEVICES; its `cuda:0` (the first) |
| with it    |                                 |                                                                     |

Only the GPUs of the third row are shared, as `mutransfer.sweep.shares` says. Not measured on a GPU.
"""

from __future__ import annotations

import os
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from mutransfer.config import Execution, SweepConfig, TrialConfig
from mutransfer.sweep.shapes import Question

if TYPE_CHECKING:
    from mutransfer.data import Corpus
    from mutransfer.training import Part, TrialResult


class Leg(NamedTuple):
    """A part of a trial's run: from `state` (None: from the first step) up to step `until`."""

    trial: TrialConfig
    until: int
    state: bytes | None


Work = Sequence[TrialConfig] | Sequence[Leg]
"""What is trained as one: whole trials, or legs of them that end at one step."""

Run = Callable[[Any, "Corpus", str, str], "list[TrialResult]"]
"""Trains `Work` of the kind that it is for: the work, the corpus, the device, and the kind of step."""


class Finished(NamedTuple):
    """A submission that has ended: its results, the execution that a measurement found, or the text of its error, whose
    first line names it."""

    key: str
    results: list[TrialResult]
    error: str | None
    execution: Execution | None = None


class Executor(Protocol):
    """Runs submissions of trials that are trained as one in its `slots`, on `device`: cpu or cuda. A slot can be shared
    by at most `sharers` submissions."""

    slots: int
    sharers: int
    device: str

    def measure(self, key: str, trial: TrialConfig, question: Question) -> None:
        """Start to measure how trials of this shape are best trained, on a whole slot; `key` names it when it has
        ended."""

    def submit(self, key: str, trials: Work, mode: str, share: Fraction) -> None:
        """Start a submission of steps of kind `mode`, on a share of a slot; `key` names it when it has ended."""

    def next_finished(self) -> Finished:
        """Wait for any submission, or measurement, to end."""

    def close(self) -> None:
        """Kill what still runs."""


def train_trials(trials: Sequence[TrialConfig], corpus: Corpus, device: str, mode: str) -> list[TrialResult]:
    """`mutransfer.training.train`; torch is loaded in the process that trains, and in no other."""
    return _train(trials, corpus, device, None, mode)


def train_legs(legs: Sequence[Leg], corpus: Corpus, device: str, mode: str) -> list[TrialResult]:
    """The same for legs."""
    from mutransfer.training import Part

    part = Part(legs[0].until, tuple(leg.state for leg in legs))
    return _train([leg.trial for leg in legs], corpus, device, part, mode)


def _train(
    trials: Sequence[TrialConfig], corpus: Corpus, device: str, part: Part | None, mode: str
) -> list[TrialResult]:
    import torch

    from mutransfer.training import train

    try:
        return train(trials, corpus, device, part, mode)
    finally:
        if device.startswith("cuda"):
            torch.cuda.empty_cache()  # What this process would keep for its next trials, others on the GPU may need.


def training_of(config: SweepConfig) -> Run:
    """What trains the trials of a sweep: in legs where they are pruned."""
    return train_trials if config.prune == "none" else train_legs


def measure_execution(trial: TrialConfig, corpus: Corpus, device: str, question: Question) -> Execution:
    """`mutransfer.training.find_execution`, in the process that trains."""
    from mutransfer.training import find_execution

    return find_execution(trial, corpus, device, question.most, question.modes)


class InProcess:
    """One submission after another in this process."""

    slots = sharers = 1

    def __init__(self, run: Run, corpus: Corpus, device: str) -> None:
        self.device = device
        self._run = run
        self._corpus = corpus
        self._waiting: deque[tuple[str, Callable[[], list[TrialResult] | Execution]]] = deque()

    def measure(self, key: str, trial: TrialConfig, question: Question) -> None:
        self._waiting.append((key, lambda: measure_execution(trial, self._corpus, self.device, question)))

    def submit(self, key: str, trials: Work, mode: str, share: Fraction) -> None:
        self._waiting.append((key, lambda: self._run(trials, self._corpus, self.device, mode)))

    def next_finished(self) -> Finished:
        key, work = self._waiting.popleft()
        try:
            return ended(key, work())
        except Exception as error:
            return Finished(key, [], describe_error(error, traceback.format_exc()))

    def close(self) -> None:
        self._waiting.clear()


def ended(key: str, found: list[TrialResult] | Execution) -> Finished:
    """A submission, or a measurement, that has ended well."""
    return Finished(key, [], None, found) if isinstance(found, Execution) else Finished(key, found, None)


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


def gpus_of_slot(gpus_per_trial: float | None) -> float:
    """GPUs of a slot on cuda: those asked for each trial, else one."""
    return 1.0 if gpus_per_trial is None else gpus_per_trial


def local_device(device: str, gpus_per_trial: float | None) -> str:
    """`auto` resolved to cuda or cpu on this machine. Raises ValueError if a trial's GPUs are not there."""
    if device == "cpu":
        return "cpu"
    gpus, wanted = local_gpus(), gpus_of_slot(gpus_per_trial)
    if gpus == 0 and may_use_cpu(device, wanted):
        return "cpu"
    check_gpus(gpus, gpus, wanted)
    return "cuda"


def local_slots(config: SweepConfig) -> int:
    """Slots of this machine. Raises ValueError if a trial's GPUs are not there."""
    if config.executor == "inprocess":
        return 1
    if local_device(config.device, config.gpus_per_trial) == "cpu":
        return usable_cpus()
    return gpu_slots(local_gpus(), gpus_of_slot(config.gpus_per_trial))


def gpu_slots(gpus: float, gpus_per_trial: float) -> int:
    """Trials of so many GPUs, or of a fraction of one, that fit on the GPUs of one machine at once."""
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
