"""Models of the transformers library, as they are."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # where `experiments` is

import experiments.models.hugging_face  # noqa: F401
from mutransfer.parametrization import parametrize

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

SIZE = {"num_hidden_layers": 2, "vocab_size": 64, "max_position_embeddings": 32, "num_key_value_heads": 2}


@pytest.fixture
def library() -> Any:
    return pytest.importorskip("transformers")


def gpt2(library: Any, width: int) -> Any:
    config = {"n_layer": 2, "vocab_size": 64, "n_positions": 32, "bos_token_id": 0, "eos_token_id": 0}
    return library.GPT2LMHeadModel(library.GPT2Config(n_embd=width, n_head=width // 16, **config))


def llama(library: Any, width: int) -> Any:
    heads = {"num_attention_heads": width // 16, "intermediate_size": 3 * width}
    return library.LlamaForCausalLM(library.LlamaConfig(hidden_size=width, **heads, **SIZE))


def mixtral(library: Any, width: int) -> Any:
    heads = {"num_attention_heads": width // 16, "intermediate_size": 2 * width, "num_local_experts": 4}
    return library.MixtralForCausalLM(library.MixtralConfig(hidden_size=width, **heads, **SIZE))


EXPECTED = {
    gpt2: {
        "transformer.wpe.weight": ("input", 1.0, 1.0),
        "transformer.h.0.attn.c_attn.weight": ("hidden", 1 / 4, 1.0),
        "transformer.h.1.mlp.c_proj.weight": ("hidden", 1 / 4, 1.0),
        "lm_head.weight": ("output", 1.0, 1 / 4),
    },
    llama: {
        "model.layers.0.self_attn.q_proj.weight": ("hidden", 1 / 4, 1.0),
        "model.layers.0.self_attn.k_proj.weight": ("bottleneck", 1 / 4, 1.0),
        "model.layers.1.mlp.down_proj.weight": ("hidden", 1 / 4, 1.0),
        "lm_head.weight": ("output", 1 / 4, 1.0),
    },
    mixtral: {
        "model.layers.0.mlp.gate.weight": ("bottleneck", 1 / 4, 1.0),
        "model.layers.0.mlp.experts.gate_up_proj": ("hidden", 1 / 4, 1.0),
        "model.layers.1.mlp.experts.down_proj": ("hidden", 1 / 4, 1.0),
        "lm_head.weight": ("output", 1 / 4, 1.0),
    },
}


@pytest.mark.parametrize("make", EXPECTED, ids=lambda make: make.__name__)
def test_roles_rates_and_multipliers(make: Any, library: Any) -> None:
    rules = parametrize(lambda width: make(library, width), width=128, base_width=32).rules
    found = {name: (rule.role, rule.lr_mult, rule.forward_mult) for name, rule in rules.items()}
    assert {name: found[name] for name in EXPECTED[make]} == EXPECTED[make]
