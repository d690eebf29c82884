"""What the figures draw is what was measured and estimated, and what cannot be known is said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mutransfer.report.marks import (
    loss_curves_data,
    optimal_lr_data,
    place,
)
from mutransfer.report.worth import regret_data, wider_is_better_data
from report.planted import AT_END, confirmation

CURVATURE = 0.05


def only(table, **values):
    for name, value in values.items():
        table = table[table[name] == value]
    return table


def test_every_trial_is_drawn_and_drawn_as_it_ended(case):
    analysis, trials = case
    data = loss_curves_data(analysis, trials)
    keys = ["arm", "width", "log2_lr", "seed"]
    ended = trials.frame["diverged"]
    for mark, rows in {"trial": trials.frame[~ended], "diverged": trials.frame[ended]}.items():
        drawn = only(data, mark=mark)
        assert drawn[["arm", "size", "log2_lr", "seed"]].to_numpy().tolist() == rows[keys].to_numpy().tolist()
        np.testing.assert_array_equal(drawn["loss"], rows["final_loss"])


def test_a_rate_has_a_mean_if_all_its_seeds_converged(two_arms):
    analysis, trials = two_arms
    trials.frame.loc[only(trials.frame, arm="sp", width=32, log2_lr=-6, seed=1).index, ["diverged", "loss"]] = (
        True,
        np.inf,
    )
    means = only(loss_curves_data(analysis, trials), arm="sp", size=32, mark="mean").set_index("log2_lr")["loss"]
    assert means.index.tolist() == [-10, -9, -8, -7, -5, -4]
    assert means[-7] == pytest.approx(only(trials.frame, arm="sp", width=32, log2_lr=-7)["final_loss"].mean())


def test_the_loss_drawn_is_the_loss_analyzed(two_arms):
    analysis, trials = two_arms
    trials.frame["val_loss"] = trials.frame["final_loss"] + 1
    data = loss_curves_data(replace(analysis, loss="val_loss"), trials.measured_by("val_loss"))
    np.testing.assert_array_equal(only(data, mark="trial")["loss"], trials.frame["val_loss"])
    assert only(data, mark="mean")["loss"].min() > 3


def test_fitted_curves_and_optima_are_the_analysis_own(two_arms):
    analysis, trials = two_arms
    data = loss_curves_data(analysis, trials)
    for result in analysis.arms:
        for optimum in result.optima:
            mine = only(data, arm=result.arm, size=optimum.scale.width)
            drawn = only(mine, mark="optimum").iloc[0]
            assert (drawn["log2_lr"], drawn["ci_low"], drawn["ci_high"], drawn["loss"], drawn["status"]) == (
                optimum.log2_lr,
                optimum.ci_low,
                optimum.ci_high,
                optimum.loss,
                optimum.status,
            )
            fitted = only(mine, mark="fitted")
            assert len(fitted) > 50
            np.testing.assert_allclose(fitted["loss"], optimum.fitted(fitted["log2_lr"].to_numpy()))


def test_panels_show_every_optimum_but_not_the_losses_near_initialization(two_arms):
    analysis, trials = two_arms
    trials.frame.loc[trials.frame["log2_lr"] == -10, ["loss", "final_loss"]] = 5.5
    data = loss_curves_data(analysis, trials)
    _, panel = place(data)
    low, high = panel.low, panel.high
    optima = only(data, mark="optimum")["loss"]
    assert low < optima.min()
    assert optima.max() + 0.2 < high < 3.6


def test_a_panel_without_a_loss_has_limits(nothing_converged):
    _, panel = place(loss_curves_data(*nothing_converged))
    assert panel.low < panel.high < panel.top


@pytest.mark.parametrize(("arm", "slope"), [("sp", -1.0), ("mup", 0.0)])
def test_the_line_has_the_fitted_slope_through_the_centroid_and_its_band_the_interval(two_arms, arm, slope):
    line = only(optimal_lr_data(two_arms[0]), arm=arm, mark="line").set_index("log2_size")
    line = line[["log2_lr", "ci_low", "ci_high"]]
    assert line.index.tolist() == [5, 6.5, 8]
    rise = line.loc[8] - line.loc[6.5]
    assert rise["log2_lr"] == pytest.approx(1.5 * slope)
    assert rise["ci_low"] == pytest.approx(1.5 * (slope - 0.1))
    assert rise["ci_high"] == pytest.approx(1.5 * (slope + 0.1))
    centroid = line.loc[6.5]
    assert centroid["log2_lr"] == centroid["ci_low"] == centroid["ci_high"] == pytest.approx(-6 + 1.5 * slope)
    assert (line["ci_low"] <= line["log2_lr"]).all()
    assert (line["log2_lr"] <= line["ci_high"]).all()


def test_the_centroid_leaves_out_optima_that_are_not_bracketed(censored):
    line = only(optimal_lr_data(censored[0]), arm="sp", mark="line").set_index("log2_size")
    assert line.loc[6.5, "log2_lr"] == pytest.approx(-7.5)  # of -7 and -8, at widths 64 and 128


def test_slope_zero_starts_at_the_proxys_rate_and_only_if_that_is_known(two_arms, censored):
    still = only(optimal_lr_data(two_arms[0]), mark="still")
    assert set(still["log2_lr"]) == {-6.0}
    assert set(only(optimal_lr_data(censored[0]), mark="still")["arm"]) == {"mup"}


def test_all_optima_are_drawn_whatever_their_status(case):
    analysis, trials = case
    wanted = [(result.arm, o.status) for result in analysis.arms for o in result.optima]
    for data in (optimal_lr_data(analysis), loss_curves_data(analysis, trials)):
        optima = only(data, mark="optimum")
        assert list(zip(optima["arm"], optima["status"], strict=True)) == wanted


def test_regret_is_the_parabolas(two_arms):
    data = only(regret_data(*two_arms), arm="sp").set_index("log2_size")
    assert data["known"].to_dict() == {5: "proxy", 6: "fitted", 7: "fitted", 8: "estimated"}
    assert data["nats"].tolist() == pytest.approx([0, CURVATURE, 4 * CURVATURE, 9 * CURVATURE])
    assert data.loc[8, ["ci_low", "ci_high"]].tolist() == pytest.approx([4.5 * CURVATURE, 18 * CURVATURE])
    assert only(regret_data(*two_arms), arm="mup")["nats"].tolist() == pytest.approx([0, 0, 0, 0])


def without_regret(analysis):
    return replace(analysis, arms=tuple(replace(result, transfer_regret=None) for result in analysis.arms))


def test_regret_outside_the_fitted_window_is_read_off_the_measured_means(two_arms):
    analysis, trials = two_arms
    row = only(regret_data(without_regret(analysis), trials), arm="sp", log2_size=8).iloc[0]
    assert row["known"] == "interpolated"
    assert row["nats"] == pytest.approx(9 * CURVATURE)  # 2^-6 is a measured rate


def test_regret_at_a_rate_that_diverged_or_was_not_measured_has_no_number(diverged, two_arms):
    analysis, trials = diverged
    row = only(regret_data(without_regret(analysis), trials), arm="sp", log2_size=8).iloc[0]
    assert (row["known"], np.isnan(row["nats"])) == ("diverged", True)
    analysis, trials = two_arms
    row = only(
        regret_data(without_regret(analysis), trials.only(trials.frame["log2_lr"] < -6)), arm="sp", log2_size=8
    ).iloc[0]
    assert (row["known"], np.isnan(row["nats"])) == ("unknown", True)


def test_the_analysis_own_lower_bound_is_drawn_as_one(two_arms):
    analysis, trials = two_arms
    bound = replace(analysis.arms[0].transfer_regret, nats=None, ci_low=0.125, ci_high=None)
    analysis = replace(analysis, arms=(replace(analysis.arms[0], transfer_regret=bound), analysis.arms[1]))
    row = only(regret_data(analysis, trials), arm="sp", log2_size=8).iloc[0]
    assert (row["known"], row["nats"]) == ("at_least", 0.125)


def test_regret_of_a_censored_width_is_a_lower_bound_and_of_a_censored_proxy_unknown(censored):
    analysis, trials = censored
    assert set(only(regret_data(without_regret(analysis), trials), arm="sp")["known"]) == {"unknown"}
    interior = replace(analysis.arms[0].optima[0], log2_lr=-6.0, status="interior")
    sp = replace(analysis.arms[0], optima=(interior, *analysis.arms[0].optima[1:]))
    row = only(regret_data(without_regret(replace(analysis, arms=(sp,))), trials), arm="sp", log2_size=8).iloc[0]
    assert row["known"] == "at_least"
    assert 0 < row["nats"] < 9 * CURVATURE  # the true one: 3 octaves from the optimum at 2^-9


def test_wider_is_better_uses_the_best_mean_where_no_optimum_is_bracketed(censored, nothing_converged):
    analysis, trials = censored
    data = only(wider_is_better_data(analysis, trials), arm="sp").set_index("log2_size")
    assert data["known"].to_dict() == {5: "measured", 6: "fitted", 7: "fitted", 8: "measured"}
    assert data.loc[6, "loss"] == analysis.arms[0].optima[1].loss
    means = only(trials.frame, arm="sp", width=256).groupby("log2_lr")["final_loss"].mean()
    assert data.loc[8, "loss"] == pytest.approx(means.min())
    lost = wider_is_better_data(*nothing_converged)
    assert set(lost["known"]) == {"unknown"}
    assert lost["loss"].isna().all()


def test_marks_stand_where_they_are_measured_but_for_those_off_the_panel(diverged):
    analysis, trials = diverged
    trials.frame.loc[(trials.frame["log2_lr"] == -10) & (trials.frame["seed"] == 1), ["loss", "final_loss"]] = 5.5
    data, panel = place(loss_curves_data(analysis, trials))
    usual = data[(data["mark"] != "diverged") & ~data["above"]]
    np.testing.assert_array_equal(usual[["x", "y"]], usual[["log2_lr", "loss"]])
    above = data[data["above"]]
    assert set(above["mark"]) == {"trial"}
    assert set(above["y"]) == {panel.high}
    assert (above["loss"] == 5.5).sum() == 8
    lost = only(data, mark="diverged")
    assert lost["y"].between(panel.high, panel.top, inclusive="neither").all()
    assert panel.failed == (256,)
    assert len(set(lost["x"])) == len(lost)  # seeds stand side by side
    assert abs(lost["x"] - lost["log2_lr"]).max() < 0.5


def test_without_diverged_trials_there_is_no_band(two_arms):
    _, panel = place(loss_curves_data(*two_arms))
    assert (panel.failed, panel.top) == ((), panel.high)


def test_a_ring_is_about_the_size_that_alone_decides(special):
    analysis, trials = special
    for data, size in ((loss_curves_data(analysis, trials), "size"), (optimal_lr_data(analysis), "log2_size")):
        ring = only(data, mark="leverage")
        optimum = only(data, mark="optimum", arm="mup").iloc[-1]
        assert ring[["arm", size, "log2_lr"]].to_numpy().tolist() == [["mup", optimum[size], optimum["log2_lr"]]]


def confirmed(two_arms, **changes):
    return regret_data(*two_arms, [confirmation(**changes)]).iloc[-1]


def test_a_confirmed_regret_is_the_measured_one_at_its_size(two_arms):
    row = confirmed(two_arms)
    assert row[["arm", "log2_size", "known", "nats", "ci_low", "ci_high"]].tolist() == [
        *("mup", 9.0, "confirmed"),
        *(0.0, 0.0, 0.0225),
    ]
    assert len(regret_data(*two_arms)) == len(regret_data(*two_arms, [confirmation()])) - 1


def test_what_a_confirmation_cannot_say_has_no_number(two_arms):
    row = confirmed(two_arms, **AT_END)
    assert (row["known"], row["nats"], row["ci_low"]) == ("confirmed_at_least", pytest.approx(0.0125), 0.0025)
    assert np.isnan(row["ci_high"])
    row = confirmed(two_arms, measured=None)  # no seed was repeated
    assert (row["known"], row["nats"], np.isnan(row["ci_low"])) == ("confirmed", 0.0, True)
    row = confirmed(two_arms, losses=(2.4, None, 2.5), measured=None)
    assert (row["known"], np.isnan(row["nats"])) == ("confirmed_diverged", True)
    row = confirmed(two_arms, losses=(None, 2.4, None), measured=None)
    assert (row["known"], np.isnan(row["nats"])) == ("confirmed_unknown", True)
