"""What the tables must agree on: one model at the base, one loss curve for one parametrization in two gauges."""

from dataclasses import replace

import pytest
import torch

from mutransfer.config import ModelConfig
from mutransfer.config import model as model_config
from mutransfer.models import MODELS
from mutransfer.parametrization import ParamShape, build_model, scale_shapes
from mutransfer.theory.parametrizations import TABLES

from .curves import BASE, MLP, RICH, SMALL, curve

EVERY_BUT_UMUP = sorted(set(TABLES) - {"umup", "sp"})
GAUGES = [("mup", "mup_table3"), ("mup", "mup_table9"), ("mup", "mean_field"), ("sp_full_align", "ntk")]
"""Pairs that are one parametrization. Everett et al. 2407.05872, section 3.1, name the last two."""


@pytest.mark.parametrize("parametrization", EVERY_BUT_UMUP)
@pytest.mark.parametrize("optimizer", [{}, {"name": "sgd"}, {"weight_decay": 0.1, "clip_norm": 0.5}], ids=str)
def test_at_the_base_every_parametrization_is_sp_bit_for_bit(parametrization: str, optimizer: dict[str, str]) -> None:
    for model in (SMALL, RICH, MLP):
        sp = build_model(model, "sp", base_width=BASE, seed=3).model.state_dict()
        other = build_model(model, parametrization, base_width=BASE, base_depth=model.depth, seed=3).model.state_dict()
        assert sp.keys() == other.keys()
        assert all(torch.equal(sp[name], other[name]) for name in sp)
        assert curve("sp", model, 8, **optimizer) == curve(parametrization, model, 8, **optimizer)


@pytest.mark.parametrize(("one", "other"), GAUGES)
@pytest.mark.parametrize("clip", [None, 0.3])
@pytest.mark.parametrize("model", [SMALL, replace(SMALL, zero_readout=True, zero_query=True), MLP], ids=str)
@pytest.mark.parametrize("width", [3 * BASE, 4 * BASE])
def test_one_parametrization_in_two_gauges_gives_one_loss_curve(
    one: str, other: str, width: int, model: ModelConfig, clip: float | None
) -> None:
    # A large epsilon, so that a wrong exponent in its column shows.
    optimizer = {"eps": 1e-4, "clip_norm": clip, "weight_decay": 0.1}
    curves = [curve(table, replace(model, width=width), 30, **optimizer) for table in (one, other)]
    tolerance = 0.0 if width == 4 * BASE and clip is None else 1e-12
    assert curves[1] == pytest.approx(curves[0], rel=tolerance, abs=0.0)
    assert curves[0][-1] < curves[0][0]


@pytest.mark.parametrize(("one", "other"), GAUGES)
@pytest.mark.parametrize("width", [3 * BASE, 4 * BASE])
def test_two_gauges_give_one_loss_curve_with_everything_on_and_under_sgd(one: str, other: str, width: int) -> None:
    for optimizer in ({"eps": 1e-4, "clip_norm": 0.3, "decay_vectors": True, "weight_decay": 0.1}, {"name": "sgd"}):
        model = replace(RICH, width=width, zero_readout=False)
        curves = [curve(table, model, 30, **optimizer) for table in (one, other)]
        assert curves[1] == pytest.approx(curves[0], rel=1e-11, abs=0.0)


@pytest.mark.parametrize(("one", "other"), GAUGES)
def test_a_tables_gauge_columns_agree_with_one_another(one: str, other: str) -> None:
    """TPV Lemma J.1: a multiplier times t means init/t, Adam rate/t, SGD rate/t^2, eps*t, gradient*t."""
    for role, row in TABLES[other].rows.items():
        start = TABLES[one].rows[role]
        t = [mine - theirs for mine, theirs in zip(row.forward_mult, start.forward_mult, strict=True)]
        for column, power in (("init_std", -1), ("adam_lr", -1), ("sgd_lr", -2), ("adam_eps", 1), ("gauge", -1)):
            expected = [a + power * b for a, b in zip(getattr(start, column), t, strict=True)]
            assert list(getattr(row, column)) == expected, (role, column)


def test_with_a_zero_readout_full_alignment_in_sp_is_mup_but_for_epsilon() -> None:
    """The readout's initialization is all in which they differ: then SP's rates 1, 1/n, 1/n are Table 3's."""
    model = replace(SMALL, width=4 * BASE, zero_readout=True)
    flat = {"scale_eps": False}
    assert curve("sp_full_align", model, 20, **flat) == curve("mup_table3", model, 20, **flat)
    assert curve("sp_full_align", model, 20) != curve("mup_table3", model, 20)
    started = replace(model, zero_readout=False)
    assert curve("sp_full_align", started, 20, **flat) != curve("mup_table3", started, 20, **flat)


def test_mean_field_is_table_8_but_for_attention_with_a_growing_head() -> None:
    model = replace(SMALL, width=4 * BASE, head_dim=None, n_heads=2)
    assert curve("mean_field", model, 8) != curve("mup", model, 8)
    scaled = replace(model, attention_scale="sqrt(d0)/d")
    assert curve("mean_field", scaled, 8) == curve("mup", scaled, 8)


def test_config_names_are_those_of_what_stands_in_rooms_that_need_torch() -> None:
    assert set(model_config.ARCHITECTURES) == set(MODELS)


def test_a_shape_is_looked_at_once_for_all_its_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a forward pass shows depends on no seed and no table, and is nobody's to change."""
    looked: list[object] = []

    def counted(*models: object, **settings: object) -> dict[str, ParamShape]:
        looked.append(models)
        return scale_shapes(*models, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr("mutransfer.parametrization.build.scale_shapes", counted)
    config = replace(SMALL, vocab=37)  # no other test's
    one, other, sp = (
        build_model(config, table, base_width=BASE, base_depth=2, seed=seed)
        for table, seed in (("mup", 0), ("mup", 1), ("sp", 0))
    )
    assert len(looked) == 1
    assert one.shapes == other.shapes == sp.shapes
    assert one.shapes is not other.shapes
    for changes in ({"config": replace(config, depth=3)}, {"base_width": 8}, {"base_depth": 1}):
        build_model(**({"config": config, "base_width": BASE, "base_depth": 2} | changes))  # type: ignore[arg-type]
    assert len(looked) == 4
