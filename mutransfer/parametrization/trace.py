"""What one forward pass does with each parameter: which dimensions it sums over, which weights come last, and how
attention scales its logits.

Shapes do not say whether a square weight is kept as (out, in) or (in, out), what a stack of experts is summed over, or
whether a map from a wide space to a fixed one is the readout. A forward pass of a small model does: its operations are
watched below autograd, where a linear map, an einsum and a fused attention layer are all matrix products of views.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mutransfer.parametrization.attention import AttentionCall, AttentionWatch
from mutransfer.parametrization.watch import Use, Watch, tensors_in


class Trace(NamedTuple):
    """What a forward pass showed."""

    uses: Mapping[str, Collection[Use]]
    """By parameter; a shared one stands under its first name."""
    attention: tuple[AttentionCall, ...]
    output: Any


def trace_forward(model: nn.Module, sample: Any) -> Trace:
    """Run `model` once on `sample` and watch. Nothing of it changes: buffers are cloned. Works on `meta` tensors.

    Args:
        model: the model, on the sample's device.
        sample: a tensor, a tuple of arguments, or a mapping of keyword arguments.
    """
    args = sample if isinstance(sample, tuple) else () if isinstance(sample, Mapping) else (sample,)
    kwargs = dict(sample) if isinstance(sample, Mapping) else {}
    watch = Watch(model, (args, kwargs))
    attention = AttentionWatch(watch)
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    handles = watch.follow(model)
    try:
        with torch.enable_grad(), attention, watch:
            output = torch.func.functional_call(model, buffers, args, kwargs)
    finally:
        for handle in handles:
            handle.remove()
    return Trace(watch.uses, tuple(attention.calls), output)


def find_readouts(model: nn.Module, output: Any, wide: Collection[str]) -> set[str]:
    """Names of the `wide` parameters from which a path leads to the model's output that crosses no other wide one.

    Walks the autograd graph back from all tensors in `output`, and not beyond an operation that uses a wide parameter.
    A shared parameter is found under all its names.
    """
    names: dict[int, set[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if name in wide:
            names.setdefault(id(parameter), set()).add(name)
    met: set[str] = set()
    visited, front = set(), [tensor.grad_fn for tensor in tensors_in(output)]
    while front:
        node = front.pop()
        if node is None or node in visited:
            continue
        visited.add(node)
        inputs = [following for following, _ in node.next_functions if following is not None]
        used = set().union(*(names[id(leaf)] for leaf in map(_leaf, inputs) if id(leaf) in names))
        met |= used
        if not used:
            front += inputs
    return met


def _leaf(node: Any) -> Tensor | None:
    """The parameter of which alone `node` is a function (a transpose, a cast), if there is one."""
    while not hasattr(node, "variable"):
        following = [n for n, _ in node.next_functions if n is not None]
        if len(following) != 1:
            return None
        node = following[0]
    leaf: Tensor = node.variable
    return leaf
