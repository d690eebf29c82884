"""A model with its rules: what `build_transformer` returns, and all that a training loop needs of a parametrization."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from mutransfer.checks import one_of
from mutransfer.config import OptimizerConfig
from mutransfer.optim import OPTIMIZERS, clip_grad_norm_
from mutransfer.parametrization import rules as rule_book
from mutransfer.parametrization.rules import ParamRule
from mutransfer.parametrization.shapes import ParamShape
from mutransfer.parametrization.tables import Table


@dataclass(frozen=True)
class Parametrized:
    """A plain model and the table it follows. No state lives on tensors: rules are plain floats by parameter name."""

    model: nn.Module
    table: Table
    shapes: Mapping[str, ParamShape]
    base_std: Mapping[str, float]

    @property
    def rules(self) -> dict[str, ParamRule]:
        """The rule of every parameter under AdamW with width-independent decay."""
        return self.rules_for()

    def rules_for(
        self,
        optimizer: str = OptimizerConfig.name,
        decay_mode: str = OptimizerConfig.decay_mode,
        decay_vectors: bool = OptimizerConfig.decay_vectors,
    ) -> dict[str, ParamRule]:
        """The rule of every parameter under an optimizer; see `compute_rules`. Raises ValueError on an unknown one."""
        one_of("optimizer", optimizer, OPTIMIZERS)
        family = OPTIMIZERS[optimizer].family
        found = rule_book.compute_rules(self.shapes, self.table, self.base_std, family, decay_mode, decay_vectors)
        return rule_book.tie(found, self.model)

    def param_groups(
        self,
        lr: Any,
        *,
        weight_decay: float = OptimizerConfig.weight_decay,
        eps: float = OptimizerConfig.eps,
        optimizer: str = OptimizerConfig.name,
        decay_mode: str = OptimizerConfig.decay_mode,
        decay_vectors: bool = OptimizerConfig.decay_vectors,
        scale_eps: bool = OptimizerConfig.scale_eps,
    ) -> list[dict[str, Any]]:
        """Parameter groups for a torch optimizer of the named family.

        Args:
            lr: the base rate, the one that a width study reports; a number or a tensor.
            weight_decay, eps: the base values; the groups hold what each parameter gets at this width.
            optimizer: `adamw`, `adam` or `sgd`.
            decay_mode, decay_vectors: see `OptimizerConfig`.
            scale_eps: False keeps Adam's epsilon as it is at every width.

        Raises:
            ValueError: on an unknown optimizer, or a tied weight for which the table has no one rule.
        """
        return rule_book.param_groups(
            self.model,
            self.rules_for(optimizer, decay_mode, decay_vectors),
            lr=lr,
            weight_decay=weight_decay,
            eps=eps if OPTIMIZERS[optimizer].family == "adam" else None,
            scale_eps=scale_eps,
            decay_mode=decay_mode,
        )

    def clip_grad_norm_(self, max_norm: float) -> Tensor:
        """Clip the global gradient norm, taken in Table 8's gauge at every width; returns the norm before clipping."""
        rules = self.rules
        return clip_grad_norm_(((p, rules[name].grad_mult) for name, p in self.model.named_parameters()), max_norm)

    def explain(
        self,
        lr: float = 1.0,
        *,
        weight_decay: float = OptimizerConfig.weight_decay,
        eps: float = OptimizerConfig.eps,
        optimizer: str = OptimizerConfig.name,
        decay_mode: str = OptimizerConfig.decay_mode,
        decay_vectors: bool = OptimizerConfig.decay_vectors,
        scale_eps: bool = OptimizerConfig.scale_eps,
    ) -> pd.DataFrame:
        """One row per parameter, repeated blocks as one: role, shape here and at the base width, initial standard
        deviation, forward multiplier, learning rate, weight decay per step (rate times decay), epsilon, and the row of
        the table that says so. A tied weight has a row for each of its uses."""
        rows: dict[str, dict[str, Any]] = {}
        for name, rule in self.rules_for(optimizer, decay_mode, decay_vectors).items():
            shape = self.shapes[name]
            group_lr = lr * rule.lr_mult
            shrink = group_lr * weight_decay * rule.wd_mult / (lr if decay_mode == "lr_independent" else 1.0)
            pattern = re.sub(r"\.\d+\.", ".*.", name)
            if pattern in rows:
                rows[pattern]["count"] += 1
                continue
            rows[pattern] = {
                "parameter": pattern,
                "count": 1,
                "role": rule.role,
                "shape": "x".join(map(str, shape.shape)),
                "base_shape": "x".join(map(str, shape.base_shape)),
                "init_std": rule.init_std,
                "forward_mult": rule.forward_mult,
                "lr": group_lr,
                "decay_per_step": shrink,
                "eps": eps * (rule.eps_mult if scale_eps else 1.0) if OPTIMIZERS[optimizer].family == "adam" else None,
                "source": f"{self.table.source.partition(';')[0]}: {rule.role}",
            }
        return pd.DataFrame(list(rows.values()))

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
