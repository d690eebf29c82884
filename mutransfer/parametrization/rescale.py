"""How a model's own initialization changes with width, and the one factor per parameter that makes it the table's.

The base model stays what it is. At another width a parameter's values are those that the model's own code draws there,
times the ratio of what the table wants to what the code does. The code's scheme is measured: the standard deviation of
a parameter at two widths goes as a power of its fan-in, 0 (a fixed std), -1/2 (fan-in, Xavier, He, orthogonal) or -1.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mutransfer.parametrization.roles import check_patterns
from mutransfer.parametrization.rules import ParamRule
from mutransfer.parametrization.shapes import ParamShape, block_pattern

POWERS = (0.0, -0.5, -1.0)
"""Of the fan-in, with which a standard deviation may change."""

CLEARLY = 0.15
"""How near a measured power must be to one of them."""

ENOUGH = 1024
"""Values per parameter and width that measure a standard deviation to 2%, and a power at twice the width to 0.04."""

ALIKE = 1.2
"""Measured deviations whose ratio is below this are taken to be one."""

MOST_DRAWS = 128
"""Models that are built at each width to have enough values."""


class Initial(NamedTuple):
    """A parameter's own initialization: its standard deviation at the base width (0: starts constant), and what that is
    multiplied by at the target's width."""

    base_std: float
    own_mult: float


