"""Learning-rate schedules as pure functions of the step (plateau: and of the losses): a factor of the peak, 0 to 1.

`p` is the part of what follows the warmup that is done, from 0 to 1, `f` the floor, `t` the step counted from 1.

| schedule | factor | source |
|---|---|---|
| constant | 1 | |
| linear | f + (1 - f)(1 - p) | |
| cosine | f + (1 - f)(1 + cos pi p)/2 | Loshchilov & Hutter 1608.03983, eq. 5, without restarts |
| polynomial | f + (1 - f)(1 - p)^power | torch's PolynomialLR |
| exponential | f^p | torch's ExponentialLR with gamma = f^(1/steps) |
| step | gamma^(drops so far) | torch's MultiStepLR; DeepSeek LLM 2401.02954: 2 drops, gamma 0.316 |
| wsd | 1, then a cooldown | Hu et al. 2404.06395, section 4; Haegele et al. 2405.18392 (1 - sqrt) |
| inverse_sqrt | (t/knee)^-1/2 from the knee on | Vaswani et al. 1706.03762, eq. 3; T5 1910.10683, with no warmup |
| power | (t/knee)^-exponent from the knee on, then a cooldown | Shen et al. 2408.13359 |
| cosine_restarts | cosine in each cycle | Loshchilov & Hutter 1608.03983, eq. 5 |
| triangular, triangular2 | up and down in each cycle; triangular2's peaks halve | Smith 1506.01186 |
| one_cycle | up by a cosine from `start`, down by one to f | Smith & Topin 1708.07120; torch's OneCycleLR |
| plateau | gamma^(drops so far), f at least | torch's ReduceLROnPlateau, of the losses before the step |
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mutransfer.config import OptimizerConfig, ScheduleConfig, TrialConfig
from mutransfer.config.schedule import SCHEDULES

Losses = NDArray[np.floating[Any]]
"""Of the steps of a run so far, or of more of them."""


class Place(NamedTuple):
    """Where in a run: the step from 0, the steps of warmup, all of them, and the losses so far where they are known."""

    step: int
    warmup: int
    steps: int
    losses: Losses | None = None

    @property
    def progress(self) -> float:
        """The part of what follows the warmup that is done, from 0 to 1."""
        return (self.step - self.warmup) / (self.steps - self.warmup)


Cooldown = Callable[[float, ScheduleConfig], float]
"""The part of a cooldown that is left, from 1 to 0, to a factor from 1 to the floor."""

COOLDOWNS: Mapping[str, Cooldown] = {
    "linear": lambda left, config: _to_floor(left, config),
    "cosine": lambda left, config: _to_floor(0.5 * (1.0 - math.cos(math.pi * left)), config),
    "sqrt": lambda left, config: _to_floor(1.0 - math.sqrt(1.0 - left), config),
    "exponential": lambda left, config: float(config.end ** (1.0 - left)),
}

Shape = Callable[[Place, ScheduleConfig], float]
"""A place after the warmup to the factor there; one_cycle's is asked during the warmup too."""

SHAPES: Mapping[str, Shape] = {
    "constant": lambda place, config: 1.0,
    "linear": lambda place, config: _to_floor(1.0 - place.progress, config),
    "cosine": lambda place, config: _to_floor(0.5 * (1.0 + math.cos(math.pi * place.progress)), config),
    "polynomial": lambda place, config: _to_floor((1.0 - place.progress) ** config.power, config),
    "exponential": lambda place, config: float(config.end**place.progress),
    "step": lambda place, config: config.gamma ** _drops(place, config),
    "wsd": lambda place, config: _cooldown(place, config),
    "inverse_sqrt": lambda place, config: _past_knee(place, config, 0.5),
    "power": lambda place, config: _past_knee(place, config, config.exponent) * _cooldown(place, config),
    "cosine_restarts": lambda place, config: _to_floor(
        0.5 * (1.0 + math.cos(math.pi * _cycle(place.progress, config.cycles, config.cycle_mult)[1])), config
    ),
    "triangular": lambda place, config: _to_floor(_triangle(place, config, 1.0), config),
    "triangular2": lambda place, config: _to_floor(_triangle(place, config, 0.5), config),
    "one_cycle": lambda place, config: _one_cycle(place, config),
    "plateau": lambda place, config: max(config.end, config.gamma ** _plateaus(place, config)),
}

_WITHOUT_RAMP = frozenset({"one_cycle"})


