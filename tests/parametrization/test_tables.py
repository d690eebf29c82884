"""Every exponent of every table, in closed form, as its source prints it; and what it should be of the gradients."""

import math
import re
import statistics
from collections import defaultdict
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from mutransfer.config import InitConfig, ModelConfig, OptimizerConfig
from mutransfer.parametrization import build_model
from mutransfer.theory.parametrizations import SP, TABLES, Depth, Table

from .curves import BASE, MLP, SMALL

WIDE = replace(SMALL, width=4 * BASE, norm_gain=True, bias=True)

# Powers of n for embedding, hidden, readout: initial std, multiplier, gradient, SGD rate, Adam rate.
# TPV Tables 3, 8 and 9; Everett et al. 2407.05872 Table 1 with full alignment.
PRINTED: dict[str, tuple[tuple[float, ...], ...]] = {
    "sp": ((0, 0, 0, 0, 0), (-0.5, 0, 0, 0, 0), (-0.5, 0, 0, 0, 0)),
    "sp_fixed_std": ((0, 0, 0, 0, 0), (0, 0, 0, 0, 0), (0, 0, 0, 0, 0)),
    "mup": ((0, 0, -1, 1, 0), (-0.5, 0, -1, 0, -1), (0, -1, -1, 1, 0)),
    "mup_table3": ((0, 0, -1, 1, 0), (-0.5, 0, -1, 0, -1), (-1, 0, 0, -1, -1)),
    "mup_table9": ((-0.5, 0.5, -0.5, 0, -0.5), (-0.5, 0, -1, 0, -1), (-0.5, -0.5, -0.5, 0, -0.5)),
    "mup_simple": ((0, 0, 0, 0, 0), (-0.5, 0, 0, 0, -1), (-0.5, 0, 0, 0, 0)),
    "sp_full_align": ((0, 0, -0.5, 0.5, 0), (-0.5, 0, -0.5, -0.5, -1), (-0.5, 0, 0, -1, -1)),
    "ntk": ((0, 0, -0.5, 0.5, 0), (0, -0.5, -1, 0.5, -0.5), (0, -0.5, -0.5, 0, -0.5)),
    "mean_field": ((0, 0, -1, 1, 0), (0, -0.5, -1.5, 1, -0.5), (0, -1, -1, 1, 0)),
}
PRINTED |= dict.fromkeys(("depth_mup", "completep"), PRINTED["mup"])
ATTENTION = {"mup": -0.5, "mup_table3": -0.5, "mup_table9": -0.5, "depth_mup": -0.5, "completep": -0.5}
DERIVED = ("mup", "mup_table3", "mup_table9", "sp_full_align", "ntk", "mean_field", "umup", "depth_mup", "completep")
"""Tables whose epsilon and SGD rates follow the gradient; the others are as people use them."""


def measured(parametrization: str, name: str) -> tuple[float, ...]:
    """What a parameter gets at four times the base width: std over that at the base, multiplier, eps, rates."""
    base, wide = (build_model(replace(WIDE, width=width), parametrization, base_width=BASE) for width in (BASE, 64))
    sgd = wide.rules_for(OptimizerConfig(name="sgd"))[name]
    rule = wide.rules[name]
    return (
        rule.init_std / base.rules[name].init_std,
        wide.model.get_submodule(name.removesuffix(".weight")).forward_mult,
        rule.eps_mult,
        sgd.lr_mult,
        rule.lr_mult,
    )


@pytest.mark.parametrize("parametrization", PRINTED)
@pytest.mark.parametrize(
    ("row", "name"),
    [
        (0, "embedding.weight"),
        (0, "position.weight"),
        (1, "blocks.0.attention.query.weight"),
        (1, "blocks.1.mlp.down.weight"),
        (2, "readout.weight"),
    ],
)
def test_every_exponent_is_the_printed_one(parametrization: str, row: int, name: str) -> None:
    expected = [4.0**power for power in PRINTED[parametrization][row]]
    assert measured(parametrization, name) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("parametrization", PRINTED)
def test_gains_and_biases_keep_their_adam_rate_and_follow_the_gradient_in_all_else(parametrization: str) -> None:
    """TPV B.1. Their gradient is that of the activation, as an unscaled embedding's is."""
    built = build_model(WIDE, parametrization, base_width=BASE)
    sgd = built.rules_for(OptimizerConfig(name="sgd"))
    reference = PRINTED["mup" if parametrization == "mup_table9" else parametrization][0]
    for name in ("blocks.0.attention_norm.weight", "blocks.0.mlp.up.bias", "final_norm.bias", "final_norm.weight"):
        rule = built.rules[name]
        assert (rule.role, rule.init_std, rule.wd_mult, rule.lr_mult) == ("vector", 0.0, 0.0, 1.0)
        assert (rule.eps_mult, sgd[name].lr_mult) == (4.0 ** reference[2], 4.0 ** reference[3])


@pytest.mark.parametrize("parametrization", sorted(set(TABLES) - {"umup"}))
def test_attention_scale_with_growing_head_dim(parametrization: str) -> None:
    model = replace(SMALL, width=128, head_dim=None, n_heads=8)
    built = build_model(model, parametrization, base_width=32)
    exponent = ATTENTION.get("mup" if parametrization.startswith("mup_without") else parametrization, 0.0)
    assert built.model.blocks[0].attention.attention_scale == pytest.approx(16**-0.5 * 4.0**exponent)


def difference(one: Table, other: Table) -> dict[str, dict[str, tuple[float, ...]]]:
    """The other's entries that differ from the one's, by role."""
    pairs = ((role, row._asdict(), one.rows[role]._asdict()) for role, row in other.rows.items())
    changed = {role: {c: mine[c] for c in mine if mine[c] != theirs[c]} for role, mine, theirs in pairs}
    return {role: columns for role, columns in changed.items() if columns}


