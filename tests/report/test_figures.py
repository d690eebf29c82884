"""Every figure draws in every odd case, and shows what its data hold."""

from __future__ import annotations

import io
from dataclasses import replace

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import PathCollection

from mutransfer.report.figures import draw, loss_curves, optimal_lr, regret
from mutransfer.report.files import png
from mutransfer.report.style import RING, STATUS_MARKS
from report.planted import AT_END, confirmation


def test_every_figure_draws_in_every_case_without_a_warning_and_without_pyplot(case):
    figures = draw(*case)
    assert list(figures) == ["loss_curves", "optimal_lr", "regret", "wider_is_better"]
    for figure in figures.values():
        assert png(figure).startswith(b"\x89PNG")
        assert 3.3 <= figure.get_figwidth() <= 7
    assert plt.get_fignums() == []


def panels(figure):
    return [axes for axes in figure.axes if axes.get_visible()]


def test_a_panel_per_arm_titled_as_it_stands(five_arms):
    figure = loss_curves(*five_arms)
    png(figure)
    assert [axes.get_title(loc="left").replace(r"\$", "$") for axes in panels(figure)] == [
        result.arm for result in five_arms[0].arms
    ]


def crosses(axes):
    """Positions of the x markers: paths of two strokes (move, line, move, line)."""
    scattered = [c for c in axes.collections if isinstance(c, PathCollection)]
    found = [c for c in scattered if list(c.get_paths()[0].codes) == [1, 2, 1, 2]]
    return np.concatenate([c.get_offsets() for c in found]) if found else np.empty((0, 2))


def test_diverged_trials_stand_in_the_band_on_top_one_cross_each(diverged):
    analysis, trials = diverged
    sp, mup = panels(loss_curves(analysis, trials))
    failed = trials.frame[trials.frame["diverged"]]
    drawn = crosses(sp)
    assert len(drawn) == len(failed) == 6
    assert np.abs(np.sort(drawn[:, 0]) - np.sort(failed["log2_lr"])).max() < 0.3  # seeds stand aside
    assert len(np.unique(drawn.round(6), axis=0)) == 6
    top = sp.get_ylim()[1]
    assert (drawn[:, 1] < top).all()
    points = [c.get_offsets() for c in sp.collections if isinstance(c, PathCollection)]
    losses = np.concatenate([offsets[~np.isin(offsets[:, 1], drawn[:, 1])] for offsets in points])
    assert (losses[:, 1] < drawn[:, 1].min()).all()
    assert len(crosses(mup)) == 0


def test_trials_above_the_panel_stand_on_its_edge(two_arms):
    analysis, trials = two_arms
    trials.frame.loc[trials.frame["log2_lr"] == -10, ["loss", "final_loss"]] = 5.5
    for axes in panels(loss_curves(analysis, trials)):
        points = np.concatenate([c.get_offsets() for c in axes.collections if isinstance(c, PathCollection)])
        assert len(points) == len(trials.frame) / 2
        at_edge = points[points[:, 0] == -10]
        np.testing.assert_allclose(at_edge[:, 1], axes.get_ylim()[1])


def test_the_rates_axis_says_powers_of_two_and_the_width_axis_widths(two_arms):
    figure = loss_curves(*two_arms)
    png(figure)
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert "$2^{-7}$" in labels
    figure = optimal_lr(two_arms[0])
    png(figure)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["32", "64", "128", "256"]


def test_a_dollar_sign_is_no_formula(five_arms):
    for figure in draw(*five_arms).values():
        file = io.StringIO()
        with matplotlib.rc_context({"svg.fonttype": "none"}):
            figure.savefig(file, format="svg")
        assert ">_$hidden$ 100%" in file.getvalue()


def test_a_slope_of_zero_does_not_look_steep(two_arms):
    still = replace(two_arms[0], arms=two_arms[0].arms[1:])
    low, high = optimal_lr(still).axes[0].get_ylim()
    assert high - low >= 4


def test_each_status_is_marked_apart_and_a_ring_is_about_the_size_that_decides(special):
    analysis, trials = special
    for figure, side in ((optimal_lr(analysis), "upwards"), (loss_curves(analysis, trials), "sideways")):
        drawn = [line for axes in figure.axes for line in axes.lines if line.get_markersize() == 4.8]
        opened = [line.get_marker() for line in drawn if line.get_markerfacecolor() == "white"]
        assert opened == [getattr(STATUS_MARKS[o.status], side) for o in analysis.arms[0].optima if not o.interior]
        assert len(set(opened) - {"o", "x"}) == 4
        rings = [line for axes in figure.axes for line in axes.lines if line.get_markersize() == RING["ms"]]
        assert sum(len(ring.get_xdata()) for ring in rings) == 1


def test_a_confirmation_is_framed_at_its_own_size(two_arms):
    for changes in ({}, AT_END, {"losses": (2.4, None, 2.5), "measured": None}, {"measured": None}):
        figure = regret(*two_arms, [confirmation(**changes)])
        png(figure)
        frames = [line for line in figure.axes[0].lines if line.get_marker() == "s" and line.get_markersize() == 9]
        assert len(frames) == 1
        assert abs(frames[0].get_xdata()[0] - 9) < 0.5
        assert [label.get_text() for label in figure.axes[0].get_xticklabels()][-1] == "512"
