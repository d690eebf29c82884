"""The figure of range tests draws what was measured, what is suggested and what the study found."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest

from mutransfer.analysis import Optimum
from mutransfer.config.scale import Scale
from mutransfer.report.files import png
from mutransfer.toolbox.range_test.figure import RangePanel, range_test_data, range_tests
from mutransfer.toolbox.range_test.rates import RATE_RULES, Ramp, RangeTest, suggest_lrs

LRS = Ramp().lrs
FALLING = 5 - 0.02 * np.arange(100.0)
UP = np.where(np.arange(100) < 80, FALLING, FALLING[79] + 0.9 * (np.arange(100) - 79))
STOPPED = np.where(np.arange(100) < 86, UP + 0.1, np.nan)
TEST = RangeTest(LRS, np.array([UP, STOPPED]))
BEST = Optimum(Scale(64), -8.0, -8.5, -7.5, 2.3, "interior")
PANEL = RangePanel("mup, width $64$", TEST, BEST)


def marks(data, mark):
    return data[data["mark"] == mark]


def test_every_loss_is_drawn_and_the_mean_where_all_seeds_have_one():
    data = range_test_data(PANEL)
    for seed, losses in enumerate(TEST.losses):
        drawn = marks(data, "seed")[marks(data, "seed")["seed"] == seed]
        known = np.isfinite(losses)
        assert drawn["loss"].tolist() == losses[known].tolist()
        assert drawn["log2_lr"].tolist() == np.log2(LRS[known]).tolist()
    smoothed = marks(data, "smoothed")
    assert len(smoothed) == 86
    assert smoothed["loss"].to_numpy() == pytest.approx(TEST.smoothed[:, :86].mean(axis=0))
    assert (smoothed["high"] - smoothed["low"]).to_numpy() == pytest.approx(np.full(86, 0.1))


def test_suggestions_the_advised_rates_and_the_optimum_are_as_they_were_found():
    data = range_test_data(PANEL)
    found = suggest_lrs(TEST)
    rows = marks(data, "suggestion").set_index("name")
    assert list(rows.index) == list(RATE_RULES)
    for name, suggestion in found.items():
        assert suggestion is not None
        ends = [suggestion.log2_lr, suggestion.low, suggestion.high]
        assert rows.loc[name, ["log2_lr", "low", "high"]].tolist() == ends
    (advised,) = marks(data, "advised").to_dict("records")
    edge = rows.loc["edge", "log2_lr"]
    assert (advised["low"], advised["high"]) == (pytest.approx(edge + math.log2(0.3)), edge)
    (best,) = marks(data, "optimum").to_dict("records")
    assert (best["log2_lr"], best["low"], best["high"], best["status"]) == (-8.0, -8.5, -7.5, "interior")


def test_what_is_not_suggested_has_no_rate_and_no_study_no_optimum():
    data = range_test_data(RangePanel("alone", RangeTest(LRS, FALLING[None])))
    edge = marks(data, "suggestion").set_index("name").loc["edge"]
    assert math.isnan(edge["log2_lr"])
    assert marks(data, "advised").empty
    assert marks(data, "optimum").empty


CENSORED = Optimum(Scale(64), -11.0, None, None, 2.4, "censored_low")


@pytest.mark.parametrize("panels", [1, 2, 4, 5])
def test_panels_stand_in_rows_and_all_are_drawn_without_a_warning(panels):
    figure = range_tests([PANEL, RangePanel("b", TEST, CENSORED), *[RangePanel("c", TEST)] * 3][:panels], "nats", 4)
    assert png(figure).startswith(b"\x89PNG")
    assert sum(axes.get_visible() for axes in figure.axes) == 2 * panels
    assert plt.get_fignums() == []
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert r"mup, width \$64\$" in titles


def test_a_first_loss_that_is_not_finite_leaves_an_empty_panel():
    nothing = RangePanel("nothing", RangeTest(LRS, np.full((2, 100), np.nan)))
    assert png(range_tests([PANEL, nothing], "nats")).startswith(b"\x89PNG")
