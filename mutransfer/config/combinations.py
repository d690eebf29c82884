"""Choices of a sweep that each can be made, and do not go together."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from mutransfer.checks import all_used, positive
from mutransfer.config.model import ModelConfig
from mutransfer.config.trial import InitConfig
from mutransfer.theory.parametrizations import TABLES, Depth

if TYPE_CHECKING:
    from mutransfer.config.sweep import SweepConfig


def validate_combinations(config: SweepConfig) -> None:
    """Raises ValueError on choices that do not go together."""
    config.optimizer.validate_schedule(config.schedule)
    if config.schedule.warmup_steps(config.steps) >= config.steps:
        raise ValueError(
            f"found a warmup of {config.schedule.warmup_steps(config.steps)} steps in a run of {config.steps}; wanted "
            "it shorter than the run: lower schedule.warmup or raise steps"
        )
    model = config.model
    if model.width != ModelConfig.width:
        raise ValueError(f"found model.width {model.width}, which a sweep sets itself; give --widths {model.width}")
    if config.z_loss and config.loss != "cross_entropy":
        raise ValueError(f"found z_loss {config.z_loss} with loss {config.loss}, which has no softmax; leave it out")
    if config.execution in ("graph", "compiled") and config.optimizer.spec.curved:
        raise ValueError(
            f"found execution {config.execution} with {config.optimizer.name}, which looks at the curvature; wanted "
            "eager, or auto"
        )
    if config.execution == "graph" and config.build:
        raise ValueError(f"found execution graph with {config.build}; wanted eager, compiled or auto")
    if config.build:
        _validate_own(config)
        return
    used = {"readout_scale": not model.zero_readout, "embedding_std": not model.tied_embeddings}
    all_used("init.", config.init, used, "a zero readout" if model.zero_readout else "a tied embedding")
    mlp = model.architecture == "mlp"
    unused = {"position_std": model.positions == "learned" and not mlp, "residual_scaling": not mlp}
    all_used("init.", config.init, unused, "the mlp" if mlp else "rope")
    for width in (*config.widths, config.base_width):
        dataclasses.replace(config.model, width=width).validate()
    for arm in config.arms:
        _validate_table(config, arm.parametrization)


def _validate_own(config: SweepConfig) -> None:
    """Raises ValueError on what a model of one's own sets itself, and on tables that only our own models have."""
    module, _, function = config.build.partition(":")
    if not (module and function):
        raise ValueError(f"found build {config.build!r}; wanted a function by name, such as my_package.my_module:build")
    mine = "a model of your own"
    if config.axis == "depth":
        raise ValueError(f"found depths with {mine}, which is built at a width; wanted widths: leave depths out")
    used = ("width", "context", "vocab")
    all_used("model.", config.model, {each.name: each.name in used for each in dataclasses.fields(ModelConfig)}, mine)
    all_used("init.", config.init, {each.name: False for each in dataclasses.fields(InitConfig)}, mine)
    all_used("", config, {"base_depth": False}, mine)
    for name in used:
        positive(f"model.{name}", getattr(config.model, name))
    for arm in config.arms:
        if TABLES[arm.parametrization].depth != Depth():
            raise ValueError(f"found {arm.parametrization} with {mine}; wanted a table for any model: use mup")


def _validate_table(config: SweepConfig, name: str) -> None:
    """Raises ValueError on a model that a table has no rules for."""
    table = TABLES[name]
    if config.model.tied_embeddings and not table.ties:
        raise ValueError(
            f"found tied_embeddings with {name}, which has no one rate for them; wanted a table that has, or "
            "untied embeddings: use mup, or set model.tied_embeddings to False"
        )
    if config.model.architecture == "mlp" and table.for_depth:
        raise ValueError(f"found {name} with the mlp, which has no residual blocks; wanted a transformer, or mup")
    if table.absolute and config.init != InitConfig():
        raise ValueError(f"found init settings with {name}, which starts every weight at std 1; leave them out")
