"""Sharpness: the largest curvature of the loss, against that at which an optimizer bounces out of a parabola.

On a parabola an update diverges where rate times curvature exceeds

| optimizer | limit | source |
|---|---|---|
| gradient descent | 2 | Cohen et al. 2021, arXiv 2103.00065 |
| heavy-ball momentum b, dampening d | (2 + 2b) / (1 - d) | derived, with d as in torch's SGD |
| Nesterov momentum b | (2 + 2b) / (1 + 2b) | derived: where -1 is a root of its recursion |
| Adam, by the curvature of P^-1 H | (2 + 2 beta1) / (1 - beta1) | Cohen et al. 2022, arXiv 2207.14484 |

with P = diag(sqrt(v / (1 - beta2^t)) + eps) (1 - beta1^t), H the Hessian of the loss and v Adam's second moment. On a
full batch, training sharpens the loss up to this limit and hovers there, at the edge of stability.

Parameter groups may differ in rate (muP's do). Each parameter's rate over a rate of reference then multiplies its entry
of P^-1. Weight decay is no part of the loss, and left out.

    N number of parameters
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mutransfer.config import TrialConfig
from mutransfer.data import Corpus, sample_batch
from mutransfer.optim import schedule_factor
from mutransfer.toolbox.sharpness.curvature import TOLERANCE, Loss, largest_curvature
from mutransfer.training.losses import training_loss
from mutransfer.training.trainer import build, make_optimizer, train_step


@dataclass(frozen=True)
class Sharpness:
    """The curvature of the loss at one moment of training; NaN where it is not finite.

    `hessian` is the largest eigenvalue of H and `preconditioned` that of P^-1 H, the same under SGD with one rate.
    `edge` is where the latter makes the optimizer diverge on a parabola: its limit over `lr`, the rate of reference.
    """

    hessian: float
    preconditioned: float
    edge: float
    lr: float


@dataclass(frozen=True)
class Look:
    """What was seen after `step` updates: the loss before the last of them, and the sharpness after it."""

    step: int
    loss: float
    sharpness: Sharpness


def measure_sharpness(
    loss: Loss, optimizer: torch.optim.Optimizer, lr: float | None = None, tolerance: float = TOLERANCE
) -> Sharpness:
    """The sharpness of a loss for the optimizer that trains it: SGD, Adam or AdamW, which it leaves as it is.

    Args:
        loss: on the batch to measure on; called for each of the two eigenvalues.
        optimizer: as it stands after some update.
        lr: the rate of reference; None: the first group's.
        tolerance: of the residual over the eigenvalue.

    Raises:
        ValueError: on another optimizer, on an Adam before its first update, on a rate of 0.
    """
    limit = stability_limit(optimizer)
    lr = float(optimizer.param_groups[0]["lr"]) if lr is None else lr
    if lr <= 0:
        raise ValueError(f"found lr {lr:g}; wanted a rate above 0: measure where the schedule has not ended")
    parameters = [each for group in optimizer.param_groups for each in group["params"] if each.requires_grad]
    inverse_N = inverse_preconditioner(optimizer, lr)
    hessian = largest_curvature(loss, parameters, None, tolerance)
    plain = bool((inverse_N == 1).all())
    return Sharpness(
        hessian=hessian,
        preconditioned=hessian if plain else largest_curvature(loss, parameters, inverse_N, tolerance),
        edge=limit / lr,
        lr=lr,
    )


def momentum_limit(beta: float) -> float:
    """Rate times curvature beyond which a step along an average of the gradients with decay `beta`, which is Adam's,
    diverges on a parabola: 2 without momentum, 38 at 0.9."""
    return (2 + 2 * beta) / (1 - beta)


def stability_limit(optimizer: torch.optim.Optimizer) -> float:
    """Rate times curvature beyond which an optimizer diverges on a parabola, its preconditioner held still.

    Raises ValueError on an optimizer that is not SGD, Adam or AdamW, and on groups that differ in momentum.
    """
    limits = {_limit(optimizer, group) for group in optimizer.param_groups}
    if len(limits) > 1:
        found = " and ".join(f"{limit:.3g}" for limit in sorted(limits))
        raise ValueError(
            f"found parameter groups with the limits {found}; wanted one momentum: give all groups the same"
        )
    return limits.pop()


def _limit(optimizer: torch.optim.Optimizer, group: dict[str, Any]) -> float:
    if isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW):
        return momentum_limit(group["betas"][0])
    if not isinstance(optimizer, torch.optim.SGD):
        raise ValueError(
            f"found {type(optimizer).__name__}; wanted SGD, Adam or AdamW, whose limits are known: for another, call "
            "largest_curvature with its preconditioner"
        )
    b, d = group["momentum"], group["dampening"]
    if b == 0:
        return 2.0
    return float((2 + 2 * b) / (1 + 2 * b if group["nesterov"] else 1 - d))


def inverse_preconditioner(optimizer: torch.optim.Optimizer, lr: float) -> Tensor:
    """The diagonal of P^-1 at the number of updates made, times each group's rate over `lr`; shape (N), in the order of
    the optimizer's parameters that require a gradient.

    Raises ValueError before the first update of an Adam, whose second moment is then not known.
    """
    return torch.cat(
        [
            (group["lr"] / lr / _preconditioner(optimizer, group, each)).flatten()
            for group in optimizer.param_groups
            for each in group["params"]
            if each.requires_grad
        ]
    )


def _preconditioner(optimizer: torch.optim.Optimizer, group: dict[str, Any], parameter: Tensor) -> Tensor:
    """P's diagonal for one parameter, in its shape."""
    if isinstance(optimizer, torch.optim.SGD):
        return torch.ones_like(parameter)
    state = optimizer.state[parameter]
    if "exp_avg_sq" not in state:
        raise ValueError("found an Adam without second moments; wanted one that has made an update: train a step first")
    beta1, beta2, step = (float(each) for each in (*group["betas"], state["step"]))
    second: Tensor = state["max_exp_avg_sq" if group["amsgrad"] else "exp_avg_sq"]
    diagonal: Tensor = ((second / (1 - beta2**step)).sqrt() + group["eps"]) * (1 - beta1**step)
    return diagonal


