"""The laws of the parametrizations: equal at the base width; Tables 3, 8, 9 are one; `mup` is the oracle."""

import copy
import dataclasses

import pytest
import torch
from mup import MuAdam, MuReadout, MuSGD, set_base_shapes
from torch import nn

from mutransfer.config import InitConfig, ModelConfig, OptimizerConfig, ScheduleConfig, SweepConfig, TrialConfig
from mutransfer.config import sweep as sweep_config
from mutransfer.config import trial as trial_config
from mutransfer.optim import OPTIMIZERS
from mutransfer.optim.schedules import SHAPES
from mutransfer.parametrization import TABLES, Parametrized, build_transformer
from mutransfer.training.trainer import build, make_optimizer, train_step

BASE = 16
SMALL = ModelConfig(width=BASE, head_dim=8, context=16, vocab=64, zero_readout=False, output_mult=1.0)
MUP_TABLES = ("mup", "mup_table3", "mup_table9")


def curve(parametrization: str, model: ModelConfig, steps: int, **optimizer: object) -> list[float]:
    """Training losses in float64 on tokens of a skewed distribution, the same for every call."""
    name = optimizer.get("name", "adamw")
    sweep = SweepConfig(
        steps=steps,
        batch_size=4,
        base_width=BASE,
        dtype="float64",
        optimizer=OptimizerConfig(**optimizer),  # type: ignore[arg-type]
        schedule=ScheduleConfig(warmup=5.0),
        model=model,
        init=InitConfig(),
    )
    trial: TrialConfig = dataclasses.replace(
        sweep.trial(sweep.arms[0], model.width, 2**-3 if name == "sgd" else 2**-7, 0), parametrization=parametrization
    )
    built = build(trial, "cpu")
    optimizer_ = make_optimizer(built, trial)
    draw = torch.Generator().manual_seed(0)
    tokens = (torch.rand((steps, 4, model.context + 1), generator=draw) ** 3 * model.vocab).long()
    return [train_step(built, optimizer_, trial, step, tokens[step]).item() for step in range(steps)]


RICH = dataclasses.replace(
    SMALL, norm_gain=True, bias=True, qk_norm=True, zero_readout=True, zero_query=True, n_kv_heads=2
)


@pytest.mark.parametrize("parametrization", ["mup", "mup_table3", "mup_table9", "sp_fixed_std"])
@pytest.mark.parametrize("optimizer", [{}, {"name": "sgd"}, {"weight_decay": 0.1, "clip_norm": 0.5}], ids=str)
def test_at_base_width_every_parametrization_is_sp_bit_for_bit(parametrization: str, optimizer: dict[str, str]) -> None:
    for model in (SMALL, RICH):
        sp = build_transformer(model, "sp", base_width=BASE, seed=3).model.state_dict()
        other = build_transformer(model, parametrization, base_width=BASE, seed=3).model.state_dict()
        assert sp.keys() == other.keys()
        assert all(torch.equal(sp[name], other[name]) for name in sp)
        assert curve("sp", model, 20, **optimizer) == curve(parametrization, model, 20, **optimizer)


@pytest.mark.parametrize("clip", [None, 0.3])
@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("width", [3 * BASE, 4 * BASE])
def test_tables_3_8_and_9_give_one_loss_curve(width: int, zeros: bool, clip: float | None) -> None:
    model = dataclasses.replace(SMALL, width=width, zero_readout=zeros, zero_query=zeros)
    # A large epsilon, so that a wrong exponent in its column shows.
    curves = {table: curve(table, model, 50, eps=1e-4, clip_norm=clip, weight_decay=0.1) for table in MUP_TABLES}
    tolerance = 0.0 if width == 4 * BASE and clip is None else 1e-12
    for table in ("mup_table3", "mup_table9"):
        assert curves[table] == pytest.approx(curves["mup"], rel=tolerance, abs=0.0)
    assert curves["mup"][-1] < curves["mup"][0]


@pytest.mark.parametrize("width", [3 * BASE, 4 * BASE])
def test_tables_3_8_and_9_give_one_loss_curve_with_everything_on_and_under_sgd(width: int) -> None:
    for optimizer in ({"eps": 1e-4, "clip_norm": 0.3, "decay_vectors": True, "weight_decay": 0.1}, {"name": "sgd"}):
        model = dataclasses.replace(RICH, width=width, zero_readout=False)
        curves = {table: curve(table, model, 50, **optimizer) for table in MUP_TABLES}
        for table in ("mup_table3", "mup_table9"):
            assert curves[table] == pytest.approx(curves["mup"], rel=1e-11, abs=0.0)


