"""Parameters and FLOPs against numbers worked out by hand, and against torch's own counts."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from mutransfer.config import GPT2, LLAMA, ModelConfig, Scale, SweepConfig
from mutransfer.search.cost import count_matmul_params, count_params, seconds_left, training_flops


def test_the_default_model_by_hand() -> None:
    model = ModelConfig(width=128, depth=2, context=64, vocab=256)
    assert count_matmul_params(model) == 2 * 12 * 128**2 + 256 * 128
    assert count_params(model) == 2 * 12 * 128**2 + 2 * 256 * 128 + 64 * 128


def test_grouped_queries_and_swiglu_by_hand() -> None:
    model = ModelConfig(width=128, depth=1, head_dim=16, n_kv_heads=2, activation="swiglu", mlp_ratio=3.5)
    assert count_matmul_params(model) == 2 * 128**2 + 2 * 128 * 32 + 3 * 128 * 448 + 128 * 256


def test_tied_embeddings_still_multiply() -> None:
    untied = ModelConfig()
    tied = dataclasses.replace(untied, tied_embeddings=True)
    assert count_matmul_params(tied) == count_matmul_params(untied)
    assert count_params(untied) - count_params(tied) == 256 * 128


def test_the_mlp_by_hand() -> None:
    model = ModelConfig(architecture="mlp", window=4, width=128, depth=3, vocab=256)
    assert count_matmul_params(model) == 2 * 128**2 + 128 * 256
    assert count_params(model) == 4 * 256 * 128 + 2 * 128**2 + 128 * 256


def test_flops_by_hand() -> None:
    config = SweepConfig(steps=10, batch_size=4, model=ModelConfig(depth=2, context=64))
    trial = config.trial(config.arms[0], Scale(128), 0.01, 0)
    tokens = 10 * 4 * 64
    assert training_flops(trial) == tokens * (6 * (2 * 12 * 128**2 + 256 * 128) + 12 * 2 * 64 * 128)


@pytest.mark.parametrize(
    "model",
    [
        ModelConfig(),
        GPT2,
        LLAMA,
        *(
            ModelConfig(architecture="mlp", window=window, depth=depth)
            for window, depth in itertools.product((1, 4), (1, 3))
        ),
        *(
            ModelConfig(norm=norm, norm_gain=gain, bias=bias, qk_norm=True, activation=activation, n_kv_heads=2)
            for norm, gain, bias, activation in itertools.product(
                ("layernorm", "rmsnorm"), (False, True), (False, True), ("gelu", "swiglu")
            )
        ),
    ],
)
def test_parameters_are_those_of_the_module(model: ModelConfig) -> None:
    torch = pytest.importorskip("torch")
    from mutransfer.models import TokenMLP, Transformer

    with torch.device("meta"):
        module = TokenMLP(model) if model.architecture == "mlp" else Transformer(model)
    assert count_params(model) == sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("architecture", ["transformer", "mlp"])
def test_flops_are_those_that_torch_counts(architecture: str) -> None:
    torch = pytest.importorskip("torch")
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from mutransfer.models import TokenMLP, Transformer

    model = ModelConfig(architecture=architecture, depth=3)
    config = SweepConfig(steps=1, batch_size=2, model=model)
    module = {"transformer": Transformer, "mlp": TokenMLP}[architecture](dataclasses.replace(model, width=64))
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        module(torch.zeros(2, 64, dtype=torch.long)).sum().backward()
    assert counter.get_total_flops() == pytest.approx(
        training_flops(config.trial(config.arms[0], Scale(64), 0.1, 0)), rel=1e-6
    )


def test_time_left_scales_by_flops_from_the_nearest_timed_width() -> None:
    flops = {32: 1e9, 64: 4e9, 128: 16e9}
    assert seconds_left({32: 4, 64: 2}, {32: 1.0, 64: 3.0}, flops, slots=2) == (4 * 1.0 + 2 * 3.0) / 2
    assert seconds_left({128: 1}, {32: 1.0, 64: 3.0}, flops, slots=1) == 12.0
    assert seconds_left({128: 1}, {}, flops, slots=1) is None
    assert seconds_left({128: 0}, {}, flops, slots=1) == 0.0
