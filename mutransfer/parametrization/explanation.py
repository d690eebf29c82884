"""What a parametrization does to a model, as tables: every parameter, groups of them, and two tables side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from torch import nn

from mutransfer.config import OptimizerConfig
from mutransfer.parametrization.rules import ParamRule
from mutransfer.parametrization.shapes import ParamShape, block_pattern

NUMBERS = ("init_std", "forward_mult", "lr", "weight_decay", "decay_per_step", "eps")
"""Columns that a parametrization decides."""


def explain_rows(
    source: str,
    rules: Mapping[str, ParamRule],
    shapes: Mapping[str, ParamShape],
    tuned_mult: Mapping[str, float],
    others: Mapping[str, tuple[str, float, str]],
    lr: float,
    config: OptimizerConfig,
) -> pd.DataFrame:
    """See `Parametrized.explain`; `others` are multipliers that belong to no parameter: role, value and source."""
    family = config.spec.family
    rows: dict[str, dict[str, Any]] = {}
    for name, rule in rules.items():
        shape = shapes[name]
        decay = config.weight_decay * rule.wd_mult / (lr if config.decay_mode == "lr_independent" else 1.0)
        rows[name] = {
            "role": rule.role,
            "why": shape.why,
            "shape": "x".join(map(str, shape.shape)),
            "base_shape": "x".join(map(str, shape.base_shape)),
            "init_std": rule.init_std,
            "forward_mult": rule.forward_mult * tuned_mult[name],
            "lr": lr * rule.lr_mult,
            "weight_decay": decay,
            "decay_per_step": lr * rule.lr_mult * decay,
            "eps": config.eps * rule.eps_mult if family in ("adam", "norm") or rule.optimizer == "adamw" else None,
            "source": f"{source}: {rule.role}",
        }
        if rule.optimizer is not None:
            rows[name]["optimizer"] = rule.optimizer
    for name, (role, mult, says) in others.items():
        rows[name] = {"role": role, "forward_mult": mult, "source": says}
    return pd.DataFrame(_fold_blocks(rows))


def group_totals(model: nn.Module, rules: Mapping[str, ParamRule], lr: float) -> pd.DataFrame:
    """One row per role and learning rate: how many tensors and how many numbers learn so; a shared weight counts once,
    under the first of its names."""
    frame = pd.DataFrame(
        {"role": rules[name].role, "lr": lr * rules[name].lr_mult, "tensors": 1, "parameters": parameter.numel()}
        for name, parameter in model.named_parameters()
    )
    totals = frame.groupby(["role", "lr"], sort=False, as_index=False).sum()
    totals["share"] = totals["parameters"] / totals["parameters"].sum()
    return totals


def difference(explained: Sequence[tuple[str, pd.DataFrame]]) -> pd.DataFrame:
    """The parameters to which two parametrizations of one model do not do the same, with the columns in which they
    differ side by side; empty where they are one. Takes both names, each with what `Parametrized.explain`
    gives."""
    labels, frames = [name for name, _ in explained], [frame.set_index("parameter") for _, frame in explained]
    names = frames[0].index.union(frames[1].index, sort=False)
    both = [frame.reindex(names) for frame in frames]
    changed = {
        column: (both[0][column] != both[1][column]) & ~(both[0][column].isna() & both[1][column].isna())
        for column in NUMBERS
    }
    rows = pd.concat(changed, axis=1).any(axis=1)
    result = both[0].loc[rows, ["role"]].fillna(both[1].loc[rows, ["role"]])
    for column in NUMBERS:
        if changed[column].any():
            for label, frame in zip(labels, both, strict=True):
                result[f"{column} {label}"] = frame.loc[rows, column]
    return result.reset_index()


def _fold_blocks(rows: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows that say the same in every block as one, with their count; those that do not, one by one."""
    folded: dict[str, dict[str, dict[str, Any]]] = {}
    for name, row in rows.items():
        folded.setdefault(block_pattern(name), {})[name] = row
    listed = []
    for pattern, group in folded.items():
        first = next(iter(group.values()))
        if all(row == first for row in group.values()):
            listed.append({"parameter": pattern, "count": len(group), **first})
        else:
            listed += [{"parameter": name, "count": 1, **row} for name, row in group.items()]
    return listed
