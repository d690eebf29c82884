"""What the proxy's rate costs at a size, measured: trained there at that rate, at half and at double.

With L the true mean losses at the three rates, what is lost is R = max(0, max_k D_k), D_k = L(this rate) - L(rate k).
It is estimated from the means of seeds that were run at all three, whose offsets cancel. A maximum over noisy
differences is too high where rates tie, so its interval is that of a comparison with the best (Hsu 1984, Annals of
Statistics 12, 1136), which holds R in at least 95% of cases however the three lie:

    low  = max(0, max_k D_k - t(1 - 0.025/K) se)    any of the K other rates may owe its place to its noise
    high = max(0, max_k D_k + t(1 - 0.025) se)      the truly best is one rate, which nobody chose

with se^2 = 2 sigma^2 / seeds. sigma^2, the variance of one run about its seed's curve, is that of two-way (seed x
rate) residuals: of these runs, and of the sweep's in the same arm at the nearest size, which count for at most
SHARED_DF degrees of freedom, because another size need not be as noisy.

A rate between the three may be better than the best of them. The parabola through the three means, of slope b and
curvature a at the middle, falls b^2/4a below its middle and at most a/4 below the least of the three, so the upper end
is raised to the lesser of (|b| + t se/2)^2/4a and high + a/4.

Where the best is at an end, the optimum may lie beyond, and all is a lower bound. A rate that diverged closes its side.

Beside it stands what was predicted. Where the sweep measured the size, that is the regret of its fitted curve at this
rate. Elsewhere, with c half the second derivative of the loss at the widest fitted optimum and d the predicted optimum
less this rate, it is the mean of c d^2, that is c (E[d]^2 + Var[d]), and its range over the interval of d.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mutransfer.analysis.curve import Array, Curve, curves, refuse_mixture, two_way
from mutransfer.analysis.interval import CONFIDENCE, Interval, t_quantile
from mutransfer.analysis.line import determined, prediction
from mutransfer.analysis.noise import PRIOR_DF, SEEDS_SIGMA, SHARED_DF, Noise, repeated_noise
from mutransfer.analysis.optimum import curvatures
from mutransfer.analysis.quartic import window
from mutransfer.analysis.regret import regret
from mutransfer.analysis.transfer import Analysis, ArmResult
from mutransfer.analysis.verdict import TRANSFERS
from mutransfer.config.scale import DIMENSIONS, Scale
from mutransfer.trials.table import Horizon, Trials

NAMES = ("half", "same", "double")
"""The three rates, ascending."""


@dataclass(frozen=True)
class Confirmation:
    """Regret measured at a size, beside what was predicted; losses and regrets are in the unit of the loss."""

    arm: str
    scale: Scale
    """Along the dimensions that varied in the sweep."""
    unit: str
    """What losses and regrets are measured in."""
    log2_lr: float
    """The proxy's rate."""
    rates: tuple[float, ...]
    """log2 of the three rates, ascending."""
    losses: tuple[float | None, ...]
    """Their means over seeds; None where a seed diverged."""
    seeds: int
    """Seeds that were run at all three."""
    measured: Interval | None
    """Loss at the proxy's rate over the best of the three, and the interval of the regret. None where the proxy's rate
    diverged, or both others, and where no seed was repeated here or in the sweep."""
    at_least: bool
    """The best of the three is an end: what is measured is a lower bound, and the upper end is none."""
    predicted: float | None
    predicted_low: float | None
    predicted_high: float | None
    """As of a Regret: without a number `predicted_low` is what was to be lost at least; without an upper end it is not
    known. All three are None where nothing could be predicted."""
    horizon: Horizon | None
    """The training that all this holds for."""
    sentence: str

    @property
    def agrees(self) -> bool | None:
        """Whether measured and predicted interval overlap; None where either is missing."""
        if self.measured is None or self.predicted_low is None:
            return None
        return not (_is_above(self.measured.ci_low, self.predicted_high) or self.is_below)

    @property
    def is_below(self) -> bool:
        """Whether less was lost than predicted."""
        if self.measured is None or self.predicted_low is None:
            return False
        return not self.at_least and _is_above(self.predicted_low, self.measured.ci_high)


@dataclass(frozen=True)
class Predicted:
    """A regret that was predicted, and from what."""

    nats: float | None
    low: float | None
    high: float | None
    source: str


