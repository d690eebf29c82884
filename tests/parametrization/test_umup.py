"""u-muP: absolute exponents, and unit variance of all that its forward pass holds."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from mutransfer.config import InitConfig, ModelConfig
from mutransfer.models.layers import Linear
from mutransfer.models.transformer import Block
from mutransfer.parametrization import build_model
from mutransfer.parametrization.initial import ACTIVATION_RMS

from .curves import MLP, SMALL

LLAMA_LIKE = replace(SMALL, activation="swiglu", norm="rmsnorm", positions="rope", qk_norm=True, n_kv_heads=2)
SIZES = [(64, 2), (512, 2), (64, 8), (256, 8)]


def test_every_exponent_is_absolute() -> None:
    """2407.17465, Table 2, with n = 96 and L = 3, neither a power of two nor a multiple of a base."""
    model = replace(SMALL, width=96, depth=3, norm_gain=True, attention_mult=2.0, positions="rope", output_mult=5.0)
    n, L = 96, 3
    one, other = (build_model(model, "umup", base_width=width, base_depth=width) for width in (8, 32))
    assert one.rules == other.rules
    rules, modules = one.rules, one.model
    assert all(rule.init_std == 1.0 for rule in rules.values() if rule.role != "vector")
    assert modules.embedding.forward_mult == 1.0
    assert modules.blocks[0].mlp.up.forward_mult == pytest.approx(n**-0.5)
    assert modules.blocks[0].mlp.down.forward_mult == pytest.approx((4 * n) ** -0.5 / ACTIVATION_RMS["gelu"])
    assert modules.readout.forward_mult == pytest.approx(5 / n)
    assert modules.blocks[2].attention.attention_scale == pytest.approx(2 / 8)
    rate = {name: rule.lr_mult for name, rule in rules.items()}
    assert rate["embedding.weight"] == pytest.approx(n**-0.5)
    assert rate["blocks.0.attention.query.weight"] == pytest.approx(n**-0.5 * L**-0.5)
    assert rate["blocks.1.mlp.down.weight"] == pytest.approx((4 * n) ** -0.5 * L**-0.5)
    assert rate["readout.weight"] == rate["final_norm.weight"] == 1.0
    assert rate["blocks.0.mlp_norm.weight"] == pytest.approx(L**-0.5)
    assert {name: rule.wd_mult for name, rule in rules.items() if "norm" not in name} == pytest.approx(
        {name: 1 / rate[name] for name in rate if "norm" not in name}
    )
    hidden = build_model(replace(MLP, width=96), "umup").rules["hidden.1.weight"]
    assert (hidden.lr_mult, hidden.init_std) == (pytest.approx(n**-0.5), 1.0)


@pytest.mark.parametrize("depth", [1, 2, 7])
def test_embedding_attention_and_mlps_each_make_a_third_of_the_stream(depth: int) -> None:
    """2407.17465, appendix G: tau_i^2 = 1/(L + i); the branch times tau and the stream, over sqrt(1 + tau_i^2)."""
    shares: list[float] = [1.0]
    mults = build_model(replace(SMALL, depth=depth), "umup").stream_mult
    for index, (residual, skip) in enumerate(mults.values()):
        tau = (depth + index) ** -0.5
        assert residual == pytest.approx(tau * (1 + tau**2) ** -0.5)
        assert skip == pytest.approx((1 + tau**2) ** -0.5)
        shares = [*(share * skip**2 for share in shares), residual**2]
    assert len(shares) == 1 + 2 * depth
    for part in (shares[:1], shares[1::2], shares[2::2]):
        assert sum(part) == pytest.approx(1 / 3)


def test_activation_constants_are_their_integrals() -> None:
    x = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    density = torch.exp(-x.square() / 2) / math.sqrt(2 * math.pi)
    functions = {"gelu": nn.functional.gelu, "swiglu": nn.functional.silu, "relu": torch.relu}
    functions["relu2"] = lambda x: torch.relu(x).square()
    assert functions.keys() == ACTIVATION_RMS.keys()
    for name, function in functions.items():
        mean_square = torch.trapezoid(function(x).square() * density, x).item()
        assert mean_square**0.5 == pytest.approx(ACTIVATION_RMS[name], rel=1e-8)


@pytest.mark.parametrize(("width", "depth"), SIZES)
@pytest.mark.parametrize("model", [SMALL, replace(SMALL, activation="relu2"), LLAMA_LIKE, MLP], ids=str)
def test_every_activation_and_weight_has_unit_scale_at_initialization(
    model: ModelConfig, width: int, depth: int
) -> None:
    """What attention adds is up to 3: the values it averages have more in common from layer to layer. Logits are
    n^-1/2, as muP's are."""
    built = build_model(replace(model, width=width, depth=depth, context=32), "umup")
    size: dict[str, float] = {}
    for path, module in built.model.named_modules():
        if isinstance(module, Linear | Block):
            module.register_forward_hook(
                lambda _m, _i, output, path=path: size.update({path: output.square().mean().sqrt().item()})
            )
    if model.architecture == "transformer":
        built.model.blocks[0].register_forward_pre_hook(
            lambda _m, inputs: size.update(stream=inputs[0].square().mean().sqrt().item())
        )
    draw = torch.Generator().manual_seed(0)
    built.model(torch.randint(0, model.vocab, (8, 32), generator=draw))
    assert size.pop("stream", 1.0) == pytest.approx(1.0, rel=0.1)
    assert size.pop("readout") == pytest.approx(width**-0.5, rel=0.3)
    assert all(0.7 < each < (3 if path.endswith("attention.out") else 1.5) for path, each in size.items()), size
    weights = [p.square().mean().sqrt().item() for p in built.model.parameters() if p.dim() == 2]
    assert weights == pytest.approx([1.0] * len(weights), rel=0.05)


def test_zero_readout_and_zero_query_start_at_zero_here_too() -> None:
    rules = build_model(replace(SMALL, zero_readout=True, zero_query=True), "umup").rules
    zeros = {name for name, rule in rules.items() if rule.init_std == 0}
    assert zeros == {"readout.weight", "blocks.0.attention.query.weight", "blocks.1.attention.query.weight"}


def test_settings_of_the_base_initialization_are_refused() -> None:
    with pytest.raises(ValueError, match="std 1; leave them out"):
        build_model(SMALL, "umup", init=InitConfig(residual_scaling=False))
