"""The tables hold the analysis' numbers, unrounded."""

from __future__ import annotations

import math

import pytest

from mutransfer.report.tables import (
    comparison_table,
    confirmation_table,
    difference_table,
    diverged_table,
    forgiving_table,
    law_table,
    optima_table,
    settling_table,
    transfer_table,
)
from report.planted import AT_END, confirmation


def test_optima(case):
    analysis, _ = case
    table = optima_table(analysis)
    optima = [(result.arm, o) for result in analysis.arms for o in result.optima]
    assert len(table) == len(optima)
    for row, (arm, o) in zip(table.to_dict("records"), optima, strict=True):
        assert (row["arm"], row["width"], row["status"], row["log2_lr"]) == (arm, o.scale.width, o.status, o.log2_lr)
        assert row["optimal_lr"] == pytest.approx(2**o.log2_lr)
        for name, value, rate in (("ci_low", o.ci_low, "lr_low"), ("ci_high", o.ci_high, "lr_high")):
            if value is None:
                assert math.isnan(row[name])
                assert math.isnan(row[rate])
            else:
                assert row[name] == value
                assert row[rate] == pytest.approx(2**value)
        assert math.isnan(row["loss"]) if o.loss is None else row["loss"] == o.loss


def test_transfers_and_differences(case):
    analysis, _ = case
    for row, result in zip(transfer_table(analysis).to_dict("records"), analysis.arms, strict=True):
        assert (row["arm"], row["verdict"]) == (result.arm, result.verdict)
        slope, regret = result.transfer_slope, result.transfer_regret
        if slope is None:
            assert math.isnan(row["slope"])
        else:
            assert (row["slope"], row["slope_low"], row["slope_high"]) == (slope.estimate, slope.ci_low, slope.ci_high)
        if regret is None:
            assert math.isnan(row["regret"])
        else:
            found = [row[n] for n in ("proxy", "target", "regret", "regret_low", "regret_high")]
            assert found == [
                f"{regret.proxy.width:g}",
                f"{regret.target.width:g}",
                regret.nats,
                regret.ci_low,
                regret.ci_high,
            ]
    differences = difference_table(analysis).to_dict("records")
    assert [(r["pair"], r["difference"], r["difference_low"], r["difference_high"]) for r in differences] == [
        (pair, value.estimate, value.ci_low, value.ci_high) for pair, value in analysis.slope_difference.items()
    ]


def test_diverged_trials_are_all_there(diverged):
    _, trials = diverged
    table = diverged_table(trials)
    assert table["log2_lr"].tolist() == [-6, -6, -5, -5, -4, -4]
    assert table["seed"].tolist() == [0, 1] * 3
    assert set(table["diverged_step"]) == {17}


def test_the_size_that_decides_is_named(special):
    analysis, _ = special
    table = optima_table(analysis)
    assert table.loc[table["decides"], ["arm", "width"]].to_numpy().tolist() == [["mup", 1024]]
    (row,) = transfer_table(analysis).dropna(subset="decided_by").to_dict("records")
    assert (row["arm"], row["decided_by"], row["slope_without"]) == ("mup", 1024, -0.125)


def test_arms_side_by_side(told):
    analysis, _ = told
    for row, result in zip(comparison_table(analysis).to_dict("records"), analysis.arms, strict=True):
        slope, last = result.transfer_slope, result.optima[-1]
        assert [row[n] for n in ("arm", "parametrization", "verdict")] == [result.arm, result.arm, result.verdict]
        assert [row[n] for n in ("slope", "slope_low", "slope_high")] == [slope.estimate, slope.ci_low, slope.ci_high]
        assert (row["size"], row["loss"], row["status"]) == ("256", last.loss, "interior")
        assert row["sensitivity"] == result.sensitivity[-1].estimate


def test_how_forgiving_each_size_is(told):
    analysis, _ = told
    rows = iter(forgiving_table(analysis).to_dict("records"))
    for result in analysis.arms:
        for i, (cost, edge) in enumerate(zip(result.sensitivity, result.unstable, strict=True)):
            row = next(rows)
            assert (row["arm"], row["width"]) == (result.arm, cost.scale.width)
            assert [row[n] for n in ("sensitivity", "sensitivity_low", "from", "to")] == [
                *(cost.estimate, cost.ci_low),
                *(cost.low, cost.high),
            ]
            assert math.isnan(row["sensitivity_high"])
            for name, band in zip(("near", "good"), result.bands[2 * i : 2 * i + 2], strict=True):
                assert [row[f"{name}_{n}"] for n in ("low", "high", "low_open", "high_open")] == [
                    *(band.low, band.high),
                    *(band.low_open, band.high_open),
                ]
            assert row["stable"] == edge.stable
            assert math.isnan(row["unstable"]) if edge.unstable is None else row["unstable"] == edge.unstable
    assert next(rows, None) is None


def test_sizes_of_which_nothing_is_known_have_rows_without_numbers(case):
    bare = forgiving_table(case[0])
    assert len(bare) == sum(len(result.optima) for result in case[0].arms)
    assert bare.select_dtypes("float64").isna().all(axis=None)
    assert not bare.select_dtypes("bool").any(axis=None)


def test_laws_and_plans(told):
    analysis, _ = told
    for row, result in zip(law_table(analysis).to_dict("records"), analysis.arms, strict=True):
        for name, value in (("edge", result.unstable_slope), ("exponent", result.size_law.exponent)):
            ends = [row[f"{name}{end}"] for end in ("", "_low", "_high")]
            assert ends == [value.estimate, value.ci_low, value.ci_high]
    plans = settling_table(analysis).to_dict("records")
    assert [(plan["arm"], plan["flags"], plan["trials"]) for plan in plans] == [
        ("mup_qk", ("--seeds", "4"), 64),
        ("mup_qk", ("--lrs", "2^-12..2^-3"), 16),
    ]
    assert plans[0]["flops"] == 6.5e13
    assert math.isnan(plans[1]["flops"])


def test_confirmations():
    table = confirmation_table([confirmation(losses=(2.4, 2.3, None)), confirmation(**AT_END)])
    first, second = table.to_dict("records")
    assert [first[f"{n}_loss"] for n in ("half", "same")] == [2.4, 2.3]
    assert math.isnan(first["double_loss"])
    assert [first[f"{n}_log2_lr"] for n in ("half", "same", "double")] == [-7, -6, -5]
    assert [first[n] for n in ("measured", "measured_low", "measured_high", "at_least")] == [0, 0, 0.0225, False]
    found = [second[n] for n in ("measured", "at_least", "predicted", "predicted_high")]
    assert found == [0.0125, True, 0.0075, 0.0175]
    assert confirmation_table([]).empty
