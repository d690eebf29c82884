"""Planted results: parabolas of known optimum, curvature and floor, with the analysis that would find them exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from mutransfer.analysis import (
    Analysis,
    ArmResult,
    Band,
    Horizon,
    Interval,
    Leverage,
    Optimum,
    Regret,
    Sensitivity,
    Settling,
    SizeLaw,
    Unstable,
)
from mutransfer.analysis.confirmation import Confirmation
from mutransfer.config.scale import Scale
from mutransfer.report import FailedTrial, Provenance, Training
from mutransfer.trials.table import Trials

CURVATURE = 0.05
RATES = tuple(range(-10, -3))
HORIZON = Horizon(steps=150, tokens=153600, batch_size=16, context=64, data="stdlib")
SAME = {
    "depth": 2,
    "steps": 150,
    "batch_size": 16,
    "context": 64,
    "setting": '{"model.activation": "gelu", "optimizer.beta2": 0.95}',
    "unit": "nats",
    "tokens_seen": 153600,
    "data": "stdlib",
    "init_loss": 5.5,
    "flops": 1e12,
}


@dataclass(frozen=True)
class PlantedOptimum(Optimum):
    """Its fitted curve is the planted parabola, within 2 octaves of the optimum."""

    def fitted(self, log2_lr):
        away = np.asarray(log2_lr, dtype=float) - self.log2_lr
        if self.loss is None:
            return np.full(away.shape, np.nan)
        return np.where(abs(away) <= 2, self.loss + CURVATURE * away**2, np.nan)


def floor(width: int) -> float:
    return 2.0 + 4.0 / math.log2(width)


def planted(slopes, widths=(32, 64, 128, 256), seeds=2, rates=RATES):
    """An analysis and a table of trials with an arm per slope, each with its optimum at 2^-6 at the narrowest width."""
    rows, arms = [], []
    for arm, slope in slopes.items():
        optima = []
        for width in widths:
            best = -6.0 + slope * math.log2(width / widths[0])
            optima.append(PlantedOptimum(Scale(width), best, best - 0.2, best + 0.3, floor(width), "interior"))
            for rate in rates:
                for seed in range(seeds):
                    loss = floor(width) + CURVATURE * (rate - best) ** 2 + 0.01 * (seed - (seeds - 1) / 2)
                    rows.append(trial(arm, width, rate, seed, loss))
        some = len(widths) > 1
        lines = {"width": Interval(slope, slope - 0.1, slope + 0.1)} if some else {}
        moved = slope * math.log2(widths[-1] / widths[0])
        nats = CURVATURE * moved**2
        regret = Regret(Scale(widths[0]), Scale(widths[-1]), nats, nats / 2, nats * 2) if some else None
        verdict = "inconclusive" if not some else "transfers" if abs(slope) < 0.1 else "does_not_transfer"
        reason, sentence = f"slope {slope}", f"{arm} was planted."
        arms.append(
            ArmResult(arm, arm, "nats", HORIZON, "joint", tuple(optima), lines, regret, verdict, reason, sentence)
        )
    names = list(slopes)
    differences = {f"{names[0]}-{names[1]}": {"width": Interval(-1.0, -1.25, -0.75)}} if len(names) > 1 else {}
    analysis = Analysis("planted", ("width",), 0.25, "final_loss", tuple(arms), differences)
    return analysis, Trials(pd.DataFrame(rows), "planted", "final_loss")


def trial(arm, width, log2_lr, seed, loss):
    return SAME | {
        "arm": arm,
        "parametrization": arm,
        "width": width,
        "lr": 2.0**log2_lr,
        "log2_lr": float(log2_lr),
        "seed": seed,
        "n_params": 12 * width**2,
        "loss": loss,
        "final_loss": loss,
        "mean_loss": loss + 0.5 + 0.01 * log2_lr,
        "val_loss": loss + 0.1,
        "diverged": math.isnan(loss),
        "diverged_step": 17.0 + seed if math.isnan(loss) else None,
    }


def with_optimum(analysis, arm, width, **changes):
    """The analysis with one optimum changed."""
    return replace(
        analysis,
        arms=tuple(
            replace(result, optima=tuple(replace(o, **changes) if o.scale.width == width else o for o in result.optima))
            if result.arm == arm
            else result
            for result in analysis.arms
        ),
    )


def with_diverged(trials, arm, width, above):
    """The table with every trial of one curve above a rate diverged."""
    frame = trials.frame.copy()
    failed = (frame["arm"] == arm) & (frame["width"] == width) & (frame["log2_lr"] > above)
    frame.loc[failed, "diverged"] = True
    frame.loc[failed, "loss"] = math.inf
    frame.loc[failed, ["final_loss", "mean_loss", "val_loss"]] = math.nan
    frame.loc[failed, "diverged_step"] = 17.0
    return replace(trials, frame=frame)


def diverged_case():
    analysis, trials = planted({"sp": -1.0, "mup": 0.0})
    return analysis, with_diverged(trials, "sp", 256, above=-7)


def censored_case():
    analysis, trials = planted({"sp": -1.0, "mup": 0.0}, rates=range(-8, -5))
    analysis = with_optimum(analysis, "sp", 32, log2_lr=-6.0, ci_low=None, ci_high=None, status="censored_high")
    return with_optimum(analysis, "sp", 256, log2_lr=-8.0, ci_low=None, ci_high=None, status="censored_low"), trials


def nothing_converged_case():
    analysis, trials = planted({"sp": -1.0})
    lost = {"log2_lr": -10.0, "ci_low": None, "ci_high": None, "loss": None, "status": "too_few"}
    for width in (32, 64, 128, 256):
        analysis, trials = with_optimum(analysis, "sp", width, **lost), with_diverged(trials, "sp", width, above=-99)
    arms = tuple(replace(result, slopes={}, transfer_regret=None) for result in analysis.arms)
    return replace(analysis, arms=arms), trials


def flat_case():
    analysis, trials = planted({"mup": 0.0}, widths=(32, 64))
    return with_optimum(analysis, "mup", 64, ci_low=None, ci_high=None, status="flat"), trials


def special_case():
    """An arm with an optimum of every status, and one whose slope a single width decides."""
    statuses = ("interior", "censored_low", "censored_high", "flat", "too_few", "interior")
    widths = tuple(32 * 2**i for i in range(len(statuses)))
    analysis, trials = planted({"sp": 0.0, "mup": 0.0}, widths=widths)
    for width, status in zip(widths, statuses, strict=True):
        if status != "interior":
            analysis = with_optimum(analysis, "sp", width, ci_low=None, ci_high=None, status=status)
    mup = replace(analysis.arms[1], leverage=Leverage(Scale(1024), -0.125, 0.7, 0.25))
    return replace(analysis, arms=(analysis.arms[0], mup)), with_diverged(trials, "mup", 64, above=-6)


def told_case():
    """Three arms of which everything is known that a report may tell; the last is inconclusive."""
    analysis, trials = planted({"sp": -1.0, "mup": 0.0, "mup_qk": 0.2})
    arms = []
    for i, result in enumerate(analysis.arms):
        sizes = [optimum.scale.width for optimum in result.optima]
        arms.append(
            replace(
                result,
                sensitivity=tuple(Sensitivity(Scale(s), -10, -4, 0.1 + 0.01 * i + s / 1e4, 0.05, None) for s in sizes),
                unstable=tuple(Unstable(Scale(s), -5.0, -4.0 if s > 32 else None) for s in sizes),
                unstable_slope=Interval(-0.5, -1.0, 0.0 + i),
                bands=tuple(
                    Band(Scale(s), within, -7 - 100 * within, -5 + 100 * within, s == 32, s == 256)
                    for s in sizes
                    for within in (0.0025, 0.01)
                ),
                size_law=SizeLaw(Interval(-0.25 * i, -0.25 * i - 0.125, -0.25 * i + 0.125), (-0.5, -1.0)),
            )
        )
    plans = (
        Settling("4 seeds in place of 2: narrower", seeds=4, trials=64, flops=6.5e13),
        Settling("more rates", lrs=tuple(2.0**at for at in range(-12, -2)), trials=16),
    )
    arms[2] = replace(arms[2], verdict="inconclusive", settling=plans)
    return replace(analysis, arms=tuple(arms)), trials


def confirmation(**changes):
    """mup trained at width 512, where the proxy's rate is the best of the three."""
    found = Confirmation(
        arm="mup",
        scale=Scale(512),
        unit="nats",
        log2_lr=-6.0,
        rates=(-7.0, -6.0, -5.0),
        losses=(2.4125, 2.375, 2.4375),
        seeds=2,
        measured=Interval(0.0, 0.0, 0.0225),
        at_least=False,
        predicted=0.0075,
        predicted_low=0.0015,
        predicted_high=0.0175,
        horizon=HORIZON,
        sentence="mup: it was confirmed.",
    )
    return replace(found, **changes)


