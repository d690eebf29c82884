"""What is fitted: the losses of one arm at one scale, over learning rates and seeds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mutransfer.config.scale import Scale
from mutransfer.trials.table import Trials

Array = NDArray[np.float64]

SEED_SHRINKAGE = 0.0625
"""Ratio of noise variance to seed-offset variance, (.005 / .02)^2 nats^2, where seeds were not run at all rates."""


@dataclass(frozen=True, eq=False)
class Curve:
    """The losses at one scale. `losses` is seed x rate, in nats per token: inf where the trial diverged, NaN where
    none was run; `log2_lr` ascends."""

    scale: Scale
    log2_lr: Array
    losses: Array

    @property
    def diverged(self) -> NDArray[np.bool_]:
        """Rates at which a seed diverged. The mean over the surviving seeds would be a mean over lucky ones, so such a
        rate has no mean loss: it closes its side, and nothing is fitted through it."""
        return np.asarray(np.isinf(self.losses).any(axis=0))

    @property
    def means(self) -> Array:
        """Mean loss per rate over seeds, seed offsets removed where seeds differ in their rates; inf if diverged."""
        means = np.full(len(self.log2_lr), np.inf)
        finite = ~self.diverged
        means[finite] = two_way(self.losses[:, finite], SEED_SHRINKAGE)[0]
        return means


def two_way(losses: Array, shrinkage: float = 0.0) -> tuple[Array, Array, int]:
    """The additive fit loss = rate mean + seed offset over the cells that were run: the rate means, the residuals (NaN
    where not run) and their degrees of freedom.

    Offsets sum to zero where the design leaves them free. `shrinkage` adds shrinkage * sum(offset^2) to the squares;
    over complete seeds the rate means are the plain means whatever it is.
    """
    run = np.isfinite(losses)
    present = run.astype(np.float64)
    filled = np.where(run, losses, 0.0)
    per_rate = present.sum(axis=0)
    plain = filled.sum(axis=0) / per_rate
    # Rate means eliminated, the offsets solve the Laplacian of the seeds' shared rates.
    laplacian = np.diag(present.sum(axis=1)) - (present / per_rate) @ present.T
    offsets, _, rank, _ = np.linalg.lstsq(
        laplacian + shrinkage * np.eye(len(losses)), (filled - present * plain).sum(axis=1), rcond=1e-9
    )
    means = plain - offsets @ present / per_rate
    residuals = np.where(run, losses - means - offsets[:, None], np.nan)
    return means, residuals, int(run.sum() - len(per_rate) - rank)


def curves(trials: Trials) -> tuple[Curve, ...]:
    """The curves of one arm, by ascending scale, from its trials.

    Raises ValueError where the trials differ in more than learning rate, seed and scale, where two trials share all
    three, and where one that did not diverge has no loss.
    """
    refuse_mixture(trials)
    frame = trials.frame
    lost = frame[~frame["diverged"].astype(bool) & ~np.isfinite(frame["loss"])]
    if len(lost):
        first = lost.iloc[0]
        where = _scale_of(trials, first).describe(trials.dimensions)
        raise ValueError(
            f"expected a {trials.loss} in each trial that did not diverge, got none in {len(lost)} (first: {where}, "
            f"lr 2^{first['log2_lr']:g}, seed {first['seed']}); run them again"
        )
    return tuple(_curve(scale, trials.at(scale)) for scale in trials.scales)


def refuse_mixture(trials: Trials) -> None:
    """Raises ValueError, naming the field, where an arm's trials differ in anything of their setting; a table without
    settings has nothing to refuse."""
    if not trials.has("setting"):
        return
    settings = [json.loads(text) for text in dict.fromkeys(trials.frame["setting"])]
    # A dotted field may be in one setting alone; None is what JSON calls missing.
    for name in sorted(set().union(*settings)):
        values = [setting.get(name) for setting in settings]
        other = next((value for value in values if value != values[0]), values[0])
        if other != values[0]:
            raise ValueError(
                f"expected one {name} in arm {trials.arms[0]}, because the optimal learning rate depends on it, got "
                f"{values[0]} and {other}; give them arms of their own, or keep them in separate results"
            )


def _scale_of(trials: Trials, row: pd.Series[Any]) -> Scale:
    return trials.only(trials.frame.index == row.name).scales[0]


def _curve(scale: Scale, trials: Trials) -> Curve:
    frame = trials.frame
    rates, rate = np.unique(frame["log2_lr"].to_numpy(dtype=np.float64), return_inverse=True)
    seeds, seed = np.unique(frame["seed"].to_numpy(), return_inverse=True)
    if len(np.unique(seed * len(rates) + rate)) < len(frame):
        raise ValueError(
            f"expected one trial of a learning rate and seed in arm {trials.arms[0]} at {scale.describe()}, got two; "
            "they differ in something else: keep them in separate results"
        )
    losses = np.full((len(seeds), len(rates)), np.nan)
    losses[seed, rate] = frame["loss"].to_numpy(dtype=np.float64)
    return Curve(scale, rates, losses)
