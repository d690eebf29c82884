"""Base, delta and target model -> how each parameter's dimensions scale, and what role it has.

The `mup` package compares the shapes (its `InfDim` is a dimension and its size at the base width); we read them once
into plain data. Roles cannot be read off shapes alone: a readout, a key projection with a fixed number of heads and a
router all map a wide space to a fixed one. Data flow decides: readouts are the wide weights that are met first on the
way back from the model's output.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mutransfer.parametrization.tables import Role


class ParamShape(NamedTuple):
    """A parameter's size, at this width and at the base width.

    `fan_in` and `fan_out` are the sizes of the spaces it reads and writes (a gain or bias reads none: fan_in 1), the
    `width_mult_*` those sizes over the ones at the base width, `depth_mult` the depth over the base depth for what
    stands inside a residual block and 1 for all else.
    """

    name: str
    shape: tuple[int, ...]
    base_shape: tuple[int, ...]
    role: Role
    fan_in: int
    fan_out: int
    base_fan_in: int
    width_mult_in: float
    width_mult_out: float
    depth_mult: float


def scale_shapes(
    base: nn.Module,
    delta: nn.Module,
    target: nn.Module,
    sample: Tensor,
    *,
    residual: Collection[str] = (),
    depth_mult: float = 1.0,
) -> dict[str, ParamShape]:
    """How every parameter of `target` scales; a weight shared by two modules stands under both of its names.

    Args:
        base: the model at the base width.
        delta: the same model at another width: what differs in size is wide.
        target: the model at the width to be trained. Only shapes are used of all three, so they may be on `meta`.
        sample: an input for `base`, on its device.
        residual: names of the parameters inside residual blocks.
        depth_mult: the depth over the base depth.

    Raises:
        ValueError: if the models differ in more than width, or a parameter has three dimensions or more.
    """
    from mup.shape import clear_dims, zip_infshapes  # loads torch's whole stack: only when first needed

    shapes = [{name: p.shape for name, p in _named(model)} for model in (base, delta, target)]
    if not shapes[0].keys() == shapes[1].keys() == shapes[2].keys():
        odd = sorted(shapes[0].keys() ^ shapes[2].keys() | shapes[0].keys() ^ shapes[1].keys())
        raise ValueError(f"found {odd[0]} in only some of the base, delta and target models; wanted them alike")
    infinite = zip_infshapes(clear_dims(zip_infshapes(shapes[0], shapes[1])), shapes[2])
    wide = {name: tuple(dim.isinf() for dim in dims) for name, dims in infinite.items()}
    readouts = find_readouts(base, sample, {name for name, flags in wide.items() if any(flags)})
    scaled = {}
    for name, module in _owners(target):
        size = tuple(shapes[2][name])
        base_size = tuple(shapes[0][name])
        # torch keeps an embedding's weight as (in, out), every other matrix as (out, in)
        flip = 1 if isinstance(module, nn.Embedding) else -1
        sizes, base_sizes, flags = ((1, 1, *size)[-2:], (1, 1, *base_size)[-2:], (False, False, *wide[name])[-2:])
        if len(size) == 2:
            sizes, base_sizes, flags = sizes[::flip], base_sizes[::flip], flags[::flip]
        elif len(size) > 2:
            raise ValueError(f"found {name} of shape {size}; wanted a parameter of one or two dimensions")
        is_readout = name in readouts and flags == (True, False)
        scaled[name] = ParamShape(
            name=name,
            shape=size,
            base_shape=base_size,
            role=_role(len(size), flags, is_readout),
            fan_in=sizes[0],
            fan_out=sizes[1],
            base_fan_in=base_sizes[0],
            width_mult_in=sizes[0] / base_sizes[0] if flags[0] else 1.0,
            width_mult_out=sizes[1] / base_sizes[1] if flags[1] else 1.0,
            depth_mult=depth_mult if name in residual else 1.0,
        )
    return scaled


def _role(dimensions: int, wide: tuple[bool, ...], is_readout: bool) -> Role:
    if not any(wide):
        return "scalar"
    if dimensions < 2:
        return "vector"
    if not wide[0]:
        return "input"
    return "output" if is_readout else "hidden"


def find_readouts(model: nn.Module, sample: Tensor, wide: set[str]) -> set[str]:
    """Names of the `wide` parameters from which a path leads to the model's output that crosses no other wide one.

    Walks the autograd graph of one forward pass back from the output, and not beyond an operation that uses a wide
    parameter. Works on `meta` tensors.
    """
    names: dict[int, set[str]] = {}
    for name, parameter in _named(model):
        if name in wide:
            names.setdefault(id(parameter), set()).add(name)
    with torch.enable_grad():
        output = model(sample)
    met: set[str] = set()
    visited, front = set(), [output.grad_fn]
    while front:
        node = front.pop()
        if node is None or node in visited:
            continue
        visited.add(node)
        inputs = [following for following, _ in node.next_functions if following is not None]
        used = set().union(*(names.get(id(_leaf(following)), set()) for following in inputs))
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


def _named(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return model.named_parameters(remove_duplicate=False)


def _owners(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, _ in _named(model):
        yield name, model.get_submodule(name.rpartition(".")[0])
