"""A task of one's own: a model, its batches and its loss, of whatever kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


def task_loss(model: nn.Module, batch: Any, loss_fn: Callable[..., Tensor]) -> Tensor:
    """The loss of a batch: of a pair (inputs, targets) `loss_fn(model(inputs), targets)`, else `loss_fn(model, batch)`.
    Tensors are moved to the model's device."""
    first = next(model.parameters(), None)
    batch = batch if first is None else _moved(batch, first.device)
    if isinstance(batch, tuple | list) and len(batch) == 2:
        inputs, targets = batch
        return loss_fn(model(inputs), targets)
    return loss_fn(model, batch)


def _moved(batch: Any, device: Any) -> Any:
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, dict):
        return {name: _moved(each, device) for name, each in batch.items()}
    return type(batch)(_moved(each, device) for each in batch) if type(batch) in (tuple, list) else batch
