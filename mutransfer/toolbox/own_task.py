"""A task of one's own: a model, its batches and its loss, of whatever kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mutransfer.parametrization import Parametrized, load_build, parametrize


class Task(NamedTuple):
    """What a function `task(width)` of one's own returns: the model at that width, batches, and their loss, as
    `task_loss` takes them. The batches do not depend on the width."""

    model: nn.Module
    batches: Iterable[Any]
    loss: Callable[..., Tensor]


def build_task(
    name: str, width: int, base_width: int, parametrization: str, seed: int, device: str
) -> tuple[Parametrized, Iterable[Any], Callable[..., Tensor]]:
    """The parametrized model of the task that `module:function` names, on a device, its batches and its loss.

    Raises:
        ValueError: where the function returns something else, the model cannot be parametrized, or does not take its
            batches.
    """
    make = load_build(name)
    whole: Any = make(base_width)
    if not (isinstance(whole, tuple) and len(whole) == 3 and isinstance(whole[0], nn.Module) and callable(whole[2])):
        raise ValueError(f"expected (model, batches, loss) from {name}, got {_kinds(whole)}; return these three")
    task = Task(*whole)
    first = next(iter(task.batches), None)
    if first is None:
        raise ValueError(f"expected batches from {name}, got none; return some")
    try:
        with torch.no_grad():
            loss = task_loss(task.model, first, task.loss)
    except Exception as error:  # whatever a model of one's own may raise, it is what the user asked for
        said = (str(error).splitlines() or [""])[0]
        raise ValueError(
            f"expected {type(task.model).__name__} of {name} to take its first batch, got {type(error).__name__}: "
            f"{said}; correct the model, the batches or the loss"
        ) from error
    if loss.numel() != 1:
        raise ValueError(f"expected one number as the loss of {name}, got shape {tuple(loss.shape)}; return its mean")
    built = parametrize(
        lambda size: Task(*make(size)).model,  # type: ignore[misc]
        width=width,
        base_width=base_width,
        parametrization=parametrization,
        sample=first[0] if isinstance(first, tuple | list) and len(first) == 2 else None,
        seed=seed,
    )
    built.model.to(device)
    return built, task.batches, task.loss


def _kinds(whole: Any) -> str:
    each = whole if isinstance(whole, tuple) else (whole,)
    return "(" + ", ".join(type(part).__name__ for part in each) + ")"


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
