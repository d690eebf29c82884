"""`python experiments/draw/slopes.py RESULT`: the slope of every arm with its interval, and its best loss, for a result
with too many arms to tell apart in the report's figure.

Saves figures/slopes.svg and .png in the result's folder.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from mutransfer import Result, read_result
from mutransfer.config import DIMENSIONS, LOSSES
from mutransfer.files import write_whole
from mutransfer.report.files import png, svg
from mutransfer.report.style import FAINT, FULL_PAGE, THEME, literal

WIDEST = 1.0
"""Octaves per doubling at which the axis of slopes ends; intervals go on beyond."""


def slopes(result: Result) -> Figure:
    """A row for each arm with a loss at the largest size, the lowest on top; the band is the verdict's tolerance."""
    losses = [(arm.optima[-1].loss, arm) for arm in result.analysis.arms]
    found = sorted(((loss, arm) for loss, arm in losses if loss is not None), key=lambda pair: -pair[0])
    arms = [arm for _, arm in found]
    rows = range(len(arms))
    tolerance, word = result.config.tolerance, DIMENSIONS[result.analysis.dimensions[0]].word
    with matplotlib.rc_context(THEME):
        drawn = Figure(figsize=(FULL_PAGE, 0.3 * len(arms) + 1.2), layout="constrained")
        left, right = drawn.subplots(1, 2, sharey=True, width_ratios=(2, 1))
        left.axvspan(-tolerance, tolerance, color=FAINT, alpha=0.3, lw=0)
        for row, arm in zip(rows, arms, strict=True):
            if arm.transfer_slope is not None:
                left.plot([arm.transfer_slope.ci_low, arm.transfer_slope.ci_high], [row, row], color="C0", lw=1.5)
                left.plot(arm.transfer_slope.estimate, row, "o", color="C0")
        right.plot([loss for loss, _ in found], rows, "o", color="C0")
        left.set_yticks(rows, [literal(arm.arm) for arm in arms])
        left.set(xlabel=f"octaves of best rate per doubling of {word}, 95%", xlim=(-WIDEST, WIDEST))
        right.set_xlabel(
            f"best loss at {arms[0].optima[-1].scale.describe(result.analysis.dimensions)} "
            f"({LOSSES[result.config.loss]})"
        )
    return drawn


if __name__ == "__main__":
    try:
        found = read_result(Path(*sys.argv[1:]))
    except ValueError as error:
        sys.exit(str(error))
    drawn = slopes(found)
    for kind, data in (("svg", svg("slopes", drawn)), ("png", png(drawn))):
        print(write_whole(found.folder / "figures" / f"slopes.{kind}", data))
