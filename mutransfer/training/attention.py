"""Attention in a cohort: `vmap` has no rule for torch's fused attention on the CPU, so the cohort gives it one.

| a step's time for each of 8 trials over a single one's, CPU | width 32 | 64   | 128  |
|-------------------------------------------------------------|----------|------|------|
| the fused kernel, the cohort folded into its batch (here)   | 0.90     | 1.00 | 1.01 |
| softmax(Q K^T) V written out                                | 0.98     | 1.12 | 1.12 |

(results/bench/cohort.json. On a GPU, where the written-out form would also need the memory of all weights: not
measured.)

K cohort, N sequences, H heads, T queries, S keys, D head_dim
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class FoldedAttention(TorchFunctionMode):
    """Within it, `F.scaled_dot_product_attention` under `vmap` is one call with the cohort folded into the batch.

    Elsewhere, and on other functions, it changes nothing.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        function = _attend if func is F.scaled_dot_product_attention else func
        return function(*args, **(kwargs or {}))


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    return _Attention.apply(  # type: ignore[no-untyped-call]
        query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa
    )


class _Attention(torch.autograd.Function):
    """Attention with a rule for `vmap`, which sees plain tensors: ordinary autograd differentiates what it calls."""

    @staticmethod
    def forward(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        dropout: float,
        causal: bool,
        scale: float | None,
        grouped: bool,
    ) -> Tensor:
        return F.scaled_dot_product_attention(query, key, value, mask, dropout, causal, scale=scale, enable_gqa=grouped)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Nothing is kept: there is no backward of its own."""

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Tensor, int]:
        size = info.batch_size
        query, key, value = (_in_front(x, dim, size) for x, dim in zip(inputs[:3], in_dims[:3], strict=True))
        mask, *choices = inputs[3:]
        # the fused kernels take four dimensions; any other number has its batch in front as it is
        fold = query.dim() == 5 and query.shape[1] == key.shape[1] == value.shape[1]
        if mask is not None:
            mask = _in_front(mask, in_dims[3], size)
            mask = mask.reshape(size, *(1,) * (query.dim() - mask.dim()), *mask.shape[1:])
        if fold:
            mask = None if mask is None else mask.expand(size, query.shape[1], *mask.shape[2:]).flatten(0, 1)
            query, key, value = (x.flatten(0, 1) for x in (query, key, value))
        out = _Attention.forward(query, key, value, mask, *choices)
        return out.view(size, -1, *out.shape[1:]) if fold else out, 0


def _in_front(x: Tensor, dim: int | None, size: int) -> Tensor:
    """The cohort's dimension first; one that all slices share is repeated without a copy."""
    return x.expand(size, *x.shape) if dim is None else x.movedim(dim, 0)