class SameDraws(TorchDispatchMode):
    """Every random tensor depends on the seed, its shape, and how many of that shape there were before.

    A parameter that does not grow is then drawn alike at every width, and the ratio of its deviations is exact."""

    def __init__(self, seed: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._seed = seed
        self._drawn: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags:
            shape = str(tuple(args[0].shape if isinstance(args[0], Tensor) else args[:1]))
            self._drawn[shape] += 1
            digest = zlib.crc32(f"{self._seed}:{shape}:{self._drawn[shape]}".encode())
            torch.default_generator.manual_seed(digest)
            if isinstance(args[0], Tensor) and args[0].is_cuda:
                torch.cuda.manual_seed(digest)
        return func(*args, **({} if kwargs is None else kwargs))


def measure(
    draw: Callable[[int], tuple[nn.Module, nn.Module]],
    most: int,
    target: nn.Module,
    shapes: Mapping[str, ParamShape],
    given: Mapping[str, float],
) -> dict[str, Initial]:
    """The own initialization of every parameter.

    Args:
        draw: the base and the delta model of the i-th draw.
        most: how many draws there are. With several, they are under `SameDraws`.
        target: the model at the width to be trained.
        shapes: of its parameters.
        given: powers by name pattern, which win over what is measured; of two that match, the later.

    Raises:
        ValueError: naming the parameter, where the power is not clearly one of `POWERS`; on a pattern without a match.
    """
    check_patterns(given, shapes)
    base, delta = draw(0)
    kept = {name for name, shape in shapes.items() if _has_mean(shape, base.get_parameter(name))}
    kept |= _computed(base, draw(1)[0]) if most > 1 else set()
    sums = [_variances(model, kept) for model in (base, delta)]
    random = [name for name in shapes if any(each[name] > 0 for each in sums)]
    growing = [base.get_parameter(name).numel() for name in random if _grows(name, base, delta)]
    draws = min(most, max((math.ceil(ENOUGH / size) for size in growing), default=1))
    for index in range(1, draws):
        for total, model in zip(sums, draw(index), strict=True):
            for name, variance in _variances(model, kept).items():
                total[name] += variance
    pooled = [_pool(total, shapes) for total in sums]
    initials = {}
    for name in shapes:
        stds = [(total[name] / draws) ** 0.5 for total in pooled]
        reference = _reference(name, shapes)
        own = given_power(name, given)
        if own is None and name in random:
            exact = most > 1 and not _grows(name, base, delta)
            noise = 0.0 if exact else _noise([model.get_parameter(name).numel() * draws for model in (base, delta)])
            try:
                own = _power(name, shapes[name], stds, _growth(reference, base, delta), noise)
            except ValueError:
                if target.get_parameter(name).requires_grad:
                    raise
                initials[name] = Initial(0.0, 1.0)  # frozen, and of no clear scheme: left as it is
                continue
        mult = 1.0 if own is None else _growth(reference, base, target) ** own
        initials[name] = Initial(stds[0], mult)
    return initials


def take_given(target: nn.Module, shapes: Mapping[str, ParamShape], given: Mapping[str, float]) -> dict[str, Initial]:
    """The own initialization of every parameter where there is no base model to measure: by given powers alone.

    Raises ValueError, naming the parameter, on one that starts at random without a power; on a pattern without a match.
    """
    check_patterns(given, shapes)
    initials = {}
    kept = {name for name, shape in shapes.items() if _has_mean(shape, target.get_parameter(name))}
    for name, variance in _variances(target, kept).items():
        own = given_power(name, given)
        if own is None and variance > 0:
            raise ValueError(
                f"found {name} without a base model to compare its initial values with; wanted the power of width with "
                f"which their std changes: give init_powers={{{name!r}: -0.5}} (fan-in, torch's default), or base and "
                "delta models"
            )
        (of, dims) = _reference(name, shapes)
        growth = math.prod(shapes[of].shape[dim] / shapes[of].base_shape[dim] for dim in dims)
        mult = 1.0 if own is None else growth**own
        initials[name] = Initial(variance**0.5 / mult, mult)
    return initials


def rescale(model: nn.Module, rules: Mapping[str, ParamRule], initials: Mapping[str, Initial]) -> dict[str, float]:
    """Multiply every parameter's values, once, to what the table wants; returns the factors that are not 1.

    What starts constant stays as it is, and at the base width nothing changes.
    """
    factors = {}
    for name, parameter in model.named_parameters():
        std, own_mult = initials[name]
        factor = rules[name].init_std / std / own_mult if std > 0 else 1.0
        if factor != 1.0:
            factors[name] = factor
            with torch.no_grad():
                parameter.mul_(factor)
    return factors


def given_power(name: str, given: Mapping[str, float]) -> float | None:
    """The power of the last pattern that matches."""
    powers = [power for pattern, power in given.items() if fnmatchcase(name, pattern)]
    return powers[-1] if powers else None


def _computed(model: nn.Module, again: nn.Module) -> set[str]:
    """Parameters that two seeds give the same values, which the code computes; none where that is so of all that are
    not constant, since then the code seeds itself."""
    named = {name: each.detach() for name, each in model.named_parameters(remove_duplicate=False)}
    varied = {name for name, each in named.items() if _variance(each) > 0}
    same = {name for name in varied if torch.equal(named[name], again.get_parameter(name))}
    return set() if same == varied else same


def _has_mean(shape: ParamShape, values: Tensor) -> bool:
    """Whether a gain or scalar has a mean, which says how large it is, more than a spread."""
    if shape.role not in ("vector", "scalar") or values.is_meta or values.is_complex():
        return False
    return bool(values.detach().double().mean().square() > _variance(values.detach()))


def _variances(model: nn.Module, kept: Collection[str]) -> dict[str, float]:
    """0 for what stays as it is."""
    named = model.named_parameters(remove_duplicate=False)
    return {name: 0.0 if name in kept else _variance(p.detach()) for name, p in named}


def _variance(values: Tensor) -> float:
    wider = torch.view_as_real(values) if values.is_complex() else values
    return 0.0 if values.numel() < 2 or bool((values == values.flatten()[0]).all()) else wider.double().var().item()


def _pool(variances: Mapping[str, float], shapes: Mapping[str, ParamShape]) -> dict[str, float]:
    """The same for the same parameter of every block, where it is about the same in all."""
    blocks: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for name in variances:
        blocks.setdefault((block_pattern(name), shapes[name].shape), []).append(name)
    pooled = dict(variances)
    for names in blocks.values():
        if max(variances[name] for name in names) < ALIKE**2 * min(variances[name] for name in names):
            pooled |= dict.fromkeys(names, sum(variances[name] for name in names) / len(names))
    return pooled


def _grows(name: str, base: nn.Module, delta: nn.Module) -> bool:
    return base.get_parameter(name).shape != delta.get_parameter(name).shape


def _reference(name: str, shapes: Mapping[str, ParamShape]) -> tuple[str, tuple[int, ...]]:
    """What a parameter's power is of: its own fan-in, a bias's is its weight's; where that is fixed, what grows of the
    parameter itself; and of one that does not grow, any wide dimension."""
    weight = f"{name.rpartition('.')[0]}.weight"
    for each in (name, weight):
        if each in shapes and (each == name or shapes[name].role in ("vector", "scalar")):
            read = tuple(dim for dim in shapes[each].reads if shapes[each].wide[dim])
            if read:
                return each, read
    wide = {each: [dim for dim, grows in enumerate(shape.wide) if grows] for each, shape in shapes.items()}
    if wide[name]:
        return name, tuple(wide[name])
    return next(((each, (dims[0],)) for each, dims in wide.items() if dims), (name, ()))


def _growth(reference: tuple[str, tuple[int, ...]], base: nn.Module, other: nn.Module) -> float:
    name, dims = reference
    return math.prod(other.get_parameter(name).shape[dim] / base.get_parameter(name).shape[dim] for dim in dims)


def _noise(counts: list[int]) -> float:
    """Standard error of the log of a ratio of two standard deviations of normal values."""
    return math.sqrt(sum(1 / (2 * count) for count in counts))


def _power(name: str, shape: ParamShape, stds: list[float], growth: float, noise: float) -> float:
    at_base, at_delta = stds
    if growth == 1:
        return 0.0
    found = f"found {name} with an initial std of {at_base:.4g} at the base width and {at_delta:.4g} at the delta's"
    leaves = -0.5 if shape.role == "hidden" else -1 if shape.role in ("bottleneck", "output") else 0
    say = f"or leave its values as they are: init_powers={{{name!r}: {leaves}}}"
    if min(stds) == 0:
        raise ValueError(f"{found}; wanted it random at both, or at neither: change its initialization, {say}")
    power = math.log(at_delta / at_base) / math.log(growth)
    nearest_power = min(POWERS, key=lambda each: abs(each - power))
    if 2 * noise / math.log(growth) > CLEARLY:
        raise ValueError(
            f"{found}, of too few values to tell how it changes; wanted more: give a build function, {say}"
        )
    if abs(nearest_power - power) > CLEARLY:
        raise ValueError(
            f"{found}, a power of {power:.2f} of what grows; wanted 0, -0.5 or -1: change its initialization, {say}"
        )
    return nearest_power
