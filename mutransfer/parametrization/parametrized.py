"""A model with its rules: what `build_model` and `parametrize` return, and all that a training loop needs of a
parametrization."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor, nn

from mutransfer.config import OptimizerConfig
from mutransfer.optim import clip_grad_norm_
from mutransfer.parametrization import interchange
from mutransfer.parametrization import rules as rule_book
from mutransfer.parametrization.multipliers import Hook, fold
from mutransfer.parametrization.rules import ParamRule
from mutransfer.parametrization.shapes import ParamShape
from mutransfer.parametrization.trace import default_tokens
from mutransfer.theory.parametrizations import Table

if TYPE_CHECKING:
    import pandas as pd


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
    """Each parameter's initial standard deviation at the base width; 0 for what starts constant."""
    tuned_mult: Mapping[str, float]
    """Forward multipliers that are the same at every width, by parameter; the table's own come on top."""
    logit_scale: Mapping[str, float]
    """The scale of the logits of each attention module; empty for a model of your own, which sets its own."""
    stream_mult: Mapping[str, StreamMult]
    """What each sub-layer does to the residual stream; empty for a model of your own."""
    notes: tuple[str, ...] = ()
    """What was done to a model of your own beyond rescaling its initial values, and what is left for you to do."""
    hooks: tuple[Hook, ...] = ()
    """Multipliers on modules of a model of your own, which no checkpoint carries; see `export_`."""

    @cached_property
    def rules(self) -> dict[str, ParamRule]:
        """The rule of every parameter under the default optimizer, AdamW with width-independent decay."""
        return self.rules_for(OptimizerConfig())

    def rules_for(self, config: OptimizerConfig) -> dict[str, ParamRule]:
        """The rule of every parameter under an optimizer. Raises ValueError on one that is not known or makes no sense,
        and on a tied weight for which the table has no one rule."""
        config.validate()
        family = config.spec.family
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

        They hold the model's parameters as they are now: after what replaces these (`fully_shard`, tensor parallelism,
        `load_state_dict(assign=True)`), ask again.

        Args:
            lr: the base rate, the one that a width study reports; a number or a tensor.
            weight_decay, eps: the base values; the groups hold what each parameter gets at this width.
            optimizer: `adamw`, `adam`, `sgd`, `muon` or another key of `OPTIMIZERS`.
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
        return rule_book.param_groups(self.model, rules, lr, config.spec.family, config)

    def clip_grad_norm_(self, max_norm: float) -> Tensor:
        """Clip the global gradient norm, taken in one gauge (`Row.gauge`); returns the norm before clipping.

        Use this and not torch's: under `mup_table3` the readout's gradient does not shrink with width as the others do,
        so a norm over raw gradients grows, and a threshold that was tuned on a narrow model clips a wide one more.
        """
        rules = self.rules
        return clip_grad_norm_(((p, rules[name].grad_mult) for name, p in self.model.named_parameters()), max_norm)

    def export_(self, sample: Any = None) -> nn.Module:
        """The model with every multiplier put into values, so that its checkpoint is the whole of it: into the weight,
        or, where that is tied, into the gain of the norm before it. The output stays what it is; train on no further,
        since rates are for the model as it was.

        Args:
            sample: what the model is called with; None: tokens.

        Raises:
            ValueError: where a multiplier can go nowhere; and for our own models, whose multipliers `build_model` sets.
        """
        if self.logit_scale or self.stream_mult:
            raise ValueError("expected a model of your own, got one of ours; load its checkpoint into build_model's")
        for hook in self.hooks:
            fold(self.model, hook, default_tokens(self.model) if sample is None else sample)
        return self.model

    def explain(self, lr: float = 1.0, config: OptimizerConfig | None = None) -> pd.DataFrame:
        """One row per parameter, repeated blocks as one: role and why, shape here and at the base width, initial
        standard deviation (0: starts constant), forward multiplier, learning rate, weight decay of its group, the share
        by which a step at the peak rate shrinks it, epsilon, and the table that says so. A tied weight has a row for
        each of its uses, attention one for the scale of its logits, and a sub-layer that does more than add itself to
        the residual stream one for each multiplier. See also `notes`."""
        from mutransfer.parametrization.explanation import explain_rows

        config = OptimizerConfig() if config is None else config
        source = self.table.source.partition(";")[0]
        others = {name: ("logits", scale, "TPV Definition 4.1") for name, scale in self.logit_scale.items()}
        for name, mults in self.stream_mult.items():
            for field, mult in zip(("residual_mult", "skip_mult"), mults, strict=True):
                if mult != 1.0:
                    others[f"{name}.{field}"] = ("residual", mult, f"{source}: depth")
        return explain_rows(source, self.rules_for(config), self.shapes, self.tuned_mult, others, lr, config)

    def rules_json(self, config: OptimizerConfig | None = None) -> str:
        """The rules as JSON, for other programs: `{"schema": 1, "parametrization": ..., "optimizer": ..., "rules":
        {name: {"role", "shape", "base_shape", "init_std", "forward_mult", "lr_mult", "wd_mult", "eps_mult",
        "grad_mult", ...}}}`, where a base_shape is null in dimensions that do not grow."""
        config = OptimizerConfig() if config is None else config
        return interchange.rules_json(self.table.name, config.name, self.rules_for(config), self.shapes)

    def write_base_shapes(self, path: str | Path) -> None:
        """Write the `mup` package's base-shape file (`.bsh`), which its `set_base_shapes` and `parametrize` read."""
        names = [name for name, _ in self.model.named_parameters()]
        interchange.write_base_shapes(path, {name: interchange.base_sizes(self.shapes[name]) for name in names})