def arm_to_follow(analysis: Analysis, name: str | None = None) -> str:
    """The arm of that name; None: the first whose verdict is that it transfers, else the last. Raises ValueError where
    there is none of that name."""
    if name is not None:
        return analysis.arm(name).arm
    return next((arm.arm for arm in analysis.arms if arm.verdict == TRANSFERS), analysis.arms[-1].arm)


def confirmation(analysis: Analysis, swept: Trials, trials: Trials) -> Confirmation | None:
    """What the trials at a scale say of the rate in their middle.

    Args:
        analysis: of the sweep.
        swept: the sweep's trials, which `analysis` is of.
        trials: of one of its arms at one scale, at three rates.

    Returns None where no seed has been run at all three. Raises ValueError where the trials differ from their arm's in
    more than rate, seed and scale.
    """
    arm, dimensions = analysis.arm(trials.arms[0]), analysis.dimensions
    of_arm = swept.of_arm(arm.arm)
    refuse_mixture(of_arm.together(trials))
    (every,) = curves(trials)
    curve = replace(every, losses=every.losses[~np.isnan(every.losses).any(axis=1)])
    if len(curve.log2_lr) < len(NAMES) or not len(curve.losses):
        return None
    measured_there = curves(of_arm)
    predicted = predict_regret(arm, measured_there, curve.scale, float(curve.log2_lr[1]), dimensions)
    means = curve.means
    found = Confirmation(
        arm=arm.arm,
        scale=curve.scale.only(dimensions),
        unit=arm.unit,
        log2_lr=float(curve.log2_lr[1]),
        rates=tuple(map(float, curve.log2_lr)),
        losses=tuple(float(mean) if np.isfinite(mean) else None for mean in means),
        seeds=len(curve.losses),
        measured=measure_regret(curve, noise_there(measured_there, curve)),
        at_least=is_at_end(means),
        predicted=predicted.nats,
        predicted_low=predicted.low,
        predicted_high=predicted.high,
        horizon=trials.horizon,
        sentence="",
    )
    return replace(found, sentence=_sentence(found, arm, predicted.source))


def is_at_end(means: Array) -> bool:
    """Whether the least of the three means is at the lowest or highest rate; not where the rate itself diverged, or all
    did."""
    return bool(np.isfinite(means[1]) and np.argmin(means) != 1)


def noise_there(swept: Sequence[Curve], curve: Curve) -> Noise | None:
    """Variance of one run about its seed's curve, from the sweep's seeds at the nearest size and those of the
    confirmation itself; None where neither has two."""
    windows = {each.scale: points for each in swept if (points := window(each)) is not None}
    of_sweep = repeated_noise(list(windows.values()))
    _, residuals, df = two_way(curve.losses[:, ~curve.diverged])
    if of_sweep is None and df == 0:
        return None
    known = Noise(SEEDS_SIGMA**2, PRIOR_DF)
    if of_sweep is not None:
        by_scale = dict(zip(windows, of_sweep, strict=True))
        known = by_scale[min(by_scale, key=curve.scale.octaves_to)]
    weight = min(known.df, SHARED_DF)
    return Noise((weight * known.variance + float(np.nansum(residuals**2))) / (weight + df), weight + df)


def measure_regret(curve: Curve, noise: Noise | None) -> Interval | None:
    """The regret at the middle one of three rates, with its interval, from complete seeds; None where it or both others
    diverged, or nothing is known of the noise."""
    means = curve.means
    others = means[[0, 2]]
    others = others[np.isfinite(others)]
    if noise is None or not len(others) or not np.isfinite(means[1]):
        return None
    best = float(means[1] - others.min())
    error = math.sqrt(2 * noise.variance / len(curve.losses))
    tail = (1 - CONFIDENCE) / 2
    down, up = (t_quantile(1 - share, noise.df) * error for share in (tail / len(others), tail))
    high = max(0.0, best + up)
    return Interval(max(0.0, best), max(0.0, best - down), max(high, _between(means, high, up / 2)))


def _between(means: Array, high: float, slope_error: float) -> float:
    """What may be lost to a rate between the three; 0 where no parabola with a minimum goes through them."""
    slope, bend = (means[2] - means[0]) / 2, (means[0] + means[2]) / 2 - means[1]
    if not (np.isfinite(bend) and bend > 0):
        return 0.0
    return float(min((abs(slope) + slope_error) ** 2 / (4 * bend), high + bend / 4))


