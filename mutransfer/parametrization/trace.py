"""What one forward pass does with each parameter: which dimensions it sums over, which weights come last, and how
attention scales its logits.

Shapes do not say whether a square weight is kept as (out, in) or (in, out), what a stack of experts is summed over, or
whether a map from a wide space to a fixed one is the readout. A forward pass of a small model does: its operations are
watched below autograd, where a linear map, an einsum and a fused attention layer are all matrix products of views.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mutransfer.parametrization.attention import AttentionCall, AttentionWatch
from mutransfer.parametrization.flow import Flow
from mutransfer.parametrization.watch import Use, Watch, tensors_in


class Trace(NamedTuple):
    """What a forward pass showed."""

    uses: Mapping[str, Collection[Use]]
    """By parameter; a shared one stands under its first name."""
    attention: tuple[AttentionCall, ...]
    output: Any
    flow: Flow
    """The numbers that multiply, and where two activations meet."""
    made: Collection[str]
    """Parameters that the model uses through what is computed from parameters alone, as under a weight norm."""
    lost: Collection[str] = ()
    """Parameters of which something was computed that could be followed no further."""


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
    frozen = [each for each in model.parameters() if not each.requires_grad and each.is_floating_point()]
    handles = watch.follow(model)
    for parameter in frozen:  # the graph shows what it is used for
        parameter.requires_grad_(True)
    try:
        with torch.enable_grad(), attention, watch:
            output = torch.func.functional_call(model, buffers, args, kwargs)
            watch.finish()
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
        for handle in handles:
            handle.remove()
    return Trace(watch.uses, tuple(attention.calls), output, watch.flow, watch.made, watch.lost - watch.uses.keys())


def scale_free(model: nn.Module, sample: Any, groups: Collection[Collection[str]]) -> set[str]:
    """Names of the weights whose size does not matter, since a norm follows: with each group's weights, and their
    modules' biases, four times as large, the output is what it was, and with other values it is not."""
    found: set[str] = set()
    if any(parameter.is_meta for parameter in model.parameters()):
        return found
    zeros = [each for each in model.parameters() if each.dim() > 1 and not each.detach().any()]
    with torch.no_grad():
        for each in zeros:  # what starts at zero hides what comes before it
            each.copy_(torch.linspace(-1, 1, each.numel(), device=each.device).sin_().view_as(each))
    plain = forward(model, sample)
    for names in groups:
        owned = [model.get_submodule(name.rpartition(".")[0]) for name in names]
        biases = [getattr(owner, "bias", None) for owner in owned if len(list(owner.parameters(recurse=False))) == 2]
        weights = [model.get_parameter(name) for name in names]
        scaled = [*weights, *(bias for bias in biases if isinstance(bias, nn.Parameter))]
        before = [each.detach().clone() for each in scaled]
        with torch.no_grad():
            for each in scaled:
                each.mul_(4.0)
            distance = apart(forward(model, sample), plain)
            for each, value in zip(scaled, before, strict=True):
                each.copy_(value.flip(tuple(range(value.dim()))))
            moved = apart(forward(model, sample), plain)
            for each, value in zip(scaled, before, strict=True):
                each.copy_(value)
        if moved > 0 and distance < 0.01 * moved:
            found |= set(names)
    with torch.no_grad():
        for each in zeros:
            each.zero_()
    return found


def forward(model: nn.Module, sample: Any) -> list[Tensor]:
    """What the model gives, without a graph, under one seed; its buffers stay as they are."""
    args = sample if isinstance(sample, tuple) else () if isinstance(sample, Mapping) else (sample,)
    kwargs = dict(sample) if isinstance(sample, Mapping) else {}
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with torch.no_grad(), torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(0)
        output = torch.func.functional_call(model, buffers, args, kwargs)
    return [tensor.detach() for tensor in tensors_in(output) if tensor.is_floating_point() or tensor.is_complex()]


def apart(one: list[Tensor], other: list[Tensor]) -> float:
    """The root of the sum of squares of the differences."""
    return size([a - b for a, b in zip(one, other, strict=True)])


def size(tensors: list[Tensor]) -> float:
    """The root of the sum of squares."""
    return math.sqrt(sum(float(each.abs().double().square().sum()) for each in tensors))


def default_tokens(model: nn.Module) -> Tensor:
    """Two short sequences of tokens for a model that has an embedding; all its tables have rows for them.

    Raises ValueError on a model that has none.
    """
    rows = [module.num_embeddings for module in model.modules() if isinstance(module, nn.Embedding)]
    if not rows:
        raise ValueError(
            f"found no sample, and no embedding in {type(model).__name__} that would take tokens; wanted what it is "
            "called with: give sample=torch.randn(2, 3, 8, 8), a tuple of arguments, or a mapping of keywords"
        )
    length = min(16, *rows)
    device = next(model.parameters()).device
    return torch.arange(2 * length, device=device).view(2, length) % min(rows)


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
