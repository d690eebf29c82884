"""Held-out measurements against the formulas, computed pair by pair from the weights."""

import dataclasses
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from mutransfer.config import Arm, ModelConfig, Scale, SweepConfig, TrialConfig
from mutransfer.data import Corpus, validation_batches
from mutransfer.models import TokenMLP, Transformer
from mutransfer.training.evaluation import evaluate, largest_attention_logit
from mutransfer.training.trainer import build

SMALL = ModelConfig(head_dim=8, context=12, vocab=50, zero_readout=False)
DRAWN = np.random.default_rng(0).integers(0, 50, 2000).astype(np.uint8)
CORPUS = Corpus("drawn", "0" * 16, 50, DRAWN[:1000], DRAWN[1000:])


def trial(model: ModelConfig = SMALL, **changes: object) -> TrialConfig:
    sweep = SweepConfig(base_width=16, batch_size=3, eval_batches=4, dtype="float64", model=model)
    return dataclasses.replace(sweep.trial(Arm("mup", "mup"), Scale(32), 0.1, 0), **changes)  # type: ignore[arg-type]


def held_out(config: TrialConfig) -> list[torch.Tensor]:
    return [torch.from_numpy(tokens) for tokens in validation_batches(CORPUS.val, 4, 3, config.model.context)]


def logits_by_hand(model: Transformer, tokens: torch.Tensor, config: ModelConfig) -> tuple[float, float]:
    """The largest |attention logit| over all pairs, and over those of a query and an earlier key or its own."""
    inputs: list[torch.Tensor] = []

    def keep(_module: object, _inputs: object, output: torch.Tensor) -> None:
        inputs.append(output)

    hooks = [block.attention_norm.register_forward_hook(keep) for block in model.blocks]
    model(tokens)
    for hook in hooks:
        hook.remove()
    anywhere, causal = 0.0, 0.0
    size, time = config.size_of_head, tokens.shape[1]
    for block, x in zip(model.blocks, inputs, strict=True):
        attention = block.attention
        for head in range(config.heads):
            sides = []
            for projection, which in (
                (attention.query, head),
                (attention.key, head // (config.heads // config.kv_heads)),
            ):
                y = x @ projection.weight[which * size : (which + 1) * size].T * projection.forward_mult
                if config.qk_norm:
                    y = y / (y.square().mean(dim=-1, keepdim=True) + torch.finfo(y.dtype).eps).sqrt()
                if config.positions == "rope":
                    angle = torch.outer(torch.arange(time), 10_000.0 ** (-torch.arange(0, size, 2) / size)).double()
                    turned = torch.complex(*y.chunk(2, dim=-1)) * torch.polar(torch.ones_like(angle), angle)
                    y = torch.cat((turned.real, turned.imag), dim=-1)
                sides.append(y)
            for at in range(time):
                for before in range(time):
                    pair = (sides[0][:, at] * sides[1][:, before]).sum(dim=1).abs().max().item()
                    anywhere = max(anywhere, pair * attention.attention_scale)
                    causal = max(causal, pair * attention.attention_scale if before <= at else 0.0)
    return anywhere, causal


@pytest.mark.parametrize(
    "model",
    [
        SMALL,
        replace(SMALL, qk_norm=True, attention_mult=3.0),
        replace(SMALL, n_kv_heads=2),
        replace(SMALL, positions="rope"),
        replace(SMALL, qk_norm=True, n_kv_heads=2, positions="rope", norm="rmsnorm", depth=3),
        replace(SMALL, head_dim=None, n_heads=2, n_kv_heads=1),
    ],
    ids=["small", "qk_norm", "grouped", "rope", "all", "wide heads"],
)
def test_the_attention_logit_is_the_largest_that_a_query_meets(model: ModelConfig) -> None:
    config = trial(model)
    built = build(config, "cpu").model
    masked = False
    with torch.no_grad():
        for number, tokens in enumerate(held_out(config)):
            anywhere, causal = logits_by_hand(built, tokens[:, :-1], config.model)
            found = largest_attention_logit(built, tokens, "float64")
            assert found == pytest.approx(causal, rel=1e-6)  # rotation tables are float32
            masked |= anywhere > causal
            if number == 0:
                assert evaluate(built, config, CORPUS, "cpu").attention_logit == found
    assert masked, "no batch has its largest logit with a later key"


def test_in_bfloat16_the_attention_logit_is_nearly_the_same() -> None:
    config = trial(dtype="float32")
    built = build(config, "cpu").model
    wide = evaluate(built, config, CORPUS, "cpu").attention_logit
    narrow = evaluate(built, replace(config, dtype="bfloat16"), CORPUS, "cpu").attention_logit
    assert wide != narrow == pytest.approx(wide, rel=0.02)


def test_loss_and_log_z_are_means_over_all_held_out_tokens() -> None:
    config = trial()
    built = build(config, "cpu").model
    with torch.no_grad():
        logits = torch.cat([built(tokens[:, :-1]) for tokens in held_out(config)]).flatten(0, 1)
    targets = torch.cat([tokens[:, 1:] for tokens in held_out(config)]).flatten()
    found = evaluate(built, config, CORPUS, "cpu")
    assert found.loss == pytest.approx(-logits.log_softmax(dim=1)[torch.arange(len(targets)), targets].mean().item())
    assert found.output_log_z == pytest.approx(logits.exp().sum(dim=1).log().mean().item())
    by_squares = evaluate(built, replace(config, loss="squared_error"), CORPUS, "cpu")
    one_hot = torch.eye(50, dtype=torch.float64)[targets]
    assert by_squares.loss == pytest.approx((logits - one_hot).square().sum(dim=1).mean().item())
    assert by_squares.output_log_z is None
    assert by_squares.attention_logit == found.attention_logit


def test_a_readout_of_zero_has_the_log_z_of_the_vocabulary() -> None:
    config = trial(replace(SMALL, zero_readout=True))
    assert evaluate(build(config, "cpu").model, config, CORPUS, "cpu").output_log_z == pytest.approx(math.log(50))


def test_a_model_without_attention_has_no_attention_logit() -> None:
    config = trial(replace(SMALL, architecture="mlp"))
    model = TokenMLP(config.model).double()
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    assert evaluate(model, config, CORPUS, "cpu") == (pytest.approx(math.log(50)), None, pytest.approx(math.log(50)))


def test_what_is_not_finite_is_none() -> None:
    config = trial()
    built = build(config, "cpu").model
    with torch.no_grad():
        built.blocks[0].attention.query.weight[0, 0] = torch.nan
    assert evaluate(built, config, CORPUS, "cpu") == (None, None, None)


def test_measuring_leaves_the_model_as_it_was() -> None:
    config = trial()
    built = build(config, "cpu").model
    before = {name: value.clone() for name, value in built.state_dict().items()}
    first = evaluate(built, config, CORPUS, "cpu")
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in built.modules())
    assert all(parameter.grad is None for parameter in built.parameters())
    assert all(torch.equal(value, before[name]) for name, value in built.state_dict().items())
    assert evaluate(built, config, CORPUS, "cpu") == first
