"""What one forward and backward pass looks like from outside, for any model: each module's output, the part of it that
its own parameters' change makes, and the gradient it receives.

Forward hooks see modules. What happens between them is seen as torch functions: a plain number that multiplies a
module's output, which a parametrization may well apply there, and the logits of attention.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList
from torch.overrides import TorchFunctionMode

from mutransfer.coordcheck.coordinates import LOGITS

TIMES = frozenset({"mul", "mul_", "__mul__", "__rmul__", "__imul__", "multiply"})
OVER = frozenset({"div", "div_", "__truediv__", "__itruediv__", "divide", "true_divide"})
SAME = frozenset(
    {"float", "to", "type_as", "contiguous", "view", "reshape", "flatten", "unflatten", "transpose", "permute"}
)
MASK = frozenset({"masked_fill", "masked_fill_", "add", "add_", "__add__", "__iadd__"})
PRODUCT = frozenset({"matmul", "__matmul__", "bmm"})
"""Torch functions by name: that multiply or divide by a number; that hand on a tensor's values; that mask logits or add
positions to them; that, like einsum, may make logits of queries and keys."""

Initial = Mapping[str, Mapping[str, Tensor]]
"""By module: the initial values of the parameters it is charged with, named as inside it."""


@dataclass
class Call:
    """One call of a module."""

    module: str
    source: Tensor | None
    """Its first floating-point input, where it has one."""
    output: Tensor
    effective: Tensor | None = None
    """The output less that of the initial parameters on the same input."""
    outer: float = 1.0
    """The plain number that multiplies the output before anything else happens to it."""
    gradient: Tensor | None = None
    """Of the loss, with respect to the output; there after the backward pass."""
    head_dim: int | None = None
    logit_scale: float | None = None
    aligned: float | None = None
    """Of attention logits: the size of a head; what multiplies q.k; and the root mean square of the logits if all
    queries and keys of these sizes pointed the same way. None where the logits' softmax alone is seen."""


