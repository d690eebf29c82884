"""Forward multipliers: those that the code has are counted; those that a table wants beyond these are set on modules,
as an attribute or by one hook, which can be folded into values."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from mutransfer.models.layers import Embedding, Linear
from mutransfer.parametrization.flow import Flow, Weight, growing_numbers
from mutransfer.parametrization.shapes import ParamShape, block_pattern
from mutransfer.parametrization.trace import apart, forward, size
from mutransfer.parametrization.watch import Use
from mutransfer.theory.parametrizations import FLAT, MATRICES, Table


@dataclass(frozen=True)
class TimesInput:
    """A forward pre-hook that multiplies a module's first input."""

    mult: float

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        if args:
            return (args[0] * self.mult, *args[1:]), kwargs
        first = next(iter(kwargs))
        return args, kwargs | {first: kwargs[first] * self.mult}


@dataclass(frozen=True)
class Hook:
    """A multiplier on a module, which no checkpoint carries: of what it reads or gives, for its weight `name`."""

    name: str
    mult: float
    side: Literal["input", "output"]
    handle: RemovableHandle

    @property
    def path(self) -> str:
        """Of the module."""
        return self.name.rpartition(".")[0]

    @property
    def note(self) -> str:
        return f"{self.path} has a forward hook that multiplies its {self.side} by {self.mult:g}"


@dataclass
class WarnOnce:
    """A hook on `state_dict` that says, once, that multipliers are not in it."""

    names: tuple[str, ...]
    told: bool = False

    def __call__(self, module: nn.Module, state: Any, prefix: str, metadata: Any) -> None:
        if not self.told:
            self.told = True
            warnings.warn(
                f"the multiplier of {' and '.join(self.names)} is a hook, which no checkpoint carries: load it into "
                "what parametrize makes, or call export_() before saving for the plain model",
                stacklevel=2,
            )


@dataclass(frozen=True)
class TimesOutput:
    """A forward hook that multiplies a module's output."""

    mult: float

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        return output * self.mult


def count_code(
    table: Table,
    shapes: Mapping[str, ParamShape],
    model: nn.Module,
    base: Flow,
    delta: Flow,
    growth: tuple[float, float] | None,
) -> tuple[dict[str, ParamShape], list[str]]:
    """The shapes with what the code multiplies by counted, and what is said of it.

    A number that goes as a power of width counts to the readout that reads what it multiplies, else to the matrices
    whose outputs it multiplies, else to those that read it. A weight whose row of the table has a multiplier gets that
    over the code's; of another, initial values and rates are written in the code's gauge (Tensor Programs V, Lemma
    J.1). Of a tied weight, both uses are written in the gauge of its embedding.

    Args:
        table: the parametrization.
        shapes: of the model's parameters.
        model: the model, for what is tied.
        base, delta: what flows in the two models.
        growth: of all that is wide, from base to delta and from base to the model; None where it is not one number.
    """
    counted, notes = dict(shapes), []
    found = growing_numbers(base, delta)
    if found is None:
        return counted, ["the models multiply by numbers in different orders: what the code scales by is not counted"]
    advice: dict[str, tuple[str, float]] = {}
    for number, ratio in found:
        if number.meets:
            continue
        power = math.log(ratio, growth[0]) if growth is not None else math.nan
        above, below = (_aliases(model, each) for each in (number.above, number.below))
        outputs = [name for name in (*below, *above) if shapes[name].role == "output"]
        at = [name for name in outputs if name in below] or [name for name in above if shapes[name].role in MATRICES]
        at = at or [name for name in below if shapes[name].role in MATRICES]
        if not at and above and not math.isnan(power):
            notes.append(f"the code multiplies what {above[0]} gives by width^{power:+.3g}: no weight makes up for it")
        elif at and math.isnan(power):
            notes.append(f"the code multiplies at {at[0]} by a number that changes: not counted, for widths grow apart")
        elif at and growth is not None:
            for name in at:
                counted[name] = counted[name]._replace(code_mult=counted[name].code_mult * growth[1] ** power)
            advice |= {block_pattern(name): (name, power) for name in at}
    for pattern, (name, power) in advice.items():
        by = counted[name].code_mult
        notes.append(f"the code multiplies at {pattern} by width^{power:+.3g} ({by:.4g} here), which its rule counts")
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    for shared in names.values():
        own = {
            name: 1.0 if table.rows[shapes[name].role].forward_mult != FLAT else counted[name].code_mult
            for name in shared
        }
        inputs = [own[name] for name in shared if shapes[name].role == "input"]
        for name in shared:
            counted[name] = counted[name]._replace(gauge=inputs[0] if inputs else own[name])
    return counted, notes


