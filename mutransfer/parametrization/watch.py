"""Watches a forward pass below autograd: which parameter each operation's operands hold, seen through views, casts and
products of parameters, and what it does with their dimensions. A product with a parameter that is summed next is a map,
as a matrix product is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import is_dataclass
from math import prod
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mutransfer.parametrization.flow import CASTS, DIVIDE, MULTIPLY, SUMS, Flow, memory_of, reduced

aten = torch.ops.aten

Dims = frozenset[int]


class Use(NamedTuple):
    """How one operation uses a parameter: a `map` sums over the dimensions it `reads` and keeps those it `writes` (what
    is in neither, such as experts, is a batch of maps); a `lookup` picks rows; `elementwise` is all the rest."""

    kind: Literal["map", "lookup", "elementwise"]
    reads: Dims
    writes: Dims
    module: str
    """Path of the module that was running."""
    terms: int
    """How many terms a map sums; of an elementwise use of a spectrum, the length of the transform; else 0. Where it is
    the same at two widths, what is read does not grow."""


def tensors_in(value: Any) -> Iterator[Tensor]:
    """All tensors in nested tuples, lists, mappings and dataclasses."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item)
    elif is_dataclass(value) and not isinstance(value, type):
        yield from tensors_in(vars(value))


Operand = tuple[tuple[int, ...], tuple[int, ...]]
"""Of a factor in an operation: the dimensions that are summed over (or picked from), and those that are kept."""

_ROWS: Operand = ((1,), (0,))
_COLUMNS: Operand = ((0,), (1,))
_PRODUCTS: Mapping[Any, Mapping[int, Operand]] = {
    aten.mm: {0: _ROWS, 1: _COLUMNS},
    aten.addmm: {1: _ROWS, 2: _COLUMNS},
    aten._addmm_activation: {1: _ROWS, 2: _COLUMNS},
    aten.bmm: {0: ((2,), (1,)), 1: ((1,), (2,))},
    aten.baddbmm: {1: ((2,), (1,)), 2: ((1,), (2,))},
    aten._grouped_mm: {1: ((1,), (2,))},
    aten.mv: {0: _ROWS, 1: ((0,), ())},
    aten.addmv: {1: _ROWS, 2: ((0,), ())},
    aten.dot: {0: ((0,), ()), 1: ((0,), ())},
}
"""The factors of each product, by position."""

_LOOKUPS = (aten.embedding, aten._embedding_bag, aten.index_select, aten.index)
_JOINS = (aten.cat, aten.stack)
_MOVES: tuple[Any, ...] = (
    aten.t,
    aten.transpose,
    aten.permute,
    aten.view,
    aten._unsafe_view,
    aten.expand,
    aten.select,
    aten.slice,
)
_MOVES += (aten.squeeze, aten.unsqueeze, aten.split, aten.unbind, aten.alias, aten.detach, aten.as_strided)
_NORMS = (aten.native_layer_norm, aten.native_batch_norm, aten.native_group_norm, aten._fused_rms_norm)


def _factors(packet: Any, args: tuple[Any, ...]) -> Mapping[int, Operand]:
    """The factors of an operation that maps or looks up, by position."""
    if packet is aten.convolution:
        kernel = tuple(range(2, args[1].dim()))
        into, out = (0, 1) if args[6] else (1, 0)
        return {1: ((into, *kernel), (out,))}
    if packet in _LOOKUPS:
        picked: tuple[int, ...] = (0,)
        if packet is aten.index_select:
            picked = (args[1],)
        elif packet is aten.index:
            picked = tuple(dim for dim, index in enumerate(args[1]) if index is not None)
        return {0: (picked, tuple(dim for dim in range(args[0].dim()) if dim not in picked))}
    if packet in _PRODUCTS:
        return _PRODUCTS[packet]
    return {}


class _Origin(NamedTuple):
    """The parameter that a tensor's values come from, and which of its dimensions run along each of the tensor's."""

    name: str
    along: tuple[Dims, ...]