def schedule_factor(config: ScheduleConfig, step: int, steps: int, losses: Losses | None = None) -> float:
    """The factor of the peak rate at `step` (from 0) of a run of `steps`.

    Warmup rises linearly and reaches the peak at its last step: (step + 1)/warmup (one_cycle's: by a cosine from
    `start`). After it the schedule's shape follows; decays would reach `floor` at step `steps` (one_cycle's, as in
    torch, at the last step).

    Args:
        config: the schedule.
        step, steps: where in the run.
        losses: of the training so far, one a step, for plateau; what is of `step` or later is not looked at.

    Raises ValueError under plateau without the losses of all its looks before the step.
    """
    place = Place(step, config.warmup_steps(steps), steps, losses)
    if step < place.warmup and config.name not in _WITHOUT_RAMP:
        return (step + 1) / place.warmup
    return SHAPES[config.name](place, config)


def shared_steps(config: ScheduleConfig, steps: int) -> int:
    """How many first steps of a run of `steps` have the rates of every longer run, which can go on from them.

    All before the cooldown of wsd and power, or the first drop of step; all there are where nothing depends on the
    run's length (constant, inverse_sqrt, plateau); the warmup elsewhere. None where warmup or knee is a part of the
    run.
    """
    warmup = config.warmup_steps(steps)
    if 0 < config.warmup < 1 or 0 < config.knee < 1:
        return 0
    if config.name in ("constant", "inverse_sqrt", "plateau"):
        return steps
    if "decay_fraction" in SCHEDULES[config.name]:
        # a part of a step too little: at the edge rounding may already have begun the decay
        return math.ceil(warmup + (1.0 - config.decay_fraction) * (steps - warmup) - 1e-6)
    return warmup


def rewarmup_steps(config: OptimizerConfig) -> int:
    """Over how many steps the rate rises again under an optimizer made afresh in the middle of a run.

    2/(1 - beta2), the untuned warmup of Ma & Yarats (1910.04209) for Adam; here with the longest memory that the
    optimizer has, so that its averages are of steps of this run when the rate is whole.
    """
    memories = {"beta1": config.beta1, "beta2": config.beta2, "momentum": config.momentum}
    return round(2.0 / (1.0 - max(memories[name] for name in config.spec.fields if name in memories)))


def rewarmup_factor(config: OptimizerConfig, step: int) -> float:
    """What the scheduled rate is multiplied by, `step` steps (from 0) after the optimizer was made afresh: linear, 1
    from its last step on."""
    return min(1.0, (step + 1) / rewarmup_steps(config))


def momentum_fall(config: ScheduleConfig, step: int, steps: int) -> float:
    """How far below the optimizer's own its momentum (Adam's beta1) is at a step of one_cycle: nothing at the first,
    `momentum_dip` at the peak, nothing at the last.

    Smith & Topin 1708.07120, with torch's cosines (OneCycleLR with cycle_momentum).
    """
    return config.momentum_dip * _one_cycle_part(Place(step, config.warmup_steps(steps), steps))


def power_knee(
    lr: float, batch_size: int, tokens_per_step: int, *, amplitude: float = 4.0, exponent: float = 0.51
) -> float:
    """The `knee`, in steps, with which schedule power is the power scheduler: min(lr, batch_size * a * n^-b) after n
    tokens (Shen et al. 2408.13359; a = 4 and b = 0.51 as in its public implementation).

    Args:
        lr: the peak.
        batch_size: sequences per step.
        tokens_per_step: tokens per step, batch_size times context.
        amplitude, exponent: the paper's a and -b; set schedule.exponent to the same.

    Raises ValueError where the law lies below `lr` from the first step on.
    """
    knee = (batch_size * amplitude / lr) ** (1.0 / exponent) / tokens_per_step
    if knee < 1:
        first = batch_size * amplitude * tokens_per_step**-exponent
        raise ValueError(
            f"found a peak of {lr:g}, which the power law never reaches; wanted at most {first:g}: lower it"
        )
    return float(knee)


class Growth(NamedTuple):
    """A batch size, and what remains of the factor of the rate with it."""

    batch_size: int
    factor: float


