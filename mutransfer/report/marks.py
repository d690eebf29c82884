"""What each figure draws, as data: a row is one mark. Rates and widths are in log2 units where they say so, losses and
regrets in nats per token. Nothing measured is left out; what cannot be known has a row that says so."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from mutransfer.analysis import Analysis, ArmResult, Curve, Optimum, curves

INTERESTING = 0.6
"""Nats above the best loss that a loss panel shows at least."""
ABOVE_A_WIDTH = 0.25
"""Nats above each width's own best that it shows at least."""


def loss_curves_data(analysis: Analysis, frame: pd.DataFrame) -> pd.DataFrame:
    """Loss against rate. `mark` is trial (one seed), diverged (one seed, no loss), mean (over the seeds of a rate where
    none diverged), fitted (a point of the fitted curve) or optimum (with `ci_low`, `ci_high`, `status`)."""
    rows: list[dict[str, Any]] = []
    for trial in frame.to_dict("records"):
        end = {"mark": "diverged"} if trial["diverged"] else {"mark": "trial", "loss": trial[analysis.loss]}
        rows.append({name: trial[name] for name in ("arm", "width", "log2_lr", "seed")} | end)
    for result in analysis.arms:
        for optimum, curve in _measured(analysis, result, frame):
            where = {"arm": result.arm, "width": optimum.width}
            for log2_lr, loss in zip(curve.log2_lr, curve.means, strict=True):
                if math.isfinite(loss):
                    rows.append(where | {"mark": "mean", "log2_lr": log2_lr, "loss": loss})
            rates = np.linspace(curve.log2_lr[0], curve.log2_lr[-1], 121)
            for log2_lr, loss in zip(rates, optimum.fitted(rates), strict=True):
                if math.isfinite(loss):
                    rows.append(where | {"mark": "fitted", "log2_lr": log2_lr, "loss": loss})
            rows.append(where | {"mark": "optimum", "loss": optimum.loss} | _estimate(optimum))
    return _table(rows, ["arm", "width", "mark", "log2_lr", "loss", "seed", "ci_low", "ci_high", "status"])


def loss_limits(data: pd.DataFrame) -> tuple[float, float]:
    """The losses between which the panels draw `loss_curves_data`: up to 0.6 nats above the best, and at least 0.25
    above the best of each width. Losses near the initialization would squash everything else."""
    means = data[data["mark"] == "mean"]
    losses = data.loc[data["mark"].isin(["trial", "fitted", "optimum"]), "loss"].dropna()
    if means.empty:
        return 0.0, 1.0
    best = losses.min()
    worst_best = means.groupby(["arm", "width"])["loss"].min().max()
    high = min(losses.max(), max(best + INTERESTING, worst_best + ABOVE_A_WIDTH))
    margin = 0.05 * (high - best) or 0.05
    return float(best - margin), float(high + margin)


def optimal_lr_data(analysis: Analysis) -> pd.DataFrame:
    """Optimal rate against width. `mark` is optimum (with its interval and `status`), line (of the fitted slope through
    the centroid of the interior optima, `ci_low` and `ci_high` where the slope's interval takes it: a bow-tie), or
    still (the proxy's rate, where a slope of 0 would stay)."""
    rows: list[dict[str, Any]] = []
    for result in analysis.arms:
        octaves = np.array([math.log2(optimum.width) for optimum in result.optima])
        for octave, optimum in zip(octaves, result.optima, strict=True):
            rows.append({"arm": result.arm, "mark": "optimum", "log2_width": octave} | _estimate(optimum))
        slope, interior = result.transfer_slope, np.array([optimum.interior for optimum in result.optima])
        if slope is None:
            continue
        x_mean = octaves[interior].mean()
        y_mean = np.mean([optimum.log2_lr for optimum in result.optima if optimum.interior])
        for octave in np.unique([octaves[0], x_mean, octaves[-1]]):
            reach = octave - x_mean
            low, high = sorted((slope.ci_low * reach, slope.ci_high * reach))
            line = {"log2_lr": y_mean + slope.estimate * reach, "ci_low": y_mean + low, "ci_high": y_mean + high}
            rows.append({"arm": result.arm, "mark": "line", "log2_width": octave} | line)
        proxy = result.optima[0]
        if proxy.interior:
            for octave in (octaves[0], octaves[-1]):
                rows.append({"arm": result.arm, "mark": "still", "log2_width": octave, "log2_lr": proxy.log2_lr})
    return _table(rows, ["arm", "mark", "log2_width", "log2_lr", "ci_low", "ci_high", "status"])


