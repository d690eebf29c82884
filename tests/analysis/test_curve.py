import json

import numpy as np
import pandas as pd
import pytest

from analysis.planted import along, curves_of, frame, parabola
from mutransfer.analysis.curve import Curve, curves, two_way
from mutransfer.config.scale import Scale
from mutransfer.trials.table import from_frame

RATES = np.arange(-10.0, -3.0)


def test_a_frame_gives_back_its_curves_whatever_the_order_of_its_rows() -> None:
    losses = np.arange(14.0).reshape(2, 7)
    losses[0, 6], losses[1, 3] = np.inf, np.nan
    planted = (Curve(Scale(64), RATES, losses), parabola(32, -7.0, RATES))
    trials = frame({"mup": planted}).sample(frac=1, random_state=0)
    narrow, wide = curves_of(trials)
    assert (narrow.scale.width, wide.scale.width) == (32, 64)
    np.testing.assert_array_equal(wide.log2_lr, RATES)
    np.testing.assert_array_equal(wide.losses, losses)


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("gelu and relu2", {"model.activation": "relu2", "optimizer.beta2": 0.95}),
        ("0.95 and 0.9", {"model.activation": "gelu", "optimizer.beta2": 0.9}),
        (
            "None and 1.0",
            {"model.activation": "gelu", "optimizer.beta2": 0.95, "optimizer.clip_norm": 1.0},
        ),
    ],
)
def test_a_mixture_of_settings_is_refused_by_its_field(name: str, setting: dict[str, object]) -> None:
    trials = frame({"mup": (parabola(32, -7.0, RATES),)})
    trials.loc[3, "setting"] = json.dumps(setting)
    with pytest.raises(ValueError, match=f"got {name}"):
        curves_of(trials)


def test_a_setting_of_equal_values_is_no_mixture() -> None:
    trials = frame({"mup": (parabola(32, -7.0, RATES),)}, setting='{"optimizer.clip_norm": 1.0}')
    trials.loc[3, "setting"] = '{"optimizer.clip_norm": 1}'
    assert len(curves_of(trials)) == 1


def test_the_sizes_may_be_of_any_dimension() -> None:
    trials = frame({"mup": (parabola(32, -7.0, RATES), parabola(64, -7.0, RATES))})
    assert [curve.scale.steps for curve in curves_of(along(trials, "steps"))] == [32, 64]
    both = pd.concat([trials, along(trials, "batch_size")])
    assert [(each.scale.width, each.scale.batch_size) for each in curves_of(both)] == [
        *((32, 16), (64, 16), (128, 32), (128, 64)),
    ]


def test_a_table_that_knows_no_settings_refuses_no_mixture() -> None:
    assert len(curves_of(frame({"mup": (parabola(32, -7.0, RATES),)}).drop(columns="setting"))) == 1


def test_a_trial_twice_is_refused() -> None:
    trials = frame({"mup": (parabola(32, -7.0, RATES),)})
    trials["seed"] = 0
    with pytest.raises(ValueError, match=r"expected one trial of a learning rate .* at width 32, .*, got two"):
        curves_of(trials)


def test_another_column_may_serve_and_one_with_a_missing_loss_is_refused() -> None:
    trials = frame({"mup": (parabola(32, -7.0, RATES),)})
    table = from_frame(trials.assign(val_loss=trials["loss"] + 1))
    np.testing.assert_allclose(curves(table.measured_by("val_loss"))[0].means, curves_of(trials)[0].means + 1)
    table.frame.loc[2, "val_loss"] = np.nan
    with pytest.raises(ValueError, match="expected a val_loss in each trial that did not diverge, got none in 1"):
        curves(table.measured_by("val_loss"))


def test_a_rate_at_which_one_seed_diverged_has_no_mean() -> None:
    losses = np.array([[1.0, 2.0, 3.0], [1.0, np.inf, 3.0]])
    curve = Curve(Scale(32), RATES[:3], losses)
    assert curve.diverged.tolist() == [False, True, False]
    assert curve.means.tolist() == [1.0, np.inf, 3.0]


def test_means_over_complete_seeds_are_plain_means() -> None:
    losses = np.random.default_rng(0).normal(2.3, 0.01, (3, 7))
    np.testing.assert_allclose(Curve(Scale(32), RATES, losses).means, losses.mean(axis=0), rtol=1e-14)


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