def grow_batch(factor: float, batch_size: int, largest: int, exponent: float = 1.0) -> Growth:
    """Growing the batch in place of a decay (Smith et al. 1711.00489): what a decay by `factor` does to the noise of
    training, a batch 1/factor times as large does at the same rate.

    Args:
        factor: of the peak rate, from `schedule_factor`; a warmup is better left to the rate.
        batch_size: sequences per step at the peak.
        largest: the largest batch that fits; from there on the rate decays by what is left.
        exponent: the rate goes as batch size to this: 1 under SGD, 1/2 under Adam (Malladi et al. 2205.10287).
    """
    wanted = batch_size / factor ** (1.0 / exponent) if factor > 0 else math.inf
    size = max(batch_size, round(min(wanted, largest)))
    return Growth(size, factor * (size / batch_size) ** exponent)


def growth_at(trial: TrialConfig, step: int, losses: Losses | None = None) -> Growth:
    """The batch of a step of a trial, and the factor of its peak rate there (`losses` as in `schedule_factor`).

    Where the trial has a `largest_batch`, the batch grows after the warmup in place of all that the schedule falls.
    """
    factor = schedule_factor(trial.schedule, step, trial.steps, losses)
    if trial.largest_batch is None or step < trial.schedule.warmup_steps(trial.steps):
        return Growth(trial.batch_size, factor)
    exponent = trial.optimizer.spec.batch_exponent
    assert exponent is not None  # `validate_growth` refuses an optimizer for which no rule is known
    return grow_batch(factor, trial.batch_size, trial.largest_batch, exponent)


def _to_floor(part: float, config: ScheduleConfig) -> float:
    """From 1 where `part` is 1 to the floor where it is 0."""
    return config.end + (1.0 - config.end) * part


def _cooldown(place: Place, config: ScheduleConfig) -> float:
    return COOLDOWNS[config.cooldown](min(1.0, (1.0 - place.progress) / config.decay_fraction), config)


def _past_knee(place: Place, config: ScheduleConfig, exponent: float) -> float:
    return float(min(1.0, ((place.step + 1) / config.knee_steps(place.steps)) ** -exponent))


def _drops(place: Place, config: ScheduleConfig) -> int:
    """Drops so far. In steps, where the edges are whole numbers that rounding of a fraction would miss."""
    length = config.decay_fraction * (place.steps - place.warmup)
    decaying = place.step - place.steps + length
    return 0 if decaying < -1e-6 else min(config.drops, 1 + math.floor(decaying / length * config.drops + 1e-6))


def _plateaus(place: Place, config: ScheduleConfig) -> int:
    """Drops so far by torch's rule, in which a look is the mean loss of so many steps; those of the warmup are none."""
    done = place.step // config.window * config.window
    if place.losses is None or len(place.losses) < done:
        raise ValueError(
            f"found schedule plateau with {'no' if place.losses is None else len(place.losses)} losses at step "
            f"{place.step}; wanted the {done} that its looks are of: train with it, or use reduce_on_plateau"
        )
    first = math.ceil(place.warmup / config.window) * config.window
    best, without, resting, drops = math.inf, 0, 0, 0
    for loss in place.losses[first:done].reshape(-1, config.window).mean(axis=1).tolist():
        better = loss < best * (1.0 - config.threshold)
        best, without = (loss, 0) if better else (best, without + 1)
        if resting:
            resting, without = resting - 1, 0
        if without > config.patience:
            drops, without, resting = drops + 1, 0, config.rest
    return drops


def _cycle(progress: float, cycles: int, mult: float) -> tuple[int, float]:
    """The cycle from 0, and the part of it that is done; each is `mult` times as long as the one before."""
    if mult == 1.0:
        place = progress * cycles
        index = min(cycles - 1, math.floor(place + 1e-9))
        return index, place - index
    whole = (mult**cycles - 1.0) / (mult - 1.0)  # in lengths of the first
    place = progress * whole
    index = min(cycles - 1, math.floor(math.log(place * (mult - 1.0) + 1.0, mult) + 1e-9))
    return index, (place - (mult**index - 1.0) / (mult - 1.0)) / mult**index


def _triangle(place: Place, config: ScheduleConfig, shrink: float) -> float:
    index, done = _cycle(place.progress, config.cycles, 1.0)
    return (1.0 - abs(2.0 * done - 1.0)) * shrink**index


def _one_cycle(place: Place, config: ScheduleConfig) -> float:
    end = config.start if place.step < place.warmup else config.end
    return end + (1.0 - end) * _one_cycle_part(place)


def _one_cycle_part(place: Place) -> float:
    """From 0 at the first step to 1 at the warmup's last, and back to 0 at the last step."""
    peak = max(0, place.warmup - 1)
    length = peak if place.step < place.warmup else place.steps - 1 - peak
    away = abs(place.step - peak) / max(1, length)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, away)))