def predict_regret(
    arm: ArmResult, swept: Sequence[Curve], scale: Scale, log2_lr: float, dimensions: Sequence[str] = ("width",)
) -> Predicted:
    """What the sweep says the rate costs at the scale. The rate is given, so it adds no uncertainty of its own."""
    rate = replace(arm.optima[0], log2_lr=log2_lr, noise=0.0, shape=0.0)
    for optimum, curve in zip(arm.optima, swept, strict=True):
        cost = regret(rate, optimum, curve) if optimum.scale == scale else None
        if cost is not None:
            source = f"the curve that was fitted at {scale.describe(dimensions)}"
            return Predicted(cost.nats, cost.ci_low, cost.ci_high, source)
    interior = [optimum for optimum in arm.optima if optimum.interior]
    bends = curvatures(interior)
    if not determined([optimum.scale for optimum in interior], dimensions) or not bends:
        return Predicted(None, None, None, "")
    expected, bend = prediction(interior, scale, dimensions), bends[-1]
    low, high = (end - log2_lr for end in (expected.interval.ci_low, expected.interval.ci_high))
    least = 0.0 if low <= 0 <= high else min(abs(low), abs(high))
    return Predicted(
        nats=bend * ((expected.value - log2_lr) ** 2 + expected.variance),
        low=bend * least**2,
        high=bend * max(abs(low), abs(high)) ** 2,
        source=f"the line through the optima of {_named([optimum.scale for optimum in interior], dimensions)}",
    )


def _named(scales: Sequence[Scale], dimensions: Sequence[str]) -> str:
    """Words such as "widths 64, 128"; of several dimensions how many scales there are."""
    if len(dimensions) > 1:
        return f"{len(scales)} scales"
    return f"{DIMENSIONS[dimensions[0]].words} {', '.join(f'{scale[dimensions[0]]:.15g}' for scale in scales)}"


def _is_above(low: float, high: float | None) -> bool:
    return high is not None and low > high


def _sentence(found: Confirmation, arm: ArmResult, source: str) -> str:
    proxy = arm.optima[0].scale.describe(found.scale.known)
    start = f"{found.arm}: {found.scale.describe()} at the rate tuned at {proxy}, 2^{found.log2_lr:.2f},"
    seeds = f"{found.seeds} seed{'s' * (found.seeds > 1)}"
    trained = found.horizon
    where = (
        ""
        if trained is None
        else f"; measured at {trained.steps} steps of {trained.batch_size} x {trained.context} tokens "
        f"({trained.tokens:,} in all) on {trained.data}; a longer run was not measured"
    )
    return f"{start} {_outcome(found)} ({seeds}); {_compared(found, source)}{where}"


def _outcome(found: Confirmation) -> str:
    """What was measured."""
    trained = [loss for loss in found.losses if loss is not None]
    if not trained:
        return "diverged, and so did half and double of it"
    at = found.losses.index(min(trained))
    own = found.losses[1]
    if own is None:
        return f"diverged; 2^{found.rates[at]:.2f} trained, to a loss of {min(trained):.3f}"
    if len(trained) == 1:
        return (
            f"trained, to a loss of {own:.3f}; half and double of it diverged, so there is nothing to compare it with"
        )
    beyond = ", and the optimum may lie beyond" if found.at_least else ""
    if found.measured is None:
        sure = "how sure that is cannot be said, because no seed was repeated: give --seeds 2"
    else:
        high = " or more" if found.at_least else f"..{found.measured.ci_high:.3f}"
        sure = f"{CONFIDENCE:.0%} CI {found.measured.ci_low:.3f}{high}"
    costs = f"costs {'at least ' * found.at_least}{own - min(trained):.3f} {found.unit} ({sure})"
    return f"{costs}: the best of {NAMES[0]}, {NAMES[1]} and {NAMES[2]} is {NAMES[at]}{beyond}"


def _compared(found: Confirmation, source: str) -> str:
    """What was predicted, and whether it is so."""
    if found.predicted_low is None:
        return "nothing was predicted, for want of two optima"
    if found.predicted is None:
        said = f"predicted were at least {found.predicted_low:.3f} {found.unit}"
    else:
        high = " or more" if found.predicted_high is None else f"..{found.predicted_high:.3f}"
        unit = found.unit
        said = f"predicted were {found.predicted:.3f} {unit} ({found.predicted_low:.3f}{high}, from {source})"
    if found.agrees is None:
        return said
    return f"{said}: {'the two agree' if found.agrees else 'less was lost' if found.is_below else 'more was lost'}"
