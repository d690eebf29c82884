"""The transformer: causal, and every field of its config does something."""

import dataclasses
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from mutransfer.config import PRESETS, InitConfig, ModelConfig
from mutransfer.models.transformer import rotate, rotation_tables
from mutransfer.parametrization import build_model

SMALL = ModelConfig(width=32, head_dim=8, context=12, vocab=50, zero_readout=False, output_mult=1.0)
TOKENS = torch.randint(0, 50, (2, 12), generator=torch.Generator().manual_seed(1))


def logits(config: ModelConfig, **build: object) -> torch.Tensor:
    built = build_model(config, base_width=16, dtype=torch.float64, **build)  # type: ignore[arg-type]
    # gains start at 1 and biases at 0, where they do nothing: move them off
    for name, parameter in built.model.named_parameters():
        if parameter.dim() == 1:
            with torch.no_grad():
                parameter += 0.3 * torch.sin(torch.arange(parameter.numel()) + len(name))
    return built.model(TOKENS).detach()


CHANGES: dict[str, tuple[ModelConfig, dict[str, object]]] = {
    "width": (SMALL, {"width": 64}),
    "depth": (SMALL, {"depth": 3}),
    "head_dim": (SMALL, {"head_dim": 16}),
    "n_heads": (replace(SMALL, head_dim=None, n_heads=2), {"n_heads": 4}),
    "n_kv_heads": (SMALL, {"n_kv_heads": 2}),
    "mlp_ratio": (SMALL, {"mlp_ratio": 3.0}),
    "activation": (SMALL, {"activation": "relu2"}),
    "norm": (SMALL, {"norm": "rmsnorm"}),
    "norm_gain": (SMALL, {"norm_gain": True}),
    "bias": (SMALL, {"bias": True}),
    "positions": (SMALL, {"positions": "rope"}),
    "qk_norm": (SMALL, {"qk_norm": True}),
    "tied_embeddings": (SMALL, {"tied_embeddings": True}),
    "zero_readout": (SMALL, {"zero_readout": True}),
    "zero_query": (SMALL, {"zero_query": True}),
    "attention_scale": (replace(SMALL, head_dim=None, n_heads=2), {"attention_scale": "1/sqrt(d)"}),
    "attention_mult": (SMALL, {"attention_mult": 2.0}),
    "embedding_mult": (SMALL, {"embedding_mult": 2.0}),
    "output_mult": (SMALL, {"output_mult": 2.0}),
    "context": (SMALL, {"context": 11}),
    "vocab": (SMALL, {"vocab": 51}),
}


def test_every_field_has_its_change() -> None:
    assert set(CHANGES) == {field.name for field in dataclasses.fields(ModelConfig)} - {"architecture", "window"}


@pytest.mark.parametrize("field", sorted(set(CHANGES) - {"context"}))
def test_every_field_changes_the_output(field: str) -> None:
    start, change = CHANGES[field]
    before, after = logits(start), logits(replace(start, **change))  # type: ignore[arg-type]
    assert after.isfinite().all()
    assert before.shape != after.shape or not torch.allclose(before, after, atol=1e-9)


def test_swiglu_has_a_gate_that_matters() -> None:
    gated = build_model(replace(SMALL, activation="swiglu"), base_width=16)
    before = gated.model(TOKENS).detach()
    with torch.no_grad():
        gated.model.blocks[0].mlp.gate.weight.zero_()
    assert not torch.allclose(before, gated.model(TOKENS))


def test_rotary_positions_turn_queries_and_keys() -> None:
    model = build_model(replace(SMALL, positions="rope"), base_width=16).model
    before = model(TOKENS).detach()
    model.rotation_cos.fill_(1.0)
    model.rotation_sin.zero_()
    assert not torch.allclose(before, model(TOKENS))


def test_learned_positions_end_at_the_context() -> None:
    model = build_model(replace(SMALL, context=11), base_width=16).model
    with pytest.raises(IndexError):
        model(TOKENS)
    assert model(TOKENS[:, :5]).shape == (2, 5, 50)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(InitConfig)])
