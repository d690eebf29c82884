"""Learning-rate schedules as pure functions of the step: a factor of the peak, between 0 and 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from mutransfer.config import ScheduleConfig

Shape = Callable[[float, ScheduleConfig], float]
"""Progress after warmup, from 0 to 1, to the part of the way from floor (0) to peak (1)."""

SHAPES: Mapping[str, Shape] = {
    "constant": lambda progress, config: 1.0,
    "linear": lambda progress, config: 1.0 - progress,
    "cosine": lambda progress, config: 0.5 * (1.0 + math.cos(math.pi * progress)),
    "wsd": lambda progress, config: min(1.0, (1.0 - progress) / config.decay_fraction),
}


def schedule_factor(config: ScheduleConfig, step: int, steps: int) -> float:
    """The factor of the peak rate at `step` (from 0) of a run of `steps`.

    Warmup rises linearly and reaches the peak at its last step: (step + 1)/warmup. After it, linear and cosine fall
    towards `floor`, which they would reach at step `steps`; wsd stays at the peak until the last `decay_fraction` of
    what follows the warmup (Hu et al. 2404.06395, section 4.1, with a linear decay).
    """
    warmup = config.warmup_steps(steps)
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / (steps - warmup)
    return config.floor + (1.0 - config.floor) * SHAPES[config.name](progress, config)


def set_group_rates(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set each group's rate to `lr` times its `lr_mult`, which keeps the table's ratios."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_mult"]


def check_group_rates(optimizer: torch.optim.Optimizer) -> None:
    """The guard for schedulers: group rates must keep the ratios that the table gave them.

    Raises RuntimeError naming the first group whose lr / lr_mult differs from the first group's, as after a scheduler
    that sets one absolute rate for all (OneCycleLR with a scalar max_lr, CosineAnnealingLR with eta_min > 0).
    """
    groups: list[dict[str, Any]] = optimizer.param_groups
    first = float(groups[0]["lr"]) / groups[0]["lr_mult"]
    for index, group in enumerate(groups):
        base = float(group["lr"]) / group["lr_mult"]
        if not math.isclose(base, first, rel_tol=1e-6, abs_tol=1e-30):
            raise RuntimeError(
                f"found param group {index} at lr {float(group['lr']):g}, a base rate of {base:g}; wanted "
                f"{first * group['lr_mult']:g} to keep the table's ratio {group['lr_mult']:g}: "
                "use a scheduler that multiplies every group's rate by one factor, such as LambdaLR"
            )
