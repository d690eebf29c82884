"""Learning-rate schedules: a factor of the peak, from 0 to 1, at each place in a run.

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

A schedule is one function here. Its keyword arguments are the fields of a ScheduleConfig that it uses.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Losses = NDArray[np.floating[Any]]
    """Of the steps of a run so far, or of more of them."""


class Moment(NamedTuple):
    """Where in a run: the step from 0, the steps of warmup, all steps, and the losses so far where they are known."""

    step: int
    warmup: int
    steps: int
    losses: Losses | None = None

    @property
    def progress(self) -> float:
        """The part of what follows the warmup that is done, from 0 to 1."""
        return (self.step - self.warmup) / (self.steps - self.warmup)


class Schedule(NamedTuple):
    """A schedule, and what the rest of the package needs to know of it."""

    shape: Callable[..., float]
    """A place after the warmup, and the fields by name, to the factor there."""
    fields: tuple[str, ...]
    """The fields of a ScheduleConfig that it uses beside `warmup`."""
    floor: float = 0.0
    """The floor where none is given."""
    ramps: bool = True
    """The warmup is linear; where not, the shape says what it is."""
    endless: bool = False
    """Nothing depends on the length of the run."""
    steady: bool = False
    """It never falls."""
    by_losses: bool = False
    """The losses of training decide it."""


SCHEDULES: dict[str, Schedule] = {}
"""Every schedule by name."""


def _schedule(name: str, **facts: Any) -> Callable[[Callable[..., float]], Callable[..., float]]:
    """Registers the function below it as the schedule of that name."""

    def register(shape: Callable[..., float]) -> Callable[..., float]:
        fields = [each.name for each in inspect.signature(shape).parameters.values() if each.kind is each.KEYWORD_ONLY]
        SCHEDULES[name] = Schedule(shape, tuple(fields), **facts)
        return shape

    return register


COOLDOWNS: Mapping[str, Callable[[float, float], float]] = {
    "linear": lambda left, floor: _above(floor, left),
    "cosine": lambda left, floor: _above(floor, 0.5 * (1.0 - math.cos(math.pi * left))),
    "sqrt": lambda left, floor: _above(floor, 1.0 - math.sqrt(1.0 - left)),
    "exponential": lambda left, floor: float(floor ** (1.0 - left)),
}
"""By name: from the part of a cooldown that is left, 1 to 0, and the floor to a factor, 1 to the floor."""


@_schedule("constant", endless=True, steady=True)
def _constant(place: Moment) -> float:
    return 1.0


@_schedule("linear")
def _linear(place: Moment, *, floor: float) -> float:
    return _above(floor, 1.0 - place.progress)


@_schedule("cosine", floor=0.1)  # GPT-3, 2005.14165, appendix B
def _cosine(place: Moment, *, floor: float) -> float:
    return _above(floor, 0.5 * (1.0 + math.cos(math.pi * place.progress)))


@_schedule("polynomial")
def _polynomial(place: Moment, *, floor: float, power: float) -> float:
    return _above(floor, (1.0 - place.progress) ** power)


@_schedule("exponential")
def _exponential(place: Moment, *, floor: float) -> float:
    return float(floor**place.progress)


@_schedule("step")
def _step(place: Moment, *, decay_fraction: float, drops: int, gamma: float, milestones: tuple[float, ...]) -> float:
    if milestones:
        return gamma ** sum(place.step >= (at if at >= 1 else round(at * place.steps)) for at in milestones)
    # In steps, where the edges are whole numbers that rounding of a fraction would miss.
    length = decay_fraction * (place.steps - place.warmup)
    decaying = place.step - place.steps + length
    done = 0 if decaying < -1e-6 else min(drops, 1 + math.floor(decaying / length * drops + 1e-6))
    return gamma**done


@_schedule("wsd")
def _wsd(place: Moment, *, floor: float, decay_fraction: float, cooldown: str) -> float:
    return COOLDOWNS[cooldown](min(1.0, (1.0 - place.progress) / decay_fraction), floor)


@_schedule("inverse_sqrt", endless=True)
def _inverse_sqrt(place: Moment, *, knee: float) -> float:
    return _past_knee(place, knee, 0.5)


@_schedule("power")
def _power(place: Moment, *, floor: float, decay_fraction: float, cooldown: str, knee: float, exponent: float) -> float:
    falling = _past_knee(place, knee, exponent)
    return falling * _wsd(place, floor=floor, decay_fraction=decay_fraction, cooldown=cooldown)


@_schedule("cosine_restarts")
def _cosine_restarts(place: Moment, *, floor: float, cycles: int, cycle_mult: float) -> float:
    _, done = _cycle(place.progress, cycles, cycle_mult)
    return _above(floor, 0.5 * (1.0 + math.cos(math.pi * done)))


@_schedule("triangular")
def _triangular(place: Moment, *, floor: float, cycles: int) -> float:
    return _above(floor, _triangle(place, cycles, 1.0))


@_schedule("triangular2")
def _triangular2(place: Moment, *, floor: float, cycles: int) -> float:
    return _above(floor, _triangle(place, cycles, 0.5))


@_schedule("one_cycle", ramps=False)
def _one_cycle(place: Moment, *, floor: float, start: float, momentum_dip: float) -> float:
    del momentum_dip  # how far the momentum falls meanwhile: `one_cycle_part` says when
    return _above(start if place.step < place.warmup else floor, one_cycle_part(place))


@_schedule("plateau", endless=True, by_losses=True)
def _plateau(
    place: Moment, *, floor: float, gamma: float, window: int, patience: int, threshold: float, rest: int
) -> float:
    # Torch's rule, in which a look is the mean loss of `window` steps; those of the warmup are no looks.
    done = place.step // window * window
    if place.losses is None or len(place.losses) < done:
        raise ValueError(
            f"expected {done} losses at step {place.step} under schedule plateau, got "
            f"{'none' if place.losses is None else len(place.losses)}; train with it, or use reduce_on_plateau"
        )
    first = math.ceil(place.warmup / window) * window
    best, without, resting, drops = math.inf, 0, 0, 0
    for loss in place.losses[first:done].reshape(-1, window).mean(axis=1).tolist():
        better = loss < best * (1.0 - threshold)
        best, without = (loss, 0) if better else (best, without + 1)
        if resting:
            resting, without = resting - 1, 0
        if without > patience:
            drops, without, resting = drops + 1, 0, rest
    return max(floor, gamma**drops)


def one_cycle_part(place: Moment) -> float:
    """From 0 at the first step to 1 at the warmup's last, and back to 0 at the last step, by cosines."""
    peak = max(0, place.warmup - 1)
    length = peak if place.step < place.warmup else place.steps - 1 - peak
    away = abs(place.step - peak) / max(1, length)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, away)))


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
        raise ValueError(f"expected a peak of at most {first:g}, which the power law reaches, got {lr:g}; lower it")
    return float(knee)


