"""How long until the default study has its verdict: by `bracket`, by a grid, and by Ray Tune with OptunaSearch.

What each finds is held against the optima of eight seeds at widths 32, 64, 128 (results/noise).
"""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from mutransfer import Analysis, Corpus, SweepConfig, read_result, run_sweep

TRUTH = Path("results/noise")
GRID = tuple(2.0**e for e in range(-12, -2))
"""Ten rates; with two seeds, the grid that a search is measured against."""


def bench_verdict(corpus: Corpus, slots: int) -> dict[str, Any]:
    """Seconds, trials and the error of log2 lr* of each way, one after the other."""
    config = SweepConfig()
    truth = read_result(TRUTH).analysis
    found: dict[str, Any] = {}
    analyses: dict[str, Analysis] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, sweep in (
            ("bracket", replace(config, search="bracket")),
            ("grid", replace(config, search="grid", lrs=GRID)),
        ):
            begin = time.perf_counter()
            outcome = run_sweep(replace(sweep, out=f"{folder}/{name}"), command="", load=lambda spec: corpus)
            analyses[name] = read_result(outcome.folder).analysis
            seconds = time.perf_counter() - begin
            rates = {arm.arm: {o.scale.width: o.log2_lr for o in arm.optima} for arm in analyses[name].arms}
            found[name] = {
                "seconds": seconds,
                "trials": outcome.ran,
                "busy": outcome.busy,
                "error": error(rates, truth),
                "verdicts": {arm.arm: arm.verdict for arm in analyses[name].arms},
            }
        found["optima_agree"] = agree(analyses["bracket"], analyses["grid"])
        found["tune"] = bench_tune(corpus, config, truth, slots, folder)
    found["bracket_over_grid"] = found["bracket"]["seconds"] / found["grid"]["seconds"]
    found["tune_over_bracket"] = found["tune"]["seconds"] / found["bracket"]["seconds"]
    return found


def bench_tune(corpus: Corpus, config: SweepConfig, truth: Analysis, slots: int, folder: str) -> dict[str, Any]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from tune import TRIALS, search_all

    seconds, rates = search_all(corpus, config, slots, folder)
    trials = TRIALS * sum(map(len, rates.values()))
    return {"seconds": seconds, "trials": trials, "error": error(rates, truth), "log2_lr": rates}


def error(rates: dict[str, dict[int, float]], truth: Analysis) -> float:
    """Root mean square over arms and widths of log2 lr* less that of eight seeds, in octaves."""
    true = {(arm.arm, o.scale.width): o.log2_lr for arm in truth.arms for o in arm.optima}
    off = [rates[arm][size] - log2_lr for (arm, size), log2_lr in true.items()]
    return float((sum(each**2 for each in off) / len(off)) ** 0.5)


def agree(one: Analysis, other: Analysis) -> dict[str, bool]:
    """By arm, whether at every width the two intervals of the optimum share a rate."""
    found = {}
    for arm in one.arms:
        pairs = zip(arm.optima, other.arm(arm.arm).optima, strict=True)
        known = [(a.ci_low, a.ci_high, b.ci_low, b.ci_high) for a, b in pairs]
        found[arm.arm] = all(None not in ends and ends[0] <= ends[3] and ends[2] <= ends[1] for ends in known)
    return found
