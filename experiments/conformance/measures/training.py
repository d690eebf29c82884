"""Steps of the project's own training, outside a sweep: what the coordinate check, the spectra, the equivalences and
the sharpness look into while a model trains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mutransfer import Parametrized, TrialConfig
from mutransfer.training.trainer import build, make_optimizer, train_step


@dataclass(frozen=True)
class Training:
    """A model with its optimizer on one batch of sequences of context + 1 tokens, which every step repeats."""

    trial: TrialConfig
    built: Parametrized
    optimizer: torch.optim.Optimizer
    tokens: Tensor

    def steps(self, count: int) -> Iterator[tuple[int, float]]:
        """Train; gives the number of updates made and the loss before the last of them."""
        for step in range(count):
            loss = train_step(self.built, self.optimizer, self.trial, step, self.tokens)
            yield step + 1, loss.item()


def start(trial: TrialConfig, tokens: Tensor) -> Training:
    """A trial at its initialization, on the CPU."""
    built = build(trial, "cpu")
    return Training(trial, built, make_optimizer(built, trial), tokens)
