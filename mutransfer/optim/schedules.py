"""The learning rate, the momentum and the batch at each step of a run, from its config."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mutransfer.config import OptimizerConfig, ScheduleConfig, TrialConfig
from mutransfer.theory.schedules import Growth, Moment, grow_batch, one_cycle_part

if TYPE_CHECKING:
    from mutransfer.theory.schedules import Losses


def schedule_factor(config: ScheduleConfig, step: int, steps: int, losses: Losses | None = None) -> float:
    """The factor of the peak learning rate at `step` (from 0) of a run of `steps`.

    Warmup rises linearly and reaches the peak at its last step: (step + 1)/warmup (one_cycle's: by a cosine from
    `start`). After it the schedule's shape follows; decays would reach `floor` at step `steps` (one_cycle's, as in
    torch, at the last step).

    Args:
        config: the schedule.
        step, steps: where in the run.
        losses: of the training so far, one a step, for plateau; what is of `step` or later is not looked at.

    Raises ValueError under plateau without the losses of all its looks before the step.
    """
    warmup = config.warmup_steps(steps)
    if step < warmup and config.spec.ramps:
        return (step + 1) / warmup
    return config.spec.shape(Moment(step, warmup, steps, losses), **config.own)


def shared_steps(config: ScheduleConfig, steps: int) -> int:
    """How many first steps of a run of `steps` have the learning rates of every longer run, which can go on from them.

    All before the cooldown of wsd and power, or the first drop of step; all there are where nothing depends on the
    run's length (constant, inverse_sqrt, plateau); the warmup elsewhere. None where warmup or knee is a part of the
    run.
    """
    warmup = config.warmup_steps(steps)
    if 0 < config.warmup < 1 or 0 < config.knee < 1:
        return 0
    if config.spec.endless:
        return steps
    if config.milestones:
        first = config.milestones[0]
        return round(first) if first >= 1 else 0
    if "decay_fraction" in config.spec.fields:
        # a part of a step too little: at the edge rounding may already have begun the decay
        return math.ceil(warmup + (1.0 - config.decay_fraction) * (steps - warmup) - 1e-6)
    return warmup


def rewarmup_steps(config: OptimizerConfig) -> int:
    """Over how many steps the learning rate rises again under an optimizer made afresh in the middle of a run.

    2/(1 - beta2), the untuned warmup of Ma & Yarats (1910.04209) for Adam; here with the longest memory that the
    optimizer has, so that its averages are of steps of this run when the learning rate is whole.
    """
    memories = {"beta1": config.beta1, "beta2": config.beta2, "momentum": config.momentum}
    return round(2.0 / (1.0 - max(memories[name] for name in config.spec.fields if name in memories)))


def rewarmup_factor(config: OptimizerConfig, step: int) -> float:
    """What the scheduled learning rate is multiplied by, `step` steps (from 0) after the optimizer was made afresh:
    linear, 1 from its last step on."""
    return min(1.0, (step + 1) / rewarmup_steps(config))


def momentum_fall(config: ScheduleConfig, step: int, steps: int) -> float:
    """How far below the optimizer's own its momentum (Adam's beta1) is at a step of one_cycle: nothing at the first,
    `momentum_dip` at the peak, nothing at the last.

    Smith & Topin 1708.07120, with torch's cosines (OneCycleLR with cycle_momentum).
    """
    return config.momentum_dip * one_cycle_part(Moment(step, config.warmup_steps(steps), steps))


def growth_at(trial: TrialConfig, step: int, losses: Losses | None = None) -> Growth:
    """The batch of a step of a trial, and the factor of its peak learning rate there (`losses` as in
    `schedule_factor`).

    Where the trial has a `largest_batch`, the batch grows after the warmup in place of all that the schedule falls.
    """
    factor = schedule_factor(trial.schedule, step, trial.steps, losses)
    if trial.largest_batch is None or step < trial.schedule.warmup_steps(trial.steps):
        return Growth(trial.batch_size, factor)
    exponent = trial.optimizer.spec.batch_exponent
    assert exponent is not None  # `validate_growth` refuses an optimizer for which no rule is known
    return grow_batch(factor, trial.batch_size, trial.largest_batch, exponent)
