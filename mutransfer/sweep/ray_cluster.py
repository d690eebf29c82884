"""Trials as Ray Core tasks, on this machine or on the cluster that RAY_ADDRESS names."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from mutransfer.config import TrialConfig
from mutransfer.sweep.executors import (
    Finished,
    Run,
    Work,
    check_gpus,
    describe_error,
    ended,
    gpu_slots,
    gpus_of_slot,
    may_use_cpu,
    measure_execution,
    usable_cpus,
)
from mutransfer.sweep.shapes import Question
from mutransfer.sweep.shares import WHOLE

if TYPE_CHECKING:
    from mutransfer.data import Corpus
    from mutransfer.training import TrialResult

RETRIES = 3
"""How often a submission runs again because its worker was killed. Errors of its own are never tried again."""

PRECISION = 10**4
"""The least part of a GPU that Ray knows is one of so many. It rounds, so that six sixths would be more than a GPU."""

KNOCK = 3.0
"""Seconds that a cluster's head has to answer a TCP connection; Ray itself would try for minutes."""


class RayCluster:
    """One Ray task per submission; the corpus lies in the object store once."""

    def __init__(
        self, run: Run, corpus: Corpus, device: str, gpus_per_trial: float | None, gpus: int | None = None
    ) -> None:
        """Join this process's Ray, or start one that ends with it.

        Args:
            run: trains a submission; must be importable where the tasks run.
            corpus: its arrays are read-only in the tasks.
            device: auto (cuda where the cluster has it), cpu or cuda.
            gpus_per_trial: GPUs, or the fraction of one, of every submission on cuda; None: one, or a share of it.
            gpus: how many GPUs to believe in on this machine; None: as many as there are.

        Raises ValueError if no trial could ever run there.
        """
        self._ray = ray = _load_ray()
        self._owns = not ray.is_initialized()
        self._running: dict[Any, str] = {}
        if self._owns:
            start(gpus)
        try:
            nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
            on_nodes = [node["GPU"] for node in nodes if "GPU" in node]
            self._gpus = gpus_of_slot(gpus_per_trial)
            self.device = resolve_device(device, on_nodes, self._gpus, believe=gpus is not None)
        except BaseException:
            self.close()
            raise
        self.sharers = 1
        if self.device == "cpu":
            self.slots = int(sum(node["CPU"] for node in nodes if "CPU" in node))
            options: dict[str, Any] = {"num_cpus": 1}
        else:
            self.slots = sum(gpu_slots(count, self._gpus) for count in on_nodes)
            if gpus_per_trial is None:
                self.sharers = most_sharers(nodes)
            # A process keeps the GPU it first used. With one GPU that is always the right one, and starting torch and
            # CUDA anew for each trial can be saved; with several a worker must end with its trial. This is said here,
            # as Ray takes it from nowhere else; num_gpus it takes from each submission.
            options = {"num_cpus": 0, "max_calls": 0 if sum(on_nodes) == 1 else 1}

        def submission(trials: Work, corpus: Corpus, task_device: str, mode: str) -> list[TrialResult]:
            # As plain data: the class of the results would load torch in the driver.
            results = run(trials, corpus, task_device, mode)
            return [cast("TrialResult", SimpleNamespace(**vars(result))) for result in results]

        self._run = ray.remote(max_retries=RETRIES, retry_exceptions=False, **options)(submission)
        # on a GPU in a process of its own, since a recording that fails may leave it unfit to train
        alone = {} if self.device == "cpu" else {"max_calls": 1}
        self._measure = ray.remote(max_retries=RETRIES, retry_exceptions=False, **options | alone)(measure_execution)
        # The workers of our own Ray map the same files; those of a cluster may not see them, and get the tokens sent.
        self._corpus = ray.put(corpus if self._owns else corpus.in_memory())

    def measure(self, key: str, trial: TrialConfig, question: Question) -> None:
        task = self._on(self._measure, WHOLE)
        self._running[task.remote(trial, self._corpus, self._task_device, question)] = key

    def submit(self, key: str, trials: Work, mode: str, share: Fraction) -> None:
        # Ray chooses the GPU, as `Slots.take` does: the fullest that has room. Where two tasks end before the driver
        # has heard of the first, or on several machines, it may choose another one; what the driver thought would fit
        # then waits in Ray until it does.
        task = self._on(self._run, share)
        self._running[task.remote(trials, self._corpus, self._task_device, mode)] = key

    def _on(self, task: Any, share: Fraction) -> Any:
        if self.device == "cpu":
            return task
        return task.options(num_gpus=self._gpus if share == WHOLE else int(share * PRECISION) / PRECISION)

    @property
    def _task_device(self) -> str:
        return "cuda:0" if self.device == "cuda" else "cpu"

    def next_finished(self) -> Finished:
        (done,), _ = self._ray.wait(list(self._running), num_returns=1)
        key = self._running.pop(done)
        try:
            return ended(key, self._ray.get(done))
        except self._ray.exceptions.RayTaskError as error:
            return Finished(key, [], describe_error(error.cause, str(error)))
        except self._ray.exceptions.RayError as error:
            return Finished(key, [], describe_error(error, str(error)))

    def close(self) -> None:
        if self._owns:
            # Its workers end with it. Cancelling them first has crashed the driver in Ray, where one was just done.
            self._ray.shutdown()
        else:
            for reference in self._running:
                self._ray.cancel(reference, force=True)
        self._running.clear()


