"""What changes the rates and momenta of param groups, and keeps the ratios that the table gave their rates."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from mutransfer.config import OptimizerConfig, ScheduleConfig
from mutransfer.optim.schedules import momentum_fall, schedule_factor


def set_group_rates(optimizer: Optimizer, lr: float) -> None:
    """Set each group's rate to `lr` times its `lr_mult`, which keeps the table's ratios."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_mult"]


def lower_momentum(optimizer: Optimizer, config: OptimizerConfig, fall: float) -> None:
    """Set each group's momentum, or beta1 where it has betas, to `fall` below that of `config`."""
    own = config.spec.fields
    for group in optimizer.param_groups:
        if "betas" in group and "beta1" in own:
            _set_momentum(group, config.beta1 - fall)
        elif "momentum" in group and "momentum" in own:
            _set_momentum(group, config.momentum - fall)


def _momentum(group: dict[str, Any]) -> float:
    """A group's momentum, or beta1 where it has betas; 0 where it has neither."""
    if "betas" in group:
        return group["betas"][0] or 0.0
    return float(group["momentum"]) if "momentum" in group else 0.0


def _set_momentum(group: dict[str, Any], momentum: float) -> None:
    if "betas" in group:
        group["betas"] = (momentum, *group["betas"][1:])
    else:
        group["momentum"] = momentum


def check_group_rates(optimizer: Optimizer) -> None:
    """The guard for schedulers: group rates must keep the ratios that the table gave them. Groups without one (without
    `lr_mult`) are free.

    Raises RuntimeError naming the first group whose lr / lr_mult differs from the first group's, as after a scheduler
    that sets one absolute rate for all (OneCycleLR with a scalar max_lr, CosineAnnealingLR with eta_min > 0).
    """
    groups = [(index, group) for index, group in enumerate(optimizer.param_groups) if "lr_mult" in group]
    first = float(groups[0][1]["lr"]) / groups[0][1]["lr_mult"] if groups else 0.0
    for index, group in groups:
        base = float(group["lr"]) / group["lr_mult"]
        if not math.isclose(base, first, rel_tol=1e-6, abs_tol=1e-30):
            raise RuntimeError(
                f"expected param group {index} at lr {first * group['lr_mult']:g} to keep the table's ratio "
                f"{group['lr_mult']:g}, got {float(group['lr']):g}; use a scheduler that multiplies every group's rate "
                "by one factor, such as LambdaLR"
            )


class _Scheduled(LambdaLR):
    """The rates of a schedule, and the momentum that one_cycle lowers."""

    def __init__(self, optimizer: Optimizer, config: ScheduleConfig, steps: int) -> None:
        self._momenta = [_momentum(group) for group in optimizer.param_groups]
        self._fall: Callable[[int], float] = lambda step: momentum_fall(config, min(step, steps - 1), steps)
        self._dips = config.momentum_dip > 0
        super().__init__(optimizer, lambda step: schedule_factor(config, min(step, steps - 1), steps))

    def state_dict(self) -> dict[str, Any]:
        """Without the function, which stands in the schedule."""
        return {name: value for name, value in super().state_dict().items() if name != "_fall"}

    def step(self, epoch: int | None = None) -> None:
        super().step(epoch)
        if self._dips:
            for group, own in zip(self.optimizer.param_groups, self._momenta, strict=True):
                _set_momentum(group, own - self._fall(self.last_epoch))


def scheduler(optimizer: Optimizer, config: ScheduleConfig, steps: int) -> LambdaLR:
    """Our schedules for a torch loop of one's own: call `step()` after each of the optimizer's.

    Multiplies every group's rate by one factor, so that the table's ratios stay; beyond `steps` the last factor holds.

    Raises ValueError on a schedule that makes no sense, on plateau, which needs the losses (`reduce_on_plateau`), and
    on a dip that a group's momentum has no room for; RuntimeError where something has already flattened the ratios
    (`check_group_rates`).
    """
    config.validate()
    if config.warmup_steps(steps) >= steps:
        raise ValueError(
            f"expected a warmup shorter than the run of {steps} steps, got {config.warmup_steps(steps)}; lower it"
        )
    if config.spec.by_losses:
        raise ValueError(
            f"expected a schedule of the step alone, got schedule {config.name}, which needs the losses; use "
            "reduce_on_plateau"
        )
    least = min(_momentum(group) for group in optimizer.param_groups)
    if config.momentum_dip and least <= config.momentum_dip:
        raise ValueError(
            f"expected more momentum than schedule.momentum_dip {config.momentum_dip}, got a param group with {least}; "
            "lower the dip, or leave it out"
        )
    check_group_rates(optimizer)
    return _Scheduled(optimizer, config, steps)


def reduce_on_plateau(
    optimizer: Optimizer,
    *,
    factor: float = 0.1,
    patience: int = 10,
    threshold: float = 1e-4,
    cooldown: int = 0,
    floor: float = 0.0,
) -> ReduceLROnPlateau:
    """Torch's scheduler that lowers the rates when a loss has stopped falling: call `step(loss)` after each evaluation.

    Torch's own defaults would flatten the table's ratios in the end, by one `min_lr` for all groups and by passing over
    those whose rate would change by less than 1e-8: here each group ends at `floor` times its own rate.

    Args:
        factor: what the rates are multiplied by.
        patience: evaluations without improvement that are borne.
        threshold: the part by which the loss must fall to count as improvement.
        cooldown: evaluations after a reduction in which none are counted.
        floor: the smallest factor of the present rates.
    """
    check_group_rates(optimizer)
    return ReduceLROnPlateau(
        optimizer,
        factor=factor,
        patience=patience,
        threshold=threshold,
        cooldown=cooldown,
        min_lr=[floor * float(group["lr"]) for group in optimizer.param_groups],
        eps=0.0,
    )
