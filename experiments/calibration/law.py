"""Does the law's interval for a larger, longer run hold as often as it says? Planted studies through curves, optima and
law, stratum by stratum.

    python experiments/calibration/law.py [--studies 31]

writes results/calibration/law.json and law.md: so many studies of every surface, number of seeds and scatter
(tests/analysis/planted_law.py says what they are).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy: matrices here are small

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests")]

import pandas as pd  # noqa: E402
from analysis.planted_law import studies  # noqa: E402

RESULTS = ROOT / "results" / "calibration"
STRATA = ("kind", "seeds", "scatter")


def summarized(found: pd.DataFrame, by: str) -> pd.DataFrame:
    """Of every stratum: studies, cells, coverage in %, mean error and half-width in octaves, supported in %."""
    return (
        found.assign(error=found["error"].abs())
        .groupby(by, sort=False)
        .agg(
            studies=("held", "size"),
            cells=("cells", "mean"),
            held=("held", lambda each: 100 * each.mean()),
            error=("error", "mean"),
            half=("half", "mean"),
            supported=("supported", lambda each: 100 * each.mean()),
        )
        .round({"cells": 1, "held": 1, "error": 2, "half": 2, "supported": 0})
    )


def markdown(found: pd.DataFrame) -> str:
    """The tables as text."""
    lines = [
        "# The interval of the law over size, tokens and batch",
        "",
        f"{len(found)} planted studies (tests/analysis/planted_law.py), targets 0.5 to 2.5 octaves larger and up to "
        "2.5 longer than all cells. `held`: of nominal 95% intervals, %; `error` and `half` in octaves; `supported`: "
        "intervals of at most an octave to each side, %.",
        "",
        f"All: {100 * found['held'].mean():.1f}% held.",
    ]
    for by in STRATA:
        table = summarized(found, by)
        lines += ["", "| " + " | ".join([by, *table.columns]) + " |", "|" + "---|" * (len(table.columns) + 1)]
        lines += [
            "| " + " | ".join([str(name), *(f"{each:g}" for each in row)]) + " |"
            for name, row in zip(table.index, table.to_numpy().tolist(), strict=True)
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=31, help="of every stratum")
    each = parser.parse_args().studies
    found = studies(each).assign(scatter=lambda table: table["family"].map({True: "family", False: "collection"}))
    tables = {by: summarized(found, by).reset_index().to_dict("records") for by in STRATA}
    held = round(100 * float(found["held"].mean()), 1)
    (RESULTS / "law.json").write_text(json.dumps({"studies": len(found), "held": held, **tables}, indent=1) + "\n")
    (RESULTS / "law.md").write_text(markdown(found))
    print(markdown(found))


if __name__ == "__main__":
    main()
