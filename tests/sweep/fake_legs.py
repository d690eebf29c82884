"""A training in parts that costs nothing: the loss of every step is a closed form of the trial."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mutransfer.config import Range, TrialConfig
from mutransfer.data import Corpus
from mutransfer.sweep.executors import Leg

from .fake_training import CORPUS, DIVERGES_FROM, Result, loss_of

SPACE = (Range("model.output_mult", 0.5, 32.0),)
DIVERGES_AT = 7


def curve_of(trial: TrialConfig) -> Any:
    """Every step's loss: falls to about that of the fake training, with as much noise as settings differ by."""
    done = np.arange(1, trial.steps + 1) / trial.steps
    noise = int(trial.digest("noise"), 16) / 16**16
    return loss_of(trial) + 0.1 * np.log2(trial.model.output_mult + 1) + noise + 3 * (1 - done)


def loss_at(trial: TrialConfig, step: int) -> float:
    window = max(1, round(trial.final_window * trial.steps))
    return float(curve_of(trial)[:step][-window:].mean())


@dataclass(frozen=True)
class LegResult(Result):
    """A TrialResult that may go on."""

    state: bytes | None = None


@dataclass(frozen=True)
class FakeLegs:
    """Each leg is a line in the file `calls`: the trial, and from where to where. `fails` names rates that raise."""

    calls: str
    fails: tuple[float, ...] = ()

    def __call__(self, legs: Sequence[Leg], corpus: Corpus, device: str, mode: str) -> list[LegResult]:
        return [self._train(leg, len(legs), mode) for leg in legs]

    def _train(self, leg: Leg, together: int, mode: str) -> LegResult:
        trial, trial_id = leg.trial, leg.trial.digest(CORPUS.fingerprint)
        kept = {"trial_id": trial_id, "step": 0} if leg.state is None else json.loads(leg.state)
        assert kept["trial_id"] == trial_id
        if trial.lr in self.fails:
            raise RuntimeError(f"cannot train at {trial.lr}")
        with Path(self.calls).open("a") as file:
            file.write(json.dumps({"trial_id": trial_id, "since": kept["step"], "until": leg.until}) + "\n")
        diverged = trial.lr >= DIVERGES_FROM and leg.until > DIVERGES_AT
        loss = None if diverged else loss_at(trial, leg.until)
        whole = leg.until == trial.steps and not diverged
        curve = curve_of(trial)[: DIVERGES_AT + 1 if diverged else leg.until].astype(np.float32)
        state = json.dumps({"trial_id": trial_id, "step": leg.until}).encode()
        return LegResult(
            train_losses=curve,
            init_loss=5.5,
            final_loss=loss,
            val_loss=loss if whole else None,
            mean_loss=loss,
            attention_logit=None,
            output_log_z=None,
            diverged=diverged,
            diverged_step=DIVERGES_AT if diverged else None,
            wall_s=0.5,
            n_params=1000,
            device="cpu",
            started="2026-01-01T00:00:00+00:00",
            cohort_size=together,
            execution=mode,
            state=None if diverged or leg.until == trial.steps else state,
        )
