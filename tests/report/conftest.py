"""Planted results: parabolas of known optimum, curvature and floor, with the analysis that would find them exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest

from mutransfer.analysis import Analysis, ArmResult, Horizon, Interval, Optimum, Regret

CURVATURE = 0.05
RATES = tuple(range(-10, -3))
HORIZON = Horizon(steps=150, tokens=153600, batch_size=16, context=64, data="stdlib")
SAME = {
    "base_width": 32,
    "depth": 2,
    "optimizer": "adamw",
    "weight_decay": 0.0,
    "schedule": "linear",
    "warmup": 15,
    "steps": 150,
    "batch_size": 16,
    "context": 64,
    "dtype": "float32",
    "data_fingerprint": "3f9a1c77",
    "setting": '{"model.activation": "gelu", "optimizer.beta2": 0.95}',
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
    """An analysis and a frame with an arm per slope, each with its optimum at 2^-6 at the narrowest width."""
    rows, arms = [], []
    for arm, slope in slopes.items():
        optima = []
        for width in widths:
            best = -6.0 + slope * math.log2(width / widths[0])
            optima.append(PlantedOptimum(width, best, best - 0.2, best + 0.3, floor(width), "interior"))
            for rate in rates:
                for seed in range(seeds):
                    loss = floor(width) + CURVATURE * (rate - best) ** 2 + 0.01 * (seed - (seeds - 1) / 2)
                    rows.append(trial(arm, width, rate, seed, loss))
        some = len(widths) > 1
        interval = Interval(slope, slope - 0.1, slope + 0.1) if some else None
        moved = slope * math.log2(widths[-1] / widths[0])
        nats = CURVATURE * moved**2
        regret = Regret(widths[0], widths[-1], nats, nats / 2, nats * 2) if some else None
        verdict = "inconclusive" if not some else "transfers" if abs(slope) < 0.1 else "does_not_transfer"
        reason, sentence = f"slope {slope}", f"{arm} was planted."
        arms.append(ArmResult(arm, arm, HORIZON, tuple(optima), interval, regret, verdict, reason, sentence))
    names = list(slopes)
    differences = {f"{names[0]}-{names[1]}": Interval(-1.0, -1.25, -0.75)} if len(names) > 1 else {}
    return Analysis("planted", "width", 0.25, "final_loss", tuple(arms), differences), pd.DataFrame(rows)


def trial(arm, width, log2_lr, seed, loss):
    return SAME | {
        "arm": arm,
        "parametrization": arm,
        "width": width,
        "lr": 2.0**log2_lr,
        "log2_lr": float(log2_lr),
        "seed": seed,
        "final_loss": loss,
        "diverged": math.isnan(loss),
        "diverged_step": 17.0 + seed if math.isnan(loss) else None,
    }


def with_optimum(analysis, arm, width, **changes):
    """The analysis with one optimum changed."""
    return replace(
        analysis,
        arms=tuple(
            replace(result, optima=tuple(replace(o, **changes) if o.width == width else o for o in result.optima))
            if result.arm == arm
            else result
            for result in analysis.arms
        ),
    )


def with_diverged(frame, arm, width, above):
    """The frame with every trial of one curve above a rate diverged."""
    frame = frame.copy()
    failed = (frame["arm"] == arm) & (frame["width"] == width) & (frame["log2_lr"] > above)
    frame.loc[failed, "diverged"] = True
    frame.loc[failed, "final_loss"] = math.nan
    frame.loc[failed, "diverged_step"] = 17.0
    return frame


def diverged_case():
    analysis, frame = planted({"sp": -1.0, "mup": 0.0})
    return analysis, with_diverged(frame, "sp", 256, above=-7)


def censored_case():
    analysis, frame = planted({"sp": -1.0, "mup": 0.0}, rates=range(-8, -5))
    analysis = with_optimum(analysis, "sp", 32, log2_lr=-6.0, ci_low=None, ci_high=None, status="censored_high")
    return with_optimum(analysis, "sp", 256, log2_lr=-8.0, ci_low=None, ci_high=None, status="censored_low"), frame


def nothing_converged_case():
    analysis, frame = planted({"sp": -1.0})
    lost = {"log2_lr": -10.0, "ci_low": None, "ci_high": None, "loss": None, "status": "too_few"}
    for width in (32, 64, 128, 256):
        analysis, frame = with_optimum(analysis, "sp", width, **lost), with_diverged(frame, "sp", width, above=-99)
    arms = tuple(replace(result, transfer_slope=None, transfer_regret=None) for result in analysis.arms)
    return replace(analysis, arms=arms), frame


def flat_case():
    analysis, frame = planted({"mup": 0.0}, widths=(32, 64))
    return with_optimum(analysis, "mup", 64, ci_low=None, ci_high=None, status="flat"), frame


FIVE = {"sp": -1.0, "mup": 0.0, "_$hidden$ 100%": 0.1, "a & b \\ {c}": -0.5, "<script>alert(1)</script>": 0.2}

CASES = {
    "two arms": lambda: planted({"sp": -1.0, "mup": 0.0}),
    "diverged": diverged_case,
    "censored": censored_case,
    "flat": flat_case,
    "nothing converged": nothing_converged_case,
    "one width": lambda: planted({"sp": 0.0, "mup": 0.0}, widths=(64,)),
    "one arm": lambda: planted({"mup": 0.0}),
    "five arms": lambda: planted(FIVE),
    "four arms": lambda: planted(dict(list(FIVE.items())[:4])),
    "one seed": lambda: planted({"sp": -1.0, "mup": 0.0}, seeds=1),
    "one rate": lambda: planted({"mup": 0.0}, rates=(-6,)),
    "many widths": lambda: planted({"mup": 0.0}, widths=tuple(2**k for k in range(4, 14))),
}


@pytest.fixture(params=CASES)
def case(request):
    """Every odd case, as (analysis, frame)."""
    return CASES[request.param]()


@pytest.fixture
def two_arms():
    return CASES["two arms"]()


@pytest.fixture
def diverged():
    return CASES["diverged"]()


@pytest.fixture
def censored():
    return CASES["censored"]()


@pytest.fixture
def five_arms():
    return CASES["five arms"]()


@pytest.fixture
def nothing_converged():
    return CASES["nothing converged"]()
