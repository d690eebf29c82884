"""Spikes of a loss: values at least 7 standard deviations from the mean of the last 1,000 before them, whose share is
the spike score (OLMo 2, arXiv 2501.00656, section 3). Pure: numpy, no torch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

WINDOW = 1000
SIGMAS = 7.0
LEAST = 20
"""Values before one that can be judged; the standard deviation of fewer says little."""


@dataclass(frozen=True)
class Spike:
    """A rise of the loss: the step of its first value that is 7 or more standard deviations above `before`, the mean
    of the window before it, and the first later step whose loss is at or below `before` again (None: none yet)."""

    step: int
    loss: float
    before: float
    recovered: int | None


@dataclass
class SpikeScore:
    """Sees a loss value by value. The window is of finite values alone; one that is not finite is a spike."""

    seen: int = 0
    outlying: int = 0
    spikes: list[Spike] = field(default_factory=list)
    _window: NDArray[np.float64] = field(default_factory=lambda: np.empty(WINDOW))
    _finite: int = 0

    @property
    def percent(self) -> float:
        """The share of all values, in percent, at least 7 standard deviations from the mean before them, either way."""
        return 100 * self.outlying / self.seen if self.seen else 0.0

    @property
    def unrecovered(self) -> int | None:
        """The step of a spike that has not recovered."""
        return self.spikes[-1].step if self.spikes and self.spikes[-1].recovered is None else None

    def see(self, step: int, loss: float) -> None:
        """The next value. What rises while a spike has not recovered is part of that spike."""
        self.seen += 1
        window = self._window[: min(self._finite, WINDOW)]
        mean = float(window.mean()) if len(window) else math.nan
        if len(window) >= LEAST or not math.isfinite(loss):
            away = loss - mean
            outlying = not math.isfinite(loss) or (away != 0 and abs(away) >= SIGMAS * float(window.std(ddof=1)))
            self.outlying += outlying
            if outlying and not away < 0 and self.unrecovered is None:
                self.spikes.append(Spike(step, loss, mean, None))
        if self.unrecovered is not None and loss <= self.spikes[-1].before:
            self.spikes[-1] = replace(self.spikes[-1], recovered=step)
        if math.isfinite(loss):
            self._window[self._finite % WINDOW] = loss
            self._finite += 1


def find_spikes(losses: Iterable[tuple[int, float]]) -> SpikeScore:
    """The spikes of a whole series of steps and losses."""
    score = SpikeScore()
    for step, loss in losses:
        score.see(step, loss)
    return score
