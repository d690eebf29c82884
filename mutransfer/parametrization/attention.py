"""What muP asks of attention that we can see but not change: where head_dim grows, logits scaled by 1/head_dim."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from mutransfer.parametrization.watch import Watch
from mutransfer.theory.parametrizations import Table


class AttentionCall(NamedTuple):
    """One attention: the module that called it, its head_dim, and what its logits are scaled by; None where it is
    written by hand, as a product and a softmax, which may scale queries, keys or logits."""

    module: str
    head_dim: int
    scale: float | None


class AttentionWatch(TorchFunctionMode):
    """Records the calls of torch's scaled dot-product attention, and softmaxes of products of activations."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self.calls: list[AttentionCall] = []
        self._watch = watch

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = {} if kwargs is None else kwargs
        if func is F.scaled_dot_product_attention:
            head_dim = (args[0] if args else kwargs["query"]).shape[-1]
            scale = kwargs.get("scale")
            self._note(head_dim, head_dim**-0.5 if scale is None else scale)
        elif func is F.multi_head_attention_forward:  # calls the one above where this mode no longer sees it
            head_dim = args[3] // args[4]
            self._note(head_dim, head_dim**-0.5)
        elif getattr(func, "__name__", "") == "softmax":
            terms = _terms(args[0] if args else kwargs["input"])
            if terms is not None:
                self._note(terms, None)
        return func(*args, **kwargs)

    def _note(self, head_dim: int, scale: float | None) -> None:
        self.calls.append(AttentionCall(self._watch.running[-1], head_dim, scale))


_CHANGE = ("Mul", "Div", "Add", "Sub", "MaskedFill", "Where", "Tanh", "Clamp", "Copy", "ToCopy", "Clone")
_MOVE = ("View", "UnsafeView", "ReshapeAlias", "Permute", "Transpose", "Squeeze", "Unsqueeze", "Expand", "Slice")
_KEEP = frozenset(_CHANGE + _MOVE)
"""Autograd's names of what scales, masks, shifts, bounds or rearranges logits."""


def _terms(logits: Tensor) -> int | None:
    """Over how many terms each entry is summed, where these are a batch of products of two activations that nothing but
    `_KEEP` has touched since; None where not, as after a map by a weight."""
    front: list[Any] = [logits.grad_fn]
    while front:
        node = front.pop()
        name = "" if node is None else node.name().partition("Backward")[0]
        if name == "Bmm":
            first, second = (each for each, _ in node.next_functions)
            if not (_is_weight(first) or _is_weight(second)):
                saved = node._saved_self
                return int(node._saved_mat2.shape[-2] if saved is None else saved.shape[-1])
        elif name in _KEEP:
            front += [following for following, _ in node.next_functions]
    return None


def _is_weight(node: Any) -> bool:
    """Whether this is a parameter, or a view of one."""
    while node is not None and not hasattr(node, "variable"):
        following = [each for each, _ in node.next_functions if each is not None]
        node = following[0] if len(following) == 1 else None
    return node is not None


def logit_advice(
    table: Table, base: Sequence[AttentionCall], delta: Sequence[AttentionCall], growth: tuple[float, float] | None
) -> str | None:
    """The scale to pass to attention, where head_dim grows and the logits do not shrink as the table wants; else None.

    Args:
        table: its `attention` is the wanted power of head_dim beyond 1/sqrt(head_dim); TPV Definition 4.1.
        base, delta: the calls of the two models, in order.
        growth: of all that grows, from base to delta and from base to target; None where it is not one number.
    """
    wanted = -0.5 + table.attention
    wrong = [
        (one.module, one.head_dim, one.scale, other.head_dim, other.scale)
        for one, other in _growing(base, delta)
        if one.scale
        and other.scale
        and abs(math.log(other.scale / one.scale) / math.log(other.head_dim / one.head_dim) - wanted) > 0.01
    ]
    if not wrong or table.attention == 0:
        return None
    module, head_dim, scale, grown, grown_scale = wrong[0]
    at_base = f"{scale:g} * ({head_dim} / head_dim)"
    here = ""
    if growth is not None and math.isclose(grown / head_dim, growth[0]):
        at_target = round(head_dim * growth[1])
        here = f", {scale * head_dim / at_target:.6g} at head_dim {at_target}"
    return (
        f"attention in {module or 'the model'} (and {len(wrong) - 1} more): head_dim grows with width, and logits "
        f"are scaled by {scale:g} at head_dim {head_dim}, by {grown_scale:g} at {grown}; {table.name} "
        f"wants 1/head_dim: pass scale={at_base}{here}, or keep head_dim fixed and let the number of heads grow"
    )


def unseen_scale(table: Table, base: Sequence[AttentionCall], delta: Sequence[AttentionCall]) -> str | None:
    """Where attention is written by hand and its head_dim grows, what to look at; else None. Arguments as above."""
    by_hand = [(one, other) for one, other in _growing(base, delta) if one.scale is None]
    if not by_hand:
        return None
    one, other = by_hand[0]
    return (
        f"attention by hand in {one.module or 'the model'} (and {len(by_hand) - 1} more): head_dim grows with width "
        f"({one.head_dim} at the base, {other.head_dim} at the delta), and what scales the logits is not seen here; "
        f"{table.name} wants 1/head_dim: a coordinate check tells whether it is so"
    )


def _growing(
    base: Sequence[AttentionCall], delta: Sequence[AttentionCall]
) -> list[tuple[AttentionCall, AttentionCall]]:
    return [(one, other) for one, other in zip(base, delta, strict=False) if one.head_dim != other.head_dim]
