"""The tables hold the analysis' numbers, unrounded."""

from __future__ import annotations

import math

import pytest

from mutransfer.report.tables import difference_table, diverged_table, optima_table, transfer_table


def test_optima(case):
    analysis, _ = case
    table = optima_table(analysis)
    optima = [(result.arm, o) for result in analysis.arms for o in result.optima]
    assert len(table) == len(optima)
    for row, (arm, o) in zip(table.to_dict("records"), optima, strict=True):
        assert (row["arm"], row["width"], row["status"], row["log2_lr"]) == (arm, o.width, o.status, o.log2_lr)
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
            found = [row[n] for n in ("proxy_width", "target_width", "regret", "regret_low", "regret_high")]
            assert found == [regret.proxy_width, regret.target_width, regret.nats, regret.ci_low, regret.ci_high]
    differences = difference_table(analysis).to_dict("records")
    assert [(r["pair"], r["difference"], r["difference_low"], r["difference_high"]) for r in differences] == [
        (pair, value.estimate, value.ci_low, value.ci_high) for pair, value in analysis.slope_difference.items()
    ]


def test_diverged_trials_are_all_there(diverged):
    _, frame = diverged
    table = diverged_table(frame)
    assert table["log2_lr"].tolist() == [-6, -6, -5, -5, -4, -4]
    assert table["seed"].tolist() == [0, 1] * 3
    assert set(table["diverged_step"]) == {17}
