"""The driver's own work: ten thousand trials that do nothing, the memory they leave, and beginning again after them."""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mutransfer import Corpus, SweepConfig, TrialConfig, TrialResult, run_sweep
from mutransfer.sweep.events import Dispatched, Event
from mutransfer.sweep.executors import Executor, InProcess

TRIALS = 10_000


class ReachedError(Exception):
    """The first trial was dispatched."""


def no_op(trials: Sequence[TrialConfig], corpus: Corpus, device: str, mode: str) -> list[TrialResult]:
    """A trial that does nothing."""
    curve = np.full(trials[0].steps, 2.0, np.float32)
    now = "2026-01-01T00:00:00+00:00"
    result = TrialResult(curve, 5.5, 2.0, 2.0, 2.0, None, None, False, None, 1e-6, 1, device, now, 1, mode)
    return [result for _ in trials]


def memory() -> float:
    """MB that this process holds."""
    gc.collect()
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("found no VmRSS in /proc/self/status; wanted Linux")


def in_process(config: SweepConfig, corpus: Corpus) -> Executor:
    return InProcess(no_op, corpus, "cpu")


def on_ray(config: SweepConfig, corpus: Corpus) -> Executor:
    from mutransfer.sweep.ray_cluster import RayCluster

    return RayCluster(no_op, corpus, "cpu", 1.0)


def bench_dispatcher(corpus: Corpus) -> dict[str, Any]:
    """Milliseconds a trial in process and through Ray; MB that the driver grows by; seconds to the first dispatch."""
    lrs = tuple(2.0 ** (-12 + each / 10) for each in range(100))
    config = SweepConfig(widths=(32, 64), parametrizations=("sp",), lrs=lrs, seeds=TRIALS // 200, search="grid")
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=".") as folder:
        for name, executor in (("in_process", in_process), ("ray", on_ray)):
            marks: list[tuple[float, float]] = []

            def listen(event: Event, marks: list[tuple[float, float]] = marks) -> None:
                if isinstance(event, Dispatched) and (not marks or len(marks) == 1):
                    marks.append((time.perf_counter(), memory()) if not marks else marks[0])

            out = replace(config, out=f"{folder}/{name}")
            run_sweep(out, command="", listener=listen, open_executor=executor, load=lambda spec: corpus)
            begin, before = marks[0]
            found[name] = {
                "trials": TRIALS,
                "ms_per_trial": 1e3 * (time.perf_counter() - begin) / TRIALS,
                "driver_grew_mb": memory() - before,
            }
            found[name]["restart_s"] = restart(replace(out, seeds=config.seeds + 1), corpus, executor)
    return found


def restart(config: SweepConfig, corpus: Corpus, executor: Any) -> float:
    """Seconds from the start of a sweep over a folder of ten thousand records to its first dispatch."""

    def stop(event: Event) -> None:
        if isinstance(event, Dispatched):
            raise ReachedError

    begin = time.perf_counter()
    try:
        run_sweep(config, command="", listener=stop, open_executor=executor, load=lambda spec: corpus)
    except ReachedError:
        return time.perf_counter() - begin
    raise RuntimeError("found nothing to dispatch; wanted the trials of another seed")