class Growth(NamedTuple):
    """A batch size, and what remains of the factor of the learning rate with it."""

    batch_size: int
    factor: float


def grow_batch(factor: float, batch_size: int, largest: int, exponent: float = 1.0) -> Growth:
    """Growing the batch in place of a decay (Smith et al. 1711.00489): what a decay by `factor` does to the noise of
    training, a batch 1/factor times as large does at the same learning rate.

    Args:
        factor: of the peak, from `schedule_factor`; a warmup is better left to the learning rate.
        batch_size: sequences per step at the peak.
        largest: the largest batch that fits; from there on the learning rate decays by what is left.
        exponent: the learning rate goes as batch size to this: 1 under SGD, 1/2 under Adam (Malladi et al. 2205.10287).
    """
    wanted = batch_size / factor ** (1.0 / exponent) if factor > 0 else math.inf
    size = max(batch_size, round(min(wanted, largest)))
    return Growth(size, factor * (size / batch_size) ** exponent)


def _above(floor: float, part: float) -> float:
    """From 1 where `part` is 1 to the floor where it is 0."""
    return floor + (1.0 - floor) * part


def _past_knee(place: Moment, knee: float, exponent: float) -> float:
    """1 up to the knee, or the warmup's end where that is later; a power of the step after it."""
    bend = max(1.0, place.warmup, knee * place.steps if knee < 1 else knee)
    return float(min(1.0, ((place.step + 1) / bend) ** -exponent))


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


def _triangle(place: Moment, cycles: int, shrink: float) -> float:
    """Up and down in each cycle; each peak is `shrink` times as high as the one before."""
    index, done = _cycle(place.progress, cycles, 1.0)
    return (1.0 - abs(2.0 * done - 1.0)) * shrink**index
