"""Sharpness at the edge of stability: full-batch training raises the largest curvature up to where its rate would
diverge on a quadratic, and hovers there.

gradient descent    largest eigenvalue of H         -> 2 / lr                               (Cohen et al. 2021)
Adam                largest eigenvalue of P^-1 H    -> (2 + 2 beta1) / ((1 - beta1) lr)     (Cohen et al. 2022)

What H and P are, and where from, says `mutransfer.toolbox.sharpness.measure`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from gates import Measurement, Quantity
from place import Place

from measures.intervals import over_seeds
from measures.training import Training, start
from mutransfer import InitConfig, ModelConfig, OptimizerConfig, ScheduleConfig, SweepConfig
from mutransfer.config import Arm, Scale
from mutransfer.data import sample_batch
from mutransfer.toolbox.sharpness.measure import measure_sharpness, momentum_limit
from mutransfer.training.losses import training_loss


@dataclass(frozen=True)
class EdgeOfStability:
    """A small MLP under squared error, in float64, on one batch: the mean over the last third of the steps of sharpness
    times rate over its predicted value. Tokens are the bytes' lowest three bits, so that every class occurs."""

    width: int = 32
    depth: int = 3
    batch_size: int = 16
    context: int = 16
    steps: int = 3000
    looks: int = 30
    seeds: int = 3
    gd_lrs: tuple[float, ...] = (0.2, 0.1)
    adam_lrs: tuple[float, ...] = (0.003, 0.001)

    def measure(self, place: Place) -> Measurement:
        found: dict[str, Quantity] = {}
        for name, lrs, beta1 in (("sgd", self.gd_lrs, 0.0), ("adam", self.adam_lrs, 0.9)):
            for lr in lrs:
                edge = momentum_limit(beta1) / lr
                ratios = [self._settled(name, lr, seed, place) / edge for seed in range(self.seeds)]
                found[label(name, lr)] = over_seeds(ratios)
        return Measurement(
            found,
            f"MLP of width {self.width} and depth {self.depth}, {self.steps} full-batch steps on {self.batch_size} x "
            f"{self.context} tokens, squared error, float64, mean over the last third of the steps, {self.seeds} seeds",
        )

    def _settled(self, name: str, lr: float, seed: int, place: Place) -> float:
        """Mean (preconditioned) sharpness over the last third of the steps."""
        optimizer = (
            OptimizerConfig("sgd", momentum=0.0) if name == "sgd" else OptimizerConfig("adam", beta1=0.9, beta2=0.999)
        )
        sweep = SweepConfig(
            widths=(self.width,),
            base_width=self.width,
            steps=self.steps,
            batch_size=self.batch_size,
            loss="squared_error",
            dtype="float64",
            model=ModelConfig(architecture="mlp", depth=self.depth, context=self.context, vocab=8, output_mult=1.0),
            init=InitConfig(embedding_std=0.5),
            optimizer=optimizer,
            schedule=ScheduleConfig("constant", warmup=0.0),
        )
        tokens_BT1 = torch.from_numpy(sample_batch(place.corpus.train, seed, 0, self.batch_size, self.context)) % 8
        training = start(sweep.trial(Arm("sp", "sp"), Scale(self.width), lr, seed), tokens_BT1)
        every = self.steps // self.looks
        sharp = [
            sharpness(training)
            for updates, _ in training.steps(self.steps)
            if updates % every == 0 and 3 * updates > 2 * self.steps
        ]
        return sum(sharp) / len(sharp)


def label(optimizer: str, lr: float) -> str:
    """The name of a sharpness's quantity."""
    return f"{'gradient descent' if optimizer == 'sgd' else 'Adam'} at lr {lr:g}: sharpness over its threshold"


def sharpness(training: Training) -> float:
    """The largest eigenvalue of P^-1 H, with P at the number of updates made."""
    found = measure_sharpness(
        lambda: training_loss(training.built.model, training.tokens, training.trial)[0], training.optimizer
    )
    return found.preconditioned
