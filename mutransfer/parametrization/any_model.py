"""muP for anyone's own model: roles and initialization are found, and nothing of the model's code changes.

| parametrization | what is done to the model |
|---|---|
| `mup_table3` (the default) | its initial values are multiplied once; all else is in the param groups |
| `mup` (the default where a weight is tied) | the same, and the readout's input is multiplied, by one hook |
| `sp`, `sp_fixed_std` | initial values become fan-in, or those of the base, if they are not; one rate for all |
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from torch import nn

from mutransfer.checks import one_of
from mutransfer.config import OptimizerConfig
from mutransfer.parametrization.attention import logit_advice, unseen_scale
from mutransfer.parametrization.flow import meeting_advice
from mutransfer.parametrization.multipliers import count_code, set_multipliers
from mutransfer.parametrization.parametrized import Parametrized
from mutransfer.parametrization.rescale import Initial, measure, rescale, take_given
from mutransfer.parametrization.roles import uses_by_name
from mutransfer.parametrization.rules import compute_rules
from mutransfer.parametrization.shapes import ParamShape, block_pattern, describe, normalized_next, shapes_at
from mutransfer.parametrization.sources import Build, Source, find_source, seeded
from mutransfer.parametrization.trace import Trace, default_tokens, scale_free, trace_forward
from mutransfer.theory.parametrizations import TABLES, Depth, Role, Table


def parametrize(
    build: Build | None = None,
    *,
    width: int | None = None,
    base_width: int | None = None,
    base: nn.Module | str | Path | None = None,
    delta: nn.Module | None = None,
    target: nn.Module | None = None,
    parametrization: str | None = None,
    sample: Any = None,
    roles: Mapping[str, Role] | None = None,
    init_powers: Mapping[str, float] | None = None,
    seed: int = 0,
    device: str | None = None,
) -> Parametrized:
    """Your model at the target's width, with its rules.

    Four ways to say which model, and what its width is:

    - `build`, `width` and `base_width`: a function of the width, such as `lambda width: MyModel(d_model=width)`;
    - `base`, `delta`, `target`: the model at the base width, at another, and at the one to be trained;
    - `base` a `.bsh` file of the `mup` package, and `target`;
    - `target` alone, after `mup.set_base_shapes(target, ...)`: taken as it is, under `mup`.

    At the base width the model stays exactly what it is, value for value. At others its own initial values are
    multiplied, each parameter by one number, so that a scheme (orthogonal, truncated, a fixed std) keeps its form and
    zeros stay zeros. That happens here and never again: load a checkpoint afterwards, and it stays as it is. What else
    was done, and what is left for you to do (attention whose head_dim grows), is in the result's `notes`.

    Args:
        build: makes the model at a width. It is called under a seed, and with small widths several times.
        width: to be trained.
        base_width: the width at which every parametrization is the same model.
        base, delta, target: models, in place of `build`. `target` is changed in place.
        parametrization: a name in `TABLES` without rules for depth. None: `mup_table3`, or `mup` where a
            weight is both embedding and readout.
        sample: what the model is called with: a tensor, a tuple of arguments, or a mapping of keywords, on the base
            model's device; batch and length may be small. None: tokens, for a model that has an embedding.
        roles: by name pattern (`{"*.router.weight": "hidden"}`), for what is not found, or found wrong.
        init_powers: by name pattern, the power of its fan-in (of its width, where that does not grow) with which a
            parameter's initial std changes in your code: 0, -0.5 or -1. For what cannot be measured.
        seed: of the target's initial values, with `build`: the same seed gives the same values.
        device: where `build` is called for the target, such as `cuda` or `meta`; None: where your code puts it.

    Raises:
        ValueError: naming the parameter, where a role or a power cannot be decided; on models that differ in more than
            width; on a table that has no rules for such a model; on arguments that do not go together.
    """
    source = find_source(build, width, base_width, base, delta, target, seed, device)
    traced = source.traced
    trace = _trace(traced, sample)
    grown = None if source.delta is None else _trace(source.delta, sample)
    given = {} if roles is None else roles
    shapes = shapes_at(source.target, source.sizes, traced, trace, given, describe(**source.named), grown=grown)
    narrow: dict[str, list[str]] = {}
    for name, shape in shapes.items():
        if shape.role == "bottleneck" and not any(fnmatchcase(name, pattern) for pattern in given):
            narrow.setdefault(block_pattern(name), []).append(name)
    free = (
        scale_free(traced, sample if sample is not None else default_tokens(traced), narrow.values()) if narrow else {}
    )
    shapes |= {name: normalized_next(shapes[name]) for name in free}
    _refuse_made(trace, shapes)
    table = _find_table(parametrization, source, shapes)
    notes = []
    if grown is not None and table.attention != 0:
        shapes, said = count_code(table, shapes, source.target, trace.flow, grown.flow, _growth(source))
        notes += said
    initials = _initials(source, shapes, {} if init_powers is None else init_powers)
    built = Parametrized(
        model=source.target,
        table=table,
        shapes=shapes,
        base_std={name: initial.base_std for name, initial in initials.items()},
        tuned_mult=dict.fromkeys(shapes, 1.0),
        logit_scale={},
        stream_mult={},
    )
    mults = {name: rule.forward_mult for name, rule in built.rules.items()}
    if source.carried:
        from mup import MuReadout  # has its multiplier

        owners = {name: source.target.get_submodule(name.rpartition(".")[0]) for name in mults}
        mults = {name: mult for name, mult in mults.items() if not isinstance(owners[name], MuReadout)}
    hooks = set_multipliers(source.target, mults, uses_by_name(traced, trace))
    notes += [hook.note for hook in hooks]
    factors = rescale(source.target, built.rules, initials)
    if factors:
        span = " to ".join(f"{each:.4g}" for each in sorted({min(factors.values()), max(factors.values())}))
        notes.insert(0, f"the initial values of {len(factors)} parameters were multiplied, by {span}")
    if grown is not None and table.attention != 0:
        asked = meeting_advice(trace.flow, grown.flow, _growth(source))
        logits = logit_advice(table, trace.attention, grown.attention, _growth(source))
        for advice in [*asked, *([] if logits is None else [logits])]:
            warnings.warn(advice, stacklevel=2)
            notes.append(advice)
        notes += [note for note in (unseen_scale(table, trace.attention, grown.attention),) if note is not None]
    return replace(built, notes=tuple(notes), hooks=hooks)


def _refuse_made(trace: Trace, shapes: Mapping[str, ParamShape]) -> None:
    """Raises ValueError on a readout, or a map to a fixed space, that a norm of its weight computes: the size of what
    comes out is then none of its parameters'."""
    for name in sorted(trace.made):
        parts = name.split(".")
        normed = "parametrizations" in parts or parts[-1] in ("weight_g", "weight_v", "weight_orig")
        if normed and shapes[name].role in ("output", "bottleneck"):
            kind = "readout" if shapes[name].role == "output" else "map to a fixed space"
            raise ValueError(
                f"expected a {kind} whose weight is a parameter, got one that is computed from {name}, as under a "
                "weight or spectral norm, which sets its size itself; take the norm off this weight"
            )


