"""The coordinate check (TPV D.1): what a few steps of Adam change must not grow with size, and must not vanish."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mutransfer.config import ModelConfig
from mutransfer.parametrization import build_model

MODEL = ModelConfig(width=64, head_dim=16, context=16, vocab=64)
MLP = ModelConfig(architecture="mlp", width=64, context=16, vocab=64)
WIDTHS, DEPTHS = (64, 128, 256, 512), (2, 4, 8, 16)
LR = {"umup": 2.0**-2}


def changes(parametrization: str, model: ModelConfig) -> tuple[float, float]:
    """Root mean square of what four steps on one batch change in the readout's input before its norm and in logits."""
    built = build_model(model, parametrization, base_width=32, base_depth=2)
    optimizer = torch.optim.AdamW(built.param_groups(LR.get(parametrization, 2.0**-8)), betas=(0.9, 0.95))
    stream: list[torch.Tensor] = []
    last = built.model.readout if model.architecture == "mlp" else built.model.final_norm
    last.register_forward_pre_hook(lambda _module, inputs: stream.append(inputs[0].detach()))
    tokens = (torch.rand((8, 17), generator=torch.Generator().manual_seed(7)) ** 3 * model.vocab).long()
    logits = []
    for _ in range(5):
        logits.append(built.model(tokens[:, :-1]))
        optimizer.zero_grad()
        F.cross_entropy(logits[-1].flatten(0, 1), tokens[:, 1:].flatten()).backward()
        optimizer.step()
    pairs = ((stream[0], stream[-1]), (logits[0].detach(), logits[-1].detach()))
    moved, answered = ((after - before).square().mean().sqrt().item() for before, after in pairs)
    return moved, answered


def slopes(parametrization: str, models: list[ModelConfig], sizes: tuple[int, ...]) -> list[float]:
    """Powers of size with which the two changes grow."""
    measured = np.log2([changes(parametrization, model) for model in models])
    return [float(slope) for slope in np.polyfit(np.log2(sizes), measured, 1)[0]]


@pytest.mark.parametrize(
    ("parametrization", "model"),
    [
        *((name, MODEL) for name in ("mup", "sp_full_align", "ntk", "mean_field", "umup", "completep")),
        # not umup, whose embedding, by its own rule, moves as n^-1/2: of two layers that is much
        *((name, MLP) for name in ("mup", "sp_full_align", "ntk", "mean_field")),
    ],
    ids=lambda value: value if isinstance(value, str) else value.architecture,
)
def test_changes_do_not_depend_on_width(parametrization: str, model: ModelConfig) -> None:
    for slope in slopes(parametrization, [replace(model, width=width) for width in WIDTHS], WIDTHS):
        assert abs(slope) < 0.1


@pytest.mark.parametrize(
    ("parametrization", "which"),
    [
        ("sp", 0),
        ("sp", 1),
        ("sp_embedding_lr", 0),
        ("mup_simple", 1),
        ("mup_without_hidden_lr", 0),
        ("mup_without_output_mult", 1),
    ],
)
def test_changes_grow_with_width_where_a_rule_is_missing(parametrization: str, which: int) -> None:
    """mup_simple lacks the readout's rule, and an ablation the one it is named after."""
    assert slopes(parametrization, [replace(MODEL, width=width) for width in WIDTHS], WIDTHS)[which] > 0.15


@pytest.mark.parametrize("parametrization", ["depth_mup", "completep", "umup"])
def test_changes_do_not_depend_on_depth_under_rules_for_it(parametrization: str) -> None:
    for slope in slopes(parametrization, [replace(MODEL, depth=depth) for depth in DEPTHS], DEPTHS):
        assert abs(slope) < 0.1


@pytest.mark.parametrize("parametrization", ["sp", "mup"])
def test_the_stream_changes_more_with_depth_without_rules_for_it(parametrization: str) -> None:
    assert slopes(parametrization, [replace(MODEL, depth=depth) for depth in DEPTHS], DEPTHS)[0] > 0.4
