"""Optimizers by name: torch's class, its muP family, and whether it is elementwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

from mutransfer.config import OptimizerConfig

Groups = list[dict[str, Any]]


class OptimizerSpec(NamedTuple):
    """`family` picks the table's rate column (TPV B.3); an elementwise optimizer can train stacked trials as one."""

    family: str
    elementwise: bool
    make: Callable[[Groups, OptimizerConfig], torch.optim.Optimizer]


OPTIMIZERS: Mapping[str, OptimizerSpec] = {
    "adamw": OptimizerSpec(
        "adam", True, lambda groups, config: torch.optim.AdamW(groups, betas=(config.beta1, config.beta2), fused=True)
    ),
    "adam": OptimizerSpec(
        "adam", True, lambda groups, config: torch.optim.Adam(groups, betas=(config.beta1, config.beta2), fused=True)
    ),
    "sgd": OptimizerSpec(
        "sgd", True, lambda groups, config: torch.optim.SGD(groups, momentum=config.momentum, fused=True)
    ),
}
