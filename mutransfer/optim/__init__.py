"""Optimizers, schedules and clipping."""

from mutransfer.optim.clipping import clip_grad_norm_
from mutransfer.optim.registry import OPTIMIZERS, OptimizerSpec
from mutransfer.optim.schedules import check_group_rates, schedule_factor, set_group_rates

__all__ = [
    "OPTIMIZERS",
    "OptimizerSpec",
    "check_group_rates",
    "clip_grad_norm_",
    "schedule_factor",
    "set_group_rates",
]
