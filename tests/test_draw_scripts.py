"""What the figures of the docs are drawn from."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mutransfer import read_result

ROOT = Path(__file__).parent.parent
TRUST = runpy.run_path(str(ROOT / "experiments" / "draw" / "trust_ratios.py"))
SLOPES = runpy.run_path(str(ROOT / "experiments" / "draw" / "slopes.py"))
SCHEDULES = runpy.run_path(str(ROOT / "experiments" / "draw" / "schedules.py"))


def test_the_trust_ratio_of_adams_first_step_is_the_root_mean_square_of_the_weight() -> None:
    """All entries of that step are 1 or -1."""
    weight = torch.nn.Parameter(torch.randn(30, 20, generator=torch.Generator().manual_seed(0)))
    adam = torch.optim.Adam([weight], lr=1e-12)
    weight.square().sum().backward()
    adam.step()
    rms = weight.detach().square().mean().sqrt().item()
    assert TRUST["trust_ratio"](weight, TRUST["adam_step"](weight, adam)) == pytest.approx(rms, rel=1e-5)


def test_multipliers_are_over_those_at_the_narrowest_width_and_mups_are_powers_of_it() -> None:
    rows = [
        {"role": "hidden", "width": width, **dict.fromkeys(TRUST["COLUMNS"], scale * width**-0.5)}
        for width in (32, 64, 256)
        for scale in (1.0, 4.0)  # two matrices
    ]
    table = TRUST["relative"](pd.DataFrame(rows))
    assert table["LAMB"].tolist() == pytest.approx([0.0, -0.5, -1.5])
    assert TRUST["slope"](table["LAMB"]) == pytest.approx(-0.5)
    drawn = pd.read_csv(ROOT / "docs" / "figures" / "trust_ratios.csv").set_index(["role", "width"])
    slopes = drawn.groupby("role")[["adam", "sgd"]].agg(TRUST["slope"])
    assert slopes.loc[["input", "hidden", "output"]].to_numpy() == pytest.approx(np.array([[0, 1], [-1, 0], [-1, -1]]))


def test_every_schedule_is_drawn_and_what_goes_with_it() -> None:
    from mutransfer.theory.schedules import SCHEDULES as NAMES

    shown = {config.name for panel in SCHEDULES["PANELS"].values() for config in panel.values()}
    assert shown == set(NAMES)
    grown = SCHEDULES["curves"]("batch growth")
    product = [rate * part for rate, part in zip(grown["rate"], grown["16 / batch"], strict=True)]
    assert product == pytest.approx(grown["decay"])  # under SGD what the one does not do the other does
    assert min(SCHEDULES["curves"]("one_cycle")["momentum"]) == pytest.approx(0.85)
    assert len(set(SCHEDULES["curves"]("plateau")["rate"][20:])) == 3


def test_every_arms_slope_is_drawn_with_its_interval_the_lowest_loss_on_top() -> None:
    result = read_result(ROOT / "results" / "reference_cpu")
    arms = {arm.arm: arm for arm in result.analysis.arms}
    left, right = SLOPES["slopes"](result).axes
    names = [label.get_text() for label in left.get_yticklabels()]
    losses = right.lines[0].get_xdata().tolist()
    assert losses == sorted(losses, reverse=True) == [arms[name].optima[-1].loss for name in names]
    for row, name in enumerate(names):
        slope, interval, point = arms[name].transfer_slope, left.lines[2 * row], left.lines[2 * row + 1]
        assert slope is not None
        assert interval.get_xdata().tolist() == [slope.ci_low, slope.ci_high]
        assert (point.get_xdata().tolist(), point.get_ydata().tolist()) == ([slope.estimate], [row])
