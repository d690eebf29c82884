import json

import numpy as np

from analysis.planted import frame, parabola
from analysis.test_transfer import arm
from mutransfer.analysis import analyze, to_summary


def test_it_has_the_documented_shape_and_is_plain_json() -> None:
    summary = to_summary(analyze(frame({"sp": arm(-1.0), "mup": arm(0.0)}), 0.25))
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert list(summary) == ["schema", "experiment", "axis", "arms", "slope_difference"]
    assert (summary["schema"], summary["experiment"], summary["axis"]) == (1, "planted", "width")
    mup = summary["arms"]["mup"]
    assert set(mup) == {"parametrization", "optima", "transfer_slope", "transfer_regret", "verdict", "reason"}
    assert set(mup["optima"][0]) == {"width", "log2_lr", "ci_low", "ci_high", "loss", "status"}
    assert set(mup["transfer_slope"]) == {"estimate", "ci_low", "ci_high"}
    assert set(mup["transfer_regret"]) == {"proxy_width", "target_width", "nats", "ci_low", "ci_high"}
    assert set(summary["slope_difference"]["sp-mup"]) == {"estimate", "ci_low", "ci_high"}


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
