"""The learning rate to train a wide model with, from the narrow ones that were tuned.

The rate is that of the least-squares line through the measured optima at log2 width, the line whose slope the verdict
judges: a mean of the optima would be as good only if the slope were known to be 0, and at 16 times the largest width
even a slope of 0.05 is 0.2 octaves. Its interval is one for the optimum of a new width (`line.prediction`): it holds
the slope's uncertainty, which grows with the distance, the common error of the curves' shape, and the scatter of
optima about a straight line. It cannot hold a bend beyond the measured widths.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mutransfer.analysis.line import prediction
from mutransfer.analysis.optimum import curvatures
from mutransfer.analysis.transfer import Analysis, Horizon
from mutransfer.analysis.verdict import TRANSFERS
from mutransfer.checks import positive
from mutransfer.config import AXES

HORIZON_FACTOR = 2.0
"""Up to this factor in tokens or batch a rate is handed on with a label: the optimal rate falls about as tokens^-0.3
(Bjorck et al. 2024, arXiv 2409.19913) and rises about as batch^0.5 (Malladi et al. 2022, arXiv 2205.10287), half an
octave or less."""


@dataclass(frozen=True)
class Recommendation:
    """The base learning rate for one size along the axis, a width or a depth, with its 95% interval."""

    arm: str
    parametrization: str
    axis: str
    size: int
    lr: float
    ci_low: float
    ci_high: float
    extrapolation: float
    """Octaves of size from the nearest measured optimum's, 0 between measured ones."""
    expected_regret: float | None
    """Nats per token lost on average because the rate is uncertain: half the second derivative of the loss at the
    largest fitted optimum times the variance of log2 lr. None where no curve was fitted."""
    horizon: Horizon
    """The training it was tuned for."""


def recommend(analysis: Analysis, arm: str, size: int) -> Recommendation:
    """The learning rate at a size along the analysis' axis. Raises ValueError where the arm's verdict is not that it
    transfers, and along batch size and steps."""
    result = analysis.arm(arm)
    word = AXES[analysis.axis].word
    positive(word, size)
    refuse_horizon(analysis.axis)
    if result.verdict != TRANSFERS:
        raise ValueError(
            f"found the verdict {result.verdict} for {arm} ({result.reason}); wanted {TRANSFERS}: "
            f"no rate measured here is known to serve {word} {size}"
        )
    interior = [optimum for optimum in result.optima if optimum.interior]
    predicted = prediction(interior, size)
    interval = predicted.interval
    octaves = [math.log2(optimum.size) for optimum in interior]
    bends = curvatures(interior)
    return Recommendation(
        arm=arm,
        parametrization=result.parametrization,
        axis=analysis.axis,
        size=size,
        lr=2.0**interval.estimate,
        ci_low=2.0**interval.ci_low,
        ci_high=2.0**interval.ci_high,
        extrapolation=max(0.0, math.log2(size) - max(octaves), min(octaves) - math.log2(size)),
        expected_regret=bends[-1] * predicted.variance if bends else None,
        horizon=result.horizon,
    )


def refuse_horizon(axis: str) -> None:
    """Raises ValueError where the axis is the training itself: what it is to be is not read off a line."""
    if axis in ("batch_size", "steps"):
        raise ValueError(
            f"found a sweep along {AXES[axis].words}; wanted one along widths or depths, at the training to come: "
            "sweep those"
        )


def horizon_note(recommendation: Recommendation, steps: int | None = None, batch_size: int | None = None) -> str:
    """What training the rate was tuned for, and, where `steps` or `batch_size` ask for another, how far off that is.

    Raises ValueError where tokens or batch differ by more than HORIZON_FACTOR, or are none.
    """
    for name, asked in (("steps", steps), ("batch_size", batch_size)):
        if asked is not None:
            positive(name, asked)
    tuned = recommendation.horizon
    note = (
        f"tuned at {tuned.steps} steps of {tuned.batch_size} x {tuned.context} tokens ({tuned.tokens:,} in all) "
        f"on {tuned.data}"
    )
    batch = 1.0 if batch_size is None else batch_size / tuned.batch_size
    tokens = batch if steps is None else batch * steps / tuned.steps
    if batch == tokens == 1:
        return note
    differs = f"{tokens:.3g} times the tokens and {batch:.3g} times the batch"
    if max(tokens, 1 / tokens, batch, 1 / batch) > HORIZON_FACTOR:
        raise ValueError(
            f"found {differs} of the training that the rate was tuned at; wanted at most a factor {HORIZON_FACTOR:g} "
            "in each, because the optimal rate falls with tokens and rises with batch: tune the small widths again "
            "with the steps and batch to be used"
        )
    return f"{note}; asked for {differs}: the optimal rate falls with tokens and rises with batch, so it may be off"
