"""What the code itself multiplies activations by, and where two activations meet in one sum: seen below autograd, and
compared between two widths.

A number that changes with width in the forward pass is part of the parametrization, whoever wrote it: a readout's
output over its width, an embedding times its root. It is counted to the weights whose outputs it multiplies, or to the
readout that reads what it multiplies. A sum over width of products of two activations grows with it once they have
aligned, as attention's logits do: it wants one over its terms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

aten = torch.ops.aten

MULTIPLY = (aten.mul, aten.mul_)
DIVIDE = (aten.div, aten.div_)
SUMS = (aten.sum, aten.mean)
CASTS = (aten._to_copy, aten.clone, aten.contiguous, aten.copy_)
_ADDS = (aten.add, aten.add_, aten.sub, aten.sub_)
_KEEPS = (*CASTS, aten.cat, aten.stack, aten.index, aten.gather, aten.masked_fill, aten.where, aten.constant_pad_nd)
_PRODUCTS = (aten.bmm, aten.baddbmm, aten.mm, aten.mv, aten.dot)
_SOFTMAX = (aten._softmax, aten._safe_softmax)

GROWS = 0.3
"""The power of its terms from which a sum of products of activations is said to grow: half a power is meant."""

Weight = tuple[str, str]
"""A parameter, and the module that was running when it was used."""


def memory_of(tensor: Tensor) -> int:
    """Its storage's identity, also on `meta`, where there is no address."""
    identity: int = tensor.untyped_storage()._cdata
    return identity


def reduced(tensor: Tensor, args: Sequence[Any]) -> tuple[int, ...]:
    """The dimensions that a sum or mean with these arguments is over."""
    dims = args[1] if len(args) > 1 else None
    if not isinstance(dims, list | tuple) or not dims:
        return tuple(range(tensor.dim()))
    return tuple(dim % tensor.dim() for dim in dims)


@dataclass
class Number:
    """A plain number that multiplies an activation or a weight: the weights whose outputs it multiplies, and those that
    read what it multiplies, with nothing but linear steps between."""

    value: float
    module: str
    above: frozenset[Weight]
    below: set[Weight] = field(default_factory=set)
    meets: bool = False
    """It scales a product of two activations."""


@dataclass
class Meeting:
    """A sum of products of two activations."""

    module: str
    terms: int
    reach: float
    """Its size if all terms had one sign, times the numbers that multiply it."""
    softmax: bool = False


class _State(NamedTuple):
    weights: frozenset[Weight] = frozenset()
    numbers: frozenset[int] = frozenset()
    meeting: int | None = None


