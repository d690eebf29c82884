"""What the proxy's rate costs at the target: loss(target, lr*(proxy)) - loss(target, lr*(target)), never below 0.

The loss at the target is its fitted quartic; beyond the fitted rates, straight lines between mean losses (above a
parabola by at most a h^2/4 for rates h octaves apart); beyond the rates that were run and did not diverge nothing is
known but that the loss has risen so far.

The regret is about a (shift)^2, so it is not normal near 0 and no delta method holds there. Its interval joins two
independent ones by the method of variance estimates recovery (Zou and Donner 2008, Statistics in Medicine 27, 1693):

* the shift's: the least and greatest fitted excess loss over the 95% interval of log2 lr*(proxy) - log2 lr*(target)
* the curve's, at a given shift d = m_p - m_t: with q = p(m_t + d) - p(m_t), and m_t itself a function of the
  coefficients, dq = (phi(m_p) - phi(m_t) - p'(m_p)/p''(m_t) phi'(m_t))' dbeta

    low = q - sqrt((q - low_1)^2 + (q - low_2)^2),   high = q + sqrt((high_1 - q)^2 + (high_2 - q)^2)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mutransfer.analysis.curve import Array, Curve
from mutransfer.analysis.interval import Estimate
from mutransfer.analysis.line import apart
from mutransfer.analysis.optimum import Optimum
from mutransfer.analysis.quartic import powers
from mutransfer.config.scale import Scale

STEPS = 201
"""Points at which the excess loss is searched over the shift's interval."""


@dataclass(frozen=True)
class Regret:
    """Nats per token lost at the target scale by training at the proxy's best rate.

    Where that rate lies beyond the rates that were run at the target and did not diverge, `nats` and `ci_high` are
    None and `ci_low` is what is lost at least; where only the end of its interval does, `ci_high` alone is None.
    """

    proxy: Scale
    target: Scale
    nats: float | None
    ci_low: float | None
    ci_high: float | None


def regret(proxy: Optimum, target: Optimum, curve: Curve, shift: Estimate | None = None) -> Regret | None:
    """The cost of the proxy's rate at the target, whose losses are `curve`; None unless both optima are interior.

    `shift` is that of log2 lr* from the target to the proxy; None: the two optima are taken one by one."""
    if not (proxy.interior and target.interior) or proxy.scale == target.scale:
        return None
    moved = (shift or apart([proxy, target]).combination(np.array([1.0, -1.0]))).interval
    low, high = target.log2_lr + moved.ci_low, target.log2_lr + moved.ci_high
    at_proxy, *around = _excess(
        target, curve, np.array([proxy.log2_lr, *np.linspace(low, high, STEPS), np.clip(target.log2_lr, low, high)])
    )
    if not math.isfinite(at_proxy):
        known = _excess(target, curve, _known(target, curve))
        side = known[0] if proxy.log2_lr < target.log2_lr else known[-1]
        return Regret(proxy.scale, target.scale, None, float(min(side, *around)), None)
    of_curve = Estimate(float(at_proxy), ((_curve_variance(proxy, target), target.df),)).interval
    down = math.hypot(at_proxy - min(around), at_proxy - of_curve.ci_low)
    up = math.hypot(max(around) - at_proxy, of_curve.ci_high - at_proxy)
    return Regret(
        proxy=proxy.scale,
        target=target.scale,
        nats=float(at_proxy),
        ci_low=max(0.0, float(at_proxy - down)),
        ci_high=float(at_proxy + up) if math.isfinite(up) else None,
    )


def _known(target: Optimum, curve: Curve) -> Array:
    """The rates about the optimum up to the first that diverged on either side."""
    diverged = curve.log2_lr[curve.diverged]
    after = diverged[diverged < target.log2_lr].max(initial=-math.inf)
    before = diverged[diverged > target.log2_lr].min(initial=math.inf)
    known: Array = curve.log2_lr[(curve.log2_lr > after) & (curve.log2_lr < before)]
    return known


def _excess(target: Optimum, curve: Curve, log2_lr: Array) -> Array:
    """Loss at the target over its least, at each rate; inf where it is not known."""
    assert target.loss is not None
    rates = _known(target, curve)
    losses = curve.means[np.isin(curve.log2_lr, rates)]
    if target.quartic is not None:
        window = target.quartic.points
        outside = (rates < window.low) | (rates > window.high)
        ends = np.array([window.low, window.high])
        rates, losses = np.append(rates[outside], ends), np.append(losses[outside], target.fitted(ends))
        order = np.argsort(rates)
        rates, losses = rates[order], losses[order]
    measured = np.interp(log2_lr, rates, losses, left=math.inf, right=math.inf)
    fitted = target.fitted(log2_lr)
    excess: Array = np.maximum(np.where(np.isnan(fitted), measured, fitted) - target.loss, 0.0)
    return excess


def _curve_variance(proxy: Optimum, target: Optimum) -> float:
    """Variance of the excess at a given shift; beyond the fitted rates, that at their end."""
    if target.quartic is None or target.covariance is None:
        return 0.0
    quartic, window = target.quartic, target.quartic.points
    at = float(np.clip(proxy.log2_lr, window.low, window.high))
    ratio = quartic.derivative(at, 1) / quartic.derivative(target.log2_lr, 2)
    here, there = np.asarray(target.log2_lr - window.center), np.asarray(at - window.center)
    gradient = powers(there) - powers(here) - ratio * powers(here, 1)
    return max(0.0, float(gradient @ target.covariance @ gradient))
