"""What a trial costs: parameters, FLOPs and seconds, in closed form. Standard library only."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

from mutransfer.config import ModelConfig, TrialConfig

C = TypeVar("C", bound=Hashable)

OWN = 24
"""Guess of a model of one's own: so many times its width squared are its matmul parameters, as in two of our blocks."""


def count_matmul_params(model: ModelConfig) -> int:
    """Parameters that multiply every token: attention, MLP and readout (tied or not). Look-ups and gains are not."""
    readout = model.width * model.vocab
    if model.architecture == "mlp":
        return (model.depth - 1) * model.width**2 + readout
    keys_and_values = 2 * model.width * model.kv_heads * model.size_of_head
    attention = 2 * model.width * model.heads * model.size_of_head + keys_and_values
    maps = 3 if model.activation == "swiglu" else 2
    return model.depth * (attention + maps * model.width * model.mlp_width) + readout


def count_params(model: ModelConfig) -> int:
    """All parameters of the model."""
    if model.architecture == "mlp":
        return count_matmul_params(model) + model.window * model.vocab * model.width
    tables = 0 if model.tied_embeddings else model.vocab * model.width
    tables += model.context * model.width if model.positions == "learned" else 0
    return count_matmul_params(model) + tables + _count_biases(model) + _count_norm_params(model)


def training_flops(trial: TrialConfig) -> float:
    """Floating-point operations of a whole training run, evaluation left out.

    6 per matmul parameter and token (2 forward, 4 backward) plus 12 depth context width per token for the attention
    logits and values, causality not discounted (PaLM, 2204.02311, appendix B). The mlp has no attention. Of a model of
    one's own nothing is known before it is built: a guess, good for comparing widths; see `counted_flops`.
    """
    model = trial.model
    if trial.build:
        return float(trial.tokens) * 6 * OWN * model.width**2
    heads = model.heads * model.size_of_head if model.architecture == "transformer" else 0
    return float(trial.tokens) * (6 * count_matmul_params(model) + 12 * model.depth * model.context * heads)


def counted_flops(trial: TrialConfig, n_params: int) -> float:
    """`training_flops`; of a model of one's own 6 per parameter and token, all its parameters counted."""
    return float(trial.tokens) * 6 * n_params if trial.build else training_flops(trial)


def seconds_left(
    remaining: Mapping[C, float], wall_s: Mapping[C, float], flops: Mapping[C, float], slots: int
) -> float | None:
    """Seconds until the remaining trials are done, `slots` at once; None where no trial has been timed.

    Args:
        remaining: trials still to run, by cell; one that will be trained for a part of its steps counts as that part.
        wall_s: mean seconds of the finished trials, by cell; a cell without one is scaled by FLOPs from the
            nearest timed one. Cells that `flops` does not know are left out.
        flops: FLOPs of a trial, by cell.
        slots: trials that run at once.
    """
    if not any(remaining.values()):
        return 0.0
    timed = [cell for cell in wall_s if cell in flops]
    if not timed:
        return None
    total = 0.0
    for cell, count in remaining.items():
        near = min(timed, key=lambda other: abs(flops[other] - flops[cell]))
        total += count * wall_s[near] * flops[cell] / flops[near]
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
