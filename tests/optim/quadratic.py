"""A small problem for any optimizer: weights to be drawn to targets, each entry by a force of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mutransfer.config import OptimizerConfig
from mutransfer.optim import backward_twice, build_optimizer, needs_curvature


def config_for(name: str, **changes: Any) -> OptimizerConfig:
    """The config at its implementation's own hyperparameters, looking at the curvature in every step."""
    if "precondition_every" in OptimizerConfig(name).spec.fields:
        changes = {"precondition_every": 1, **changes}
    config = dataclasses.replace(OptimizerConfig.published(name), **changes)
    config.validate()
    return config


def values(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Normal values that are the same in every run."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


class Problem:
    """Weights with their groups and optimizer, under a loss that is a sum over entries: no entry's gradient depends on
    another."""

    def __init__(
        self,
        config: OptimizerConfig,
        weights: Sequence[Tensor],
        *,
        lr: float = 1e-2,
        mults: Sequence[float] | None = None,
        decay: float = 0.0,
        seeds: Sequence[int | tuple[int, ...]] | None = None,
    ) -> None:
        """Each weight has a group of its own where `mults` are given, else all share one; `seeds` name the
        targets, several those of a weight's equal parts."""
        self.config = config
        self.weights = [nn.Parameter(weight) for weight in weights]
        self.seeds = list(range(1, len(weights) + 1)) if seeds is None else list(seeds)
        each = [self.weights] if mults is None else [[weight] for weight in self.weights]
        self.groups = [
            {
                "params": params,
                "lr": lr * mult,
                "lr_mult": mult,
                "weight_decay": decay / mult,
                "eps": config.eps,
                "optimizer": "muon",
            }
            for params, mult in zip(each, [1.0] if mults is None else mults, strict=True)
        ]
        self.done = 0
        self.optimizer = build_optimizer(self.groups, config)

    def loss(self) -> Tensor:
        """A sum over entries, of curvature above 0 everywhere."""
        total = torch.zeros((), dtype=self.weights[0].dtype)
        for weight, seed in zip(self.weights, self.seeds, strict=True):
            parts = (seed,) if isinstance(seed, int) else seed
            size = weight.numel() // len(parts)
            target = torch.cat([values(size, seed=part) for part in parts]).view_as(weight).to(weight.dtype)
            force = torch.cat([values(size, seed=part + 100) for part in parts]).view_as(weight).to(weight.dtype)
            total = total + ((force.square() + 0.1) * torch.cosh(weight - target)).sum()
        return total

    def differentiate(self) -> None:
        """What a training loop does before it steps."""
        if needs_curvature(self.config, self.done):
            backward_twice(self.loss(), self.optimizer)
        else:
            self.loss().backward()

    def step(self, steps: int = 1) -> list[Tensor]:
        """Make steps; returns the weights' values after them."""
        for _ in range(steps):
            self.optimizer.zero_grad(set_to_none=True)
            self.differentiate()
            self.optimizer.step()
            self.done += 1
        return [weight.detach().clone() for weight in self.weights]
