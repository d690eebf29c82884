"""The coordinate check (TPV D.1) on models as people write them: what a few steps change does not depend on width."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mutransfer.parametrization import build_model, parametrize
from mutransfer.theory.parametrizations import Role

from .curves import SMALL
from .zoo import ZOO, batch, draw, loss

WIDTHS = (64, 128, 256, 512)
LAST = {"mlp": "more", "gpt2": "ln_f", "llama": "norm", "moe": "final_norm", "conv": "body", "encoder": "encoder"}
"""Where the readout's input comes from."""


def changes(kind: str, parametrization: str, width: int) -> list[float]:
    """Root mean square of what four steps of AdamW on one batch change before the readout and in the loss's logits."""
    build, sample, _ = ZOO[kind]
    built = parametrize(build, width=width, base_width=32, sample=sample(), parametrization=parametrization)
    optimizer = torch.optim.AdamW(built.param_groups(2**-8), betas=(0.9, 0.95))
    seen: dict[str, list[Tensor]] = {"stream": [], "logits": []}
    built.model.get_submodule(LAST[kind]).register_forward_hook(
        lambda _module, _inputs, output: seen["stream"].append(output.detach())
    )
    head = built.model.get_submodule("lm_head" if kind in ("gpt2", "llama") else "head")
    head.register_forward_hook(lambda _module, _inputs, output: seen["logits"].append(output.detach()))
    for _ in range(5):
        optimizer.zero_grad()
        loss(built.model, *batch(kind)).backward()
        optimizer.step()
    return [(each[-1] - each[0]).square().mean().sqrt().item() for each in seen.values()]


def slopes(kind: str, parametrization: str, widths: tuple[int, ...] = WIDTHS) -> list[float]:
    measured = np.log2([changes(kind, parametrization, width) for width in widths])
    return [float(slope) for slope in np.polyfit(np.log2(widths), measured, 1)[0]]


@pytest.mark.parametrize("kind", ZOO)
def test_changes_do_not_depend_on_width(kind: str) -> None:
    assert all(abs(slope) < 0.15 for slope in slopes(kind, ZOO[kind].table))


@pytest.mark.parametrize("kind", ZOO)
def test_under_sp_they_do(kind: str) -> None:
    assert slopes(kind, "sp", (64, 256))[1] > 0.25


class Narrow(nn.Module):
    """All goes through four numbers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Linear(16, width)
        self.hidden = nn.Linear(width, width)
        self.down = nn.Linear(width, 4, bias=False)
        self.up = nn.Linear(4, width)
        self.head = nn.Linear(width, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(F.relu(self.hidden(self.inner(x))))
        return self.head(F.relu(self.up(x)))  # type: ignore[no-any-return]


def narrow_changes(width: int, roles: Mapping[str, Role]) -> float:
    """What eight steps change in the four numbers, the mean of three seeds."""
    changed = []
    for seed in range(3):
        built = parametrize(Narrow, width=width, base_width=64, sample=draw(4, 16), roles=roles, seed=seed)
        optimizer = torch.optim.AdamW(built.param_groups(2**-7, eps=1e-12), betas=(0.9, 0.95))
        seen: list[Tensor] = []
        built.model.down.register_forward_hook(lambda _module, _inputs, output, seen=seen: seen.append(output.detach()))
        inputs = torch.randn(32, 16, generator=torch.Generator().manual_seed(1))
        targets = torch.randint(0, 8, (32,), generator=torch.Generator().manual_seed(2))
        for _ in range(9):
            optimizer.zero_grad()
            F.cross_entropy(built.model(inputs), targets).backward()
            optimizer.step()
        changed.append((seen[-1] - seen[0]).square().mean().sqrt().item())
    return float(np.mean(changed))


def test_a_map_to_a_fixed_space_inside_the_model_needs_the_spectral_condition() -> None:
    """2310.17813: entries of 1/m_in. With a hidden weight's m_in^-1/2, what is written moves by up to m_in^1/2."""
    widths = (64, 256, 1024)
    found = {}
    for role in ("bottleneck", "hidden"):
        measured = [narrow_changes(width, {"down.weight": role}) for width in widths]  # type: ignore[dict-item]
        found[role] = np.polyfit(np.log2(widths), np.log2(measured), 1)[0]
    assert abs(found["bottleneck"]) < 0.1
    assert found["hidden"] > 0.25


def test_our_own_fixed_key_value_heads_follow_it() -> None:
    rules = build_model(replace(SMALL, width=64, n_kv_heads=1), "mup", base_width=16).rules
    for name in ("key", "value"):
        rule = rules[f"blocks.1.attention.{name}.weight"]
        assert (rule.role, rule.width_mult_in, rule.width_mult_out) == ("bottleneck", 4.0, 1.0)
        assert (rule.lr_mult, rule.forward_mult, rule.eps_mult) == (1 / 4, 1.0, 1.0)
        assert rule.init_std == pytest.approx(16**-0.5 / 4)
    assert [name for name, rule in rules.items() if rule.role == "output"] == ["readout.weight"]