def test_a_tables_gauge_columns_agree_with_one_another() -> None:
    """TPV Lemma J.1: from Table 8, a multiplier times t means init/t, Adam rate/t, SGD rate/t^2, eps*t, gradient*t."""
    eight = TABLES["mup"].rows
    for name in ("mup_table3", "mup_table9"):
        for role, row in TABLES[name].rows.items():
            t = [mine - theirs for mine, theirs in zip(row.forward_mult, eight[role].forward_mult, strict=True)]
            for column, power in (("init_std", -1), ("adam_lr", -1), ("sgd_lr", -2), ("adam_eps", 1), ("gauge", -1)):
                expected = [a + power * b for a, b in zip(getattr(eight[role], column), t, strict=True)]
                assert list(getattr(row, column)) == expected, (name, role, column)


class Oracle(nn.Module):
    """Embedding, two hidden layers with biases and a readout, in the `mup` package's own terms."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        self.readout = MuReadout(width, 10, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.readout(self.down(torch.relu(self.up(self.embedding(tokens)))))  # type: ignore[no-any-return]


@pytest.mark.parametrize(("optimizer", "oracle"), [("adamw", MuAdam), ("sgd", MuSGD)])
def test_rates_decay_and_multipliers_equal_those_of_the_mup_package(optimizer: str, oracle: type) -> None:
    from mutransfer.parametrization.shapes import scale_shapes

    model = set_base_shapes(Oracle(256), Oracle(64), delta=Oracle(128))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    expected = {
        names[id(parameter)]: (group["lr"], group["lr"] * group["weight_decay"])
        for group in oracle(model.parameters(), lr=0.1, weight_decay=0.01).param_groups
        for parameter in group["params"]
    }
    # the oracle's own readout multiplies by 1/m at any shape, which needs base shapes that the models below lack
    plain = [Oracle(width) for width in (64, 128, 256)]
    for each in plain:
        each.readout.__class__ = nn.Linear
    shapes = scale_shapes(*plain, torch.zeros((1, 3), dtype=torch.long))
    ours = Parametrized(plain[2], TABLES["mup"], shapes, dict.fromkeys(shapes, 1.0), {}, {})
    got = {
        name: (group["lr"], group["lr"] * group["weight_decay"])
        for group in ours.param_groups(0.1, weight_decay=0.01, optimizer=optimizer, decay_vectors=True)
        for name, parameter in plain[2].named_parameters()
        if any(parameter is other for other in group["params"])
    }
    assert got.keys() == expected.keys()
    for name in got:
        assert got[name] == pytest.approx(expected[name], rel=1e-12), name
    assert ours.rules["readout.weight"].forward_mult == 1 / model.readout.width_mult()


def test_closed_form_of_every_role_at_four_times_the_base_width() -> None:
    model = dataclasses.replace(SMALL, width=4 * BASE, norm_gain=True, bias=True)
    rules = build_transformer(model, "mup", base_width=BASE).rules
    hidden = rules["blocks.0.attention.query.weight"]
    assert (hidden.role, hidden.lr_mult, hidden.eps_mult, hidden.forward_mult) == ("hidden", 1 / 4, 1 / 4, 1.0)
    assert hidden.init_std == pytest.approx((4 * BASE) ** -0.5)
    assert rules["blocks.0.mlp.down.weight"].init_std == pytest.approx((16 * BASE) ** -0.5 / 2)
    readout = rules["readout.weight"]
    assert (readout.role, readout.lr_mult, readout.forward_mult) == ("output", 1.0, 1 / 4)
    assert readout.init_std == pytest.approx(BASE**-0.5)
    embedding = rules["embedding.weight"]
    assert (embedding.role, embedding.lr_mult, embedding.init_std, embedding.eps_mult) == ("input", 1.0, 1.0, 1 / 4)
    gain = rules["final_norm.weight"]
    assert (gain.role, gain.lr_mult, gain.wd_mult) == ("vector", 1.0, 0.0)
    sgd = build_transformer(model, "mup", base_width=BASE).rules_for(OptimizerConfig(name="sgd"))
    assert sgd["embedding.weight"].lr_mult == sgd["readout.weight"].lr_mult == 4.0
    assert sgd["blocks.0.mlp.up.weight"].lr_mult == 1.0


def test_fixed_key_value_heads_are_hidden_and_keep_the_fan_in_rule() -> None:
    """`mup` asserts on these ("infinite fan-in and finite fan-out"); a readout's rule would be wrong for them."""
    rules = build_transformer(dataclasses.replace(SMALL, width=4 * BASE, n_kv_heads=1), "mup", base_width=BASE).rules
    for name in ("key", "value"):
        rule = rules[f"blocks.1.attention.{name}.weight"]
        assert (rule.role, rule.width_mult_in, rule.width_mult_out) == ("hidden", 4.0, 1.0)
        assert (rule.lr_mult, rule.forward_mult) == (1 / 4, 1.0)
        assert rule.init_std == pytest.approx((4 * BASE) ** -0.5)
    assert [name for name, rule in rules.items() if rule.role == "output"] == ["readout.weight"]