class Flow:
    """Numbers and meetings, in the order of the operations."""

    def __init__(self) -> None:
        self.numbers: list[Number] = []
        self.meetings: list[Meeting] = []
        self._states: dict[int, _State] = {}
        self._pairs: dict[int, tuple[Tensor, Tensor]] = {}
        self._running = ""

    def see(
        self,
        func: Any,
        operands: Sequence[Any],
        args: Sequence[Any],
        results: Sequence[Tensor],
        moving: Sequence[int],
        named: Mapping[int, frozenset[Weight]],
        factors: set[int],
        running: str,
    ) -> None:
        """One operation in the module that is `running`: `moving` are the positions of activations, `named` of
        parameters, `factors` of those that map."""
        self._running = running
        packet = func.overloadpacket
        number = _number(packet, operands, [*moving, *named])
        if not moving and not factors:
            if number is not None and named:
                self.numbers.append(Number(number, running, frozenset().union(*named.values())))
            return
        states = [self._states[memory_of(operands[at])] for at in moving if memory_of(operands[at]) in self._states]
        state = _State()
        if factors:
            weights = frozenset[Weight]().union(*(named[at] for at in factors))
            for each in states:
                for index in each.numbers:
                    self.numbers[index].below |= weights
            state = _State(weights)
        elif number is not None and len(moving) == 1:
            state = self._times(number, states[0] if states else _State(), moving, operands)
        elif packet in (*MULTIPLY, *DIVIDE) and len(moving) == 2:
            state = self._both(packet, operands, moving, states, results)
        elif packet in (*MULTIPLY, *_ADDS) and named and len(moving) == 1:
            gains = frozenset[Weight]().union(*named.values()) if packet in MULTIPLY else frozenset[Weight]()
            state = states[0]._replace(weights=states[0].weights | gains) if states else _State(gains)
        elif packet in _PRODUCTS and len(moving) >= 2:
            first, second = (operands[at] for at in moving[-2:])
            state = self._meet(first, second, first.shape[-1], states)
        elif packet in SUMS and memory_of(operands[moving[0]]) in self._pairs:
            summed, (first, second) = operands[moving[0]], self._pairs[memory_of(operands[moving[0]])]
            terms = math.prod(summed.shape[dim] for dim in reduced(summed, args))
            state = self._meet(first, second, terms, states)
            if packet is aten.mean and state.meeting is not None:
                self.meetings[state.meeting].reach /= terms
        elif packet in _SOFTMAX:
            for each in states:
                if each.meeting is not None:
                    self.meetings[each.meeting].softmax = True
        elif packet in (*_ADDS, *_KEEPS) and states:
            shared = frozenset.intersection(*(each.numbers for each in states))
            meetings = {each.meeting for each in states}
            weights = frozenset[Weight]().union(*(each.weights for each in states))
            state = _State(weights, shared, meetings.pop() if len(meetings) == 1 else None)
        elif results and any(memory_of(each) == memory_of(operands[at]) for each in results for at in moving):
            return  # a view
        for result in results:
            self._states[memory_of(result)] = state

    def _times(self, number: float, state: _State, moving: Sequence[int], operands: Sequence[Any]) -> _State:
        self.numbers.append(Number(number, self._running, state.weights, meets=state.meeting is not None))
        if state.meeting is not None:
            self.meetings[state.meeting].reach *= abs(number)
        return state._replace(numbers=state.numbers | {len(self.numbers) - 1})

    def _both(
        self,
        packet: Any,
        operands: Sequence[Any],
        moving: Sequence[int],
        states: list[_State],
        results: Sequence[Tensor],
    ) -> _State:
        """A product of two activations; by what is one number a row, as a norm's statistic, nothing linear is left."""
        first, second = (operands[at] for at in moving)
        if packet in DIVIDE or first.shape != second.shape:
            return _State()
        if memory_of(first) != memory_of(second) and len(results) == 1:
            self._pairs[memory_of(results[0])] = (first, second)
        return _State(frozenset().union(*(each.weights for each in states)))

    def _meet(self, first: Tensor, second: Tensor, terms: int, states: list[_State]) -> _State:
        for index in {index for each in states for index in each.numbers}:
            self.numbers[index].meets = True
        sizes = [
            1.0 if each.is_meta else float(each.detach().abs().double().square().mean().sqrt())
            for each in (first, second)
        ]
        self.meetings.append(Meeting(self._running, terms, terms * sizes[0] * sizes[1]))
        return _State(frozenset().union(*(each.weights for each in states)), frozenset(), len(self.meetings) - 1)


def _number(packet: Any, operands: Sequence[Any], taken: Sequence[int]) -> float | None:
    """The plain number by which an operation multiplies its one other operand."""
    if packet not in (*MULTIPLY, *DIVIDE) or len(operands) != 2 or (packet in DIVIDE and 1 in taken):
        return None
    others = [each for at, each in enumerate(operands) if at not in taken]
    if len(others) != 1:
        return None
    other = others[0]
    if isinstance(other, Tensor):
        if other.numel() != 1 or other.is_meta or other.is_complex():
            return None
        other = other.item()
    if not isinstance(other, int | float) or isinstance(other, bool) or not math.isfinite(other) or other == 0:
        return None
    return 1.0 / float(other) if packet in DIVIDE else float(other)


def growing_numbers(base: Flow, delta: Flow) -> list[tuple[Number, float]] | None:
    """The numbers that change from the base to the delta model, each with their ratio; None where the two models do not
    multiply in the same order, so that nothing can be compared."""
    if len(base.numbers) != len(delta.numbers):
        return None
    pairs = zip(base.numbers, delta.numbers, strict=True)
    return [(one, abs(other.value / one.value)) for one, other in pairs if abs(other.value / one.value - 1) > 1e-3]


def meeting_advice(base: Flow, delta: Flow, growth: tuple[float, float] | None) -> list[str]:
    """What to multiply a sum of products of two activations by, where its terms grow with width, no softmax follows,
    and what they come to once they have aligned grows too.

    Args:
        base, delta: what flows in the two models.
        growth: of all that is wide, from base to delta and from base to the target; None where it is not one number.
    """
    said = {}
    for one, other in zip(base.meetings, delta.meetings, strict=False):
        if other.terms <= one.terms or one.softmax or not (one.reach > 0 and other.reach > 0):
            continue
        power = math.log(other.reach / one.reach) / math.log(other.terms / one.terms)
        if power > GROWS:
            power = round(2 * power) / 2
            here = "" if growth is None else f", {growth[1] ** -power:.6g} here"
            said[one.module] = (
                f"two activations meet in {one.module or 'the model'}: their products are summed over {one.terms} "
                f"terms at the base and {other.terms} at the delta, which grows as width^{power:g} once they align; "
                f"multiply the sum by (base width / width)^{power:g}{here}"
            )
    return list(said.values())
