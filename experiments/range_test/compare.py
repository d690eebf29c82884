"""Does the cheap test predict the study? The range test of every arm and width of a study, beside its optima.

    python experiments/range_test/compare.py [--result results/reference_cpu]

writes results/range_test/: records.csv (every loss), table.md (octaves from the study's optimum to the rate of each
rule) and range_test.png. The ramp is fastai's; 3 seeds; the study's model, batch and data. About 2 CPU minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from mutransfer import Result, load_corpus, read_result
from mutransfer.config import Scale
from mutransfer.files import write_whole
from mutransfer.report.files import png
from mutransfer.toolbox.range_test.figure import RangePanel, range_tests
from mutransfer.toolbox.range_test.measure import range_test_trial
from mutransfer.toolbox.range_test.rates import RATE_RULES, Ramp, RangeTest, suggest_lrs

ROOT = Path(__file__).resolve().parents[2]
SEEDS = 3
COLUMNS = ["valley", "steep", "minimum", "slide", "0.3 edge", "edge"]

Tests = dict[tuple[str, int], RangeTest]
"""By arm and width."""


def main() -> None:
    parser = argparse.ArgumentParser(description="The range test against a study.")
    parser.add_argument("--result", type=Path, default=ROOT / "results" / "reference_cpu")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "range_test")
    asked = parser.parse_args()
    result = read_result(asked.result)
    asked.out.mkdir(parents=True, exist_ok=True)
    to_records(measure(result)).to_csv(asked.out / "records.csv", index=False)
    tests = read_tests(asked.out / "records.csv")  # what is written, and not what was in memory, is what counts
    text = to_text(tests, result)
    write_whole(asked.out / "table.md", text.encode())
    write_whole(asked.out / "range_test.png", png(range_tests(panels(tests, result), "nats per token", columns=4)))
    print(text)


def measure(result: Result) -> Tests:
    """The range test of each arm at each width. Raises ValueError where the data are not the study's."""
    corpus = load_corpus(result.config.data)
    if corpus.fingerprint != result.records[0].data_fingerprint:
        raise ValueError(f"found {result.config.data} of another fingerprint; wanted the data of {result.folder}")
    tests = {}
    for arm in result.config.arms:
        for width in result.config.widths:
            trial = result.config.trial(arm, Scale(width), 1.0, 0)
            tests[arm.name, width] = range_test_trial(trial, corpus, "cpu", ramp=Ramp(), seeds=SEEDS)
    return tests


def to_records(tests: Tests) -> pd.DataFrame:
    """A row for each loss."""
    rows = [
        {"arm": arm, "width": width, "seed": seed, "step": step, "lr": lr, "loss": loss}
        for (arm, width), test in tests.items()
        for seed, losses in enumerate(test.losses)
        for step, (lr, loss) in enumerate(zip(test.lrs, losses, strict=True))
        if np.isfinite(loss)
    ]
    return pd.DataFrame(rows)


def read_tests(path: Path) -> Tests:
    """The range tests that `to_records` wrote."""
    tests, lrs = {}, Ramp().lrs
    for (arm, width), rows in pd.read_csv(path, converters={"loss": float}).groupby(["arm", "width"], sort=False):
        losses = np.full((SEEDS, len(lrs)), np.nan)
        losses[rows["seed"], rows["step"]] = rows["loss"]
        tests[str(arm), int(width)] = RangeTest(lrs, losses)
    return tests


def panels(tests: Tests, result: Result) -> list[RangePanel]:
    optima = {(arm.arm, each.scale.width): each for arm in result.analysis.arms for each in arm.optima}
    return [RangePanel(f"{arm}, width {width}", test, optima[arm, width]) for (arm, width), test in tests.items()]


def distances(tests: Tests, result: Result) -> pd.DataFrame:
    """A row for each arm and width: the study's optimum as log2, its interval, and the octaves from it to the rate of
    each rule."""
    rows = []
    for (arm, width), test in tests.items():
        (best,) = [each for each in result.analysis.arm(arm).optima if each.scale.width == width]
        found = {name: np.nan if each is None else each.log2_lr for name, each in suggest_lrs(test).items()}
        found["0.3 edge"] = found["edge"] + np.log2(0.3)
        rows.append(
            {"arm": arm, "width": width, "log2_lr": best.log2_lr, "ci_low": best.ci_low, "ci_high": best.ci_high}
            | {name: found[name] - best.log2_lr for name in COLUMNS}
        )
    return pd.DataFrame(rows)


def slope(widths: pd.Series[int], log2_lr: pd.Series[float]) -> float:
    """Octaves of rate per doubling of width."""
    return float(np.polyfit(np.log2(widths), log2_lr, 1)[0])


def signed(number: float) -> str:
    """Two decimals with a sign; what rounds to 0 is +0.00, whichever side of it rounding errors leave it on."""
    return f"{round(number, 2) + 0.0:+.2f}"


def to_text(tests: Tests, result: Result) -> str:
    """The table, and how each rule does over all of it."""
    return "\n".join([*_lines(tests, result), ""])


def _lines(tests: Tests, result: Result) -> Iterator[str]:
    found, steps = distances(tests, result), sum(np.isfinite(test.losses).sum() for test in tests.values())
    trained = sum(record.steps if record.diverged_step is None else record.diverged_step for record in result.records)
    yield "# The range test against the study's optimum"
    yield ""
    yield f"`python experiments/range_test/compare.py`: {SEEDS} seeds on fastai's ramp (100 steps, 1e-7 to 10), with"
    yield f"the models, batch and data of `{result.folder.name}`: {steps:,} steps, where the study took {trained:,}."
    yield "Octaves from the study's optimum to the rate of each rule (the median over seeds): +1 is twice the optimum."
    yield ""
    yield "| arm | width | optimum, log2 (95%) | " + " | ".join(COLUMNS) + " |"
    yield "|---|---|---|" + "---|" * len(COLUMNS)
    for row in found.to_dict("records"):
        best = f"{row['log2_lr']:.2f} [{row['ci_low']:.2f}, {row['ci_high']:.2f}]"
        cells = " | ".join(signed(row[name]) for name in COLUMNS)
        yield f"| {row['arm']} | {row['width']} | {best} | {cells} |".replace("-", "−")
    yield ""
    yield "| over all of it | " + " | ".join(COLUMNS) + " |"
    yield "|---|" + "---|" * len(COLUMNS)
    for words, take in {
        "mean": lambda away: signed(away.mean()),
        "standard deviation": lambda away: f"{away.std():.2f}",
        "largest, either way": lambda away: f"{away.abs().max():.2f}",
    }.items():
        yield f"| {words} | {' | '.join(take(found[name]) for name in COLUMNS)} |".replace("-", "−")
    yield ""
    yield "| slope (least squares), octaves per doubling of width | study | " + " | ".join(RATE_RULES) + " |"
    yield "|---|---|" + "---|" * len(RATE_RULES)
    for arm, rows in found.groupby("arm", sort=False):
        slopes = [slope(rows["width"], rows["log2_lr"] + (rows[name] if name else 0)) for name in ("", *RATE_RULES)]
        yield f"| {arm} | {' | '.join(map(signed, slopes))} |".replace("-", "−")


if __name__ == "__main__":
    main()
