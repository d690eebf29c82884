"""Two processes train what one does: data parallel, fully sharded and tensor parallel."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Replicate
from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel

from mutransfer.parametrization import Parametrized, parametrize

from .zoo import GPT2, batch, loss

STEPS = 3


def build() -> Parametrized:
    """A tied readout, so that there is a multiplier to lose too."""
    return parametrize(GPT2, width=64, base_width=32)


def trained(built: Parametrized, model: nn.Module, inputs: Tensor, targets: Tensor, clip: float) -> list[float]:
    """Losses, and the norms that clipping saw."""
    optimizer = torch.optim.AdamW(built.param_groups(2**-6, weight_decay=0.1))
    seen = []
    for _ in range(STEPS):
        value = loss(model, inputs, targets)
        optimizer.zero_grad()
        value.backward()
        seen += [value.item(), built.clip_grad_norm_(clip).item()]
        optimizer.step()
    return seen


def work(rank: int, path: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    inputs, targets = batch("gpt2")
    alone = build()
    expected = trained(alone, alone.model, inputs, targets, 0.5)

    built = build()
    half = slice(rank * 4, rank * 4 + 4)
    mine = torch.tensor(trained(built, DistributedDataParallel(built.model), inputs[half], targets[half], 0.5))
    dist.all_reduce(mine)
    assert (mine / 2).tolist() == pytest.approx(expected, rel=1e-4)

    built = build()
    for block in built.model.h:
        fully_shard(block["c_fc"], mesh=mesh)
    fully_shard(built.model, mesh=mesh)
    assert trained(built, built.model, inputs, targets, 0.5) == pytest.approx(expected, rel=1e-4)

    built = build()
    parallelize_module(built.model, mesh, {"lm_head": ColwiseParallel(output_layouts=Replicate())})
    alone = build()
    alone.model.lm_head.weight = nn.Parameter(
        alone.model.wte.weight.detach().clone()
    )  # sharding one of two unties them
    expected = trained(alone, alone.model, inputs, targets, 0.5)
    assert trained(built, built.model, inputs, targets, 0.5) == pytest.approx(expected, rel=1e-4)
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_train_what_one_does(tmp_path: Path) -> None:
    mp.spawn(work, args=(str(tmp_path / "store"),), nprocs=2)
