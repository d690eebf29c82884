"""Base, delta and target model -> how each parameter's dimensions scale, and what role it has."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from math import prod
from typing import Any, NamedTuple

from torch import nn

from mutransfer.parametrization.roles import Sizes, find_roles
from mutransfer.parametrization.trace import Trace, find_readouts, trace_forward
from mutransfer.theory.parametrizations import Role


class ParamShape(NamedTuple):
    """A parameter's size, at this width and at the base width.

    `fan_in` and `fan_out` are the sizes of the spaces it reads and writes (a gain or bias reads none: fan_in 1), the
    `width_mult_*` those sizes over the ones at the base width, `depth_mult` the depth over the base depth for what
    stands inside a residual block and 1 for all else. `wide` says which dimensions grow with width, `reads` which the
    parameter is summed over or looked up by, and `why` what told us its role.
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
    wide: tuple[bool, ...]
    reads: frozenset[int]
    why: str
    code_mult: float = 1.0
    """What the model's own code multiplies what goes through it by, over what it does so at the base width."""
    gauge: float = 1.0
    """The forward multiplier in which its rule is written, over the table's: its initial values and its Adam rate are
    the table's over this."""


def scale_shapes(
    base: nn.Module,
    delta: nn.Module,
    target: nn.Module,
    sample: Any,
    *,
    residual: Collection[str] = (),
    depth_mult: float = 1.0,
) -> dict[str, ParamShape]:
    """How every parameter of `target` scales; a weight shared by two modules stands under both of its names.

    Args:
        base: the model at the base width, on the sample's device; it is run once.
        delta: the same model at another width: what differs in size is wide.
        target: the model at the width to be trained. Only shapes are used of it and of `delta`.
        sample: an input for `base`; a tuple for several, a mapping for keywords.
        residual: names of the parameters inside residual blocks.
        depth_mult: the depth over the base depth.

    Raises:
        ValueError: if the models differ in more than width, or a parameter's role cannot be decided.
    """
    sizes, known = compare_sizes(base, delta, target), describe(base=base, delta=delta, target=target)
    return shapes_at(target, sizes, base, trace_forward(base, sample), {}, known, residual, depth_mult)


def compare_sizes(base: nn.Module, delta: nn.Module, target: nn.Module) -> dict[str, tuple[int | None, ...]]:
    """Of each parameter, each dimension's size at the base width, and None for one that does not grow.

    Raises ValueError, naming the parameter, if the models differ in more than width.
    """
    shapes = [_shapes(model) for model in (base, delta, target)]
    if not shapes[0].keys() == shapes[1].keys() == shapes[2].keys():
        odd = sorted(shapes[0].keys() ^ shapes[2].keys() | shapes[0].keys() ^ shapes[1].keys())
        raise ValueError(f"found {odd[0]} in only some of the base, delta and target models; wanted them alike")
    known = describe(base=base, delta=delta, target=target)
    if shapes[0] == shapes[1]:
        raise ValueError(
            "expected a model that grows with width, got the same shapes at the base width and at another; use the "
            "width in build"
        )
    sizes = {}
    for name in shapes[0]:
        at_base, at_delta, here = (each[name] for each in shapes)
        if not len(at_base) == len(at_delta) == len(here):
            raise ValueError(f"found {name} of shape {known[name]}; wanted as many dimensions in each")
        sizes[name] = tuple(None if size == grown else size for size, grown in zip(at_base, at_delta, strict=True))
        if any(size is None and b != t for size, b, t in zip(sizes[name], at_base, here, strict=True)):
            raise ValueError(
                f"found {name} of shape {known[name]}; wanted a target that differs only where base and delta do: give "
                "models that differ in width alone"
            )
    return sizes


def normalized_next(shape: ParamShape) -> ParamShape:
    """Of a map to a fixed space inside the model, what it is where a norm follows: hidden."""
    return shape._replace(role="hidden", why=f"{shape.why.partition(',')[0]}, normalized next")


def block_pattern(name: str) -> str:
    """A parameter's name with a star for the number of its block."""
    return re.sub(r"\.\d+(?=\.|$)", ".*", name)


def describe(**models: nn.Module) -> dict[str, str]:
    """Every parameter's shapes in words, for errors."""
    shapes = {label: _shapes(model) for label, model in models.items()}
    names = next(iter(shapes.values()))
    return {name: ", ".join(f"{known[name]} at {label}" for label, known in shapes.items()) for name in names}


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(p.shape) for name, p in model.named_parameters(remove_duplicate=False)}


def shapes_at(
    target: nn.Module,
    sizes: Sizes,
    traced: nn.Module,
    trace: Trace,
    roles: Mapping[str, Role],
    described: Mapping[str, str],
    residual: Collection[str] = (),
    depth_mult: float = 1.0,
    grown: Trace | None = None,
) -> dict[str, ParamShape]:
    """How every parameter of `target` scales from the `sizes` at the base width.

    Args:
        target: the model at the width to be trained.
        sizes: from `compare_sizes`, or from a `.bsh` file.
        traced: the same model at any width, and
        trace: of a forward pass of it.
        roles: by name pattern, those that are given and not found.
        described: from `describe`, for errors.
        residual, depth_mult: as in `scale_shapes`.
        grown: of a forward pass at another width, where there is one.

    Raises:
        ValueError: where a role cannot be decided.
    """
    wide_names = {name for name, base in sizes.items() if any(size is not None for size in base)}
    readouts = find_readouts(traced, trace.output, wide_names)
    places = find_roles(traced, sizes, trace, readouts, roles, described, grown)
    scaled = {}
    for name, size in _shapes(target).items():
        place = places[name]
        base = tuple(now if then is None else then for now, then in zip(size, sizes[name], strict=True))
        fan_in, base_fan_in = (prod(each[dim] for dim in place.reads) for each in (size, base))
        fan_out, base_fan_out = (prod(each[dim] for dim in place.writes) for each in (size, base))
        scaled[name] = ParamShape(
            name=name,
            shape=size,
            base_shape=base,
            role=place.role,
            fan_in=fan_in,
            fan_out=fan_out,
            base_fan_in=base_fan_in,
            width_mult_in=fan_in / base_fan_in,
            width_mult_out=fan_out / base_fan_out,
            depth_mult=depth_mult if name in residual else 1.0,
            wide=tuple(each is not None for each in sizes[name]),
            reads=place.reads,
            why=place.why,
        )
    return scaled