def _aliases(model: nn.Module, weights: Iterable[Weight]) -> list[str]:
    """The names of weights: of a shared one, that in the module that was running."""
    named = dict(model.named_parameters(remove_duplicate=False))
    found = []
    for name, module in sorted(weights):
        owned = [each for each in named if named[each] is named[name] and each.rpartition(".")[0] == module]
        found.append(owned[0] if owned else name)
    return found


def set_multipliers(
    model: nn.Module, mults: Mapping[str, float], uses: Mapping[str, Collection[Use]]
) -> tuple[Hook, ...]:
    """Multiply what goes through each named weight; returns the hooks that do it.

    Args:
        model: of our own layers the `forward_mult` is multiplied; any other module gets a hook, unless it is by 1.
        mults: by the weight's name.
        uses: how a forward pass uses each; may leave out those of our own layers.

    Raises:
        ValueError: naming the weight, where its module does more with its input than multiply it with that weight.
    """
    hooks = []
    for name, mult in mults.items():
        path, _, leaf = name.rpartition(".")
        module = model.get_submodule(path)
        if isinstance(module, Linear | Embedding):
            if leaf == "weight":
                module.forward_mult = module.forward_mult * mult
        elif mult != 1.0:
            matrices = [own for own, parameter in module.named_parameters() if parameter.dim() > 1]
            kinds = {use.kind for use in uses[name]} if name in uses else set()
            if matrices != [leaf] or len(kinds) != 1 or any(use.module != path for use in uses[name]):
                raise ValueError(
                    f"found {name} in a {type(module).__name__} that does more than multiply its input by it; wanted a "
                    f"module of its own, whose input can be multiplied by {mult:g}: use mup_table3, which needs none"
                )
            if "lookup" in kinds:
                hooks.append(Hook(name, mult, "output", module.register_forward_hook(TimesOutput(mult))))
            else:
                handle = module.register_forward_pre_hook(TimesInput(mult), with_kwargs=True)
                hooks.append(Hook(name, mult, "input", handle))
    if hooks:
        model.register_state_dict_post_hook(WarnOnce(tuple(hook.name for hook in hooks)))  # type: ignore[no-untyped-call]
    return tuple(hooks)


def fold(model: nn.Module, hook: Hook, sample: Any) -> None:
    """Take a hook off and put its multiplier into values: the weight's, or, where that is shared, those of the norm
    whose output alone the module reads.

    Raises ValueError, the model as it was, where there is no such norm.
    """
    weight = model.get_parameter(hook.name)
    aliases = [name for name, each in model.named_parameters(remove_duplicate=False) if each is weight]
    if len(aliases) == 1:
        with torch.no_grad():
            weight.mul_(hook.mult)
        hook.handle.remove()
        return
    norm = _feeds(model, hook.path, sample)
    before = forward(model, sample)
    hook.handle.remove()
    own = [] if norm is None else list(model.get_submodule(norm).parameters(recurse=False))
    values = [each.detach().clone() for each in own]
    for offset in (0.0, 1.0):  # a gain, or what is added to 1
        with torch.no_grad():
            for each, value in zip(own, values, strict=True):
                each.copy_(
                    value * hook.mult
                    if each.dim() != 1 or each is not own[0]
                    else (offset + value) * hook.mult - offset
                )
        if own and apart(forward(model, sample), before) <= 1e-4 * size(before):
            return
    with torch.no_grad():
        for each, value in zip(own, values, strict=True):
            each.copy_(value)
    model.get_submodule(hook.path).register_forward_pre_hook(TimesInput(hook.mult), with_kwargs=True)
    raise ValueError(
        f"expected a norm with a gain of its own right before {hook.path}, whose weight {' and '.join(aliases)} share, "
        f"got {'none' if norm is None else norm}; untie the weight, or keep the model with its hook"
    )


def _feeds(model: nn.Module, path: str, sample: Any) -> str | None:
    """The last module with a gain or bias of its own that is called before the one at `path`, and gives one tensor."""
    order: list[str] = []

    def after(name: str) -> Any:
        return lambda _module, _args, output: order.append(name) if isinstance(output, Tensor) else None

    def before(_module: nn.Module, _args: Any) -> None:
        order.append(path)

    gained = [
        name for name, module in model.named_modules() if any(p.dim() == 1 for p in module.parameters(recurse=False))
    ]
    handles = [model.get_submodule(name).register_forward_hook(after(name)) for name in gained if name != path]
    handles.append(model.get_submodule(path).register_forward_pre_hook(before))
    try:
        forward(model, sample)
    finally:
        for handle in handles:
            handle.remove()
    at = len(order) - 1 - order[::-1].index(path) if path in order else 0
    return order[at - 1] if at > 0 else None
