"""The role of each parameter: what it reads and writes, and which of these spaces are wide.

| what the forward pass does with it | reads | writes | role |
|---|---|---|---|
| sums over some dimensions, or picks rows | fixed | wide | input |
| | wide | wide | hidden |
| | wide | fixed, and the model's output follows | output |
| | wide | fixed, and more wide parameters follow | bottleneck; hidden where a norm follows |
| adds or multiplies it | nothing | wide | vector (or, with fixed dimensions too, input: a table of positions) |
| none of its dimensions is wide | | | scalar |

A sum whose terms are as many at every width (a map for each head) reads nothing wide. A norm takes the size of a map to
a fixed space away: its change relative to its size counts, as a hidden map's does. What was not seen is read as its
module keeps it (torch.nn: (out, in), an embedding (in, out)), and what is of neither kind is an error.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple, get_args

from torch import nn
from torch.nn.modules.conv import _ConvTransposeNd

from mutransfer.checks import nearest, one_of
from mutransfer.parametrization.trace import Trace
from mutransfer.parametrization.watch import Dims, Use
from mutransfer.theory.parametrizations import Role

Sizes = Mapping[str, tuple[int | None, ...]]
"""Of each parameter, each dimension's size at the base width, and None for one that does not grow: what a `.bsh` file
holds."""


class Place(NamedTuple):
    """A parameter's role, the dimensions it reads and writes, and why we think so."""

    role: Role
    reads: Dims
    writes: Dims
    why: str


def find_roles(
    model: nn.Module,
    sizes: Sizes,
    trace: Trace,
    readouts: Collection[str],
    given: Mapping[str, Role],
    described: Mapping[str, str],
    grown: Trace | None = None,
) -> dict[str, Place]:
    """The place of every parameter of `model`; one shared by two modules has one under each of its names.

    Args:
        model: the model that was traced.
        sizes: which dimensions are wide.
        trace: of a forward pass of `model`.
        readouts: the parameters that `find_readouts` met.
        given: roles by name pattern (`*.router.weight`), which win over what is found; of two that match, the later.
        described: each parameter's shapes in words, for errors.
        grown: of a forward pass of the model at another width, where there is one.

    Raises:
        ValueError: naming the parameter, on one whose role cannot be decided; on a pattern or role that is not known.
    """
    check_patterns(given, [name for name, _ in model.named_parameters(remove_duplicate=False)])
    for pattern, role in given.items():
        one_of(f"the role of {pattern}", role, get_args(Role))
    places = {}
    at_delta = {} if grown is None else uses_by_name(model, grown)
    for name, uses in uses_by_name(model, trace).items():
        steady = uses & at_delta[name] if name in at_delta else set()
        wide = frozenset(dim for dim, size in enumerate(sizes[name]) if size is not None)
        shape = tuple(model.get_parameter(name).shape)
        roles = [role for pattern, role in given.items() if fnmatchcase(name, pattern)]
        if roles:
            places[name] = _as_given(roles[-1], shape, wide, uses)
        else:
            owner = model.get_submodule(name.rpartition(".")[0])
            place = None if name in trace.lost and wide else _find(shape, wide, uses, steady, owner, name in readouts)
            if place is None and not model.get_parameter(name).requires_grad:
                place = Place("scalar", frozenset(), frozenset(range(len(shape))), "frozen")
            if place is None:
                several = any(_reads(use, shape) for use in uses)
                how = "used in several ways" if several else "used in no way that tells what it reads and writes"
                raise ValueError(
                    f"found {name} of shape {described[name]}, {how}; wanted its role: give "
                    f"roles={{{name!r}: 'hidden'}}, or another of {', '.join(get_args(Role))}"
                    f"{'; or share it between modules, one for each use' if several else ''}"
                )
            places[name] = place
    return places


def check_patterns(patterns: Iterable[str], names: Iterable[str]) -> None:
    """Raises ValueError on a pattern that matches no name."""
    names = list(names)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(f"found no parameter {pattern!r}; wanted the name of one: {nearest(pattern, names)}")


def uses_by_name(model: nn.Module, trace: Trace) -> dict[str, set[Use]]:
    """Uses of a shared parameter, told apart by the module that was running: its own, or any other."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    paths = {id(module): path for path, module in model.named_modules()}
    found: dict[str, set[Use]] = {}
    for shared in names.values():
        uses = set(trace.uses[shared[0]]) if shared[0] in trace.uses else set()
        owners = {name: paths[id(model.get_submodule(name.rpartition(".")[0]))] for name in shared}
        for name, owner in owners.items():
            found[name] = {use for use in uses if use.module == owner or use.module not in owners.values()}
    return found


def _find(
    shape: tuple[int, ...],
    wide: Dims,
    uses: Collection[Use],
    steady: Collection[Use],
    owner: nn.Module,
    is_readout: bool,
) -> Place | None:
    """None where it cannot be decided."""
    every = frozenset(range(len(shape)))
    if not wide:
        return Place("scalar", frozenset(), every, "no wide dimension")
    maps = {(use.reads & wide, use.writes & wide): use for use in uses if _reads(use, shape)}
    if len(maps) == 1 and all(use in steady for use in uses if _reads(use, shape)):
        (use,) = maps.values()
        if use.reads & wide:
            return Place(
                "input", use.reads - wide, every - (use.reads - wide), f"sums {use.terms} terms at every width"
            )
    if not maps and any(use.terms and use.kind == "elementwise" for use in set(uses) - set(steady)):
        return None  # it multiplies the spectrum of something wide, all of which its transform mixes
    if len(maps) == 1:
        (use,) = maps.values()
        return _map(
            use.reads, every - use.reads, wide, is_readout, "looked up" if use.kind == "lookup" else "summed over"
        )
    if not maps and (uses or len(shape) == 1):
        fixed = frozenset(dim for dim in every - wide if shape[dim] > 1)
        return Place("input" if fixed else "vector", fixed, wide, "added or multiplied") if len(wide) == 1 else None
    if not maps and type(owner).__module__.startswith("torch.nn.modules"):
        first = isinstance(owner, nn.Embedding | nn.EmbeddingBag | _ConvTransposeNd)
        reads = frozenset({0}) if first else every - {0}
        return _map(reads, every - reads, wide, is_readout, f"read by {type(owner).__name__}")
    return None


def _reads(use: Use, shape: tuple[int, ...]) -> bool:
    return use.kind != "elementwise" and any(shape[dim] > 1 for dim in use.reads)


def _map(reads: Dims, writes: Dims, wide: Dims, is_readout: bool, how: str) -> Place:
    what = f"dim{'s' * (len(reads) > 1)} {', '.join(map(str, sorted(reads)))} {how}"
    if not reads & wide:
        return Place("input", reads, writes, what)
    if writes & wide:
        return Place("hidden", reads, writes, what)
    if is_readout:
        return Place("output", reads, writes, f"{what}, the output follows")
    return Place("bottleneck", reads, writes, f"{what}, wide parameters follow")


def _as_given(role: Role, shape: tuple[int, ...], wide: Dims, uses: Collection[Use]) -> Place:
    """The dimensions of a role that was given: as the forward pass showed, else as torch keeps a matrix."""
    every = frozenset(range(len(shape)))
    maps = [use for use in uses if _reads(use, shape)]
    if role == "hidden" and maps:
        reads, writes = maps[0].reads, maps[0].writes
    elif role == "hidden":
        reads = frozenset({max(wide)}) if wide else frozenset()
        writes = every - reads
    elif role in ("output", "bottleneck"):
        reads, writes = wide, every - wide
    else:
        reads, writes = every - wide, wide
    return Place(role, reads, writes, "as given")