def _load_ray() -> Any:
    # Ray reads these when it is loaded: no telemetry, and no warning about what a later release will do.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    return ray


def start(gpus: int | None) -> None:
    """Start Ray on this machine, or join the cluster of RAY_ADDRESS. `gpus`: as in `RayCluster`.

    Raises ValueError if there is no cluster at RAY_ADDRESS.
    """
    ray = _load_ray()
    address = os.getenv("RAY_ADDRESS") or "local"
    if address != "local":
        _join(ray, address)
        return
    ray.init(
        address="local",
        num_cpus=usable_cpus(),
        num_gpus=gpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )


def _join(ray: Any, address: str) -> None:
    try:
        found = _find_cluster() if address == "auto" else address
        host = urlsplit("//" + found.rpartition("://")[2])
        socket.create_connection((host.hostname, host.port), KNOCK).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:  # Ray has all three for a cluster that it cannot join.
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"found no Ray cluster at RAY_ADDRESS={address} ({reason}); wanted one: start it with `ray start --head`, "
            "or unset RAY_ADDRESS"
        ) from error


def _find_cluster() -> str:
    """Where `auto` leads: what the last `ray start` wrote down, which may be a cluster that is long gone."""
    file = Path(os.getenv("RAY_TMPDIR", "/tmp")) / "ray" / "ray_current_cluster"  # as ray.init documents it
    if not file.exists():
        raise ValueError(f"no `ray start` has left an address in {file}")
    return file.read_text().strip()


def most_sharers(nodes: Sequence[Mapping[str, float]]) -> int:
    """Submissions that a GPU can hold: each needs a CPU of its machine, to launch from."""
    return max(1, min(int(node["CPU"] // node["GPU"]) if "CPU" in node else 1 for node in nodes if "GPU" in node))


def resolve_device(device: str, on_nodes: list[float], gpus_per_trial: float, believe: bool) -> str:
    """cuda or cpu, from the GPUs on each machine that has any. `believe`: do not ask torch whether it can use them.

    Raises ValueError if a trial's GPUs are not there.
    """
    if device == "cpu" or (may_use_cpu(device, gpus_per_trial) and not on_nodes):
        return "cpu"
    check_gpus(sum(on_nodes), max(on_nodes, default=0), gpus_per_trial)
    if not believe and not _torch_has_cuda():
        if may_use_cpu(device, gpus_per_trial):
            return "cpu"
        raise ValueError(
            "found a torch without CUDA; wanted one with it for device cuda: install the build for your GPU's driver, "
            "or give --device cpu"
        )
    return "cuda"


def _torch_has_cuda() -> bool:
    # The build, not the device: the driver of a cluster needs no GPU of its own.
    import torch

    return torch.version.cuda is not None
