"""Watches a forward pass below autograd: which parameter each operation's operands hold, seen through views, casts and
products of parameters, and what it does with their dimensions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import is_dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

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
        self._active = {_memory(tensor) for tensor in self._held}
        self._places: dict[int, list[_Place]] = {}
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
        active = any(_memory(tensor) in self._active for tensor in tensors_in((args, kwargs)))
        factors = {at: dims for at, dims in _factors(packet, args).items() if at in origins}
        if not active and len(factors) == 1 and packet not in _LOOKUPS:
            factors = {}  # a parameter times a constant, as in the power iteration of a spectral norm, is no map yet
        if self._picks_maps(packet, args, factors):
            self._put(out, [_picked(origin, args[1]) for origin in origins[0]])
            return out
        if factors:
            self._map(packet, factors, origins)
        if factors or (active and (torch.Tag.pointwise in func.tags or packet in (*_JOINS, *_NORMS))):
            for at in origins.keys() - factors.keys():
                self._elementwise(origins[at])
        if factors or active:
            self._active |= {_memory(tensor) for tensor in results} - self._places.keys()
        else:
            self._derive(results, [(operands[at].shape, found) for at, found in origins.items()])
        return out

    def _origins(self, value: Any) -> tuple[_Origin, ...]:
        if not isinstance(value, Tensor) or _memory(value) not in self._places:
            return ()
        places = self._places[_memory(value)]
        # several parameters may be views of one memory
        return [each for each in places if each.tensor.storage_offset() <= value.storage_offset()][-1].origins_of(value)

    def _put(self, tensor: Tensor, origins: list[_Origin]) -> None:
        self._places.setdefault(_memory(tensor), []).append(_Place(tensor, tuple(origins)))
        self._places[_memory(tensor)].sort(key=lambda place: place.tensor.storage_offset())

    def _picks_maps(self, packet: Any, args: tuple[Any, ...], factors: Mapping[int, Operand]) -> bool:
        """Whether an index picks whole maps out of a stack, such as each token's expert."""
        return packet is aten.index and 0 in factors and len(args[1]) == 1 and args[0].dim() > 2

    def _map(self, packet: Any, factors: Mapping[int, Operand], origins: Mapping[int, tuple[_Origin, ...]]) -> None:
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
                self.uses.setdefault(name, set()).add(Use(kind, read, written, self.running[-1]))

    def _runs_in(self, name: str) -> bool:
        return name.rpartition(".")[0] == self.running[-1]

    def _elementwise(self, origins: tuple[_Origin, ...]) -> None:
        for name, along in origins:
            self.uses.setdefault(name, set()).add(Use("elementwise", frozenset(), _union(along), self.running[-1]))

    def _derive(self, results: list[Tensor], operands: list[tuple[torch.Size, tuple[_Origin, ...]]]) -> None:
        """What is as large as a parameter and computed from parameters alone (a cast, a product) keeps its origins."""
        for result in results:
            if _memory(result) not in self._places and any(shape == result.shape for shape, _ in operands):
                fitting = [origin for shape, found in operands if len(shape) <= result.dim() for origin in found]
                pads = [(frozenset[int](),) * (result.dim() - len(along)) for _, along in fitting]
                self._put(
                    result, [_Origin(name, pad + along) for pad, (name, along) in zip(pads, fitting, strict=True)]
                )


def _memory(tensor: Tensor) -> int:
    """Its storage's identity, also on `meta`, where there is no address."""
    identity: int = tensor.untyped_storage()._cdata
    return identity


def _union(sets: Iterable[Dims]) -> Dims:
    return frozenset().union(*sets)


def _drop(stack: list[str]) -> None:
    stack.pop()


def _picked(origin: _Origin, indices: list[Tensor]) -> _Origin:
    """The origin of what one index picks along the first dimension."""
    return _Origin(origin.name, (frozenset[int](),) * indices[0].dim() + origin.along[1:])
