"""What a parametrization does to a model, as tables: every parameter, groups of them, and two tables side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from mutransfer.config import OptimizerConfig
from mutransfer.parametrization.shapes import block_pattern

if TYPE_CHECKING:
    from mutransfer.parametrization.parametrized import Parametrized

NUMBERS = ("init_std", "forward_mult", "lr", "weight_decay", "decay_per_step", "eps")
"""Columns that a parametrization decides."""


def explain_rows(built: Parametrized, lr: float, config: OptimizerConfig) -> pd.DataFrame:
    """See `Parametrized.explain`."""
    family = config.spec.family
    source = built.table.source.partition(";")[0]
    rows: dict[str, dict[str, Any]] = {}
    for name, rule in built.rules_for(config).items():
        shape = built.shapes[name]
        decay = config.weight_decay * rule.wd_mult / (lr if config.decay_mode == "lr_independent" else 1.0)
        rows[name] = {
            "role": rule.role,
            "why": shape.why,
            "shape": "x".join(map(str, shape.shape)),
            "base_shape": "x".join(map(str, shape.base_shape)),
            "init_std": rule.init_std,
            "forward_mult": rule.forward_mult * built.tuned_mult[name],
            "lr": lr * rule.lr_mult,
            "weight_decay": decay,
            "decay_per_step": lr * rule.lr_mult * decay,
            "eps": config.eps * rule.eps_mult if family in ("adam", "norm") or rule.optimizer == "adamw" else None,
            "source": f"{source}: {rule.role}",
        }
        if rule.optimizer is not None:
            rows[name]["optimizer"] = rule.optimizer
    for name, scale in built.logit_scale.items():
        rows[name] = {"role": "logits", "forward_mult": scale, "source": "TPV Definition 4.1"}
    for name, mults in built.stream_mult.items():
        for field, mult in zip(("residual_mult", "skip_mult"), mults, strict=True):
            if mult != 1.0:
                rows[f"{name}.{field}"] = {"role": "residual", "forward_mult": mult, "source": f"{source}: depth"}
    return pd.DataFrame(_fold_blocks(rows))


def group_totals(built: Parametrized, lr: float, config: OptimizerConfig) -> pd.DataFrame:
    """One row per role and learning rate: how many tensors and how many numbers learn so; a shared weight counts once,
    under the first of its names."""
    rules = built.rules_for(config)
    frame = pd.DataFrame(
        {"role": rules[name].role, "lr": lr * rules[name].lr_mult, "tensors": 1, "parameters": parameter.numel()}
        for name, parameter in built.model.named_parameters()
    )
    totals = frame.groupby(["role", "lr"], sort=False, as_index=False).sum()
    totals["share"] = totals["parameters"] / totals["parameters"].sum()
    return totals


def difference(one: Parametrized, other: Parametrized, lr: float, config: OptimizerConfig) -> pd.DataFrame:
    """The parameters to which two parametrizations of one model do not do the same, with the columns in which they
    differ side by side, each under its table's name; empty where they are one."""
    frames = [built.explain(lr, config).set_index("parameter") for built in (one, other)]
    labels = [built.table.name for built in (one, other)]
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
