"""Clipping in one gauge."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from mutransfer.config import ModelConfig
from mutransfer.optim import clip_grad_norm_
from mutransfer.parametrization import build_model

SMALL = ModelConfig(width=32, head_dim=8, context=12, vocab=50, zero_readout=False)


@pytest.mark.parametrize("max_norm", [1e-3, 1e9])
def test_clipping_at_base_width_is_torchs(max_norm: float) -> None:
    gradients = []
    for ours in (True, False):
        built = build_model(SMALL, "mup", base_width=32)
        built.model(torch.arange(12)[None]).square().sum().backward()
        if ours:
            norm = built.clip_grad_norm_(max_norm)
        else:
            assert norm.item() == pytest.approx(
                torch.nn.utils.clip_grad_norm_(built.model.parameters(), max_norm).item(), rel=1e-5
            )
        gradients.append([parameter.grad for parameter in built.model.parameters()])
    for mine, torchs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, torchs)


def test_the_norm_is_one_number_in_all_three_gauges() -> None:
    norms, raw = [], []
    for table in ("mup", "mup_table3", "mup_table9"):
        built = build_model(dataclasses.replace(SMALL, width=96), table, base_width=16, dtype=torch.float64)
        built.model(torch.arange(12)[None]).square().sum().backward()
        raw.append(sum(p.grad.square().sum().item() for p in built.model.parameters()) ** 0.5)
        norms.append(built.clip_grad_norm_(1.0).item())
    assert norms == pytest.approx([norms[0]] * 3, rel=1e-10)
    assert raw[1] > 1.2 * raw[0]


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("spread", [(0,), (0, 1), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("max_norm", [0.5, 1e9])
def test_what_is_spread_over_processes_is_clipped_with_what_is_not(
    spread: tuple[int, ...], max_norm: float, one_process: None
) -> None:
    """As tensor parallelism leaves it. Two processes do the same: see the slow tests."""
    meshes = [init_device_mesh("cpu", (1,)), init_device_mesh("cpu", (1, 1)), init_device_mesh("cpu", (1,))]
    draw = torch.Generator().manual_seed(0)
    gradients = [torch.randn(4, 6, generator=draw) for _ in meshes]
    found, norms = [], []
    for places in ((), spread):
        weights = [nn.Parameter(torch.zeros(4, 6)) for _ in gradients]
        for at, gradient in enumerate(gradients):
            if at in places:
                sharded = distribute_tensor(gradient.clone(), meshes[at], [Shard(0)] * meshes[at].ndim)
                weights[at] = nn.Parameter(torch.zeros_like(sharded))
                weights[at].grad = sharded
            else:
                weights[at].grad = gradient.clone()
        norms.append(clip_grad_norm_(zip(weights, (1.0, 0.5, 2.0), strict=True), max_norm))
        found.append([weight.grad.full_tensor() if at in places else weight.grad for at, weight in enumerate(weights)])
    assert type(norms[1]) is torch.Tensor
    torch.testing.assert_close(norms[1], norms[0])
    for whole, clipped in zip(*found, strict=True):
        torch.testing.assert_close(clipped, whole)
