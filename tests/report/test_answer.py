"""The answer is the recommended learning rate, where it holds, and a command that can be run."""

from __future__ import annotations

import shlex

import pytest

from mutransfer.analysis import analyze, recommend
from mutransfer.report.answer import answer
from mutransfer.trials.table import from_frame
from report.test_dimensions import table


def moved(frame, slope):
    """The table with the best learning rate moved by so many octaves per doubling of width, instead of -0.5."""
    import numpy as np

    return frame.assign(lr=frame["lr"] * 2 ** ((slope + 0.5) * np.log2(frame["width"] / 64)))


def test_what_transfers_is_said_of_every_size_up_to_the_largest() -> None:
    analysis = analyze(from_frame(moved(table("width", arms=("mup",)), 0.0)))
    found = answer(analysis, "results/a b")
    assert found is not None
    at = recommend(analysis, "mup", analysis.arms[0].optima[-1].scale)
    assert analysis.arms[0].verdict == "transfers"
    assert found.text == (
        f"Use lr {at.lr:#.3g} ({at.ci_low:#.3g} to {at.ci_high:#.3g}) at any width up to 256 under mup."
    )
    assert at.ci_low < 2**-7 < at.ci_high
    assert shlex.split(found.command) == ["mutransfer", "recommend", "results/a b", "--width", "512"]


def test_what_moves_is_said_of_the_largest_alone() -> None:
    analysis = analyze(from_frame(table("width", "batch_size", arms=("sp", "other"))))
    found = answer(analysis, "here")
    assert found is not None
    assert "at width 256, batch 32 under other." in found.text
    assert shlex.split(found.command)[3:] == ["--width", "512", "--batch-size", "32", "--arm", "other"]


@pytest.mark.parametrize("keep", [2, 1])
def test_without_an_optimum_there_is_no_answer(keep: int) -> None:
    frame = table("width")
    few = frame[frame["lr"].rank(method="dense") <= keep]
    assert answer(analyze(from_frame(few)), "here") is None
