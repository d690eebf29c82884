import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import pytest

from analysis.planted import along, frame, parabola
from analysis.test_transfer import RATES, arm
from mutransfer import read_result
from mutransfer.analysis import analyze, to_summary


def test_it_has_the_documented_shape_and_is_plain_json() -> None:
    summary = to_summary(analyze(frame({"sp": arm(-1.0), "mup": arm(0.0)}), 0.25))
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert list(summary) == [
        *("schema", "experiment", "dimensions", "tolerance", "loss", "arms", "slope_difference", "notes"),
    ]
    assert (summary["schema"], summary["experiment"], summary["dimensions"]) == (2, "", ["width"])
    mup = summary["arms"]["mup"]
    assert set(mup) == {
        *("parametrization", "unit", "estimator", "optima", "slopes", "transfer_regret", "verdict", "reason", "notes"),
        *("sensitivity", "unstable", "unstable_slope", "bands", "size_law", "leverage", "settling"),
    }
    assert set(mup["optima"][0]) == {
        *("width", "log2_lr", "ci_low", "ci_high", "loss", "status", "own_log2_lr"),
    }
    assert set(mup["slopes"]["width"]) == {"estimate", "ci_low", "ci_high"}
    assert set(mup["transfer_regret"]) == {"proxy_width", "target_width", "nats", "ci_low", "ci_high"}
    assert set(summary["slope_difference"]["sp-mup"]["width"]) == {"estimate", "ci_low", "ci_high"}


SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "summary.schema.json").read_text())


def check_schema(summary: dict[str, Any]) -> None:
    """By docs/summary.schema.json."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(json.dumps(summary, allow_nan=False)))


def every_kind() -> list[pd.DataFrame]:
    """Tables whose summaries have all that one may have, or miss it."""
    gone = tuple(parabola(width, -7.0, RATES) for width in (32, 64, 128))
    gone[0].losses[:] = np.inf
    gone[1].losses[:, 2:] = np.inf
    leaning = (*arm(0.0, (32, 64, 128, 256)), parabola(512, -4.0, RATES))
    both = pd.concat([frame({"mup": arm(0.22)}), along(frame({"mup": arm(0.1)}), "steps")])
    priced = frame({"mup": arm(0.22)}).assign(n_params=lambda each: each["width"] ** 2)
    bare = frame({"mup": arm(0.0)})[["width", "lr", "loss"]].groupby(["width", "lr"], as_index=False).mean()
    arms = {"sp": arm(-1.0), "mup": arm(0.0)}
    return [frame(arms), priced, frame({"mup": gone}), frame({"mup": leaning}), both, bare]


@pytest.mark.parametrize("table", every_kind(), ids=range(6))
def test_its_schema_holds(table: pd.DataFrame) -> None:
    check_schema(to_summary(analyze(table)))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), 1),
        (("arms", "mup", "estimator"), "median"),
        (("arms", "mup", "optima", 0, "log2_lr"), None),
        (("arms", "mup", "optima", 0, "height"), 2),
        (("arms", "mup", "slopes", "breadth"), {"estimate": 0, "ci_low": 0, "ci_high": 0}),
        (("arms", "mup", "transfer_regret", "proxy_size"), 2),
    ],
)
def test_its_schema_refuses_what_is_none(path: tuple[Any, ...], value: object) -> None:
    summary = json.loads(json.dumps(to_summary(analyze(frame({"sp": arm(-1.0), "mup": arm(0.0)})))))
    at = summary
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        check_schema(summary)


def test_every_field_is_described() -> None:
    page = (Path(__file__).parents[2] / "docs" / "summary.md").read_text()
    defined = [SCHEMA, *SCHEMA["$defs"].values()]
    names = {name for each in defined for name in each.get("properties", {}) if name != "estimate"}
    assert [name for name in sorted(names) if f"`{name}`" not in page] == []


RESULTS = Path(__file__).parents[2] / "results"


@pytest.mark.parametrize(
    "folder", sorted(path.parent for path in RESULTS.glob("**/records.jsonl")), ids=lambda f: f.name
)
def test_the_committed_summaries_are_what_their_records_say(folder: Path) -> None:
    stored = json.loads((folder / "summary.json").read_text())
    check_schema(stored)
    assert stored == rounded(json.loads(json.dumps(to_summary(read_result(folder).analysis))))


def rounded(data: Any) -> Any:
    """To compare numbers as far as processors agree on them."""
    if isinstance(data, dict):
        return {name: rounded(value) for name, value in data.items()}
    if isinstance(data, list):
        return [rounded(value) for value in data]
    return pytest.approx(data, rel=1e-5, abs=1e-7) if isinstance(data, float) else data


def test_further_measures_are_told_with_their_sizes() -> None:
    trials = frame({"mup": arm(0.24)})
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
        *("dimension", "budget", "search", "n_trials", "adaptive"),
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
    assert mup["slopes"] == {}
    assert mup["transfer_regret"] is None
    assert mup["verdict"] == "inconclusive"
    assert mup["optima"][0] == {
        "width": 32,
        "log2_lr": -10.0,
        "ci_low": None,
        "ci_high": None,
        "loss": None,
        "status": "censored_low",
        "own_log2_lr": None,
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