def test_a_tied_embedding_keeps_its_scale_and_is_multiplied_only_as_a_readout() -> None:
    """`mup.MuSharedReadout` rescales the shared table by sqrt(m)."""
    tied = dataclasses.replace(SMALL, tied_embeddings=True)
    stds = {}
    for width in (BASE, 4 * BASE):
        built = build_transformer(dataclasses.replace(tied, width=width), "mup", base_width=BASE)
        model = built.model
        assert model.readout.weight is model.embedding.weight
        stds[width] = model.embedding.weight.std().item()
        assert (model.embedding.forward_mult, model.readout.forward_mult) == (1.0, BASE / width)
        assert sum(len(group["params"]) for group in built.param_groups(1.0)) == len(list(model.parameters()))
    assert stds[4 * BASE] == pytest.approx(stds[BASE], rel=0.1)
    with pytest.raises(ValueError, match="untie"):
        build_transformer(dataclasses.replace(tied, width=64), "mup_table3", base_width=BASE)
    build_transformer(dataclasses.replace(tied, width=64), "mup_table9", base_width=BASE)


LR, DECAY = 0.1, 0.01


@pytest.mark.parametrize(
    ("mode", "optimizer", "expected"),
    [
        ("width_independent", "adamw", LR * DECAY),
        ("coupled", "adamw", LR / 4 * DECAY),
        ("lr_independent", "adamw", DECAY),
        ("width_independent", "sgd", LR * DECAY),
        ("coupled", "sgd", 4 * LR * DECAY),
        ("lr_independent", "sgd", DECAY),
    ],
)
def test_a_step_shrinks_a_matrix_by_what_the_decay_mode_says(mode: str, optimizer: str, expected: float) -> None:
    """At four times the base width: a hidden matrix, of rate 1/4, under AdamW; the embedding, of rate 4, under SGD."""
    built = build_transformer(dataclasses.replace(SMALL, width=4 * BASE), "mup", base_width=BASE)
    weight = built.model.blocks[0].mlp.up.weight if optimizer == "adamw" else built.model.embedding.weight
    before = weight.detach().clone()
    for parameter in built.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    groups = built.param_groups(LR, weight_decay=DECAY, decay_mode=mode, optimizer=optimizer)
    (torch.optim.AdamW if optimizer == "adamw" else torch.optim.SGD)(groups).step()
    torch.testing.assert_close(weight, before * (1 - expected))


@pytest.mark.parametrize(
    ("choice", "found"),
    [
        ({"decay_mode": "cupled"}, "did you mean 'coupled'"),
        ({"optimizer": "adamv"}, "wanted a known one"),
        ({"optimizer": "adam", "weight_decay": 0.1}, "use adamw"),
        ({"lr": 0.0, "decay_mode": "lr_independent", "weight_decay": 0.1}, "wanted a rate above 0"),
    ],
    ids=str,
)
def test_groups_that_make_no_sense_are_refused(choice: dict[str, object], found: str) -> None:
    built = build_transformer(SMALL, "mup", base_width=BASE)
    with pytest.raises(ValueError, match=found):
        built.param_groups(**{"lr": 0.1, **choice})  # type: ignore[arg-type]


def test_config_names_are_those_of_the_tables_optimizers_and_schedules() -> None:
    """config needs no torch, so it holds the names of what stands in rooms that do."""
    assert set(sweep_config.PARAMETRIZATIONS) == set(TABLES)
    assert set(trial_config.OPTIMIZERS) == set(OPTIMIZERS)
    assert set(trial_config.SCHEDULES) == set(SHAPES)


def test_explain_shows_what_the_model_does() -> None:
    model = dataclasses.replace(SMALL, width=4 * BASE, head_dim=None, n_heads=2, output_mult=3.0, embedding_mult=0.5)
    built = build_transformer(model, "mup", base_width=BASE)
    config = OptimizerConfig(weight_decay=0.1)
    rows = built.explain(0.01, config).set_index("parameter")
    assert rows.loc["readout.weight", "forward_mult"] == built.model.readout.forward_mult == 3 / 4
    assert rows.loc["embedding.weight", "forward_mult"] == built.model.embedding.forward_mult == 0.5
    scale = built.model.blocks[1].attention.attention_scale
    assert rows.loc["blocks.*.attention", "forward_mult"] == scale == pytest.approx(8**0.5 / 32)
    assert rows.loc["blocks.*.mlp.up.weight", "count"] == 2
    groups = {id(p): group for group in built.groups_for(0.01, config) for p in group["params"]}
    for name, parameter in built.model.named_parameters():
        row, group = rows.loc[name.replace(".0.", ".*.").replace(".1.", ".*.")], groups[id(parameter)]
        assert (row["lr"], row["weight_decay"], row["eps"]) == (group["lr"], group["weight_decay"], group["eps"])