def _trace(model: nn.Module, sample: Any) -> Trace:
    """Raises ValueError on a model that does not take the tokens that we try where there is no sample."""
    with seeded(0):
        if sample is not None:
            return trace_forward(model, sample)
        tokens = default_tokens(model)
        try:
            return trace_forward(model, tokens)
        except Exception as error:  # whatever a model raises that wants something else
            first = str(error).partition("\n")[0]
            raise ValueError(
                f"found no sample, and a {type(model).__name__} that takes no tokens of shape {tuple(tokens.shape)} "
                f"({type(error).__name__}: {first}); wanted what it is called with: give sample"
            ) from error


def _find_table(name: str | None, source: Source, shapes: Mapping[str, ParamShape]) -> Table:
    if name is None:
        return TABLES["mup" if source.carried or _is_tied(source.target, shapes) else "mup_table3"]
    one_of("parametrization", name, TABLES)
    table = TABLES[name]
    if source.carried and name != "mup":
        raise ValueError(f"found {name} for a model that mup.set_base_shapes has made Table 8's; wanted mup")
    if table.absolute or table.depth != Depth():
        what = "constants on every layer" if table.absolute else "rules for its residual branches"
        raise ValueError(f"found {name}, which needs {what}; wanted a table for any model: use mup_table3 or mup")
    return table


def _is_tied(model: nn.Module, shapes: Mapping[str, ParamShape]) -> bool:
    """Whether a weight is shared by two modules in which it has different roles."""
    roles: dict[int, set[Role]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        roles.setdefault(id(parameter), set()).add(shapes[name].role)
    return any(len(shared) > 1 for shared in roles.values())


def _initials(source: Source, shapes: Mapping[str, ParamShape], given: Mapping[str, float]) -> dict[str, Initial]:
    if source.delta is not None:
        return measure(source.draw, source.draws, source.target, shapes, given)
    if not source.carried:
        return take_given(source.target, shapes, given)
    # as it is: its std at the base is what the table makes its std here
    initials = take_given(source.target, shapes, {"*": 0.0})
    unit = compute_rules(shapes, TABLES["mup"], dict.fromkeys(shapes, 1.0), "adam", OptimizerConfig())
    return {name: Initial(std / unit[name].init_std, unit[name].init_std) for name, (std, _) in initials.items()}


def _growth(source: Source) -> tuple[float, float] | None:
    """What all that is wide grows by, from base to delta and from base to target; None where it is not one number."""
    assert source.base is not None
    assert source.delta is not None
    found = {
        (grown / base, size / base)
        for name, sizes in source.sizes.items()
        for base, grown, size in zip(
            sizes, source.delta.get_parameter(name).shape, source.target.get_parameter(name).shape, strict=True
        )
        if base is not None
    }
    return found.pop() if len(found) == 1 else None
