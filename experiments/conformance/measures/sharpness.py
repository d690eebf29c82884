"""Sharpness at the edge of stability: full-batch training raises the largest curvature up to where its rate would
diverge on a quadratic, and hovers there.

gradient descent    largest eigenvalue of H            -> 2 / lr    (Cohen et al. 2021, arXiv 2103.00065)
Adam                largest eigenvalue of P^-1 H       -> (2 + 2 beta1) / ((1 - beta1) lr), 38 / lr at beta1 = 0.9,
                    P = diag(sqrt(v / (1 - beta2^t)) + eps) (1 - beta1^t)   (Cohen et al. 2022, arXiv 2207.14484)

H the Hessian of the loss, v Adam's second moment. N number of parameters, K Lanczos steps
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from gates import Measurement, Quantity
from place import Place
from torch import Tensor

from measures.intervals import over_seeds
from measures.training import Training, start
from mutransfer import InitConfig, ModelConfig, OptimizerConfig, ScheduleConfig, SweepConfig
from mutransfer.config import Arm
from mutransfer.data import sample_batch
from mutransfer.training.losses import training_loss

LANCZOS_STEPS = 20
"""Enough for the largest eigenvalue to three digits."""


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
                edge = threshold(beta1) / lr
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
        training = start(sweep.trial(Arm("sp", "sp"), self.width, lr, seed), tokens_BT1)
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


def threshold(beta1: float) -> float:
    """Sharpness times rate above which a parabola diverges; `beta1` is 0 for gradient descent."""
    return (2 + 2 * beta1) / (1 - beta1)


def sharpness(training: Training) -> float:
    """The largest eigenvalue of P^-1/2 H P^-1/2, which are P^-1 H's; P is 1 under plain SGD."""
    parameters = list(training.built.model.parameters())
    loss, _ = training_loss(training.built.model, training.tokens, training.trial)
    gradients = torch.autograd.grad(loss, parameters, create_graph=True)
    scale_N = root_preconditioner(training, parameters).reciprocal()

    def multiply(v_N: Tensor) -> Tensor:
        pieces = [
            piece.view_as(parameter)
            for piece, parameter in zip(
                torch.split(scale_N * v_N, [p.numel() for p in parameters]), parameters, strict=True
            )
        ]
        product = torch.autograd.grad(gradients, parameters, pieces, retain_graph=True)
        return scale_N * torch.cat([piece.flatten() for piece in product])

    return largest_eigenvalue(multiply, len(scale_N))


def root_preconditioner(training: Training, parameters: Sequence[Tensor]) -> Tensor:
    """The square root of P's diagonal, shape (N), at the number of updates made."""
    state, config = training.optimizer.state, training.trial.optimizer
    if config.name == "sgd":
        return torch.cat([torch.ones_like(parameter).flatten() for parameter in parameters])
    diagonals = []
    for parameter in parameters:
        step, second = float(state[parameter]["step"]), state[parameter]["exp_avg_sq"]
        root = (second / (1 - config.beta2**step)).sqrt() + config.eps
        diagonals.append((root * (1 - config.beta1**step)).flatten())
    return torch.cat(diagonals).sqrt()


def largest_eigenvalue(multiply: Callable[[Tensor], Tensor], size: int, steps: int = LANCZOS_STEPS) -> float:
    """Of a symmetric matrix of float64, given by its product with a vector: Lanczos with full reorthogonalization."""
    start_N = torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    basis_KN = [start_N / start_N.norm()]
    diagonal: list[float] = []
    beside: list[float] = []
    while True:
        w_N = multiply(basis_KN[-1])
        diagonal.append(float(w_N @ basis_KN[-1]))
        for _ in range(2):  # twice is enough (Parlett 1998, The Symmetric Eigenvalue Problem, section 6.9)
            for q_N in basis_KN:
                w_N = w_N - (w_N @ q_N) * q_N
        norm = float(w_N.norm())
        if len(diagonal) == min(steps, size) or norm <= 1e-12 * abs(diagonal[0]):
            break
        beside.append(norm)
        basis_KN.append(w_N / norm)
    tridiagonal = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    index = torch.arange(len(beside))
    tridiagonal[index, index + 1] = tridiagonal[index + 1, index] = torch.tensor(beside, dtype=torch.float64)
    return float(torch.linalg.eigvalsh(tridiagonal)[-1])