class Observer(TorchFunctionMode):
    """Inside its context every call of every module of `model` is kept in `calls`, in the order in which calls end.

    A module that hands on a tensor which is another module's output, or its own input, is passed over, unless it has
    parameters of its own.
    """

    def __init__(self, model: nn.Module, initial: Initial) -> None:
        super().__init__()
        self.model, self.initial = model, initial
        self.calls: list[Call] = []
        self._stack: list[tuple[str, Any, Any]] = []
        self._known: dict[int, list[Call]] = {}
        self._given: dict[int, str] = {}
        self.final = ""
        """The module whose output the loss gets."""
        self._alive: list[Tensor] = []  # an id is reused once its tensor is gone
        self._hooks: list[Any] = []
        self._busy = False

    def __enter__(self) -> Observer:
        for name, module in self.model.named_modules():
            if isinstance(module, ParametrizationList) or "parametrizations" in name.split("."):
                continue  # it makes a weight: its parameters are charged to the module that uses that
            # outermost: what others' hooks multiply counts as the module's own
            self._hooks.append(module.register_forward_pre_hook(self._before(name), prepend=True, with_kwargs=True))
            self._hooks.append(module.register_forward_hook(self._after(name)))
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        for hook in self._hooks:
            hook.remove()
        self._known, self._alive = {}, []

    def _before(self, name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, args: Any, kwargs: Any) -> None:
            if not self._busy:
                self._stack.append((name, args, kwargs))

        return hook

    def _after(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, _args: Any, result: Any) -> None:
            if self._busy:
                return
            _, args, kwargs = self._stack.pop()
            output = find_tensor(result)
            inputs = [tensor for tensor in tensors((args, kwargs)) if tensor.is_floating_point()]
            known = output is not None and id(output) in self._known and not _unasked(self._known[id(output)])
            hands_on = known or any(output is tensor for tensor in inputs)
            if not name and output is not None and id(output) in self._given:
                self.final = self._given[id(output)]
            if not name and output is not None:
                hands_on = id(output) in self._given  # what a number multiplies on the way out is the model's own
            if output is None or (hands_on and not list(module.parameters(recurse=False))):
                return
            call = Call(name, inputs[0].detach() if inputs else None, output.detach().clone())
            if name in self.initial:
                call.effective = self._effective(module, self.initial[name], args, kwargs, call.output)
            if output.requires_grad:
                output.register_hook(  # type: ignore[no-untyped-call]
                    lambda gradient: setattr(call, "gradient", gradient.detach())
                )
            self.calls.append(call)
            self._given[id(output)] = name
            self.final = name
            self._know(output, [call])

        return hook

    def _effective(
        self, module: nn.Module, initial: Mapping[str, Tensor], args: Any, kwargs: Any, output: Tensor
    ) -> Tensor:
        # functional_call would hand the module new tensors, without what may be hung on its own (as mup does)
        parameters = {name: module.get_parameter(name) for name in initial}
        now = {name: parameter.data for name, parameter in parameters.items()}
        self._busy = True
        try:
            for name, parameter in parameters.items():
                parameter.data = initial[name]
            with torch.no_grad():
                before = find_tensor(module(*args, **kwargs))
        finally:
            for name, parameter in parameters.items():
                parameter.data = now[name]
            self._busy = False
        assert before is not None  # it gave a tensor a moment ago
        return output - before

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._busy:
            return func(*args, **kwargs)
        known = next((self._known[id(arg)] for arg in args if id(arg) in self._known), [])
        name = getattr(func, "__name__", "")
        if func is F.scaled_dot_product_attention:
            self._attention(*args, **kwargs)
        elif func is F.multi_head_attention_forward:  # calls the one above where this mode no longer sees it
            self._heads(*args, **kwargs)
        elif name == "softmax":
            self._softmax(next(tensors((args, kwargs))), known)
        result = func(*args, **kwargs)
        if not isinstance(result, Tensor):
            return result
        if name in PRODUCT and _stacks(args):
            self._know(result, [self._product(*args, head_dim=args[0].shape[-1])])
        elif name == "einsum" and _stacks(args[1:]) and (summed := _summed(*args)) is not None:
            self._know(result, [self._product(*args[1:], head_dim=summed)])
        elif known:
            factor = _factor(name, args)
            if factor is not None or name in SAME or (name in MASK and _unasked(known)):
                self._know(result, known)
            for call in known:
                call.outer *= 1.0 if factor is None else factor
        return result

    def _know(self, tensor: Tensor, calls: list[Call]) -> None:
        self._known[id(tensor)] = calls
        self._alive.append(tensor)

    def _attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> None:
        """Keeps the logits of all pairs, whatever the mask."""
        q, k = query.detach(), key.detach()
        if enable_gqa:
            k = k.repeat_interleave(q.shape[-3] // k.shape[-3], dim=-3)
        factor = q.shape[-1] ** -0.5 if scale is None else scale
        call = self._product(query, key, head_dim=query.shape[-1])
        call.outer = factor
        self._softmax(q @ k.transpose(-1, -2) * factor, [call])

    def _heads(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        embed_dim_to_check: int,
        num_heads: int,
        in_proj_weight: Tensor | None,
        in_proj_bias: Tensor | None,
        *others: Any,
        q_proj_weight: Tensor | None = None,
        k_proj_weight: Tensor | None = None,
        **settings: Any,
    ) -> None:
        """Attention of torch's nn.MultiheadAttention, from queries and keys (T, B, C) or (T, C) before their maps."""
        weights = (q_proj_weight, k_proj_weight) if in_proj_weight is None else in_proj_weight.chunk(3)[:2]
        biases = (None, None) if in_proj_bias is None else in_proj_bias.chunk(3)[:2]
        q, k = (
            F.linear(each, weight, bias).view(*each.shape[:-1], num_heads, -1).movedim(0, -2)
            for each, weight, bias in zip((query, key), weights, biases, strict=True)
            if weight is not None
        )
        self._attention(q, k, k)

    def _product(self, query: Tensor, key: Tensor, *, head_dim: int) -> Call:
        """Of queries and keys, a product that sums over `head_dim` terms: logits, should a softmax follow."""
        scale, aligned = 1.0, float(head_dim)
        for each in (query, key):
            aligned *= float(each.detach().abs().double().square().mean().sqrt())
            scale *= self._known[id(each)][0].outer if id(each) in self._known else 1.0
        return Call("", None, query.new_empty(0), head_dim=head_dim, logit_scale=scale, aligned=aligned)

    def _softmax(self, logits: Tensor, known: list[Call]) -> None:
        call = known[0] if _unasked(known) else Call("", None, logits)
        call.module = (self._stack[-1][0] if self._stack else "") + LOGITS
        shown = logits.detach()
        call.output = torch.where(shown > torch.finfo(shown.dtype).min / 2, shown, 0.0)  # 0 for masked pairs
        if call.logit_scale is not None and call.aligned is not None:
            call.logit_scale, call.aligned = call.logit_scale * call.outer, call.aligned * call.outer
            call.outer = 1.0
        self.calls.append(call)


def _unasked(known: list[Call]) -> bool:
    """Whether these are logits that no softmax has met yet."""
    return bool(known) and not known[0].module


def _factor(name: str, args: tuple[Any, ...]) -> float | None:
    """The plain number by which a torch function multiplies its one other operand."""
    if name not in TIMES | OVER or len(args) != 2:
        return None
    first, second = args
    number = second if name in OVER or (isinstance(first, Tensor) and first.ndim) else first
    if isinstance(number, Tensor) and number.ndim == 0 and not number.requires_grad:
        number = number.item()
    if not isinstance(number, int | float) or number == 0:
        return None
    return 1.0 / number if name in OVER else float(number)


def _stacks(factors: tuple[Any, ...]) -> bool:
    """Whether these are two stacks of matrices."""
    return len(factors) == 2 and all(isinstance(each, Tensor) and each.ndim > 2 for each in factors)


def _summed(equation: str, first: Tensor, second: Tensor) -> int | None:
    """Over how many terms an einsum sums; None where its equation has no arrow, or dots."""
    inputs, arrow, output = equation.replace(" ", "").partition("->")
    if not arrow or "." in inputs:
        return None
    letters, _, others = inputs.partition(",")
    sizes = zip(letters, first.shape, strict=True)
    return math.prod(size for letter, size in sizes if letter in others and letter not in output)


def tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in nested tuples, lists and mappings, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from tensors(item)


def find_tensor(result: Any) -> Tensor | None:
    """What a module gives, where it gives several things: the first floating-point tensor that is no single number."""
    return next((tensor for tensor in tensors(result) if tensor.is_floating_point() and tensor.ndim), None)
