import json

import numpy as np
import pytest

from analysis.planted import frame, parabola
from mutransfer.analysis.curve import FIXED, Curve, curves, two_way

RATES = np.arange(-10.0, -3.0)


def test_a_frame_gives_back_its_curves_whatever_the_order_of_its_rows() -> None:
    losses = np.arange(14.0).reshape(2, 7)
    losses[0, 6], losses[1, 3] = np.inf, np.nan
    planted = (Curve(64, RATES, losses), parabola(32, -7.0, RATES))
    trials = frame({"mup": planted}).sample(frac=1, random_state=0)
    narrow, wide = curves(trials)
    assert (narrow.size, wide.size) == (32, 64)
    np.testing.assert_array_equal(wide.log2_lr, RATES)
    np.testing.assert_array_equal(wide.losses, losses)


@pytest.mark.parametrize("name", FIXED)
def test_a_mixture_is_refused_by_name(name: str) -> None:
    trials = frame({"mup": (parabola(32, -7.0, RATES),)})
    trials[name] = trials[name].astype(object)
    trials.loc[3, name] = 7
    with pytest.raises(ValueError, match=f"found {name} .* and .* in arm mup; wanted one"):
        curves(trials)


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("model.activation gelu and relu2", {"model.activation": "relu2", "optimizer.beta2": 0.95}),
        ("optimizer.beta2 0.95 and 0.9", {"model.activation": "gelu", "optimizer.beta2": 0.9}),
        (
            "optimizer.clip_norm None and 1.0",
            {"model.activation": "gelu", "optimizer.beta2": 0.95, "optimizer.clip_norm": 1.0},
        ),
    ],
)
def test_a_mixture_of_settings_is_refused_by_its_field(name: str, setting: dict[str, object]) -> None:
    trials = frame({"mup": (parabola(32, -7.0, RATES),)})
    trials.loc[3, "setting"] = json.dumps({"loss": "cross_entropy", **setting})
    with pytest.raises(ValueError, match=f"found {name} in arm mup; wanted one"):
        curves(trials)


def test_a_setting_of_equal_values_is_no_mixture() -> None:
    trials = frame({"mup": (parabola(32, -7.0, RATES),)}, setting='{"optimizer.clip_norm": 1.0}')
    trials.loc[3, "setting"] = '{"optimizer.clip_norm": 1}'
    assert len(curves(trials)) == 1


def test_widths_at_different_horizons_are_refused() -> None:
    trials = frame({"mup": (parabola(32, -7.0, RATES), parabola(64, -7.0, RATES))})
    trials.loc[trials["width"] == 64, "steps"] = 300
    with pytest.raises(ValueError, match="found steps 150 and 300"):
        curves(trials)


def test_along_steps_the_warmup_may_vary_with_them_and_along_widths_it_may_not() -> None:
    trials = frame({"mup": (parabola(32, -7.0, RATES), parabola(64, -7.0, RATES))})
    trials.loc[trials["width"] == 64, "warmup"] = 30
    with pytest.raises(ValueError, match="found warmup 15 and 30"):
        curves(trials)
    along = trials.assign(steps=5 * trials["width"], width=64)
    assert [curve.size for curve in curves(along, axis="steps")] == [160, 320]
    with pytest.raises(ValueError, match="found warmup 15 and 30"):
        curves(trials.assign(batch_size=trials["width"], width=64), axis="batch_size")


def test_a_trial_twice_is_refused() -> None:
    trials = frame({"mup": (parabola(32, -7.0, RATES),)})
    trials["seed"] = 0
    with pytest.raises(ValueError, match="two trials of one rate and seed"):
        curves(trials)


def test_a_loss_that_is_missing_is_refused_and_another_column_may_serve() -> None:
    trials = frame({"mup": (parabola(32, -7.0, RATES),)})
    trials["val_loss"] = trials["final_loss"] + 1
    np.testing.assert_allclose(curves(trials, "val_loss")[0].means, curves(trials)[0].means + 1)
    trials.loc[2, "val_loss"] = np.nan
    with pytest.raises(ValueError, match="found no val_loss in 1 trials that did not diverge"):
        curves(trials, "val_loss")


def test_a_rate_at_which_one_seed_diverged_has_no_mean() -> None:
    losses = np.array([[1.0, 2.0, 3.0], [1.0, np.inf, 3.0]])
    curve = Curve(32, RATES[:3], losses)
    assert curve.diverged.tolist() == [False, True, False]
    assert curve.means.tolist() == [1.0, np.inf, 3.0]


def test_means_over_complete_seeds_are_plain_means() -> None:
    losses = np.random.default_rng(0).normal(2.3, 0.01, (3, 7))
    np.testing.assert_allclose(Curve(32, RATES, losses).means, losses.mean(axis=0), rtol=1e-14)


def test_two_way_fit_recovers_an_additive_table_with_holes() -> None:
    rates, seeds = np.array([2.0, 1.5, 1.7, 1.9]), np.array([-0.1, 0.3, -0.2])
    losses = rates + seeds[:, None]
    losses[0, 1] = losses[2, 3] = np.nan
    means, residuals, df = two_way(losses)
    np.testing.assert_allclose(means - means[0], rates - rates[0], atol=1e-12)
    np.testing.assert_allclose(np.nan_to_num(residuals), 0, atol=1e-12)
    assert df == 10 - 4 - 3 + 1


def test_two_way_df_without_and_with_repeats() -> None:
    assert two_way(np.ones((1, 5)))[2] == 0
    assert two_way(np.ones((3, 5)))[2] == 8
    assert two_way(np.array([[1.0, 1.0, np.nan, np.nan], [np.nan, np.nan, 2.0, 2.0]]))[2] == 0
