"""The interactive figures hold the marks that the printed ones draw; each special status has a symbol of its own."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from mutransfer.report.loss_chart import loss_curves_chart
from mutransfer.report.marks import loss_curves_data, optimal_lr_data, place
from mutransfer.report.page import embed
from mutransfer.report.rate_chart import optimal_lr_chart
from mutransfer.report.style import STATUS_MARKS
from mutransfer.report.transfer_page import by_loss


def points(chart, said):
    """(x, y, symbol, text) of every mark whose hover text has `said` in it."""
    found = []
    for trace in chart["data"]:
        told = trace.get("hovertext", [])
        symbols = trace.get("marker", {}).get("symbol")
        for i, text in enumerate(told):
            if said in text:
                symbol = symbols[i] if isinstance(symbols, (list, tuple)) else symbols
                found.append((trace["x"][i], trace["y"][i], symbol, text))
    return found


def same(found, wanted):
    """The same points in any order, but for rounding."""
    found, wanted = (np.array(sorted(np.round(list(each), 5).tolist())) for each in (found, wanted))
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, atol=2e-5)


def lines(chart, width):
    """The (x, y) of all lines so wide that are in no legend."""
    return [
        (x, y)
        for trace in chart["data"]
        if trace.get("mode") == "lines" and trace["line"].get("width") == width and not trace["showlegend"]
        for x, y in zip(trace["x"], trace["y"], strict=True)
    ]


def test_every_case_has_charts_of_plain_json(case):
    analysis, trials = case
    for chart in (loss_curves_chart(analysis, trials), optimal_lr_chart(analysis)):
        assert set(chart) == {"data", "wide", "narrow"}
        assert json.loads(json.dumps(chart, allow_nan=False)) == json.loads(embed(chart))
        for layout in (chart["wide"], chart["narrow"]):
            axes = {name.replace("axis", "") for name in layout if name[1:5] == "axis"}
            for trace in chart["data"]:
                assert {trace.get("xaxis", "x"), trace.get("yaxis", "y")} <= axes


def test_every_trial_mean_and_fit_is_where_it_is_printed(case):
    analysis, trials = case
    data, panel = place(loss_curves_data(analysis, trials))
    chart = loss_curves_chart(analysis, trials)
    trials, means, fits = (data[data["mark"] == mark] for mark in ("trial", "mean", "fitted"))
    drawn = [(x, y) for x, y, _, text in points(chart, "seed") if "diverged" not in text]
    same(drawn, zip(trials["x"], trials["y"], strict=True))
    crosses = points(chart, "diverged")
    lost = data[data["mark"] == "diverged"]
    height = (lost["y"] - panel.high) / ((panel.top - panel.high) or 1)
    same([cross[:2] for cross in crosses], zip(lost["x"], height, strict=True))
    assert {cross[2] for cross in crosses} <= {"x-thin"}
    for marks, width in ((means, 1.0), (fits, 2.2)):
        same(lines(chart, width), zip(marks["x"], marks["y"], strict=True))


def test_optima_have_their_interval_and_a_ring_where_one_decides(case):
    analysis, trials = case
    for chart, data, ends in (
        (loss_curves_chart(analysis, trials), loss_curves_data(analysis, trials), "error_x"),
        (optimal_lr_chart(analysis), optimal_lr_data(analysis), "error_y"),
    ):
        optima = data[data["mark"] == "optimum"]
        drawn = optima if ends == "error_y" else optima.dropna(subset="loss")
        assert len(points(chart, "lr tried")) + len(points(chart, "optimal lr")) == len(drawn)
        reach = [
            pytest.approx(end, abs=2e-6)
            for trace in chart["data"]
            if ends in trace
            for end in zip(trace[ends]["arrayminus"], trace[ends]["array"], strict=True)
        ]
        known = drawn[drawn["status"] == "interior"]
        wanted = zip(known["log2_lr"] - known["ci_low"], known["ci_high"] - known["log2_lr"], strict=True)
        assert list(wanted) == reach
        rings = [t for t in chart["data"] if t.get("marker", {}).get("size") == 18]
        assert len(rings) == (data["mark"] == "leverage").sum()


def test_each_status_has_a_symbol_of_its_own(special):
    analysis, trials = special
    for chart, side in ((optimal_lr_chart(analysis), "upwards"), (loss_curves_chart(analysis, trials), "sideways")):
        symbols = [symbol for *_, symbol, text in points(chart, "<b>sp</b>, width") if "seed" not in text]
        wanted = [getattr(mark, f"{side}_symbol") for mark in STATUS_MARKS.values()]
        assert {"circle", *wanted} == set(symbols)
        assert len(symbols) == 6
        assert all(symbol.endswith("-open") for symbol in wanted)
        names = [trace["name"] for trace in chart["data"] if trace["showlegend"]]
        assert any("decides the slope" in name for name in names)
    key = [t for t in chart["data"] if t.get("legend") == "legend2"]
    shown = [trace["marker"].get("symbol", "circle") for trace in key if trace["mode"] == "markers"]
    assert len(set(shown)) == len(shown) - 1  # one seed and an optimum are both dots
    printed = [mark[:2] for mark in STATUS_MARKS.values()]
    assert len({marker for pair in printed for marker in pair} | {"o", "x"}) == 8


def test_a_trial_says_what_it_was(diverged):
    analysis, trials = diverged
    chart = loss_curves_chart(analysis, trials)
    (told,) = [text for *_, text in points(chart, "<b>mup</b>, width 64, seed 1") if "2<sup>−7</sup>" in text]
    trial = trials.frame[
        (trials.frame["arm"] == "mup")
        & (trials.frame["width"] == 64)
        & (trials.frame["seed"] == 1)
        & (trials.frame["log2_lr"] == -7)
    ]
    trial = trial.iloc[0]
    assert told.split("<br>")[1:] == [
        "lr 2<sup>−7</sup> = 0.00781",
        f"final loss {trial['final_loss']:.4f}",
        f"mean loss {trial['mean_loss']:.4f}",
        f"validation loss {trial['val_loss']:.4f}",
    ]
    crosses = points(chart, "diverged at step 17")
    assert len(crosses) == 6
    assert all("loss" not in text for *_, text in crosses)


def test_a_trial_above_the_panel_is_a_triangle_on_its_edge(two_arms):
    analysis, trials = two_arms
    trials.frame.loc[trials.frame["log2_lr"] == -10, ["loss", "final_loss"]] = 5.5
    chart = loss_curves_chart(analysis, trials)
    low, high = chart["wide"]["yaxis"]["range"]
    above = points(chart, "final loss 5.5000")
    assert len(above) == 16
    assert {(y, symbol) for _, y, symbol, _ in above} == {(high, "triangle-up")}
    assert low < min(y for _, y, _, _ in points(chart, "seed"))


def test_each_loss_has_its_own_points_and_its_own_fit(two_arms):
    analysis, trials = two_arms
    found = by_loss(analysis, trials)
    assert list(found) == ["final_loss", "mean_loss", "val_loss"]
    assert found["final_loss"] is analysis
    for loss, each in found.items():
        chart = loss_curves_chart(each, trials)
        top = chart["wide"]["yaxis"]["range"][1]
        y = [y for _, y, _, _ in points(chart, "seed")]
        assert sorted(y) == pytest.approx(sorted(trials.frame[loss].clip(upper=top)), abs=1e-6)
        assert chart["wide"]["yaxis"]["title"]["text"].startswith(
            {"final_loss": "final", "mean_loss": "mean", "val_loss": "validation"}[loss]
        )
    # 0.01 nats an octave move the parabola's optimum by -0.01 / (2 * 0.05)
    moved = np.subtract(
        [optimum.log2_lr for result in found["mean_loss"].arms for optimum in result.optima if optimum.interior],
        [optimum.log2_lr for result in found["val_loss"].arms for optimum in result.optima if optimum.interior],
    )
    assert moved == pytest.approx(np.full(8, -0.1), abs=0.02)


def test_the_narrow_layout_stacks_the_panels(five_arms):
    chart = loss_curves_chart(*five_arms)
    for name, columns in (("wide", 3), ("narrow", 1)):
        layout = chart[name]
        lefts = {layout[axis]["domain"][0] for axis in layout if axis.startswith("xaxis")}
        assert len(lefts) == columns
        bottoms = sorted({layout[axis]["domain"][0] for axis in layout if axis.startswith("yaxis")})
        assert len(bottoms) == math.ceil(5 / columns)
        assert [note["text"].startswith("<b>") for note in layout["annotations"]] == [True] * 5


def test_one_scale_for_all_panels(five_arms):
    layout = loss_curves_chart(*five_arms)["wide"]
    for letter in "xy":
        ranges = {tuple(layout[name]["range"]) for name in layout if name.startswith(f"{letter}axis")}
        assert len(ranges) == 1


def test_names_cannot_lead_out_of_the_json():
    text = embed({"a": "</script><!-- & <b>"})
    assert not {"<", ">", "&"} & set(text)
    assert json.loads(text) == {"a": "</script><!-- & <b>"}
