"""Trials as Ray Core tasks, on this machine or on the cluster that RAY_ADDRESS names."""

from __future__ import annotations

import logging
import os
import socket
import warnings
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
    gpu_slots,
    may_use_cpu,
    measure_cohort,
    usable_cpus,
)

if TYPE_CHECKING:
    from mutransfer.data import Corpus
    from mutransfer.training import TrialResult

RETRIES = 3
"""How often a submission runs again because its worker was killed. Errors of its own are never tried again."""

KNOCK = 3.0
"""Seconds that a cluster's head has to answer a TCP connection; Ray itself would try for minutes."""


class RayCluster:
    """One Ray task per submission; the corpus lies in the object store once."""

    def __init__(self, run: Run, corpus: Corpus, device: str, gpus_per_trial: float, gpus: int | None = None) -> None:
        """Join this process's Ray, or start one that ends with it.

        Args:
            run: trains a submission; must be importable where the tasks run.
            corpus: its arrays are read-only in the tasks.
            device: auto (cuda where the cluster has it), cpu or cuda.
            gpus_per_trial: GPUs, or the fraction of one, of a submission on cuda.
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
            self.device = resolve_device(device, on_nodes, gpus_per_trial, believe=gpus is not None)
        except BaseException:
            self.close()
            raise
        if self.device == "cpu":
            self.slots = int(sum(node["CPU"] for node in nodes if "CPU" in node))
            options: dict[str, Any] = {"num_cpus": 1}
        else:
            self.slots = sum(gpu_slots(count, gpus_per_trial) for count in on_nodes)
            # A process keeps the GPU it first used. With one GPU that is always the right one, and starting torch and
            # CUDA anew for each trial can be saved; with several a worker must end with its trial.
            options = {"num_cpus": 0, "num_gpus": gpus_per_trial, "max_calls": 0 if sum(on_nodes) == 1 else 1}

        def submission(trials: Work, corpus: Corpus, task_device: str) -> list[TrialResult]:
            # As plain data: the class of the results would load torch in the driver.
            return [cast("TrialResult", SimpleNamespace(**vars(result))) for result in run(trials, corpus, task_device)]

        # num_gpus belongs here: given later, as an option, it would not end the workers.
        self._run = ray.remote(max_retries=RETRIES, retry_exceptions=False, **options)(submission)
        self._measure = ray.remote(max_retries=RETRIES, retry_exceptions=False, **options)(measure_cohort)
        self._corpus = ray.put(corpus)

    def cohort_size(self, trial: TrialConfig) -> int:
        if self.device == "cpu":
            return 1
        try:
            return int(self._ray.get(self._measure.remote(trial, self._corpus, "cuda:0")))
        except self._ray.exceptions.RayError as error:
            warnings.warn(f"cohorts could not be measured ({error}); training one by one", stacklevel=2)
            return 1

    def submit(self, key: str, trials: Work) -> None:
        task_device = "cuda:0" if self.device == "cuda" else "cpu"
        self._running[self._run.remote(trials, self._corpus, task_device)] = key

    def next_finished(self) -> Finished:
        (done,), _ = self._ray.wait(list(self._running), num_returns=1)
        key = self._running.pop(done)
        try:
            return Finished(key, self._ray.get(done), None)
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
        if address != "auto":
            host = urlsplit("//" + address.rpartition("://")[2])
            socket.create_connection((host.hostname, host.port), KNOCK).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:  # Ray has all three for a cluster that it cannot join.
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"found no Ray cluster at RAY_ADDRESS={address} ({reason}); wanted one: start it with `ray start --head`, "
            "or unset RAY_ADDRESS"
        ) from error


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
