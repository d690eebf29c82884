"""The learning rate of a run to come, from the optima of an arm by the law through them (law.py); what the interval
costs, what is extrapolated, and beside it what published laws say. The verdict on transfer is told and closes nothing:
a rate with an honest interval is worth having under SP too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from mutransfer.analysis.law import Measured, Prediction, measured, predict
from mutransfer.analysis.transfer import Analysis
from mutransfer.checks import positive
from mutransfer.config.scale import DIMENSIONS, Scale
from mutransfer.theory import lr_priors
from mutransfer.theory.lr_laws import LAWS, LrLaw
from mutransfer.trials.table import Horizon


@dataclass(frozen=True)
class Published:
    """What a published law says of the target: by itself, or as a factor from the measured cell nearest to it."""

    law: str
    lr: float
    nearest: Scale | None
    """The cell that the factor is from; None of an absolute law."""
    measured_on: str
    source: str


@dataclass(frozen=True)
class Recommendation:
    """The base learning rate of a run to come, with its 95% interval."""

    arm: str
    parametrization: str | None
    scale: Scale
    """What was asked for; the rest is as in all trials."""
    unit: str
    """What the losses were measured in."""
    lr: float
    ci_low: float
    ci_high: float
    supported: bool
    """Whether the interval reaches no further than an octave to either side."""
    form: str
    """line or two_regimes (law.py)."""
    measured: tuple[str, ...]
    """Dimensions over which the trials differ."""
    assumed: tuple[str, ...]
    """Dimensions in which the run differs from all trials, which are alike in them: known from the literature alone."""
    extrapolation: Mapping[str, float]
    """Octaves beyond the trials by dimension, below 0 where the run is smaller; without those within."""
    above_knee: float | None
    """Probability that the batch is so large that the best rate no longer depends on it; None where nothing is asked of
    batch and tokens."""
    knee_batch_size: float | None
    """The batch size from which on it no longer does, at this size and length."""
    interval_cost: float | None
    """What the wider side of the interval costs, in `unit`: its square times the curvature. None where no curve was
    fitted."""
    expected_regret: float | None
    """Lost on average because the rate is uncertain: the variance of log2 lr times the curvature."""
    verdict: str
    """The sentence on transfer."""
    published: tuple[Published, ...]
    horizon: Horizon | None
    """The training it was tuned for; None where the table of trials does not say."""

    @property
    def octaves(self) -> tuple[float, float]:
        """How far the interval reaches down and up."""
        return math.log2(self.lr / self.ci_low), math.log2(self.ci_high / self.lr)


def recommend(
    analysis: Analysis, arm: str, target: Scale, scatter: lr_priors.Scatter = lr_priors.FAMILY
) -> Recommendation:
    """The learning rate of an arm at a target, whose dimensions that are None are as all trials have them.

    Raises ValueError where a size is not above 0, is missing, or is not known of the trials, and where no cell has an
    optimum.
    """
    result = analysis.arm(arm)
    for name in target.known:
        positive(DIMENSIONS[name].word, target[name])
    found = measured(result.optima)
    (predicted,) = predict(found, [target], lr_priors.treatment(result.parametrization), scatter)
    return Recommendation(
        arm=arm,
        parametrization=result.parametrization,
        scale=target,
        unit=result.unit,
        lr=2.0**predicted.log2_lr,
        ci_low=2.0**predicted.ci_low,
        ci_high=2.0**predicted.ci_high,
        supported=predicted.supported,
        form=predicted.form,
        measured=predicted.measured,
        assumed=predicted.assumed,
        extrapolation=predicted.extrapolation,
        above_knee=predicted.above_knee,
        knee_batch_size=None if predicted.log2_knee is None or "batch_size" not in found.scales[0].known
        else 2.0**predicted.log2_knee,
        interval_cost=predicted.cost,
        expected_regret=predicted.expected_cost,
        verdict=result.sentence,
        published=published(found, predicted),
        horizon=result.horizon,
    )  # fmt: skip


def published(found: Measured, predicted: Prediction) -> tuple[Published, ...]:
    """What the published laws say of a target, as far as its dimensions let them."""
    target = _sizes(predicted.target)
    distances = [
        sum(abs(math.log2(target[name] / size)) for name, size in _sizes(scale).items() if name in target)
        for scale in found.scales
    ]
    at = min(range(len(distances)), key=distances.__getitem__)
    nearest = found.scales[at]

    def said(law: LrLaw) -> Published | None:
        lr, cell = law.lr(target), None
        if lr is None:
            factor = law.factor(target, _sizes(nearest))
            # A law that is silent on what differs says nothing of it.
            lr, cell = None if factor in (None, 1) else factor * 2.0 ** float(found.log2_lr[at]), nearest
        return None if lr is None else Published(law.name, lr, cell, law.measured_on, law.source)

    return tuple(each for each in map(said, LAWS) if each is not None)


def _sizes(scale: Scale) -> dict[str, float]:
    """Its dimensions; tokens as steps x batch size where they are not known (of which only ratios are used)."""
    sizes = {name: scale[name] for name in scale.known}
    if "tokens" not in sizes and {"steps", "batch_size"} <= sizes.keys():
        sizes["tokens"] = sizes["steps"] * sizes["batch_size"]
    return sizes