def regret_data(analysis: Analysis, frame: pd.DataFrame) -> pd.DataFrame:
    """Nats lost at each width by training with the optimal rate of the proxy, the narrowest width.

    `known` says from what: proxy (0 by definition), estimated (the analysis' own, with an interval), fitted (from the
    fitted curve), interpolated (between measured means, where no curve was fitted), at_least (a lower bound: the rate
    is beyond what was measured, or this width's own optimum not bracketed), diverged (a trial at or next to that rate
    diverged) or unknown (that rate was not measured, or the proxy's optimum is not bracketed); the last two have no
    number.
    """
    rows: list[dict[str, Any]] = []
    for result in analysis.arms:
        proxy, target = result.optima[0], result.transfer_regret
        for optimum, curve in _measured(analysis, result, frame):
            row: dict[str, Any] = {"arm": result.arm, "log2_width": math.log2(optimum.width)}
            if not proxy.interior:
                row |= {"known": "unknown"}
            elif optimum is proxy:
                row |= {"known": "proxy", "nats": 0.0}
            elif target is None or target.target_width != optimum.width:
                nats, known = _regret(optimum, proxy.log2_lr, curve)
                row |= {"known": known, "nats": nats}
            elif target.nats is None:
                row |= {"known": "at_least", "nats": target.ci_low}
            else:
                row |= {"known": "estimated", "nats": target.nats, "ci_low": target.ci_low, "ci_high": target.ci_high}
            rows.append(row)
    return _table(rows, ["arm", "log2_width", "known", "nats", "ci_low", "ci_high"])


def wider_is_better_data(analysis: Analysis, frame: pd.DataFrame) -> pd.DataFrame:
    """Loss at the optimum against width. `known` is fitted (an interior optimum), measured (the best mean, where no
    optimum is bracketed) or unknown (nothing converged; no loss)."""
    rows: list[dict[str, Any]] = []
    for result in analysis.arms:
        for optimum, curve in _measured(analysis, result, frame):
            row: dict[str, Any] = {"arm": result.arm, "log2_width": math.log2(optimum.width)}
            best = float(curve.means.min())
            if optimum.interior:
                row |= {"known": "fitted", "loss": optimum.loss}
            elif math.isfinite(best):
                row |= {"known": "measured", "loss": best}
            else:
                row |= {"known": "unknown"}
            rows.append(row)
    return _table(rows, ["arm", "log2_width", "known", "loss"])


def _measured(analysis: Analysis, result: ArmResult, frame: pd.DataFrame) -> Iterator[tuple[Optimum, Curve]]:
    """Each optimum of an arm with the losses it was estimated from."""
    return zip(result.optima, curves(frame[frame["arm"] == result.arm], analysis.loss), strict=True)


def _estimate(optimum: Optimum) -> dict[str, Any]:
    return {name: getattr(optimum, name) for name in ("log2_lr", "ci_low", "ci_high", "status")}


def _regret(optimum: Optimum, log2_lr: float, curve: Curve) -> tuple[float, str]:
    """The regret of a rate at one width, and how it is known."""
    at_rate = _mean_at(log2_lr, curve)
    if optimum.interior and optimum.loss is not None:
        fitted = float(optimum.fitted(np.array([log2_lr]))[0])
        if math.isfinite(fitted):
            return fitted - optimum.loss, "fitted"
        best, known = optimum.loss, "interpolated"
    else:
        best, known = float(curve.means.min()), "at_least"
    if math.isnan(at_rate) or math.isinf(best):
        return math.nan, "unknown"
    return (math.nan, "diverged") if math.isinf(at_rate) else (at_rate - best, known)


def _mean_at(log2_lr: float, curve: Curve) -> float:
    """The mean loss at a rate between measured ones; inf at or next to one that diverged, NaN beyond them."""
    return float(np.interp(log2_lr, curve.log2_lr, curve.means, left=math.nan, right=math.nan))


def _table(rows: list[dict[str, Any]], columns: list[str]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=columns)
    texts = ("arm", "mark", "known", "status", "width")
    return table.astype({name: "float64" for name in columns if name not in texts})
