"""A table of trials that anyone can fill: what it needs is told at once, what it has is what is analyzed."""

import math

import numpy as np
import pandas as pd
import pytest

from mutransfer.analysis import analyze
from mutransfer.config.scale import Scale
from mutransfer.trials.table import from_frame


def rows(**columns: object) -> pd.DataFrame:
    """Parabolas about 2^-7 at three sizes, with nothing but what is needed."""
    grid = [(width, rate) for width in (64, 128, 256) for rate in range(-10, -3)]
    return pd.DataFrame(
        {
            "width": [width for width, _ in grid],
            "lr": [2.0**rate for _, rate in grid],
            "loss": [2.3 + 1 / width + 0.025 * (rate + 7) ** 2 for width, rate in grid],
        }
    ).assign(**columns)


def test_a_learning_rate_a_loss_and_a_size_are_all_it_needs() -> None:
    result = analyze(rows())
    (arm,) = result.arms
    assert (arm.verdict, result.dimensions, arm.unit) == ("transfers", ("width",), "nats")
    assert arm.transfer_slope is not None
    assert arm.transfer_slope.estimate == pytest.approx(0, abs=1e-9)
    assert (arm.parametrization, arm.horizon, arm.sensitivity, arm.size_law) == (None, None, (), None)


def test_what_is_left_out_is_said() -> None:
    (arm,) = analyze(rows()).arms
    for column in ("init_loss", "n_params"):
        assert any(column in note for note in arm.notes)
    (told,) = analyze(rows(init_loss=5.5, n_params=lambda each: each["width"] ** 2, flops=1.0)).arms
    assert told.notes == ()
    assert told.sensitivity
    assert told.size_law is not None
    partly = rows(init_loss=5.5)
    partly.loc[3, "init_loss"] = np.nan
    assert analyze(partly).arms[0].sensitivity == ()


def test_all_that_is_missing_is_said_in_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"^expected columns") as refused:
        from_frame(pd.DataFrame({"learning_rate": [0.1], "n_embd": [64], "seed": [0]}))
    said = str(refused.value)
    for words in ("lr or log2_lr", "(loss)", "width, depth", "got learning_rate, n_embd, seed"):
        assert words in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("lr", 0.0, "expected lr to be a finite number above 0, got 0.0 in row 2 and 1 rows"),
        ("lr", np.nan, "expected lr .* got nan in row 2"),
        ("width", -64, "expected width to be a finite number above 0, got -64.0 in row 2"),
        ("width", np.nan, "expected width .* got nan in row 2"),
        ("loss", np.nan, "expected loss to be a finite number, or diverged set to true, got nan in row 2"),
        ("loss", "x", "expected numbers in the column loss"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_its_row(name: str, value: object, words: str) -> None:
    table = rows()
    table[name] = table[name].astype(object)
    table.loc[2, name] = value
    with pytest.raises(ValueError, match=words) as refused:
        from_frame(table)
    assert "\n" not in str(refused.value)


def test_an_infinite_loss_or_the_word_of_the_table_says_that_a_trial_diverged() -> None:
    table = rows()
    table.loc[[5, 6], "loss"] = math.inf
    assert from_frame(table).frame["diverged"].sum() == 2
    told = rows(diverged=False)
    told.loc[[5, 6], ["loss", "diverged"]] = [6.0, True]
    assert list(from_frame(told).frame.loc[[5, 6], "loss"]) == [math.inf, math.inf]


def test_log2_rates_serve_as_well_and_stay_the_very_numbers() -> None:
    table = rows().assign(log2_lr=lambda each: np.log2(each["lr"]) + 1 / 3)
    found = from_frame(table.drop(columns="lr"))
    assert list(found.frame["log2_lr"]) == list(table["log2_lr"])
    assert analyze(found).arms[0].optima[0].log2_lr == pytest.approx(-7 + 1 / 3, abs=1e-6)


def test_a_scale_is_of_all_dimensions_that_are_columns() -> None:
    table = from_frame(rows(batch_size=32, params=lambda each: 12.0 * each["width"] ** 2))
    assert table.known == ("width", "batch_size", "params")
    assert table.scales[0] == Scale(width=64, batch_size=32, params=12 * 64**2)
    assert table.dimensions == ("width", "params")
    assert len(table.at(Scale(width=128)).frame) == 7


def test_a_dimension_varies_where_it_does_within_an_arm() -> None:
    short, long = rows(arm="short", steps=100), rows(arm="long", steps=200)
    table = from_frame(pd.concat([short, long]))
    assert table.dimensions == ("width",)
    assert [arm.verdict for arm in analyze(table).arms] == ["transfers", "transfers"]


def test_a_table_of_one_size_names_what_it_is_about() -> None:
    alone = rows(depth=4)[rows()["width"] == 64]
    assert from_frame(alone).dimensions == ("width",)
    assert from_frame(alone, along=("depth",)).dimensions == ("depth",)
    assert "add depths" in analyze(from_frame(alone, along=("depth",))).arms[0].reason


@pytest.mark.parametrize(("slope", "verdict"), [((0.0, 0.0), "transfers"), ((0.0, -0.5), "does_not_transfer")])
def test_where_two_dimensions_vary_each_has_its_partial_slope(slope: tuple[float, float], verdict: str) -> None:
    cells = [(width, steps, rate) for width in (64, 128, 256) for steps in (100, 200, 400) for rate in range(-11, -2)]
    best = {(w, s): -7 + slope[0] * math.log2(w / 128) + slope[1] * math.log2(s / 200) for w, s, _ in cells}
    table = pd.DataFrame(
        {
            "width": [w for w, _, _ in cells],
            "steps": [s for _, s, _ in cells],
            "log2_lr": [float(r) for _, _, r in cells],
            "loss": [2.3 + 0.025 * (r - best[w, s]) ** 2 for w, s, r in cells],
        }
    )
    (arm,) = analyze(table).arms
    assert {name: found.estimate for name, found in arm.slopes.items()} == pytest.approx(
        {"width": slope[0], "steps": slope[1]}, abs=1e-6
    )
    assert arm.verdict == verdict
    assert all(found.ci_low < found.estimate < found.ci_high for found in arm.slopes.values())
    # A diagonal of the same cells does not tell the two apart.
    (ladder,) = analyze(table[table["width"] / 64 == table["steps"] / 100]).arms
    assert (ladder.slopes, ladder.verdict) == ({}, "inconclusive")
    assert "vary together" in ladder.reason
