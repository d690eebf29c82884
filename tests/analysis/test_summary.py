import json

import numpy as np

from analysis.planted import along, frame, parabola
from analysis.test_transfer import RATES, arm
from mutransfer.analysis import analyze, to_summary


def test_it_has_the_documented_shape_and_is_plain_json() -> None:
    summary = to_summary(analyze(frame({"sp": arm(-1.0), "mup": arm(0.0)}), 0.25))
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert list(summary) == ["schema", "experiment", "axis", "arms", "slope_difference"]
    assert (summary["schema"], summary["experiment"], summary["axis"]) == (1, "", "width")
    mup = summary["arms"]["mup"]
    assert set(mup) == {
        *("parametrization", "optima", "transfer_slope", "transfer_regret", "verdict", "reason"),
        *("sensitivity", "unstable", "unstable_slope", "bands", "size_law", "leverage", "settling"),
    }
    assert set(mup["optima"][0]) == {"width", "log2_lr", "ci_low", "ci_high", "loss", "status"}
    assert set(mup["transfer_slope"]) == {"estimate", "ci_low", "ci_high"}
    assert set(mup["transfer_regret"]) == {"proxy_width", "target_width", "nats", "ci_low", "ci_high"}
    assert set(summary["slope_difference"]["sp-mup"]) == {"estimate", "ci_low", "ci_high"}


def test_further_measures_are_told_with_their_sizes() -> None:
    trials = frame({"mup": arm(0.22)})
    trials["n_params"] = trials["width"] ** 2
    summary = to_summary(analyze(trials, 0.25))
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    mup = summary["arms"]["mup"]
    assert set(mup["sensitivity"][0]) == {"width", "low", "high", "estimate", "ci_low", "ci_high"}
    assert set(mup["unstable"][0]) == {"width", "stable", "unstable"}
    assert set(mup["bands"][0]) == {"width", "within", "low", "high", "low_open", "high_open"}
    assert set(mup["size_law"]) == {"exponent", "excludes"}
    assert mup["size_law"]["excludes"] == [-0.5, -1.0]
    assert set(mup["settling"][0]) == {
        "what",
        "seeds",
        "sizes",
        "lrs",
        "trials",
        "flops",
        "flags",
        "chance",
        "target_se",
    }


def test_the_axis_names_the_sizes() -> None:
    trials = along(frame({"mup": arm(0.0)}), "steps")
    mup = to_summary(analyze(trials, 0.25))["arms"]["mup"]
    for each in (*mup["optima"], *mup["sensitivity"], *mup["unstable"], *mup["bands"]):
        assert "steps" in each
        assert not {"size", "width"} & set(each)


def test_a_lone_size_is_told() -> None:
    curves = arm(0.0, (32, 64, 128, 256, 512))
    curves = (*curves[:-1], parabola(512, -4.0, RATES))
    mup = to_summary(analyze(frame({"mup": curves}), 0.25))["arms"]["mup"]
    assert mup["leverage"].keys() == {"width", "slope_without", "hat", "dfbeta"}
    assert mup["leverage"]["width"] == 512
    assert "the slope rests on width 512 alone" in mup["reason"]


def test_what_is_missing_is_null() -> None:
    rates = np.arange(-10.0, -3.0)
    curves = tuple(parabola(width, -7.0, rates) for width in (32, 64, 128))
    curves[0].losses[:] = np.inf
    curves[1].losses[:, 2:] = np.inf
    summary = json.loads(json.dumps(to_summary(analyze(frame({"mup": curves}), 0.25)), allow_nan=False))
    mup = summary["arms"]["mup"]
    assert mup["transfer_slope"] is None
    assert mup["transfer_regret"] is None
    assert mup["verdict"] == "inconclusive"
    assert mup["optima"][0] == {
        "width": 32,
        "log2_lr": -10.0,
        "ci_low": None,
        "ci_high": None,
        "loss": None,
        "status": "censored_low",
    }
    assert mup["optima"][1]["status"] == "too_few"
    assert summary["slope_difference"] == {}


def test_an_open_regret_is_null_where_it_is_not_known() -> None:
    rates = np.arange(-12.0, -2.0)
    curves = (parabola(32, -5.0, rates), parabola(256, -8.0, rates))
    curves[1].losses[:, rates > -6] = np.inf
    regret = to_summary(analyze(frame({"sp": curves}), 0.25))["arms"]["sp"]["transfer_regret"]
    assert (regret["nats"], regret["ci_high"]) == (None, None)
    assert regret["ci_low"] > 0.05
