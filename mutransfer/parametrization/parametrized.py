"""A model with its rules: what `build_model` returns, and all that a training loop needs of a parametrization."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn

from mutransfer.config import OptimizerConfig
from mutransfer.optim import OPTIMIZERS, clip_grad_norm_
from mutransfer.parametrization import rules as rule_book
from mutransfer.parametrization.rules import ParamRule
from mutransfer.parametrization.shapes import ParamShape
from mutransfer.parametrization.tables import Table


class StreamMult(NamedTuple):
    """A sub-layer's output times `residual` joins the stream times `skip`."""

    residual: float
    skip: float


@dataclass(frozen=True)
class Parametrized:
    """A plain model and the table it follows. No state lives on tensors: rules are plain floats by parameter name."""

    model: nn.Module
    table: Table
    shapes: Mapping[str, ParamShape]
    base_std: Mapping[str, float]
    tuned_mult: Mapping[str, float]
    """Forward multipliers that are the same at every width, by parameter; the table's own come on top."""
    logit_scale: Mapping[str, float]
    """The scale of the logits of each attention module."""
    stream_mult: Mapping[str, StreamMult]
    """What each sub-layer does to the residual stream."""

    @cached_property
    def rules(self) -> dict[str, ParamRule]:
        """The rule of every parameter under the default optimizer, AdamW with width-independent decay."""
        return self.rules_for(OptimizerConfig())

    def rules_for(self, config: OptimizerConfig) -> dict[str, ParamRule]:
        """The rule of every parameter under an optimizer. Raises ValueError on one that is not known or makes no sense,
        and on a tied weight for which the table has no one rule."""
        config.validate()
        family = OPTIMIZERS[config.name].family
        return rule_book.tie(
            rule_book.compute_rules(self.shapes, self.table, self.base_std, family, config), self.model
        )

    def param_groups(
        self,
        lr: Any,
        *,
        weight_decay: float = OptimizerConfig.weight_decay,
        eps: float = OptimizerConfig.eps,
        optimizer: str = OptimizerConfig.name,
        decay_mode: str = OptimizerConfig.decay_mode,
        decay_vectors: bool = OptimizerConfig.decay_vectors,
    ) -> list[dict[str, Any]]:
        """Parameter groups for a torch optimizer of the named family; see `OptimizerConfig` for the arguments.

        Args:
            lr: the base rate, the one that a width study reports; a number or a tensor.
            weight_decay, eps: the base values; the groups hold what each parameter gets at this width.
            optimizer: `adamw`, `adam` or `sgd`.
            decay_mode, decay_vectors: how, and what, decays.

        Raises:
            ValueError: on what is not known, and on a tied weight for which the table has no one rule.
        """
        config = OptimizerConfig(
            name=optimizer, weight_decay=weight_decay, eps=eps, decay_mode=decay_mode, decay_vectors=decay_vectors
        )
        return self.groups_for(lr, config)

    def groups_for(self, lr: Any, config: OptimizerConfig) -> list[dict[str, Any]]:
        """`param_groups` from a config. Raises as it does."""
        rules = self.rules_for(config)
        return rule_book.param_groups(self.model, rules, lr, OPTIMIZERS[config.name].family, config)

    def clip_grad_norm_(self, max_norm: float) -> Tensor:
        """Clip the global gradient norm, taken in one gauge (`Row.gauge`); returns the norm before clipping."""
        rules = self.rules
        return clip_grad_norm_(((p, rules[name].grad_mult) for name, p in self.model.named_parameters()), max_norm)

    def explain(self, lr: float = 1.0, config: OptimizerConfig | None = None) -> pd.DataFrame:
        """One row per parameter, repeated blocks as one: role, shape here and at the base width, initial standard
        deviation (0: starts constant), forward multiplier, learning rate, weight decay of its group, the share by which
        a step at the peak rate shrinks it, epsilon, and the table that says so. A tied weight has a row for each of its
        uses, attention one for the scale of its logits, and a sub-layer that does more than add itself to the residual
        stream one for each multiplier."""
        config = OptimizerConfig() if config is None else config
        adam = OPTIMIZERS[config.name].family == "adam"
        source = self.table.source.partition(";")[0]
        rows: dict[str, dict[str, Any]] = {}
        for name, rule in self.rules_for(config).items():
            decay = config.weight_decay * rule.wd_mult / (lr if config.decay_mode == "lr_independent" else 1.0)
            rows[name] = {
                "role": rule.role,
                "shape": "x".join(map(str, self.shapes[name].shape)),
                "base_shape": "x".join(map(str, self.shapes[name].base_shape)),
                "init_std": rule.init_std,
                "forward_mult": rule.forward_mult * self.tuned_mult.get(name, 1.0),
                "lr": lr * rule.lr_mult,
                "weight_decay": decay,
                "decay_per_step": lr * rule.lr_mult * decay,
                "eps": config.eps * rule.eps_mult if adam else None,
                "source": f"{source}: {rule.role}",
            }
        for name, scale in self.logit_scale.items():
            rows[name] = {"role": "logits", "forward_mult": scale, "source": "TPV Definition 4.1"}
        for name, mults in self.stream_mult.items():
            for field, mult in zip(("residual_mult", "skip_mult"), mults, strict=True):
                if mult != 1.0:
                    rows[f"{name}.{field}"] = {"role": "residual", "forward_mult": mult, "source": f"{source}: depth"}
        return pd.DataFrame(_fold_blocks(rows))

    def initialize(self, seed: int) -> None:
        """Fill every matrix with normal values that depend on (seed, parameter name) alone; vectors stay as built."""
        rules = self.rules
        for name, parameter in self.model.named_parameters():
            if rules[name].role in ("input", "hidden", "output"):
                draw = torch.Generator().manual_seed(rule_book.name_seed(seed, name))
                # float64 before the scale, so that the tables' gauges agree to the last bits of a float64 model
                normal = torch.randn(parameter.shape, generator=draw).double()
                with torch.no_grad():
                    parameter.copy_(normal * rules[name].init_std)


def _fold_blocks(rows: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows that say the same in every block as one, with their count; those that do not, one by one."""
    folded: dict[str, dict[str, dict[str, Any]]] = {}
    for name, row in rows.items():
        folded.setdefault(re.sub(r"\.\d+(?=\.|$)", ".*", name), {})[name] = row
    listed = []
    for pattern, group in folded.items():
        first = next(iter(group.values()))
        if all(row == first for row in group.values()):
            listed.append({"parameter": pattern, "count": len(group), **first})
        else:
            listed += [{"parameter": name, "count": 1, **row} for name, row in group.items()]
    return listed
