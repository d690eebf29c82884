"""The parameters of K models of one shape in a few tensors, of which each model's own parameters are views.

The cohort's forward and backward use the stacked tensors; clipping, evaluation and optimizers use each slice's own
model, which shares their storage. What the optimizers of all slices treat alike lies side by side, so that an
elementwise optimizer steps it as one tensor, a row. Kernels, and the host's work for them, are then counted by the
groups of a slice and not by its parameters: for 32 slices of 12 blocks 0.8 ms in place of 8.6, in a step of which all
else takes the host 13 (results/bench/cohort.json; CPU, arithmetic next to nothing). With that little left, slices have
optimizers of their own and not one with groups for all, which could hold neither different betas nor be parted when one
of them diverges.

K cohort, N elements of a slice in one bundle
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mutransfer.optim.composite import Groups


class Bundle:
    """Parameters that lie in one group of every slice's optimizer, side by side.

    `rows[k]` is all of slice k, shape (N); `leaves[i]` is parameter i of all slices, shape (K, *its own). They and the
    slices' own parameters are views of one tensor (K, N). The gradients of rows and own parameters, and `grads[i]` of
    parameter i of all slices, are views of another; those of the leaves are not kept.
    """

    def __init__(self, slices: Sequence[Sequence[nn.Parameter]]) -> None:
        """`slices[k]` are the parameters of slice k, in the same order for all."""
        self._slices = slices
        self._trained = slices[0][0].requires_grad
        self.rows = [nn.Parameter(torch.cat([p.detach().flatten() for p in mine]), self._trained) for mine in slices]
        self.keep(range(len(slices)))

    def keep(self, places: Sequence[int]) -> None:
        """Leave the slices at `places` alone. Rows and parameters stay the objects they were, with their values."""
        self._slices = [self._slices[place] for place in places]
        self.rows = [self.rows[place] for place in places]
        values_KN = torch.stack([row.detach() for row in self.rows])
        self.grads_KN = grads_KN = torch.zeros_like(values_KN) if self._trained else None
        _view(self.rows, values_KN, grads_KN)
        self.leaves: list[Tensor] = []
        self.grads: list[Tensor] = []
        start = 0
        for same in zip(*self._slices, strict=True):
            end = start + same[0].numel()
            shape = (len(same), *same[0].shape)
            leaf = values_KN[:, start:end].view(shape)
            grads = None if grads_KN is None else grads_KN[:, start:end].view(shape)
            _view(same, leaf, grads)
            self.leaves.append(leaf.requires_grad_(self._trained))
            self.grads += [] if grads is None else [grads]
            start = end


class Stack:
    """All parameters and buffers of K models: `tensors`, each of shape (K, *its own), by name."""

    tensors: dict[str, Tensor]

    def __init__(
        self,
        models: Sequence[nn.Module],
        groups: Sequence[Groups],
        mults: Mapping[str, float],
        max_norms: Sequence[float | None],
    ) -> None:
        """Stack the models, whose parameters and buffers become views.

        Args:
            models: of one shape.
            groups: the param groups of each model; between them they hold every parameter of it.
            mults: by parameter, the rule's `grad_mult`, which is the same in all models.
            max_norms: the largest gradient norm of each model; None: any.
        """
        self._models, self._max_norms = list(models), list(max_norms)
        number = [{id(p): index for index, group in enumerate(mine) for p in group["params"]} for mine in groups]
        alike: dict[Alike, list[str]] = {}
        for name, parameter in models[0].named_parameters():
            own = tuple(mine[id(model.get_parameter(name))] for mine, model in zip(number, models, strict=True))
            key = Alike(own, parameter.dtype, parameter.requires_grad, mults[name])
            alike.setdefault(key, []).append(name)
        self._bundles = {
            key: Bundle([[model.get_parameter(name) for name in names] for model in models])
            for key, names in alike.items()
        }
        self._names = [name for names in alike.values() for name in names]
        self._collect()

    def row_groups(self, groups: Sequence[Groups]) -> list[Groups]:
        """The param groups of the models it was made of, with rows for parameters."""
        return [
            [
                {**group, "params": [b.rows[place] for key, b in self._bundles.items() if key.groups[place] == index]}
                for index, group in enumerate(mine)
            ]
            for place, mine in enumerate(groups)
        ]

    def backward(self, loss: Tensor) -> None:
        """Set the gradients of all models' parameters to those of `loss`.

        A parameter that the loss does not use has a gradient of 0 here, where it has none in a model alone.
        """
        found = torch.autograd.grad(loss, self._trained, allow_unused=True)
        kept = [mine for mine, new in zip(self._grads, found, strict=True) if new is not None]
        torch._foreach_copy_(kept, [new for new in found if new is not None])

    def clip_grad_norms_(self) -> None:
        """Scale the gradients of each model so that their global norm in one gauge is at most the model's largest.

        What `optim.clip_grad_norm_` does to each, but for rounding, in as many kernels as for one.
        """
        trained = [(key.mult, b.grads_KN) for key, b in self._bundles.items() if b.grads_KN is not None]
        if not trained or all(norm is None for norm in self._max_norms):
            return
        norms = [mult * torch.linalg.vector_norm(grads_KN, dim=1) for mult, grads_KN in trained]
        norm_K = torch.linalg.vector_norm(torch.stack(norms), dim=0)
        factor_K = torch.clamp(self._max_norm_K / (norm_K + 1e-6), max=1.0).masked_fill_(self._any_norm_K, 1.0)
        for _, grads_KN in trained:
            grads_KN.mul_(factor_K[:, None])

    def keep(self, places: Sequence[int]) -> None:
        """Leave the models at `places` alone; what their optimizers hold of parameters, rows and state stays true."""
        self._models = [self._models[place] for place in places]
        self._max_norms = [self._max_norms[place] for place in places]
        for bundle in self._bundles.values():
            bundle.keep(places)
        self._collect()

    def _collect(self) -> None:
        leaves = [leaf for bundle in self._bundles.values() for leaf in bundle.leaves]
        self._trained = [leaf for leaf in leaves if leaf.requires_grad]
        self._grads = [grads for bundle in self._bundles.values() for grads in bundle.grads]
        self.tensors = dict(zip(self._names, leaves, strict=True))
        for name, _ in self._models[0].named_buffers():
            own = [model.get_buffer(name) for model in self._models]
            self.tensors[name] = torch.stack(own)
            _view(own, self.tensors[name], None)
        # here, since it waits for the device
        limits = [math.inf if norm is None else norm for norm in self._max_norms]
        self._max_norm_K = torch.tensor(limits, dtype=leaves[0].dtype, device=leaves[0].device)
        self._any_norm_K = self._max_norm_K.isinf()


class Alike(NamedTuple):
    """What parameters of one bundle have in common: their group in each slice's optimizer, their type, whether they
    are trained, and what takes their gradients into one gauge."""

    groups: tuple[int, ...]
    dtype: torch.dtype
    trainable: bool
    mult: float


def _view(own: Sequence[Tensor], values: Tensor, grads: Tensor | None) -> None:
    """Let the k-th tensor be a view of the k-th slice of `values`, and its gradient one of `grads`."""
    for place, tensor in enumerate(own):
        tensor.grad = None
        tensor.data = values[place]
        tensor.grad = None if grads is None else grads[place]
