"""What a trial costs: parameters, FLOPs and seconds, in closed form. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping

from mutransfer.config import ModelConfig, TrialConfig


def count_matmul_params(model: ModelConfig) -> int:
    """Parameters that multiply every token: attention, MLP and readout (tied or not). Look-ups and gains are not."""
    keys_and_values = 2 * model.width * model.kv_heads * model.size_of_head
    attention = 2 * model.width * model.heads * model.size_of_head + keys_and_values
    maps = 3 if model.activation == "swiglu" else 2
    return model.depth * (attention + maps * model.width * model.mlp_width) + model.width * model.vocab


def count_params(model: ModelConfig) -> int:
    """All parameters of the transformer."""
    tables = 0 if model.tied_embeddings else model.vocab * model.width
    tables += model.context * model.width if model.positions == "learned" else 0
    return count_matmul_params(model) + tables + _count_biases(model) + _count_norm_params(model)


def training_flops(trial: TrialConfig) -> float:
    """Floating-point operations of a whole training run, evaluation left out.

    6 per matmul parameter and token (2 forward, 4 backward) plus 12 depth context width per token for the attention
    logits and values, causality not discounted (PaLM, 2204.02311, appendix B).
    """
    model = trial.model
    attention = 12 * model.depth * model.context * model.heads * model.size_of_head
    return float(trial.tokens) * (6 * count_matmul_params(model) + attention)


def seconds_left(
    remaining: Mapping[int, int], wall_s: Mapping[int, float], flops: Mapping[int, float], slots: int
) -> float | None:
    """Seconds until the remaining trials are done, `slots` at once; None where no trial has been timed.

    Args:
        remaining: trials still to run, by width.
        wall_s: mean seconds of the finished trials, by width; a width without one is scaled by FLOPs from the
            nearest timed width.
        flops: FLOPs of a trial, by width.
        slots: trials that run at once.
    """
    if not any(remaining.values()):
        return 0.0
    if not wall_s:
        return None
    total = 0.0
    for width, count in remaining.items():
        timed = min(wall_s, key=lambda other: abs(flops[other] - flops[width]))
        total += count * wall_s[timed] * flops[width] / flops[timed]
    return total / slots


def _count_biases(model: ModelConfig) -> int:
    if not model.bias:
        return 0
    attention = (model.heads + 2 * model.kv_heads) * model.size_of_head + model.width
    hidden_maps = 2 if model.activation == "swiglu" else 1
    return model.depth * (attention + hidden_maps * model.mlp_width + model.width)


def _count_norm_params(model: ModelConfig) -> int:
    if not model.norm_gain:
        return 0
    per_norm = model.width * (2 if model.norm == "layernorm" and model.bias else 1)
    per_query_and_key = 2 * model.size_of_head if model.qk_norm else 0
    return (2 * model.depth + 1) * per_norm + model.depth * per_query_and_key
