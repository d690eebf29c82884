"""What observations say, from planted ones."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from mutransfer.toolbox.watch.observed import Observation, layer_of, losses_of, spikes_of, to_table, total

PLANTED = Observation(
    step=20,
    losses=[[17, 5.0], [19, None], [20, 4.0]],
    spike_score=0.0,
    unrecovered=None,
    weight_norm={"embedding.weight": 10.0, "blocks.0.up.weight": 3.0, "blocks.0.up.bias": 4.0, "blocks.0.frozen": 99.0},
    update_norm={"embedding.weight": 1e-5, "blocks.0.up.weight": 0.06, "blocks.0.up.bias": 0.08},
    grad_norm={},
    clipped_grad_norm={},
    eps_share={},
    activation={"embedding": 1.5},
    attention_logit={},
)


def test_ratios_are_of_each_parameter_and_of_what_a_layer_updates() -> None:
    assert PLANTED.update_ratio == pytest.approx(
        {"embedding.weight": 1e-6, "blocks.0.up.weight": 0.02, "blocks.0.up.bias": 0.02}
    )
    assert PLANTED.layer_update_ratio == pytest.approx({"embedding": 1e-6, "blocks.0": 0.1 / 5})


def test_flags_are_set_out_of_bounds_and_not_within_them() -> None:
    assert PLANTED.flagged == {"embedding.weight": "small", "blocks.0.up.weight": "large", "blocks.0.up.bias": "large"}
    for ratio, flag in ((0.99e-5, "small"), (1.01e-5, None), (1e-3, None), (0.99e-2, None), (1.01e-2, "large")):
        one = replace(PLANTED, weight_norm={"w": 2.0}, update_norm={"w": 2 * ratio})
        assert one.flagged == ({} if flag is None else {"w": flag})
    assert replace(PLANTED, weight_norm={"w": 0.0}, update_norm={"w": 1.0}).flagged == {}
    assert replace(PLANTED, weight_norm={"w": 1.0}, update_norm={"w": None}).flagged == {"w": "not finite"}


@pytest.mark.parametrize(
    ("parameter", "layer"),
    [
        ("embedding.weight", "embedding"),
        ("blocks.0.attention.query.weight", "blocks.0"),
        ("module.h.11.mlp.bias", "module.h.11"),
        ("stages.1.blocks.2.up.weight", "stages.1"),
        ("0.weight", "0"),
        ("conv1.weight", "conv1"),
        ("layers2.3d.weight", "layers2.3d"),
        ("scale", "scale"),
    ],
)
def test_a_layer_ends_at_its_first_index(parameter: str, layer: str) -> None:
    assert layer_of(parameter) == layer


def test_a_table_has_a_row_for_each_name_and_a_column_for_each_step() -> None:
    later = replace(PLANTED, step=40, activation={"embedding": None, "readout": 2.0})
    table = to_table([PLANTED, later], "activation")
    assert table.index.tolist() == ["embedding", "readout"]
    assert table.columns.tolist() == [20, 40]
    assert table.to_numpy() == pytest.approx(np.array([[1.5, math.nan], [math.nan, 2.0]]), nan_ok=True)
    lost = replace(PLANTED, step=41, activation={})  # an observation of losses alone
    assert to_table([PLANTED, later, lost], "activation").equals(table)
    assert to_table([PLANTED], "grad_norm").empty
    with pytest.raises(ValueError, match="did you mean 'activation'"):
        to_table([PLANTED], "activations")


def test_losses_are_at_the_steps_that_they_were_told_at() -> None:
    losses = losses_of([PLANTED, replace(PLANTED, step=22, losses=[[21, 3.0], [22, 2.0]])])
    assert losses.index.tolist() == [17, 19, 20, 21, 22]
    assert losses.tolist() == pytest.approx([5.0, math.nan, 4.0, 3.0, 2.0], nan_ok=True)
    (spike,) = spikes_of(losses).spikes
    assert (spike.step, spike.recovered) == (19, 20)


def test_a_total_is_the_norm_of_all_and_nothing_where_one_is_not_finite() -> None:
    assert total({"a": 3.0, "b": 4.0}) == 5.0
    assert total({}) is None
    assert total({"a": 3.0, "b": None}) is None
