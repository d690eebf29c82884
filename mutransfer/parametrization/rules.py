"""Shapes x table x optimizer family -> a rule per parameter, as plain floats keyed by name; param groups from rules."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from torch import nn

from mutransfer.checks import one_of
from mutransfer.config import OptimizerConfig
from mutransfer.parametrization.shapes import ParamShape
from mutransfer.theory.parametrizations import MATRICES, Exponents, Role, Table


class ParamRule(NamedTuple):
    """What one parameter gets at this width.

    `init_std` is absolute; `forward_mult` multiplies its map's input (an embedding's rows); `lr_mult`, `wd_mult` and
    `eps_mult` multiply the optimizer's base values; `grad_mult` times its gradient is the gradient in the gauge in
    which norms are taken. `optimizer` is `muon` or `adamw` where an optimizer for matrices leaves the rest to AdamW.
    """

    name: str
    role: Role
    width_mult_in: float
    width_mult_out: float
    init_std: float
    forward_mult: float
    lr_mult: float
    wd_mult: float
    eps_mult: float
    grad_mult: float
    optimizer: Literal["muon", "adamw"] | None


FAMILIES = ("adam", "sgd", "norm", "spectral")

_GAUGE: Mapping[str, int] = {"adam": -1, "sgd": -2, "norm": 0, "spectral": -1}
"""The power of a forward multiplier with which a rate goes, all else being the same (Tensor Programs V, Lemma J.1)."""


def compute_rules(
    shapes: Mapping[str, ParamShape], table: Table, base_std: Mapping[str, float], family: str, config: OptimizerConfig
) -> dict[str, ParamRule]:
    """The rule of every parameter.

    Args:
        shapes: from `scale_shapes`.
        table: the parametrization.
        base_std: the initial standard deviation of each parameter at the base width (of an absolute table, at width 1);
            0 for what starts constant.
        family: one of `FAMILIES`, which rate column applies. Under `spectral` that is for matrices inside the model,
            and Adam's for the rest.
        config: its decay mode, whether gains, biases and scalars decay, and whether epsilon scales.

    Raises:
        ValueError: on a family that is not known.
    """
    one_of("optimizer family", family, FAMILIES)
    rules = {}
    for name, shape in shapes.items():
        row, depth = table.rows[shape.role], table.depth
        matrix = shape.role in ("hidden", "bottleneck") and len(shape.shape) == 2  # torch's Muon takes no others
        matrix &= family == "spectral"
        column = "adam" if family == "spectral" and not matrix else family
        rates = {"adam": row.adam_lr, "sgd": row.sgd_lr, "norm": row.norm_lr, "spectral": row.spectral_lr}
        lr_mult = _factor(rates[column], shape) * shape.gauge ** _GAUGE[column]
        if matrix and config.spec.square_root_of_sides:
            lr_mult *= _sides(shape.base_shape) / _sides(shape.shape)  # what the step has of itself
        lr_mult *= shape.depth_mult ** (depth.sgd_lr if family == "sgd" else depth.adam_lr)
        eps_mult = _factor(row.adam_eps, shape) * shape.gauge * shape.depth_mult**depth.adam_eps
        decays = config.decay_vectors or shape.role in MATRICES
        rules[name] = ParamRule(
            name=name,
            role=shape.role,
            width_mult_in=shape.width_mult_in,
            width_mult_out=shape.width_mult_out,
            init_std=base_std[name] * _factor(row.init_std, shape) / shape.gauge,
            forward_mult=_factor(row.forward_mult, shape) * shape.gauge / shape.code_mult,
            lr_mult=lr_mult,
            wd_mult=0.0 if not decays else 1.0 if config.decay_mode == "coupled" else 1.0 / lr_mult,
            eps_mult=eps_mult if column in ("adam", "norm") and config.scale_eps else 1.0,
            grad_mult=_factor(row.gauge, shape) / shape.gauge,
            optimizer=None if family != "spectral" else "muon" if matrix else "adamw",
        )
    return rules


def _sides(shape: tuple[int, ...]) -> float:
    return float(max(1.0, shape[0] / shape[1]) ** 0.5)


def _factor(exponents: Exponents, shape: ParamShape) -> float:
    into, out = exponents
    return float(shape.width_mult_in**into * shape.width_mult_out**out)


def tie(rules: Mapping[str, ParamRule], model: nn.Module) -> dict[str, ParamRule]:
    """The rules with every shared weight's names agreeing on one initialization: its readout's.

    Raises ValueError where the table gives the two uses of a shared weight different rates (as Table 3 does), so that
    no rule serves both.
    """
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    tied = dict(rules)
    for shared in names.values():
        frozen = not model.get_parameter(shared[0]).requires_grad
        if (
            not frozen
            and len({(rules[name].lr_mult, rules[name].eps_mult, rules[name].grad_mult) for name in shared}) > 1
        ):
            raise ValueError(
                f"found {' and '.join(shared)} tied, with different rates in this table; wanted a table in which a "
                "tied weight has one rate: use mup (Table 8) or mup_table9, or untie them"
            )
        outputs = [name for name in shared if rules[name].role == "output"]
        for name in shared:
            tied[name] = rules[name]._replace(init_std=rules[outputs[0] if outputs else name].init_std)
    return tied


def name_seed(seed: int, name: str) -> int:
    """A random-number seed for one parameter: a digest of the trial's seed and the parameter's name."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:7])


def param_groups(
    model: nn.Module, rules: Mapping[str, ParamRule], lr: Any, family: str, config: OptimizerConfig
) -> list[dict[str, Any]]:
    """Groups for any torch optimizer: parameters of equal multipliers share one, so foreach and fused kernels serve.

    Frozen parameters are in none. Each group holds `params`, `lr`, `weight_decay`, `lr_mult` (the ratio that
    `check_group_rates` guards), `eps` where Adam's applies, and for the spectral family `optimizer`, the one of two
    that trains it. `lr` may be a tensor; each group then gets a tensor of its own.

    Raises ValueError on a rate of 0 with lr_independent decay, which divides by it.
    """
    if config.decay_mode == "lr_independent" and float(lr) <= 0:
        raise ValueError(f"found lr {float(lr):g} with lr_independent decay; wanted a rate above 0")
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        rule = rules[name]
        key = (rule.lr_mult, rule.wd_mult, rule.eps_mult, rule.optimizer)
        if key not in groups:
            decay = config.weight_decay * rule.wd_mult / (float(lr) if config.decay_mode == "lr_independent" else 1.0)
            groups[key] = {"params": [], "lr": lr * rule.lr_mult, "weight_decay": decay, "lr_mult": rule.lr_mult}
            if family in ("adam", "norm") or rule.optimizer == "adamw":
                groups[key]["eps"] = config.eps * rule.eps_mult
            if rule.optimizer is not None:
                groups[key]["optimizer"] = rule.optimizer
            if rule.optimizer == "muon" and config.spec.square_root_of_sides:
                groups[key]["adjust_lr_fn"] = "original"  # the convention that the rates are for, in torch's words
        groups[key]["params"].append(parameter)
    return list(groups.values())
