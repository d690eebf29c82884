"""Optimizers that look at the curvature: every few steps they need more of a loss than its gradients.

In a training loop:

    twice = needs_curvature(config, step)
    with twice_differentiable() if twice else nullcontext():
        loss = ...
    backward_twice(loss, optimizer) if twice else loss.backward()
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim import Optimizer

from mutransfer.config import OptimizerConfig
from mutransfer.optim.composite import Groups, evaluated


class Looking(Optimizer):
    """An optimizer that takes an estimate of the Hessian's diagonal every `every` steps, from the first on."""

    def __init__(self, groups: Groups, make: Callable[[Groups], Any], every: int) -> None:
        super().__init__(groups, {})
        self.inner = make(self.param_groups)
        self.every = every
        self.diagonal: list[Tensor] | None = None

    @property
    def done(self) -> int:
        """Steps made."""
        return int(self.param_groups[0].get("step", 0))

    def look(self, loss: Tensor) -> None:
        """Set the gradients of `loss`, and keep z * (H z) of a random z for the next step (Hutchinson).

        z depends on the number of the step alone, not on what else draws random numbers.
        """
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        gradients = torch.autograd.grad(loss, parameters, create_graph=True, materialize_grads=True)
        draws = {p.device: torch.Generator(p.device).manual_seed(self.done) for p in parameters}
        probes = [torch.randn(p.shape, generator=draws[p.device], dtype=p.dtype, device=p.device) for p in parameters]
        slope = torch.stack([(g * z).sum() for g, z in zip(gradients, probes, strict=True)]).sum()
        products = torch.autograd.grad(slope, parameters, materialize_grads=True)
        self.diagonal = [probe * product for probe, product in zip(probes, products, strict=True)]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient.detach()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update; returns the closure's loss. Raises ValueError on a step that should have looked and has not."""
        loss = evaluated(closure)
        if self.done % self.every == 0 and self.diagonal is None:
            raise ValueError(
                f"expected an estimate of the curvature at step {self.done}, one every {self.every} steps, got none; "
                "call backward_twice(loss, optimizer) in place of loss.backward()"
            )
        self.inner.param_groups, self.inner.state = self.param_groups, self.state  # also after load_state_dict
        self.inner.step(hessian=self.diagonal)
        self.diagonal = None
        return loss


def needs_curvature(config: OptimizerConfig, step: int) -> bool:
    """Whether the step (from 0) needs `backward_twice`."""
    return config.spec.curved and step % config.precondition_every == 0


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """For the forward pass: attention by its explicit formula; torch's fused kernels have no second derivative."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


def backward_twice(loss: Tensor, optimizer: Optimizer) -> None:
    """Set the gradients of `loss` as `loss.backward()` would, and give the optimizer its curvature.

    Raises ValueError on an optimizer that has no use for it.
    """
    if not isinstance(optimizer, Looking):
        raise ValueError(
            f"expected an optimizer that uses the curvature, got {type(optimizer).__name__}; call loss.backward()"
        )
    optimizer.look(loss)
