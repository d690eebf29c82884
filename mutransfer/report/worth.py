"""What the figures of losses at the optimum draw, as data: what size is worth, and what the proxy's rate costs. A row
is one mark, `log2_size` in octaves, losses and regrets in the unit of the loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mutransfer.analysis import Analysis, Curve, Optimum, Trials
from mutransfer.analysis.confirmation import Confirmation
from mutransfer.report.marks import measured, placed
from mutransfer.report.views import View, rate_views


def regret_data(
    analysis: Analysis, trials: Trials, confirmations: Sequence[Confirmation] = (), view: View | None = None
) -> pd.DataFrame:
    """Nats lost at each size by training with the optimal rate of the proxy, the smallest scale.

    `known` says from what: proxy (0 by definition), estimated (the analysis' own, with an interval), fitted (from the
    fitted curve), interpolated (between measured means, where no curve was fitted), at_least (a lower bound: the rate
    is beyond what was measured, or this size's own optimum not bracketed), diverged (a trial at or next to that rate
    diverged) or unknown (that rate was not measured, or the proxy's optimum is not bracketed); the last two have no
    number. Confirmations, at the end, are confirmed (measured, with an interval where seeds were repeated),
    confirmed_at_least (a lower bound), or without a number confirmed_diverged (the proxy's rate did) or
    confirmed_unknown (both others did).
    """
    view = view or rate_views(analysis)[analysis.dimensions[0]]
    rows: list[dict[str, Any]] = []
    for result in analysis.arms:
        proxy, target = result.optima[0], result.transfer_regret
        for optimum, curve in measured(analysis, result, trials):
            row = placed(view, result.arm, optimum.scale)
            if not proxy.interior:
                row |= {"known": "unknown"}
            elif optimum is proxy:
                row |= {"known": "proxy", "nats": 0.0}
            elif target is None or target.target != optimum.scale:
                nats, known = _regret(optimum, proxy.log2_lr, curve)
                row |= {"known": known, "nats": nats}
            elif target.nats is None:
                row |= {"known": "at_least", "nats": target.ci_low}
            else:
                row |= {"known": "estimated", "nats": target.nats, "ci_low": target.ci_low, "ci_high": target.ci_high}
            rows.append(row)
    for each in confirmations:
        rows.append(placed(view, each.arm, each.scale) | _confirmed(each))
    return _table(rows, ["arm", "panel", "line", "log2_size", "known", "nats", "ci_low", "ci_high"])


def wider_is_better_data(analysis: Analysis, trials: Trials, view: View | None = None) -> pd.DataFrame:
    """Loss at the optimum against size. `known` is fitted (an interior optimum), measured (the best mean, where no
    optimum is bracketed) or unknown (nothing converged; no loss)."""
    view = view or rate_views(analysis)[analysis.dimensions[0]]
    rows: list[dict[str, Any]] = []
    for result in analysis.arms:
        for optimum, curve in measured(analysis, result, trials):
            row = placed(view, result.arm, optimum.scale)
            best = float(curve.means.min())
            if optimum.interior:
                row |= {"known": "fitted", "loss": optimum.loss}
            elif math.isfinite(best):
                row |= {"known": "measured", "loss": best}
            else:
                row |= {"known": "unknown"}
            rows.append(row)
    return _table(rows, ["arm", "panel", "line", "log2_size", "known", "loss"])


def _regret(optimum: Optimum, log2_lr: float, curve: Curve) -> tuple[float, str]:
    """The regret of a rate at one size, and how it is known."""
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


def _confirmed(found: Confirmation) -> dict[str, Any]:
    """How the regret was measured, and what it was."""
    trained = [loss for loss in found.losses if loss is not None]
    own = found.losses[1]
    if own is None or len(trained) == 1:
        return {"known": "confirmed_diverged" if own is None else "confirmed_unknown"}
    known, nats = "confirmed_at_least" if found.at_least else "confirmed", own - min(trained)
    if found.measured is None:
        return {"known": known, "nats": nats}
    high = None if found.at_least else found.measured.ci_high
    return {"known": known, "nats": nats, "ci_low": found.measured.ci_low, "ci_high": high}


def _mean_at(log2_lr: float, curve: Curve) -> float:
    """The mean loss at a rate between measured ones; inf at or next to one that diverged, NaN beyond them."""
    return float(np.interp(log2_lr, curve.log2_lr, curve.means, left=math.nan, right=math.nan))


def _table(rows: list[dict[str, Any]], columns: list[str]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=columns)
    return table.astype({name: "float64" for name in columns if name not in ("arm", "panel", "line", "known")})
