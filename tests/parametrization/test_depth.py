"""What depth changes: nothing outside residual blocks, and nothing at all but in the tables that have rules for it."""

from dataclasses import replace

import pytest
import torch

from mutransfer.config import InitConfig, OptimizerConfig
from mutransfer.parametrization import build_model
from mutransfer.theory.parametrizations import TABLES, Depth

from .curves import BASE, MLP, RICH, curve

ALPHA = {"depth_mup": 0.5, "completep": 1.0}
DEEP = replace(RICH, depth=8, width=4 * BASE)


@pytest.mark.parametrize("parametrization", ALPHA)
def test_blocks_follow_the_printed_powers_of_depth(parametrization: str) -> None:
    """CompleteP 2505.01618, Table 1, beside mup: branch m_L^-a, rate m_L^(a-1), eps m_L^-a; alpha=1/2 is depth-muP."""
    alpha, m_L = ALPHA[parametrization], 4.0
    deep = build_model(DEEP, parametrization, base_width=BASE, base_depth=2)
    mup = build_model(DEEP, "mup", base_width=BASE)
    sgd = [each.rules_for(OptimizerConfig(name="sgd")) for each in (deep, mup)]
    inside = 0
    for name, rule in deep.rules.items():
        factor = m_L if name.startswith("blocks.") else 1.0
        inside += factor != 1
        assert rule.lr_mult == pytest.approx(mup.rules[name].lr_mult * factor ** (alpha - 1))
        assert rule.eps_mult == pytest.approx(mup.rules[name].eps_mult * factor**-alpha)
        assert sgd[0][name].lr_mult == pytest.approx(sgd[1][name].lr_mult * factor ** (2 * alpha - 1))
        assert (rule.forward_mult, rule.grad_mult) == (mup.rules[name].forward_mult, mup.rules[name].grad_mult)
    # norm gains and biases, attention and MLP with biases, gains of query and key
    assert inside == 8 * (2 * 2 + 8 + 4 + 2)
    for block in deep.model.blocks:
        for layer in (block.attention, block.mlp):
            assert (layer.residual_mult, layer.skip_mult) == (m_L**-alpha, 1.0)


@pytest.mark.parametrize("parametrization", sorted(TABLES))
def test_a_table_without_rules_for_depth_has_no_base_depth(parametrization: str) -> None:
    table = TABLES[parametrization]
    one, other = (build_model(DEEP, parametrization, base_width=BASE, base_depth=depth) for depth in (1, 4))
    # an absolute table stands on depth 1 whatever base_depth says
    same = table.depth == Depth() or table.absolute
    assert (one.rules == other.rules and one.stream_mult == other.stream_mult) == same
    if table.depth == Depth():
        assert all(mult == (1.0, 1.0) for mult in one.stream_mult.values())


def test_room_for_the_residual_stream_is_made_once() -> None:
    """Tables with rules for depth keep the base depth's initialization; others divide by sqrt(2 depth), as GPT-2."""
    for name in ("blocks.7.attention.out.weight", "blocks.0.mlp.down.weight"):
        anchored, mup = (
            build_model(DEEP, table, base_width=BASE, base_depth=2).rules[name].init_std
            for table in ("completep", "mup")
        )
        assert anchored == pytest.approx(2 * mup)
        free = build_model(
            DEEP, "completep", base_width=BASE, base_depth=2, init=InitConfig(residual_scaling=False)
        ).rules[name]
        assert free.init_std == pytest.approx(2 * anchored)


def test_an_mlp_has_no_residual_blocks() -> None:
    model = replace(MLP, depth=4, width=4 * BASE)
    assert curve("mup", model, 5) == curve("completep", model, 5) == curve("depth_mup", model, 5)


def test_a_branch_multiplier_multiplies_the_branch_alone() -> None:
    """A block whose branches are multiplied by 0 is the identity, and one whose stream is, forgets its input."""
    block = build_model(replace(RICH, positions="rope"), "mup", base_width=BASE).model.blocks[0]
    x = torch.randn(2, 5, BASE, generator=torch.Generator().manual_seed(0))
    change = block.attention(block.attention_norm(x), None)
    block.mlp.residual_mult = 0.0
    block.attention.residual_mult, block.attention.skip_mult = 0.5, 3.0
    torch.testing.assert_close(block(x, None), 3 * x + 0.5 * change)


def test_explain_shows_what_depth_does() -> None:
    deep = build_model(DEEP, "completep", base_width=BASE, base_depth=2)
    rows = deep.explain(0.5).set_index("parameter")
    assert rows.loc["blocks.*.attention.residual_mult", "forward_mult"] == deep.model.blocks[3].attention.residual_mult
    assert rows.loc["blocks.*.mlp.residual_mult", "count"] == 8
    assert not rows.index.str.contains("skip_mult").any()
    depth_mup = build_model(DEEP, "depth_mup", base_width=BASE, base_depth=2)
    shown = depth_mup.explain(0.5).set_index("parameter")
    assert shown.loc["blocks.*.mlp.up.weight", "lr"] == pytest.approx(0.5 / 4 / 2)
    assert shown.loc["blocks.*.mlp.up.weight", "eps"] == pytest.approx(1e-8 / 4 / 2)
    assert shown.loc["final_norm.weight", "lr"] == 0.5
    umup = build_model(replace(DEEP, depth=2), "umup").explain(0.5).set_index("parameter")
    for block in (0, 1):
        assert umup.loc[f"blocks.{block}.mlp.skip_mult", "count"] == 1
    assert not build_model(DEEP, "mup", base_width=BASE).explain()["role"].eq("residual").any()


def test_a_base_depth_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="base_depth above 0, got 0"):
        build_model(RICH, "completep", base_width=BASE, base_depth=0)
