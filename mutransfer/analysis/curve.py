"""What is fitted: the losses of one arm at one size, over learning rates and seeds. The size is what the sweep's axis
varies: a width, a depth, a batch size, a number of steps."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]

FIXED = (
    "parametrization",
    "base_width",
    "depth",
    "optimizer",
    "weight_decay",
    "schedule",
    "warmup",
    "steps",
    "batch_size",
    "context",
    "dtype",
    "data_fingerprint",
)
"""What may not vary within an arm, nor anything else of `setting`: the optimal rate depends on each of them."""

SEED_SHRINKAGE = 0.0625
"""Ratio of noise variance to seed-offset variance, (.005 / .02)^2 nats^2, where seeds were not run at all rates."""


@dataclass(frozen=True, eq=False)
class Curve:
    """The losses at one size. `losses` is seed x rate, in nats per token: inf where the trial diverged, NaN where
    none was run; `log2_lr` ascends."""

    size: int
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


def curves(frame: pd.DataFrame, loss: str = "final_loss", axis: str = "width") -> tuple[Curve, ...]:
    """The curves of one arm, by size along the axis, from a frame of its trials.

    Raises ValueError where the trials differ in more than rate, seed and size, where two trials share all three, and
    where one that did not diverge has no loss.
    """
    refuse_mixture(frame, axis)
    lost = frame[~frame["diverged"].astype(bool) & ~np.isfinite(frame[loss].astype("float64"))]
    if len(lost):
        first = lost.iloc[0]
        raise ValueError(
            f"found no {loss} in {len(lost)} trials that did not diverge (first: {axis} {first[axis]}, "
            f"lr 2^{first['log2_lr']:g}, seed {first['seed']}); wanted one in each: run them again"
        )
    return tuple(_curve(int(size), frame[frame[axis] == size], loss, axis) for size in sorted(frame[axis].unique()))


def refuse_mixture(frame: pd.DataFrame, axis: str = "width") -> None:
    """Raises ValueError, naming the field, where an arm's trials differ in anything of FIXED or of their setting."""
    varies = (axis, "warmup") if axis == "steps" else (axis,)  # warmup is a part of the steps
    columns = {name: list(dict.fromkeys(frame[name])) for name in FIXED if name not in varies}
    settings = [json.loads(text) for text in dict.fromkeys(frame["setting"])]
    # A dotted field may be in one setting alone; None is what JSON calls missing.
    dotted = {name: [setting.get(name) for setting in settings] for name in sorted(set().union(*settings))}
    for name, values in (columns | dotted).items():
        other = next((value for value in values if value != values[0]), values[0])
        if other != values[0]:
            raise ValueError(
                f"found {name} {values[0]} and {other} in arm {frame['arm'].iloc[0]}; wanted one, because the optimal "
                "rate depends on it: give them arms of their own, or keep them in separate results"
            )


def _curve(size: int, frame: pd.DataFrame, loss: str, axis: str) -> Curve:
    rates, rate = np.unique(frame["log2_lr"].to_numpy(dtype=np.float64), return_inverse=True)
    seeds, seed = np.unique(frame["seed"].to_numpy(), return_inverse=True)
    if len(np.unique(seed * len(rates) + rate)) < len(frame):
        raise ValueError(
            f"found two trials of one rate and seed in arm {frame['arm'].iloc[0]} at {axis} {size}; wanted one: they "
            "differ in something else, keep them in separate results"
        )
    losses = np.full((len(seeds), len(rates)), np.nan)
    measured = frame[loss].to_numpy(dtype=np.float64)
    losses[seed, rate] = np.where(frame["diverged"].to_numpy(dtype=bool), np.inf, measured)
    return Curve(size, rates, losses)