def test_groups_are_few_and_hold_every_parameter_once() -> None:
    built = build_transformer(dataclasses.replace(RICH, width=2 * BASE), "mup", base_width=BASE)
    groups = built.param_groups(0.1, weight_decay=0.1)
    assert len(groups) <= 5
    held = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(held) == sorted(id(parameter) for parameter in built.model.parameters())


def test_a_tensor_rate_is_not_shared_between_groups() -> None:
    rate = torch.tensor(0.1)
    groups = build_transformer(dataclasses.replace(SMALL, width=2 * BASE), "mup", base_width=BASE).param_groups(rate)
    groups[0]["lr"].mul_(2)
    assert rate.item() == pytest.approx(0.1)
    assert all(float(group["lr"]) == pytest.approx(0.1 * group["lr_mult"]) for group in groups[1:])


def test_initialization_depends_on_seed_and_name_alone() -> None:
    one, two = (build_transformer(SMALL, "mup", base_width=BASE, seed=seed).model.state_dict() for seed in (0, 1))
    again = build_transformer(dataclasses.replace(SMALL, depth=3), "sp", base_width=BASE, seed=0).model.state_dict()
    assert not torch.equal(one["embedding.weight"], two["embedding.weight"])
    assert not torch.equal(one["blocks.0.attention.query.weight"], one["blocks.0.attention.key.weight"])
    assert not torch.equal(one["blocks.0.attention.query.weight"], one["blocks.1.attention.query.weight"])
    assert torch.equal(one["embedding.weight"], again["embedding.weight"])
    assert torch.equal(one["blocks.1.attention.query.weight"], again["blocks.1.attention.query.weight"])


def test_sp_takes_one_rate_and_fan_in_or_fixed_initialization() -> None:
    wide = dataclasses.replace(SMALL, width=4 * BASE)
    sp = build_transformer(wide, "sp", base_width=BASE).rules
    assert {rule.lr_mult for rule in sp.values()} == {1.0}
    assert sp["readout.weight"].init_std == pytest.approx((4 * BASE) ** -0.5)
    assert sp["blocks.0.mlp.up.weight"].init_std == pytest.approx((4 * BASE) ** -0.5)
    assert sp["embedding.weight"].init_std == 1.0
    fixed = build_transformer(wide, "sp_fixed_std", base_width=BASE, init=InitConfig(base="fixed_std")).rules
    assert fixed["readout.weight"].init_std == fixed["embedding.weight"].init_std == 0.02
    assert fixed["blocks.0.attention.out.weight"].init_std == pytest.approx(0.01)
    over_fixed = build_transformer(wide, "mup", base_width=BASE, init=InitConfig(base="fixed_std")).rules
    assert over_fixed["blocks.0.attention.query.weight"].init_std == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("scale", "parametrization", "expected"),
    [
        ("table", "sp", 16**-0.5),
        ("table", "mup", 4**0.5 / 16),
        ("1/sqrt(d)", "mup", 16**-0.5),
        ("sqrt(d0)/d", "sp", 4**0.5 / 16),
    ],
)
def test_attention_scale_with_growing_head_dim(scale: str, parametrization: str, expected: float) -> None:
    model = dataclasses.replace(SMALL, width=128, head_dim=None, n_heads=8, attention_scale=scale)
    built = build_transformer(model, parametrization, base_width=32)
    assert built.model.blocks[0].attention.attention_scale == pytest.approx(expected)


def test_nothing_is_lost_by_a_copy_a_checkpoint_or_a_functional_call() -> None:
    """The state that `mup` keeps on tensors is lost by all three; rules are floats by name, multipliers on modules."""
    built = build_transformer(dataclasses.replace(SMALL, width=4 * BASE), "mup", base_width=BASE, seed=1)
    tokens = torch.arange(SMALL.context)[None]
    expected = built.model(tokens)
    assert torch.equal(copy.deepcopy(built.model)(tokens), expected)
    called = torch.func.functional_call(built.model, dict(built.model.named_parameters()), (tokens,))
    assert torch.equal(called, expected)
    other = build_transformer(dataclasses.replace(SMALL, width=4 * BASE), "mup", base_width=BASE, seed=2)
    other.model.load_state_dict(built.model.state_dict(), assign=True)
    assert torch.equal(other.model(tokens), expected)
    assert other.rules == built.rules
    held = {id(parameter) for group in other.param_groups(0.1) for parameter in group["params"]}
    assert held == {id(parameter) for parameter in other.model.parameters()}