def follow_sharpness(
    update: Callable[[int], float],
    loss: Loss,
    optimizer: torch.optim.Optimizer,
    steps: int,
    every: int,
    rate: Callable[[int], float] | None = None,
) -> Iterator[Look]:
    """Train, and look after every so many updates.

    Args:
        update: makes the update of a step (from 0) and returns the loss before it.
        loss: on the batch to measure on.
        optimizer: the one that `update` steps.
        steps, every: how many updates, and after how many to look.
        rate: the rate of reference at a step; None: the first group's.

    A rate of 0 has no edge, so that no look is taken there. Ends with a look where loss or sharpness is not finite.
    """
    stability_limit(optimizer)  # an optimizer that cannot be measured is refused before it trains
    for step in range(steps):
        value = update(step)
        lr = float(optimizer.param_groups[0]["lr"]) if rate is None else rate(step)
        if lr > 0 and ((step + 1) % every == 0 or not math.isfinite(value)):
            seen = measure_sharpness(loss, optimizer, lr)
            yield Look(step + 1, value, seen)
            if not math.isfinite(value + seen.preconditioned):
                return


def follow_trial(trial: TrialConfig, corpus: Corpus, device: str, every: int, fresh: bool = False) -> Iterator[Look]:
    """Train a trial and look after every so many updates, at its own rate: the peak times the schedule.

    It is trained on its first batch alone, the full batch of the theory, or with `fresh` on a new one each step, as in
    a sweep. The sharpness is that of the first batch in both cases.
    """
    built = build(trial, device)
    optimizer = make_optimizer(built, trial)

    def batch(step: int) -> Tensor:
        tokens = sample_batch(corpus.train, trial.seed, step, trial.batch_size, trial.model.context)
        return torch.from_numpy(tokens).to(device)

    first_BT1 = batch(0)
    return follow_sharpness(
        lambda step: train_step(built, optimizer, trial, step, batch(step) if fresh else first_BT1).item(),
        lambda: training_loss(built.model, first_BT1, trial)[0],
        optimizer,
        trial.steps,
        every,
        lambda step: trial.lr * schedule_factor(trial.schedule, step, trial.steps),
    )
