"""Optimizers made of others, as one object with one list of param groups and one state."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch.optim import Optimizer

Groups = list[dict[str, Any]]
Maker = Callable[[Groups], Optimizer]


class Composite(Optimizer):
    """Each param group is trained by the optimizer that its key `optimizer` names."""

    def __init__(self, groups: Groups, makers: Mapping[str, Maker]) -> None:
        """Raises ValueError on a group that names none of `makers`."""
        for index, group in enumerate(groups):
            if "optimizer" not in group or group["optimizer"] not in makers:
                found = repr(group["optimizer"]) if "optimizer" in group else "nothing"
                raise ValueError(
                    f"expected one of {', '.join(makers)} under 'optimizer' in param group {index}, got {found}; use "
                    "the groups that a parametrized model gives for this optimizer"
                )
        super().__init__(groups, {})
        self.parts = {name: make(self._named(name)) for name, make in makers.items() if self._named(name)}

    def _named(self, name: str) -> Groups:
        return [group for group in self.param_groups if group["optimizer"] == name]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of each part; returns the closure's loss."""
        loss = evaluated(closure)
        for name, part in self.parts.items():
            part.param_groups, part.state = self._named(name), self.state  # also after load_state_dict
            part.step()
        return loss


class Around(Optimizer):
    """Another optimizer with something done before and after each of its steps."""

    def __init__(self, groups: Groups, make: Maker, around: Callable[[Groups], AbstractContextManager[None]]) -> None:
        super().__init__(groups, {})
        self.inner = make(self.param_groups)
        self.around = around

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of the inner optimizer; returns the closure's loss."""
        loss = evaluated(closure)
        self.inner.param_groups, self.inner.state = self.param_groups, self.state  # also after load_state_dict
        with self.around(self.param_groups):
            self.inner.step()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Torch's own moves what is kept of a parameter to where that stands; here so is what is kept of a group."""
        super().load_state_dict(state_dict)
        for group in self.param_groups:
            device = group["params"][0].device
            group |= {name: value.to(device) for name, value in group.items() if isinstance(value, torch.Tensor)}


def evaluated(closure: Callable[[], float] | None) -> float | None:
    """The loss that the closure of a step gives, None without one."""
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


@contextmanager
def diverging(groups: Groups) -> Iterator[None]:
    """Weights of NaN where a preconditioner has become too large to decompose: a divergence shows in the loss, as it
    does under optimizers that decompose nothing, and is no crash."""
    try:
        yield
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        parameters = [p for group in groups for p in group["params"] if p.grad is not None]
        if all(torch.isfinite(parameter.grad.square().sum()) for parameter in parameters):
            raise
        for parameter in parameters:
            parameter.fill_(math.nan)


@contextmanager
def one_gauge(groups: Groups) -> Iterator[None]:
    """Weights, gradients, rates, decays and epsilons in the gauge in which every group has the same rate.

    A weight W = m V trained by Adam at rate m lr is V at rate lr, with m times W's gradient, decay and epsilon (Tensor
    Programs V, Lemma J.1). An optimizer that estimates one rate for everything it is given needs its parameters so.

    Raises ValueError on a group without `lr_mult`.
    """
    for index, group in enumerate(groups):
        if "lr_mult" not in group:
            raise ValueError(
                f"expected lr_mult in param group {index}, the ratio that its rate has to the others', got none; add it"
            )
    changed = ("lr", "eps", "weight_decay")
    stated = [{name: group[name] for name in changed} for group in groups]
    for group in groups:
        mult = group["lr_mult"]
        for parameter in group["params"]:
            parameter.div_(mult)
            if parameter.grad is not None:
                parameter.grad.mul_(mult)
        group |= {"lr": group["lr"] / mult, "eps": group["eps"] * mult, "weight_decay": group["weight_decay"] * mult}
    try:
        yield
    finally:
        for group, values in zip(groups, stated, strict=True):
            group |= values
            for parameter in group["params"]:
                parameter.mul_(group["lr_mult"])