def test_an_ablation_differs_in_the_entry_it_is_named_after() -> None:
    mup = TABLES["mup"]
    assert difference(SP, TABLES["sp_embedding_lr"]) == {"input": {"adam_lr": (0, 1)}}
    assert difference(mup, TABLES["mup_without_hidden_lr"]) == {"hidden": {"adam_lr": (0, 0)}}
    assert difference(mup, TABLES["mup_without_output_mult"]) == {"output": {"forward_mult": (0, 0)}}
    inside = {"adam_lr": (-1, 0)}
    assert difference(SP, TABLES["mup_simple"]) == {"hidden": inside, "bottleneck": inside}
    assert build_model(WIDE, "sp_embedding_lr", base_width=BASE).rules["embedding.weight"].lr_mult == 4.0


@pytest.mark.parametrize("parametrization", DERIVED)
def test_an_sgd_step_is_an_adam_step_in_size(parametrization: str) -> None:
    """The SGD rate times the gradient's size is the Adam rate."""
    table = TABLES[parametrization]
    for role, row in table.rows.items():
        assert [s + e for s, e in zip(row.sgd_lr, row.adam_eps, strict=True)] == list(row.adam_lr), role
    assert table.depth.sgd_lr + table.depth.adam_eps == table.depth.adam_lr


def gradients_over_eps(model: ModelConfig, parametrization: str) -> dict[str, float]:
    """The root mean square of each gradient at initialization over its eps_mult; all blocks and three seeds as one."""
    squares = defaultdict(list)
    for seed in range(3):
        built = build_model(model, parametrization, base_width=32, base_depth=2, seed=seed)
        draw = torch.Generator().manual_seed(seed)
        tokens = torch.randint(0, model.vocab, (4, model.context + 1), generator=draw)
        F.cross_entropy(built.model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten()).backward()
        for name, parameter in built.model.named_parameters():
            size = parameter.grad.square().mean().item() / built.rules[name].eps_mult ** 2
            squares[re.sub(r"\.\d+\.", ".*.", name)].append(size)
    return {name: statistics.fmean(each) ** 0.5 for name, each in squares.items()}


@pytest.mark.parametrize(
    ("parametrization", "small", "large"),
    [
        *((name, replace(WIDE, width=64), replace(WIDE, width=512)) for name in DERIVED),
        *((name, replace(MLP, width=64), replace(MLP, width=512)) for name in DERIVED),
        *(
            (name, replace(WIDE, depth=2, width=32), replace(WIDE, depth=16, width=32))
            for name in DERIVED
            if TABLES[name].depth != Depth()
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.architecture}-{value.width}-{value.depth}",
)
def test_epsilon_follows_the_gradient_at_initialization(
    parametrization: str, small: ModelConfig, large: ModelConfig
) -> None:
    """Exponents are multiples of a half, so that a quarter decides."""
    start, end = gradients_over_eps(small, parametrization), gradients_over_eps(large, parametrization)
    for name in start:
        assert abs(math.log(end[name] / start[name], 8)) < 0.25, name


def test_a_map_to_fixed_key_value_heads_has_the_gradient_that_full_alignment_says() -> None:
    start, end = (gradients_over_eps(replace(SMALL, n_kv_heads=1, width=width), "sp_full_align") for width in (64, 512))
    name = "blocks.*.attention.value.weight"
    assert abs(math.log(end[name] / start[name], 8)) < 0.25


def test_initialization_at_the_base_width() -> None:
    wide = replace(SMALL, width=4 * BASE)
    fixed = build_model(wide, "sp_fixed_std", base_width=BASE, init=InitConfig(base="fixed_std")).rules
    assert fixed["readout.weight"].init_std == fixed["embedding.weight"].init_std == 0.02
    assert fixed["blocks.0.attention.out.weight"].init_std == pytest.approx(0.01)
    over_fixed = build_model(wide, "mup", base_width=BASE, init=InitConfig(base="fixed_std")).rules
    assert over_fixed["blocks.0.attention.query.weight"].init_std == pytest.approx(0.01)
    sp = build_model(wide, "sp", base_width=BASE).rules
    assert {rule.lr_mult for rule in sp.values()} == {1.0}
    assert sp["readout.weight"].init_std == sp["blocks.0.mlp.up.weight"].init_std == pytest.approx((4 * BASE) ** -0.5)
    assert sp["blocks.0.mlp.down.weight"].init_std == pytest.approx((16 * BASE) ** -0.5 / 2)
    assert sp["embedding.weight"].init_std == 1.0


def test_every_layer_of_the_mlp_starts_with_variance_one() -> None:
    """The embeddings' sum by their share of the window, the hidden layers by He et al. 1502.01852, eq. 10."""
    model = replace(MLP, width=512, depth=6)
    built = build_model(model, "sp", base_width=BASE)
    assert built.rules["embeddings.3.weight"].init_std == 0.5
    assert built.rules["hidden.4.weight"].init_std == pytest.approx((2 / 512) ** 0.5)
    assert built.rules["readout.weight"].init_std == pytest.approx(512**-0.5)
    sizes: list[float] = []
    for layer in built.model.hidden:
        layer.register_forward_hook(lambda _m, _i, output: sizes.append(output[:, 3:].square().mean().item()))
    built.model(torch.randint(0, 64, (8, 16), generator=torch.Generator().manual_seed(0)))
    assert len(sizes) == 5
    assert all(0.7 < size < 1.4 for size in sizes)
