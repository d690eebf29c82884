"""The rules that tables make: `mup` is the oracle; decay, ties, groups, and what `explain` says of them."""

import copy
import dataclasses

import pytest
import torch
from mup import MuAdam, MuReadout, MuSGD, set_base_shapes
from torch import nn

from mutransfer.config import PRESETS, OptimizerConfig
from mutransfer.models.layers import Embedding, Linear
from mutransfer.parametrization import Parametrized, build_model
from mutransfer.theory.parametrizations import TABLES

from .curves import BASE, MLP, RICH, SMALL


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
    ones = dict.fromkeys(shapes, 1.0)
    ours = Parametrized(plain[2], TABLES["mup"], shapes, ones, ones, {}, {})
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


def test_a_tied_embedding_keeps_its_scale_and_is_multiplied_only_as_a_readout() -> None:
    """`mup.MuSharedReadout` rescales the shared table by sqrt(m)."""
    tied = dataclasses.replace(SMALL, tied_embeddings=True)
    stds = {}
    for width in (BASE, 4 * BASE):
        built = build_model(dataclasses.replace(tied, width=width), "mup", base_width=BASE)
        model = built.model
        assert model.readout.weight is model.embedding.weight
        stds[width] = model.embedding.weight.std().item()
        assert (model.embedding.forward_mult, model.readout.forward_mult) == (1.0, BASE / width)
        assert sum(len(group["params"]) for group in built.param_groups(1.0)) == len(list(model.parameters()))
    assert stds[4 * BASE] == pytest.approx(stds[BASE], rel=0.1)


REFUSES_TIES = ("mup_table3", "sp_full_align", "ntk", "umup", "sp_embedding_lr")


@pytest.mark.parametrize("parametrization", sorted(TABLES))
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_tied_weight_has_one_rule_or_is_refused(parametrization: str, optimizer: str) -> None:
    tied = dataclasses.replace(SMALL, width=4 * BASE, tied_embeddings=True)
    if parametrization in REFUSES_TIES:
        with pytest.raises(ValueError, match="untie"):
            build_model(tied, parametrization, base_width=BASE)
        return
    rules = build_model(tied, parametrization, base_width=BASE).rules_for(OptimizerConfig(name=optimizer))
    one, other = (rules[name]._replace(name="", role="input") for name in ("embedding.weight", "readout.weight"))
    for column in ("init_std", "lr_mult", "wd_mult", "eps_mult", "grad_mult"):
        assert getattr(one, column) == getattr(other, column)


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
    built = build_model(dataclasses.replace(SMALL, width=4 * BASE), "mup", base_width=BASE)
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
        ({"optimizer": "adamv"}, "expected a known optimizer"),
        ({"optimizer": "adam", "weight_decay": 0.1}, "use adamw"),
        ({"lr": 0.0, "decay_mode": "lr_independent", "weight_decay": 0.1}, "wanted a rate above 0"),
    ],
    ids=str,
)
def test_groups_that_make_no_sense_are_refused(choice: dict[str, object], found: str) -> None:
    built = build_model(SMALL, "mup", base_width=BASE)
    with pytest.raises(ValueError, match=found):
        built.param_groups(**{"lr": 0.1, **choice})  # type: ignore[arg-type]


def test_multipliers_of_the_config_are_those_of_tokens_and_logits() -> None:
    tuned = {"embedding_mult": 0.5, "output_mult": 3.0}
    for model in (SMALL, MLP):
        built = build_model(dataclasses.replace(model, width=2 * BASE, **tuned), "mup", base_width=BASE)
        for name, module in built.model.named_modules():
            if isinstance(module, Linear | Embedding):
                expected = 0.5 if name.startswith("embedding") else 3 / 2 if name == "readout" else 1.0
                assert module.forward_mult == expected, name


def test_explain_shows_what_the_model_does() -> None:
    model = dataclasses.replace(SMALL, width=4 * BASE, head_dim=None, n_heads=2, output_mult=3.0, embedding_mult=0.5)
    built = build_model(model, "mup", base_width=BASE)
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
    built = build_model(dataclasses.replace(RICH, width=2 * BASE), "mup", base_width=BASE)
    groups = built.param_groups(0.1, weight_decay=0.1)
    assert len(groups) <= 5
    held = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(held) == sorted(id(parameter) for parameter in built.model.parameters())


def test_a_tensor_rate_is_not_shared_between_groups() -> None:
    rate = torch.tensor(0.1)
    groups = build_model(dataclasses.replace(SMALL, width=2 * BASE), "mup", base_width=BASE).param_groups(rate)
    groups[0]["lr"].mul_(2)
    assert rate.item() == pytest.approx(0.1)
    assert all(float(group["lr"]) == pytest.approx(0.1 * group["lr_mult"]) for group in groups[1:])


def test_initialization_depends_on_seed_and_name_alone() -> None:
    one, two = (build_model(SMALL, "mup", base_width=BASE, seed=seed).model.state_dict() for seed in (0, 1))
    again = build_model(dataclasses.replace(SMALL, depth=3), "sp", base_width=BASE, seed=0).model.state_dict()
    assert not torch.equal(one["embedding.weight"], two["embedding.weight"])
    assert not torch.equal(one["blocks.0.attention.query.weight"], one["blocks.0.attention.key.weight"])
    assert not torch.equal(one["blocks.0.attention.query.weight"], one["blocks.1.attention.query.weight"])
    assert torch.equal(one["embedding.weight"], again["embedding.weight"])
    assert torch.equal(one["blocks.1.attention.query.weight"], again["blocks.1.attention.query.weight"])


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
    built = build_model(model, parametrization, base_width=32)
    assert built.model.blocks[0].attention.attention_scale == pytest.approx(expected)


def test_nothing_is_lost_by_a_copy_a_checkpoint_or_a_functional_call() -> None:
    """The state that `mup` keeps on tensors is lost by all three; rules are floats by name, multipliers on modules."""
    built = build_model(dataclasses.replace(SMALL, width=4 * BASE), "mup", base_width=BASE, seed=1)
    tokens = torch.arange(SMALL.context)[None]
    expected = built.model(tokens)
    assert torch.equal(copy.deepcopy(built.model)(tokens), expected)
    called = torch.func.functional_call(built.model, dict(built.model.named_parameters()), (tokens,))
    assert torch.equal(called, expected)
    other = build_model(dataclasses.replace(SMALL, width=4 * BASE), "mup", base_width=BASE, seed=2)
    other.model.load_state_dict(built.model.state_dict(), assign=True)
    assert torch.equal(other.model(tokens), expected)
    assert other.rules == built.rules
    held = {id(parameter) for group in other.param_groups(0.1) for parameter in group["params"]}
    assert held == {id(parameter) for parameter in other.model.parameters()}


@pytest.mark.parametrize("preset", ["default", "gpt2", "llama"])
@pytest.mark.parametrize("name", TABLES)
def test_a_model_on_meta_is_explained_as_one_with_weights(preset: str, name: str) -> None:
    """Or both are refused: what is tied there is tied here."""
    config = dataclasses.replace(PRESETS[preset], width=64)
    told = []
    for device in ("cpu", "meta"):
        try:
            told.append(build_model(config, name, base_width=32, device=device).explain(0.01).to_csv())
        except ValueError as error:
            told.append(str(error))
    assert told[0] == told[1]
