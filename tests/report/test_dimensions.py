"""Where several dimensions vary, a figure shows one at a time and hides no trial, and the page tells all slopes."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from mutransfer.analysis import analyze
from mutransfer.report import optima_table, transfer_table
from mutransfer.report.figures import draw
from mutransfer.report.marks import loss_curves_data, optimal_lr_data
from mutransfer.report.provenance import Provenance
from mutransfer.report.transfer_page import render
from mutransfer.report.views import MOST_PANELS, loss_view, panels_of, rate_views, shown
from mutransfer.trials.table import from_frame

SLOPES = {"width": -0.5, "batch_size": 0.25, "tokens": -0.125}
SIZES = {"width": (64, 128, 256), "batch_size": (8, 32), "tokens": (1e9, 4e9)}
PROVENANCE = Provenance("mutransfer analyze runs.csv", {}, 84)


def table(*dimensions: str, arms: tuple[str, ...] = ("sp",), most: int | None = None) -> pd.DataFrame:
    """Parabolas whose minimum moves by SLOPES octaves per doubling, seven rates an octave apart, two seeds."""
    rows, noise = [], np.random.default_rng(0)
    sizes = [SIZES[name] if most is None else tuple(2.0**k for k in range(10, 10 + most)) for name in dimensions]
    for arm, scale, seed in itertools.product(arms, itertools.product(*sizes), (0, 1)):
        at = dict(zip(dimensions, scale, strict=True))
        best = -7 + sum(SLOPES[name] * np.log2(size / SIZES[name][0]) for name, size in at.items())
        for octave in range(-3, 4):
            log2_lr = round(best) + octave
            loss = 2.5 + 0.03 * (log2_lr - best) ** 2 + 0.002 * noise.normal()
            rows.append({"arm": arm, **at, "lr": 2.0**log2_lr, "seed": seed, "loss": loss})
    return pd.DataFrame(rows)


@pytest.mark.parametrize("dimensions", [("width", "batch_size"), ("width", "batch_size", "tokens")])
def test_every_trial_stands_in_a_panel_of_its_scale(dimensions: tuple[str, ...]) -> None:
    trials = from_frame(table(*dimensions, arms=("sp", "mup")))
    analysis = analyze(trials)
    data, view = loss_curves_data(analysis, trials), loss_view(analysis)
    drawn = data[data["mark"] == "trial"]
    assert len(drawn) == len(trials.frame)
    assert set(data["panel"]) == set(panels_of(analysis, view))
    assert view.colours == "width"  # the most sizes, so the fewest panels
    assert "sp, batch 8" + ", tokens 1B" * ("tokens" in dimensions) in set(drawn["panel"])
    for (_, size), group in drawn.groupby(["panel", "size"]):
        assert len(group) == 14
        assert group["where"].str.contains(f"width {size:.0f}").all()


@pytest.mark.parametrize("dimensions", [("width", "batch_size"), ("width", "batch_size", "tokens")])
def test_each_dimension_has_a_figure_whose_lines_have_its_partial_slope(dimensions: tuple[str, ...]) -> None:
    trials = from_frame(table(*dimensions))
    analysis = analyze(trials)
    (arm,) = analysis.arms
    assert set(arm.slopes) == set(dimensions)
    for along, view in rate_views(analysis).items():
        data = optimal_lr_data(analysis, view)
        assert (data["mark"] == "optimum").sum() == len(arm.optima)
        lines = data[data["mark"] == "line"]
        for _, ends in lines.groupby(["panel", "line"]):
            rise = ends["log2_lr"].iloc[-1] - ends["log2_lr"].iloc[0]
            run = ends["log2_size"].iloc[-1] - ends["log2_size"].iloc[0]
            assert rise / run == pytest.approx(arm.slopes[along].estimate)
        optima = data[data["mark"] == "optimum"].set_index(["panel", "line", "log2_size"])["log2_lr"]
        fitted = lines.set_index(["panel", "line", "log2_size"])["log2_lr"]
        assert (fitted - optima.reindex(fitted.index)).abs().max() < 0.2
    names = {"loss_curves", *(f"optimal_lr_{name}" for name in dimensions), "regret", "wider_is_better"}
    assert set(draw(analysis, trials)) == names


def test_tables_have_a_column_for_each_dimension_and_a_row_for_each_slope() -> None:
    analysis = analyze(from_frame(table("width", "batch_size", arms=("sp", "mup"))))
    optima = optima_table(analysis)
    assert list(optima.columns[:3]) == ["arm", "width", "batch_size"]
    assert len(optima) == 12
    slopes = transfer_table(analysis)
    assert slopes[["arm", "along"]].to_numpy().tolist() == [
        [arm, along] for arm in ("sp", "mup") for along in ("width", "batch_size")
    ]
    assert slopes["slope"].to_numpy() == pytest.approx([-0.5, 0.25] * 2, abs=0.05)
    assert slopes["proxy"][0] == "width 64, batch 8"
    assert slopes["regret"].notna().tolist() == [True, False] * 2


def test_of_many_panels_some_are_drawn_and_the_page_says_so() -> None:
    trials = from_frame(table("width", "batch_size", most=4))
    analysis = analyze(trials)
    few = render(analysis, trials, PROVENANCE)
    assert "panels are drawn" not in few
    many = pd.concat([table("width", "batch_size", "tokens", most=4)])
    trials = from_frame(many)
    analysis = analyze(trials)
    panels = panels_of(analysis, loss_view(analysis))
    assert len(panels) == 16
    assert len(shown(panels)) == MOST_PANELS
    page = render(analysis, trials, PROVENANCE)
    assert "12 of 16 panels are drawn; the tables hold all." in page
    for name in ("width", "batch size", "number of tokens"):
        assert f"Optimal learning rate against {name}." in page
