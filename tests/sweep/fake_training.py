"""A training that costs nothing: the loss is a closed form of rate, width and seed, and every call is written down.

Kept apart so that a worker loads it quickly.
"""

from __future__ import annotations

import json
import math
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mutransfer.config import Execution, TrialConfig
from mutransfer.data import Corpus
from mutransfer.sweep.shapes import Question

CORPUS = Corpus("fake", "f" * 16, 256, np.zeros(1000, np.uint8), np.zeros(1000, np.uint8))

DIVERGES_FROM = 2.0**-3
"""Rates from here on diverge."""


@dataclass(frozen=True)
class Result:
    """A TrialResult without torch."""

    train_losses: Any
    init_loss: float
    final_loss: float | None
    val_loss: float | None
    mean_loss: float | None
    attention_logit: float | None
    output_log_z: float | None
    diverged: bool
    diverged_step: int | None
    wall_s: float
    n_params: int
    device: str
    started: str
    cohort_size: int = 1
    execution: str = "eager"


def loss_of(trial: TrialConfig) -> float:
    """A parabola whose minimum moves with width, and a little noise that belongs to the trial."""
    noise = int(trial.digest("noise"), 16) / 16**16
    return 2 + 0.1 * (math.log2(trial.lr) + 7 - 0.3 * math.log2(trial.model.width / 32)) ** 2 + 0.01 * noise


def fake_measure(trial: TrialConfig, corpus: Corpus, device: str, question: Question) -> Execution:
    """Three trials fill a GPU."""
    return Execution(3, "graph")


@dataclass(frozen=True)
class FakeTrain:
    """Trains nothing. Each call that ends is a line in the file `calls`, and takes so many `seconds`.

    `fails` names rates that raise, a line each in `calls`.failed. `party`: wait until so many calls are under way at
    once. `kills`: a folder in which as many workers as it has room for (`deaths`) leave their mark and die.
    """

    calls: str
    seconds: float = 0.0
    fails: tuple[float, ...] = ()
    party: int = 0
    kills: str = ""
    deaths: int = 0

    def __call__(self, trials: Sequence[TrialConfig], corpus: Corpus, device: str, mode: str) -> list[Result]:
        return [replace(self._train(trial, device), cohort_size=len(trials), execution=mode) for trial in trials]

    def _train(self, trial: TrialConfig, device: str) -> Result:
        start = time.time()
        time.sleep(self.seconds)
        self._wait_for_party()
        self._die()
        if trial.lr in self.fails:
            with Path(self.calls + ".failed").open("a") as file:
                file.write(f"{trial.lr}\n")
            raise RuntimeError(f"cannot train at {trial.lr}")
        diverged = trial.lr >= DIVERGES_FROM
        loss = None if diverged else loss_of(trial)
        call = {
            "trial_id": trial.digest(CORPUS.fingerprint),
            "pid": os.getpid(),
            "device": device,
            "gpus": os.getenv("CUDA_VISIBLE_DEVICES"),
            "threads": os.getenv("OMP_NUM_THREADS"),
            "start": start,
            "end": time.time(),
        }
        descriptor = os.open(self.calls, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, json.dumps(call).encode() + b"\n")
        os.close(descriptor)
        curve = np.linspace(5.5, 2.0, trial.steps, dtype=np.float32)
        started = "2026-01-01T00:00:00+00:00"
        step = 7 if diverged else None
        return Result(curve, 5.5, loss, loss, loss, loss, loss, diverged, step, 0.5, 1000, device, started)

    def _wait_for_party(self) -> None:
        here = Path(self.calls + ".party")
        if self.party:
            here.mkdir(exist_ok=True)
            (here / str(os.getpid())).touch()
            deadline = time.time() + 60
            while len(list(here.iterdir())) < self.party and time.time() < deadline:
                time.sleep(0.02)

    def _die(self) -> None:
        if self.deaths and len(list(Path(self.kills).iterdir())) < self.deaths:
            (Path(self.kills) / str(os.getpid())).touch()
            os.kill(os.getpid(), signal.SIGKILL)