def test_every_field_of_the_initialization_changes_the_output(field: str) -> None:
    changes = {"base": "fixed_std", "std": 0.05, "embedding_std": 0.3, "position_std": 0.7, "residual_scaling": False}
    changes["readout_scale"] = 0.5
    start = InitConfig(base="fixed_std") if field == "std" else InitConfig()
    before, after = logits(SMALL, init=start), logits(SMALL, init=replace(start, **{field: changes[field]}))
    assert not torch.allclose(before, after, atol=1e-9)


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        replace(SMALL, positions="rope", n_kv_heads=2, activation="swiglu", qk_norm=True, norm="rmsnorm"),
        *(
            replace(preset, width=32, head_dim=8, context=12, vocab=50, zero_readout=False)
            for preset in PRESETS.values()
        ),
    ],
    ids=["small", "rich", *PRESETS],
)
def test_no_logit_depends_on_a_later_token(config: ModelConfig) -> None:
    """The gradient of an earlier logit with respect to a later embedding is exactly zero."""
    model = build_model(config, base_width=16).model
    embedded: list[torch.Tensor] = []

    def keep(_module: object, _inputs: object, output: torch.Tensor) -> None:
        output.retain_grad()
        embedded.append(output)

    model.embedding.register_forward_hook(keep)
    at = 7
    model(TOKENS)[0, at].square().sum().backward()
    gradient = embedded[0].grad
    assert gradient is not None
    assert (gradient[0, at + 1 :] == 0).all()
    assert (gradient[1] == 0).all()
    assert (gradient[0, : at + 1] != 0).any(dim=1).all()


def test_attention_is_what_it_says() -> None:
    """One block's attention against the formula, with grouped key/value heads."""
    config = replace(SMALL, n_kv_heads=2, depth=1)
    attention = build_model(config, base_width=16, dtype=torch.float64).model.blocks[0].attention
    x = torch.randn(2, 12, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    q, k, v = (x @ getattr(attention, name).weight.T for name in ("query", "key", "value"))
    heads = []
    for head in range(4):
        group = head // 2
        mine, kv = slice(8 * head, 8 * head + 8), slice(8 * group, 8 * group + 8)
        scores = q[:, :, mine] @ k[:, :, kv].transpose(1, 2) * 8**-0.5
        scores = scores.masked_fill(torch.ones(12, 12, dtype=torch.bool).triu(1), -torch.inf)
        heads.append(F.softmax(scores, dim=-1) @ v[:, :, kv])
    torch.testing.assert_close(attention(x, None), torch.cat(heads, dim=-1) @ attention.out.weight.T)


def test_rotation_makes_scores_depend_on_distance_alone() -> None:
    rotation = rotation_tables(32, 8)
    q, k = torch.randn(2, 8, generator=torch.Generator().manual_seed(0)).unbind()
    turned_q, turned_k = (rotate(x.expand(1, 1, 32, 8), rotation)[0, 0] for x in (q, k))
    scores = turned_q @ turned_k.T
    for distance in (0, 3, 17):
        along = scores.diagonal(distance)
        torch.testing.assert_close(along, along[:1].expand_as(along), atol=1e-4, rtol=1e-4)
    assert scores[0, 3] != pytest.approx(scores[0, 17].item(), abs=1e-3)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"width": 33}, "multiple of head_dim 8, got 33; use 32"),
        ({"head_dim": None, "n_heads": 5}, "multiple of n_heads 5"),
        ({"n_heads": 2}, "exactly one"),
        ({"n_kv_heads": 3}, "n_kv_heads"),
        ({"mlp_ratio": 1.03}, "whole number"),
        ({"activation": "gellu"}, "did you mean 'gelu'"),
        ({"norm": "batch"}, "layernorm, rmsnorm"),
        ({"positions": "rope", "head_dim": 1}, "even"),
        ({"depth": 0}, "model.depth above 0, got 0"),
        ({"zero_readout": True, "tied_embeddings": True}, "set model.zero_readout to False"),
    ],
    ids=str,
)
def test_shapes_that_cannot_be_built_are_refused(change: dict[str, object], found: str) -> None:
    with pytest.raises(ValueError, match=found):
        replace(SMALL, **change).validate()  # type: ignore[arg-type]