AT_END = {"losses": (2.4125, 2.4, 2.3875), "measured": Interval(0.0125, 0.0025, 0.0225), "at_least": True}
"""Changes of a confirmation whose highest rate is the best."""

PROVENANCE = Provenance(
    command="mutransfer sweep --out 'a & b'",
    config={"widths": [32, 64], "model": {"depth": 2, "n_heads": None}, "optimizer": {"eps": 1e-8}},
    n_trials=112,
    training=Training(
        versions={"torch": "2.13.0", "numpy": "2.3.0"},
        data_fingerprint="3f9a1c77",
        wall_s=3723.0,
        flops=3.21e15,
        started="2026-01-02T03:04:05Z",
        devices=("cpu",),
    ),
    folder="results/a & b",
    failures=(FailedTrial("mup", "size 64", 2.0**-5, 1, "RuntimeError: out of memory\nTraceback"),),
    conformance="19 of 24 claims hold, 2 fail, 3 not run",
)

FIVE = {"sp": -1.0, "mup": 0.0, "_$hidden$ 100%": 0.1, "a & b \\ {c}": -0.5, "<script>alert(1)</script>": 0.2}

CASES = {
    "two arms": lambda: planted({"sp": -1.0, "mup": 0.0}),
    "diverged": diverged_case,
    "censored": censored_case,
    "flat": flat_case,
    "every status": special_case,
    "nothing converged": nothing_converged_case,
    "one width": lambda: planted({"sp": 0.0, "mup": 0.0}, widths=(64,)),
    "one arm": lambda: planted({"mup": 0.0}),
    "five arms": lambda: planted(FIVE),
    "four arms": lambda: planted(dict(list(FIVE.items())[:4])),
    "one seed": lambda: planted({"sp": -1.0, "mup": 0.0}, seeds=1),
    "one rate": lambda: planted({"mup": 0.0}, rates=(-6,)),
    "many widths": lambda: planted({"mup": 0.0}, widths=tuple(2**k for k in range(4, 14))),
}