class _Place(NamedTuple):
    """Memory that holds a parameter, or what is computed from parameters alone."""

    tensor: Tensor  # held, so that nothing else gets its memory while we watch
    origins: tuple[_Origin, ...]

    def origins_of(self, view: Tensor) -> tuple[_Origin, ...]:
        """The origins of a view of this memory."""
        whole = list(zip(self.tensor.shape, self.tensor.stride(), strict=True))
        crossed = []
        for size, stride in zip(view.shape, view.stride(), strict=True):
            at = view.storage_offset() - self.tensor.storage_offset() + stride * torch.arange(size, device="cpu")
            crossed.append(
                [
                    dim
                    for dim, (length, step) in enumerate(whole)
                    if length > 1 and (at // step % length).unique().numel() > 1
                ]
            )
        return tuple(
            _Origin(name, tuple(_union(along[dim] for dim in dims) for dims in crossed)) for name, along in self.origins
        )


class Watch(TorchDispatchMode):
    """Records each parameter's uses, and which module is running."""

    def __init__(self, model: nn.Module, sample: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.uses: dict[str, set[Use]] = {}
        self.running = [""]
        self._held: list[Tensor] = list(tensors_in(sample))
        # memory of activations: of what depends on the sample, or was mapped or looked up
        self._active = {memory_of(tensor) for tensor in self._held}
        self._held_by = frozenset(self._active)
        self._places: dict[int, list[_Place]] = {}
        self._unfed: set[int] = set()
        """Memory of what is mapped, but of parameters alone: no activation that the sample feeds."""
        self._products: dict[int, _Place] = {}
        """Memory of products of parameters with activations, until it is known what becomes of them."""
        self._sums: dict[int, list[tuple[str, Use]]] = {}
        """The maps that these would be if nothing but sums followed."""
        self._spectra: dict[int, int] = {}
        """Lengths of the Fourier transforms that made these."""
        self.made: set[str] = set()
        """Parameters that reach the model through what is computed from parameters alone, as under a weight norm."""
        self.lost: set[str] = set()
        """Parameters of which something was computed that can be followed no further."""
        self.flow = Flow()
        for name, parameter in model.named_parameters():
            self._put(parameter, [_Origin(name, tuple(frozenset({dim}) for dim in range(parameter.dim())))])

    def follow(self, model: nn.Module) -> list[Any]:
        """Hooks by which we know what is running."""
        handles: list[Any] = []
        for path, module in model.named_modules():
            handles += [
                module.register_forward_pre_hook(lambda _module, _args, path=path: self.running.append(path)),
                module.register_forward_hook(lambda _module, _args, _out: _drop(self.running), always_call=True),
            ]
        return handles

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = {} if kwargs is None else kwargs
        out = func(*args, **kwargs)
        results = list(tensors_in(out))
        self._held += results
        packet = func.overloadpacket
        operands = [*args[0], *args[1:]] if packet in _JOINS else list(args)
        origins = {at: found for at, value in enumerate(operands) if (found := self._origins(value))}
        active = any(memory_of(tensor) in self._active for tensor in tensors_in((args, kwargs)))
        factors = {at: dims for at, dims in _factors(packet, args).items() if at in origins}
        if not active and len(factors) == 1 and packet not in _LOOKUPS:
            factors = {}  # a parameter times a constant, as in the power iteration of a spectral norm, is no map yet
        if self._picks_maps(packet, args, factors):
            self._put(out, [_picked(origin, args[1]) for origin in origins[0]])
            return out
        self._follow(func, operands, args, kwargs, results, origins, factors, active)
        if factors:
            self._map(packet, factors, origins, operands)
        if factors or (active and (torch.Tag.pointwise in func.tags or packet in (*_JOINS, *_NORMS))):
            for at in origins.keys() - factors.keys():
                if packet in MULTIPLY and active and not factors and len(results) == 1:
                    self._multiplied(results[0], origins[at], operands)
                else:
                    self._elementwise(origins[at])
        if factors or active:
            self._active |= {memory_of(tensor) for tensor in results} - self._places.keys()
        else:
            if origins and packet not in (*CASTS, *_JOINS, *_MOVES) and not (packet in MULTIPLY and len(origins) == 1):
                self.made |= {name for found in origins.values() for name, _ in found}
            self._derive(results, [(operands[at].shape, found) for at, found in origins.items()])
        return out

    def finish(self) -> None:
        """A product that nothing but sums have followed is a map."""
        for memory, place in self._products.items():
            for name, use in self._sums.get(memory, []):
                self.uses.setdefault(name, set()).add(use)
            if memory not in self._sums:
                self._elementwise(place.origins)

    def _follow(
        self,
        func: Any,
        operands: list[Any],
        args: tuple[Any, ...],
        kwargs: Any,
        results: list[Tensor],
        origins: Mapping[int, tuple[_Origin, ...]],
        factors: Mapping[int, Operand],
        active: bool,
    ) -> None:
        """What becomes of products and spectra, and how numbers and activations flow on."""
        packet, running = func.overloadpacket, self.running[-1]
        tensors = [(at, each) for at, each in enumerate(operands) if isinstance(each, Tensor)]
        moving = [at for at, each in tensors if memory_of(each) in self._active - self._unfed]
        if (
            (factors or active)
            and not moving
            and not any(memory_of(each) in self._held_by for each in tensors_in(args))
        ):
            self._unfed |= {memory_of(each) for each in results}
        named = {at: frozenset((name, running) for name, _ in found) for at, found in origins.items()}
        self.flow.see(func, operands, args, results, moving, named, set(factors), running)
        for at in moving:
            memory = memory_of(operands[at])
            if memory in self._spectra and packet in (*CASTS, *MULTIPLY, aten.bmm):
                self._spectra |= {memory_of(each): self._spectra[memory] for each in results}
            if memory not in self._products or any(memory_of(each) == memory for each in results):
                continue
            place = self._products[memory]
            if packet in SUMS:
                dims = reduced(operands[at], args)
                found = place.origins_of(operands[at])
                if any(_union(along[dim] for dim in dims) for _, along in found):
                    terms = prod(operands[at].shape[dim] for dim in dims)
                    for name, along in found:
                        kept = [dim for dim in range(operands[at].dim()) if dim not in dims]
                        read, written = (_union(along[dim] for dim in side) for side in (dims, kept))
                        self._sums.setdefault(memory, []).append((name, Use("map", read, written, running, terms)))
            elif (
                (packet in CASTS or (packet in (*MULTIPLY, *DIVIDE) and not origins))
                and len(results) == 1
                and results[0].shape == place.tensor.shape
            ):
                self._products[memory_of(results[0])] = _Place(results[0], place.origins_of(operands[at]))
                del self._products[memory]
            elif packet not in DIVIDE or len(moving) > 1:
                self._elementwise(self._products.pop(memory).origins)
                self._sums.pop(memory, None)
        if "_fft_" in packet.__name__ and active:
            length = max((operands[0].shape[dim] for dim in args[1]), default=0) if len(args) > 1 else 0
            self._spectra |= {memory_of(each): length for each in results}

    def _multiplied(self, result: Tensor, origins: tuple[_Origin, ...], operands: list[Any]) -> None:
        """A parameter times an activation: a map if it is summed next, else elementwise."""
        lengths = [self._spectra[memory_of(each)] for each in operands if _in(each, self._spectra)]
        if lengths:
            self._elementwise(origins, max(lengths))
            return
        pads = [(frozenset[int](),) * (result.dim() - len(along)) for _, along in origins]
        found = tuple(_Origin(name, pad + along) for pad, (name, along) in zip(pads, origins, strict=True))
        if memory_of(result) in self._products:
            found += self._products[memory_of(result)].origins
        self._products[memory_of(result)] = _Place(result, found)

    def _origins(self, value: Any) -> tuple[_Origin, ...]:
        if not _in(value, self._places):
            return ()
        places = self._places[memory_of(value)]
        # several parameters may be views of one memory
        return [each for each in places if each.tensor.storage_offset() <= value.storage_offset()][-1].origins_of(value)

    def _put(self, tensor: Tensor, origins: list[_Origin]) -> None:
        self._places.setdefault(memory_of(tensor), []).append(_Place(tensor, tuple(origins)))
        self._places[memory_of(tensor)].sort(key=lambda place: place.tensor.storage_offset())

    def _picks_maps(self, packet: Any, args: tuple[Any, ...], factors: Mapping[int, Operand]) -> bool:
        """Whether an index picks whole maps out of a stack, such as each token's expert."""
        return packet is aten.index and 0 in factors and len(args[1]) == 1 and args[0].dim() > 2

    def _map(
        self,
        packet: Any,
        factors: Mapping[int, Operand],
        origins: Mapping[int, tuple[_Origin, ...]],
        operands: list[Any],
    ) -> None:
        """A product or lookup. Where both factors are made of parameters alone, the one that the running module owns is
        the weight and the other its input; without such a one nothing is learned."""
        weights = dict(factors)
        if len(factors) > 1:
            weights = {at: factors[at] for at in factors if all(self._runs_in(name) for name, _ in origins[at])}
            if len(weights) != 1:
                return
            for at in factors.keys() - weights.keys():
                self._elementwise(origins[at])
        for at, (reads, writes) in weights.items():
            for name, along in origins[at]:
                read, written = (_union(along[dim] for dim in side) for side in (reads, writes))
                kind: Literal["map", "lookup"] = "lookup" if packet in _LOOKUPS else "map"
                terms = 0 if kind == "lookup" else prod(operands[at].shape[dim] for dim in reads)
                self.uses.setdefault(name, set()).add(Use(kind, read, written, self.running[-1], terms))

    def _runs_in(self, name: str) -> bool:
        return name.rpartition(".")[0] == self.running[-1]

    def _elementwise(self, origins: tuple[_Origin, ...], terms: int = 0) -> None:
        for name, along in origins:
            use = Use("elementwise", frozenset(), _union(along), self.running[-1], terms)
            self.uses.setdefault(name, set()).add(use)

    def _derive(self, results: list[Tensor], operands: list[tuple[torch.Size, tuple[_Origin, ...]]]) -> None:
        """What is as large as a parameter and computed from parameters alone (a cast, a product) keeps its origins."""
        for result in results:
            known = memory_of(result) in self._places
            if not known and all(shape != result.shape for shape, _ in operands):
                self.lost |= {name for _, found in operands for name, _ in found}
            elif not known:
                fitting = [origin for shape, found in operands if len(shape) <= result.dim() for origin in found]
                pads = [(frozenset[int](),) * (result.dim() - len(along)) for _, along in fitting]
                self._put(
                    result, [_Origin(name, pad + along) for pad, (name, along) in zip(pads, fitting, strict=True)]
                )


def _in(value: Any, memories: Mapping[int, Any]) -> bool:
    return isinstance(value, Tensor) and memory_of(value) in memories


def _union(sets: Iterable[Dims]) -> Dims:
    return frozenset().union(*sets)


def _drop(stack: list[str]) -> None:
    stack.pop()


def _picked(origin: _Origin, indices: list[Tensor]) -> _Origin:
    """The origin of what one index picks along the first dimension."""
    return _Origin(origin.name, (frozenset[int](),) * indices[0].dim() + origin.along[1:])
