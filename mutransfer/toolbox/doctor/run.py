"""What is known of one training run: its curves, and how it was set up. Arrays only, wherever they came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mutransfer.trials.logs.log import Curve, Log

MAD_TO_SD = 1.4826
"""The standard deviation of a normal variable over its median absolute deviation."""
AT_PEAK = 0.99
"""A rate at this part of its peak is at its peak."""
WARMUP_UNKNOWN = 0.1
"""The part of a run that counts as its warmup where neither the rate nor the setup tells."""
NOT_LOGGED = Curve()

LATE_START = 0.05
"""A log whose first step is beyond this part of its last one is the later part of a longer run."""


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

    `diverged_step` is the step at which the recording trainer found that the run had diverged, where there was one;
    `final_val_loss` the held-out loss of the final model where there is no curve of it.
    """

    name: str
    loss: Curve
    val_loss: Curve = NOT_LOGGED
    lr: Curve = NOT_LOGGED
    grad_norm: Curve = NOT_LOGGED
    clipped_grad_norm: Curve = NOT_LOGGED
    sharpness: Curve = NOT_LOGGED
    update_ratio: Mapping[str, Curve] = field(default_factory=dict)
    weight_norm: Mapping[str, Curve] = field(default_factory=dict)
    eps_share: Mapping[str, Curve] = field(default_factory=dict)
    setup: Setup = Setup()
    diverged_step: int | None = None

    @cached_property
    def finite(self) -> Curve:
        """The loss before it first was not finite."""
        bad = ~np.isfinite(self.loss.value)
        return self.loss[: int(bad.argmax())] if bad.any() else self.loss

    @cached_property
    def steps(self) -> int:
        """Steps that the log spans, from 0."""
        return int(self.loss.step[-1]) + 1

    @cached_property
    def from_start(self) -> bool:
        """Whether the log begins where the run did, so that its first loss is that of an untrained model."""
        return bool(self.loss.step[0] <= LATE_START * self.steps)

    @cached_property
    def warmup(self) -> int:
        """The step at which the warmup ends: as set up, else where the rate, before it first fell, was at its height,
        else a tenth of the run."""
        if self.setup.warmup is not None:
            return self.setup.warmup
        if not len(self.lr):
            return round(WARMUP_UNKNOWN * self.steps)
        falls = np.flatnonzero(np.diff(self.lr.value) < 0)
        rise = self.lr[: int(falls[0]) + 1] if len(falls) else self.lr
        return int(rise.step[int((rise.value >= AT_PEAK * rise.value.max()).argmax())])

    @cached_property
    def noise(self) -> float:
        """The standard deviation of the loss about its trend after warmup, by its differences; spikes do not count."""
        return scatter(self.finite.since(self.warmup).value)

    @cached_property
    def fall(self) -> float:
        """From the first loss to the lowest that was held for five logged steps."""
        return float(self.finite.value[0] - rolling_median(self.finite.value).min()) if len(self.finite) else 0.0


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
        update_ratio=by_layer("update_ratio"),
        weight_norm=by_layer("weight_norm"),
        eps_share=by_layer("eps_share"),
        setup=setup or Setup(),
    )


def scatter(values: NDArray[np.float64]) -> float:
    """The standard deviation of independent noise upon a slow trend; 0 of fewer than three values."""
    if len(values) < 3:
        return 0.0
    moves = np.diff(values)
    return float(MAD_TO_SD * np.median(np.abs(moves - np.median(moves))) / np.sqrt(2))


def rolling_median(values: NDArray[np.float64], window: int = 5) -> NDArray[np.float64]:
    """Medians of windows about each value, narrower at the ends."""
    return pd.Series(values).rolling(window, center=True, min_periods=1).median().to_numpy(np.float64)
