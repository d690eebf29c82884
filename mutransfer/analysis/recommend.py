"""The learning rate to train a wide model with, from the narrow ones that were tuned.

The rate is that of the least-squares line through the measured optima at log2 width, the line whose slope the verdict
judges: a mean of the optima would be as good only if the slope were known to be 0, and at 16 times the largest width
even a slope of 0.05 is 0.2 octaves. Its interval is one for the optimum of a new width (`line.prediction`): it holds
the slope's uncertainty, which grows with the distance, the common error of the curves' shape, and the scatter of
optima about a straight line. It cannot hold a bend beyond the measured widths.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mutransfer.analysis.line import octaves, prediction
from mutransfer.analysis.optimum import curvatures
from mutransfer.analysis.transfer import Analysis
from mutransfer.analysis.verdict import TRANSFERS
from mutransfer.checks import positive
from mutransfer.config.scale import DIMENSIONS, Scale
from mutransfer.trials.table import Horizon

HORIZON_FACTOR = 2.0
"""Up to this factor in tokens or batch a rate is handed on with a label: the optimal rate falls about as tokens^-0.3
(Bjorck et al. 2024, arXiv 2409.19913) and rises about as batch^0.5 (Malladi et al. 2022, arXiv 2205.10287), half an
octave or less."""


@dataclass(frozen=True)
class Recommendation:
    """The base learning rate for one scale, with its 95% interval."""

    arm: str
    parametrization: str | None
    scale: Scale
    """Along the dimensions that varied."""
    unit: str
    """What the losses were measured in."""
    lr: float
    ci_low: float
    ci_high: float
    extrapolation: float
    """Octaves beyond the measured optima, along the dimension that goes furthest; 0 between them."""
    expected_regret: float | None
    """Nats per token lost on average because the rate is uncertain: half the second derivative of the loss at the
    largest fitted optimum times the variance of log2 lr. None where no curve was fitted."""
    horizon: Horizon | None
    """The training it was tuned for; None where the table of trials does not say."""


def recommend(analysis: Analysis, arm: str, scale: Scale) -> Recommendation:
    """The learning rate at a scale, which gives a size along every dimension that varied. Raises ValueError where the
    arm's verdict is not that it transfers, where a size is missing, and along batch size and steps."""
    result, dimensions = analysis.arm(arm), analysis.dimensions
    if set(scale.known) != set(dimensions):
        raise ValueError(
            f"expected a size along {' and '.join(dimensions)}, which varied, got {' and '.join(scale.known) or 'none'}"
            "; give those"
        )
    for name in dimensions:
        positive(DIMENSIONS[name].word, scale[name])
        refuse_horizon(name)
    if result.verdict != TRANSFERS:
        raise ValueError(
            f"found the verdict {result.verdict} for {arm} ({result.reason}); wanted {TRANSFERS}: "
            f"no rate measured here is known to serve {scale.describe()}"
        )
    interior = [optimum for optimum in result.optima if optimum.interior]
    predicted = prediction(interior, scale, dimensions)
    interval = predicted.interval
    measured = octaves([optimum.scale for optimum in interior], dimensions)
    asked = octaves([scale], dimensions)[0]
    bends = curvatures(interior)
    return Recommendation(
        arm=arm,
        parametrization=result.parametrization,
        scale=scale,
        unit=result.unit,
        lr=2.0**interval.estimate,
        ci_low=2.0**interval.ci_low,
        ci_high=2.0**interval.ci_high,
        extrapolation=max(0.0, float(np.max([asked - measured.max(axis=0), measured.min(axis=0) - asked]))),
        expected_regret=bends[-1] * predicted.variance if bends else None,
        horizon=result.horizon,
    )


def refuse_horizon(axis: str) -> None:
    """Raises ValueError where the axis is the training itself: what it is to be is not read off a line."""
    if axis in ("batch_size", "steps"):
        raise ValueError(
            f"found a sweep along {DIMENSIONS[axis].words}; wanted one along widths or depths, at the "
            "training to come: sweep those"
        )


def horizon_note(recommendation: Recommendation, steps: int | None = None, batch_size: int | None = None) -> str:
    """What training the rate was tuned for, and, where `steps` or `batch_size` ask for another, how far off that is.

    Raises ValueError where tokens or batch differ by more than HORIZON_FACTOR, or are none.
    """
    for name, asked in (("steps", steps), ("batch_size", batch_size)):
        if asked is not None:
            positive(name, asked)
    tuned = recommendation.horizon
    if tuned is None:
        return "what training it was tuned for, the table of trials does not say"
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
