"""Spectral norms of square hidden weights and of what training adds to them.

muP is the parametrization in which ||W||_2 and ||dW||_2 scale as sqrt(fan_out / fan_in), so neither depends on width
where W is square (Yang, Simon and Bernstein 2023, arXiv 2310.17813, condition 1). Under SP one rate for all widths lets
||dW||_2 grow in proportion to width: Adam's update has entries of about the rate, and low rank.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import torch
from gates import Measurement, Quantity
from place import Place
from torch import Tensor

from measures.intervals import log_slope
from measures.training import start
from mutransfer import ModelConfig, ScheduleConfig, SweepConfig
from mutransfer.config import Arm, Scale
from mutransfer.data import sample_batch

Series = dict[str, list[list[float]]]
"""By matrix: a row for each seed, a norm for each width."""


@dataclass(frozen=True)
class SpectralNorms:
    """Of the four square matrices of every attention, trained by Adam on one batch. The readout starts at zero, so they
    first move in the second update; `looks` are numbers of updates after which they are looked at."""

    widths: tuple[int, ...] = (64, 128, 256, 512, 1024)
    lr: float = 2.0**-8
    looks: tuple[int, ...] = (2, 4)
    seeds: int = 3
    batch_size: int = 4

    def measure(self, place: Place) -> Measurement:
        found: dict[str, Quantity] = {}
        words = []
        for name, expected in (("mup", 0.0), ("sp", 1.0)):
            for updates, series in self._norms(name, place).items():
                theory = expected if updates else 0.0
                slopes = {matrix: log_slope(self.widths, sizes) for matrix, sizes in series.items()}
                worst = max(slopes, key=lambda matrix: abs((slopes[matrix].estimate or 0.0) - theory))
                found[label(name, updates)] = slopes[worst]
                words.append(f"{label(name, updates)}: {worst.removesuffix('.weight')}")
        return Measurement(
            found,
            f"of the {len(slopes)} matrices the one farthest from theory, which is {'; '.join(words)}; Adam at a "
            f"constant 2^{math.log2(self.lr):g} on one batch of {self.batch_size} x {ModelConfig.context} tokens, "
            f"widths {', '.join(map(str, self.widths))}, {self.seeds} seeds",
        )

    def _norms(self, name: str, place: Place) -> dict[int, Series]:
        """||W||_2 at initialization, under 0, and ||dW||_2 after each number of updates looked at."""
        sweep = SweepConfig(
            widths=self.widths,
            steps=max(self.looks),
            batch_size=self.batch_size,
            schedule=ScheduleConfig("constant", warmup=0.0),
        )
        norms: dict[int, Series] = {updates: defaultdict(self._rows) for updates in (0, *self.looks)}
        for seed in range(self.seeds):
            batch = sample_batch(place.corpus.train, seed, 0, self.batch_size, ModelConfig.context)
            for width in self.widths:
                training = start(sweep.trial(Arm(name, name), Scale(width), self.lr, seed), torch.from_numpy(batch))
                square = {
                    parameter: (weight, weight.detach().clone())
                    for parameter, weight in training.built.model.named_parameters()
                    if ".attention." in parameter
                }
                for parameter, (_, initial) in square.items():
                    norms[0][parameter][seed].append(spectral_norm(initial))
                for updates, _ in training.steps(max(self.looks)):
                    if updates in self.looks:
                        for parameter, (weight, initial) in square.items():
                            norms[updates][parameter][seed].append(spectral_norm(weight.detach() - initial))
        return norms

    def _rows(self) -> list[list[float]]:
        return [[] for _ in range(self.seeds)]


def label(name: str, updates: int) -> str:
    """The name of a slope."""
    return f"{name}: slope of ‖dW‖₂ after {updates} updates" if updates else f"{name}: slope of ‖W‖₂ at initialization"


def spectral_norm(matrix: Tensor) -> float:
    """The largest singular value."""
    return float(torch.linalg.matrix_norm(matrix, 2))
