"""Where the best learning rate is at each width, and how sure that is.

With m the minimum of the ridge quartic p, phi = (1, z, .., z^4), V the posterior covariance of its coefficients and G
the derivative of m by each run's loss (implicit function theorem, dm = -phi'(m)' dbeta / p''(m)), the variance of m is

    v = kappa^2 sigma^2 |G|^2                                    noise; sigma^2 and kappa^2 are in noise.py
    B = 0.6 s (phi'(m)' V phi'(m) / p''(m)^2 - sigma^2 |G|^2)    shape: what a quartic cannot know of the true curve

with s the fit's pressure against its prior, 1 for most curves (quartic.py), and the interval is m +- t sqrt(v + B),
with t's degrees of freedom by Satterthwaite (1946). The widths of one arm are estimated together, as they share the
noise.

That intervals hold as often as they say is known of the planted shapes on which the constants were also chosen. Where
the loss turns sharply up within about 0.6 octaves of the optimum and rates are an octave apart, they are too narrow:
results/calibration/holdout.md says how often they hold. The slope suffers less, as all minima are moved alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mutransfer.analysis.curve import Array, Curve
from mutransfer.analysis.interval import Estimate
from mutransfer.analysis.noise import (
    SINGLE_TILT,
    TILT_DF,
    UNKNOWN,
    Noise,
    expected_noise,
    repeated_noise,
    residual_noise,
    tilt,
)
from mutransfer.analysis.quartic import (
    FEWEST_RATES,
    LANGUAGE_MODELS,
    Quartic,
    Window,
    fit,
    step_of,
    table_curvature,
    window,
)
from mutransfer.config.scale import Scale

SHAPE = 0.6
"""The part of the posterior's shape variance that counts, here and in the pooled fit: all of it covers too often."""
ITERATIONS = 3
"""Of the fit's weights."""
BRACKETED = 0.6
"""Standard deviation of an optimum that is known to lie within a grid step of the best rate, in steps: uniform."""
UNITS = 2
"""Looks at the unit of the losses: the first by windows of a language model."""
FLAT_RANGE = 5.0
"""Mean losses that differ by less than this many standard errors show no optimum: 4.95 is the 95% point of the
studentized range of 7 equal means at 12 degrees of freedom."""

INTERIOR, CENSORED_LOW, CENSORED_HIGH, FLAT, TOO_FEW = "interior", "censored_low", "censored_high", "flat", "too_few"


@dataclass(frozen=True)
class Optimum:
    """The best learning rate at one scale.

    `status` is one of

        interior                      an estimate with its interval
        censored_low, censored_high   losses fall towards the lowest or highest rate tried, which is `log2_lr`: the
                                      optimum may lie beyond it
        flat                          the rates tried do as well as each other, as far as their noise tells
        too_few                       fewer than three rates to fit through

    Where it is flat or too_few, `log2_lr` is the best rate tried. `loss` is the loss at `log2_lr`, fitted where it is
    interior and else measured; None where all trials diverged.
    """

    scale: Scale
    log2_lr: float
    ci_low: float | None
    ci_high: float | None
    loss: float | None
    status: str
    noise: float = 0.0
    """Variance of log2_lr from noise, v; 0 where it is not interior."""
    shape: float = 0.0
    """Variance of log2_lr from the curve's shape, B; 0 where it is not interior."""
    df: float = math.inf
    """Degrees of freedom of `noise`."""
    quartic: Quartic | None = field(default=None, compare=False, repr=False)
    """The fitted curve, where there is one."""
    covariance: Array | None = field(default=None, compare=False, repr=False)
    """Covariance of its coefficients, noise and shape as in v + B."""
    own: Optimum | None = field(default=None, repr=False)
    """Where this is the joint estimate, what its own curve alone says."""

    @property
    def interior(self) -> bool:
        """Whether there is an estimate."""
        return self.status == INTERIOR

    @property
    def apart(self) -> bool:
        """Whether the joint estimate lies outside the interval that the scale's own curve gives."""
        own = self.own
        if own is None or own.ci_low is None or own.ci_high is None:
            return False
        return not own.ci_low <= self.log2_lr <= own.ci_high

    @property
    def estimate(self) -> Estimate:
        """log2_lr with the parts of its variance. Only where it is interior."""
        return Estimate(self.log2_lr, ((self.noise, self.df), (self.shape, math.inf)))

    def fitted(self, log2_lr: Array) -> Array:
        """The fitted loss at each rate, NaN outside the rates that were fitted and the minimum."""
        if self.quartic is None:
            return np.full(np.shape(log2_lr), np.nan)
        points = self.quartic.points
        inside = (log2_lr >= min(points.low, self.log2_lr)) & (log2_lr <= max(points.high, self.log2_lr))
        return np.where(inside, self.quartic(log2_lr), np.nan)


def curvatures(optima: Iterable[Optimum]) -> list[float]:
    """Half the second derivative of the fitted loss at every interior optimum that has a curve, per octave squared."""
    interior = [optimum for optimum in optima if optimum.interior]
    return [fit.derivative(each.log2_lr, 2) / 2 for each in interior if (fit := each.quartic) is not None]


