"""What is known of one training run: its curves, and how it was set up. Arrays only, wherever they came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mutransfer.toolbox.doctor import thresholds as at
from mutransfer.trials.logs.log import Curve, Log

NOT_LOGGED = Curve()


@dataclass(frozen=True)
class Setup:
    """How a run was set up, as far as it is known; None: not known.

    `warmup` is in steps. `stability_limit` is what the product of rate and sharpness may reach: 2 for gradient descent,
    (2 + 2 beta)/(1 - beta) for Adam, 38 at beta1 = 0.9 (Cohen et al., 2207.14484).
    """

    warmup: int | None = None
    weight_decay: float | None = None
    clip_norm: float | None = None
    stability_limit: float | None = None


@dataclass(frozen=True)
class Run:
    """One training run. Only `loss` must be there; `update_ratio`, `weight_norm` and `eps_share` (the part of a layer's
    numbers in which Adam's epsilon is at least the root of its second moment) are by layer.

    `unit` is what the curves are over: step, or epoch or logged value where the log counts no steps. `diverged_step` is
    the step at which the recording trainer found that the run had diverged, where there was one.
    """

    name: str
    loss: Curve
    val_loss: Curve = NOT_LOGGED
    lr: Curve = NOT_LOGGED
    grad_norm: Curve = NOT_LOGGED
    clipped_grad_norm: Curve = NOT_LOGGED
    sharpness: Curve = NOT_LOGGED
    seconds: Curve = NOT_LOGGED
    epoch: Curve = NOT_LOGGED
    update_ratio: Mapping[str, Curve] = field(default_factory=dict)
    weight_norm: Mapping[str, Curve] = field(default_factory=dict)
    eps_share: Mapping[str, Curve] = field(default_factory=dict)
    setup: Setup = Setup()
    diverged_step: int | None = None
    unit: str = "step"

    @cached_property
    def dead_from(self) -> int | None:
        """The index of the first loss from which on all are dead: not finite, or 0 as a trainer prints what is not
        (with a gradient that is not finite, or at once after a loss that was far from 0)."""
        value = self.loss.value
        zero = value == 0
        lost = self.grad_norm.step[~np.isfinite(self.grad_norm.value)]
        dead = ~np.isfinite(value) | (zero & np.isin(self.loss.step, lost))
        alive = np.flatnonzero(~zero & ~dead)
        if zero[-1] and len(alive) and alive[-1] + 1 < len(value):
            fell_at_once = value[alive[-1]] > at.ZERO_FROM * abs(value[alive[0]])
            dead[alive[-1] + 1 :] |= fell_at_once and len(value) - alive[-1] > 3
        well = np.flatnonzero(~dead)
        first = int(well[-1]) + 1 if len(well) else 0
        return first if first < len(value) else None

    @cached_property
    def diverged_at(self) -> int | None:
        """The step at which a run diverged: where its loss is not finite to the end, or the median of 20 logged losses
        is above the first one by more than the noise explains, at the end or for a twentieth of the run. (The sweep's
        own definition, which knows every step, needs no margin.)"""
        if self.diverged_step is not None:
            return self.diverged_step
        lost = None if self.dead_from is None else self.loss[self.dead_from :]
        if lost is not None and not np.isfinite(lost.value).any():
            return int(lost.step[0])
        values = self.finite.value
        window = min(at.WINDOW, max(3, len(values) // 3))
        if len(values) <= window:
            return None
        above = levels(values, window) > values[0] + self._margin
        above &= self.finite.step[window - 1 :] >= self.warmup
        if not above.any() or not (above[-1] or above.sum() >= max(at.WINDOW // 2, at.STAYED * len(values))):
            return None
        back = np.flatnonzero(~above)
        first = int(back[-1]) + 1 if above[-1] and len(back) else int(above.argmax())
        return int(self.finite.step[first + window - 1])

    @cached_property
    def _margin(self) -> float:
        """How far above the first loss the noise may lead: by the scatter of the first losses up to the lowest, since a
        run that has diverged swings widely."""
        values = self.finite.value
        first = values[: 2 * at.WINDOW]
        calm = first[: int(rolling_median(values).argmin()) + 1]
        if len(calm) < at.FEWEST_NOISE:
            calm = first
        if (len(values) <= 2 * at.WINDOW and len(calm) == len(values)) or len(calm) < at.FEWEST_NOISE:
            return at.NOISE_UNKNOWN * abs(float(values[0]))
        return at.MARGIN * scatter(calm)

    @cached_property
    def finite(self) -> Curve:
        """The losses before all are dead; one that is not finite, and was followed by others, is left out."""
        alive = self.loss[: self.dead_from]
        kept = np.isfinite(alive.value)
        return alive if kept.all() else Curve(alive.step[kept], alive.value[kept])

    @cached_property
    def steps(self) -> int:
        """Steps that the log spans, from 0."""
        return int(self.loss.step[-1]) + 1

    @cached_property
    def from_start(self) -> bool:
        """Whether the log begins where the run did, so that its first loss is about that of an untrained model."""
        interval = float(np.median(np.diff(self.loss.step))) if len(self.loss) > 1 else 1.0
        return bool(self.loss.step[0] <= max(at.LATE_START * self.steps, interval))

    @cached_property
    def warmup(self) -> int:
        """The step at which the warmup ends: as set up, else where the rate, before it first fell, was at its height,
        else a tenth of the run."""
        if self.setup.warmup is not None:
            return self.setup.warmup
        if not len(self.lr) or not self.peak_lr > 0:
            return round(at.WARMUP_UNKNOWN * self.steps)
        falls = np.flatnonzero(np.diff(self.lr.value) < 0)
        rise = self.lr[: int(falls[0]) + 1] if len(falls) else self.lr
        return int(rise.step[int((rise.value >= at.AT_PEAK * rise.value.max()).argmax())])

    @cached_property
    def peak_lr(self) -> float:
        """The highest rate; 0 where none is known."""
        known = self.lr.value[np.isfinite(self.lr.value)]
        return float(known.max()) if len(known) else 0.0

    @cached_property
    def noise(self) -> float:
        """The standard deviation of the loss about its trend after warmup, by its differences; spikes do not count."""
        return scatter(self.finite.since(self.warmup).value)

    @cached_property
    def fall(self) -> float:
        """From the first loss to the lowest that was held for five logged steps."""
        return float(self.finite.value[0] - rolling_median(self.finite.value).min()) if len(self.finite) else 0.0

    def working(self, curve: Curve) -> Curve:
        """A curve up to where the rate has decayed."""
        if not self.peak_lr > 0:
            return curve
        working = self.lr.step[self.lr.value >= at.DECAYED * self.peak_lr]
        return curve[: int(np.searchsorted(curve.step, working[-1], side="right"))]


def run_of(log: Log, setup: Setup | None = None) -> Run:
    """A log as a run: the same curves, those of layers by layer."""

    def of(name: str) -> Curve:
        return log.curves.get(name, NOT_LOGGED)

    def by_layer(head: str) -> dict[str, Curve]:
        return {name.partition(":")[2]: curve for name, curve in log.curves.items() if name.startswith(f"{head}:")}

    return Run(
        log.name,
        of("loss"),
        val_loss=of("val_loss"),
        lr=of("lr"),
        grad_norm=of("grad_norm"),
        clipped_grad_norm=of("clipped_grad_norm"),
        sharpness=of("sharpness"),
        seconds=of("seconds"),
        epoch=of("epoch"),
        update_ratio=by_layer("update_ratio"),
        weight_norm=by_layer("weight_norm"),
        eps_share=by_layer("eps_share"),
        setup=setup or Setup(),
        unit=log.unit,
    )


def scatter(values: NDArray[np.float64]) -> float:
    """The standard deviation of independent noise upon a slow trend; 0 of fewer than three values."""
    if len(values) < 3:
        return 0.0
    moves = np.diff(values)
    return float(at.MAD_TO_SD * np.median(np.abs(moves - np.median(moves))) / np.sqrt(2))


def rolling_median(values: NDArray[np.float64], window: int = 5) -> NDArray[np.float64]:
    """Medians of windows about each value, narrower at the ends."""
    return pd.Series(values).rolling(window, center=True, min_periods=1).median().to_numpy(np.float64)


def levels(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """The median of each so many values in a row."""
    medians: NDArray[np.float64] = np.median(np.lib.stride_tricks.sliding_window_view(values, window), axis=1)
    return medians


def times(value: float, base: float) -> str:
    """A ratio in words, for bases that may be next to nothing."""
    ratio = value / base if base else np.inf
    return f"{ratio:.2g} times" if 0 <= ratio < 1000 else "more than 1000 times"


def part(value: float, whole: float) -> str:
    """A part in percent, for wholes that may be next to nothing."""
    return f"{value / whole:.0%}" if whole and abs(value / whole) < 10 else "more than 1000%"