def optima(curves: Sequence[Curve], noise: float | None = None) -> tuple[Optimum, ...]:
    """The optimum of every curve. The curves are one arm's, and share what is known of the noise, of their curvature
    and of the unit of their losses. `noise`: the standard deviation of one run about its seed's curve, in that unit,
    where it is known."""
    windows = _windows(curves, noise)
    repeated = repeated_noise(list(windows.values()))
    known = _known(list(windows.values()))
    fits = tuple(fit(points, noise.variance) for points, noise in zip(windows.values(), known, strict=True))
    for _ in range(ITERATIONS - 1):
        known = repeated or residual_noise(fits)
        fits = tuple(fit(each.points, noise.variance, each) for each, noise in zip(fits, known, strict=True))
    kappa = _tilt(fits, known) if repeated else Noise(SINGLE_TILT, TILT_DF)
    quartics, noises = dict(zip(windows, fits, strict=True)), dict(zip(windows, known, strict=True))
    return tuple(
        _optimum(curve, quartics.get(curve.scale), noises.get(curve.scale, UNKNOWN), kappa) for curve in curves
    )


def _windows(curves: Sequence[Curve], noise: float | None) -> dict[Scale, Window]:
    """The window of every curve that has one, with what is expected of it. The unit of the losses is told by how sharp
    all curves are, and changes their windows: so there is a second look where it is not that of a language model."""
    unit = 1.0
    for _ in range(UNITS):
        found = {}
        for curve in curves:
            points = window(curve, unit, noise=noise)
            if points is not None:
                found[curve.scale] = curve, points
        if not found:
            return {}
        known = _known([points for _, points in found.values()])
        for (scale, (curve, points)), each in zip(list(found.items()), known, strict=True):
            step = step_of(curve, points, each.variance, each.df)
            closed = None if step is None else window(curve, unit, step, noise)
            found[scale] = curve, closed or points
        fits = [fit(points, each.variance) for (_, points), each in zip(found.values(), known, strict=True)]
        fits = [fit(before.points, each.variance, before) for before, each in zip(fits, known, strict=True)]
        curvature = table_curvature(fits)
        seen, unit = unit, curvature / float(np.clip(curvature, *LANGUAGE_MODELS))
        if seen == unit:
            break
    return {scale: replace(points, curvature=curvature) for scale, (_, points) in found.items()}


def _known(windows: Sequence[Window]) -> tuple[Noise, ...]:
    """sigma^2 of every window before its first fit."""
    return repeated_noise(windows) or expected_noise(windows)


def _tilt(quartics: Sequence[Quartic], noises: Sequence[Noise]) -> Noise:
    """kappa^2 from the quartics that have a minimum."""
    return tilt(
        (quartic.points, quartic.minimum_gradient() @ quartic.influence, noise)
        for quartic, noise in zip(quartics, noises, strict=True)
        if quartic.minimum is not None
    )


def _optimum(curve: Curve, quartic: Quartic | None, noise: Noise, kappa: Noise) -> Optimum:
    means = curve.means
    status = _status(curve, quartic, noise)
    best = {CENSORED_LOW: 0, CENSORED_HIGH: len(means) - 1}.get(status, int(np.argmin(means)))
    tried = Optimum(
        scale=curve.scale,
        log2_lr=float(curve.log2_lr[best]),
        ci_low=None,
        ci_high=None,
        loss=float(means[best]) if np.isfinite(means[best]) else None,
        status=status,
        quartic=quartic,
    )
    if not tried.interior:
        return tried
    if quartic is None or quartic.minimum is None:
        # The neighbours are worse or diverged, but no quartic with a minimum goes through: known to one grid step, by
        # the bracket and not by the noise.
        step = float(np.max(np.diff(curve.log2_lr[best - 1 : best + 2])))
        found = replace(tried, noise=(BRACKETED * step) ** 2, quartic=None)
    else:
        gradient = quartic.minimum_gradient()
        of_noise = noise.variance * quartic.influence @ quartic.influence.T
        of_shape = SHAPE * quartic.pressure * (quartic.posterior - of_noise)
        found = replace(
            tried,
            log2_lr=quartic.minimum,
            loss=float(quartic(quartic.minimum)),
            noise=kappa.variance * float(gradient @ of_noise @ gradient),
            shape=max(0.0, float(gradient @ of_shape @ gradient)),
            df=1 / (1 / noise.df + 1 / kappa.df),
            covariance=kappa.variance * of_noise + of_shape,
        )
    interval = found.estimate.interval
    return replace(found, ci_low=interval.ci_low, ci_high=interval.ci_high)


def _status(curve: Curve, quartic: Quartic | None, noise: Noise) -> str:
    means = curve.means
    finite = means[np.isfinite(means)]
    if len(means) < FEWEST_RATES:
        return TOO_FEW
    if len(finite) >= FEWEST_RATES and np.ptp(finite) < FLAT_RANGE * math.sqrt(noise.variance / len(curve.losses)):
        return FLAT
    best = int(np.argmin(means))
    # argmin takes the first of equals: where every trial diverged, the lowest rate.
    if best == 0:
        return CENSORED_LOW
    if best == len(means) - 1:
        return CENSORED_HIGH
    if quartic is None:
        return TOO_FEW
    if quartic.minimum is None:
        # The fit falls towards one end of its window. Where no trial lies beyond that end, the optimum may.
        points = quartic.points
        falls_low = bool(quartic(points.low) < quartic(points.high))
        end, last = (points.low, curve.log2_lr[0]) if falls_low else (points.high, curve.log2_lr[-1])
        if end == last:
            return CENSORED_LOW if falls_low else CENSORED_HIGH
    return INTERIOR
