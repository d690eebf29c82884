"""What our models start with at the base width, and the multipliers that they have at every width."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import nn

from mutransfer.config import InitConfig, ModelConfig
from mutransfer.models import TokenMLP, Transformer
from mutransfer.models.transformer import MLP, Attention
from mutransfer.parametrization.shapes import ParamShape

ACTIVATION_RMS: Mapping[str, float] = {
    "gelu": (1 / 3 + 1 / (2 * math.pi * 3**0.5)) ** 0.5,
    "relu2": 1.5**0.5,
    "swiglu": 0.5964692111,
    "relu": 0.5**0.5,
}
"""Root mean square of each activation's output where its inputs are independent and standard normal."""


def base_std(shape: ParamShape, config: ModelConfig, init: InitConfig, depth: int) -> float:
    """A parameter's initial standard deviation at the base width; 0 for what starts constant.

    Args:
        shape: of the parameter.
        config: the model.
        init: the initialization at the base width.
        depth: the number of blocks for which init.residual_scaling makes room.
    """
    if starts_constant(shape, config):
        return 0.0
    if init.base == "fixed_std":
        std = init.std
    elif shape.role == "input":
        std = init.position_std if shape.name == "position.weight" else init.embedding_std
        if config.architecture == "mlp":
            # the first layer is the sum of `window` rows: its fan-in is the window's ones
            std *= config.window**-0.5
    else:
        std = shape.base_fan_in**-0.5
        if config.architecture == "mlp" and shape.role == "hidden":
            # He et al. 1502.01852, eq. 10: a ReLU halves the mean square, and no norm makes up for it
            std *= 2**0.5
    if shape.role == "output":
        std *= init.readout_scale
    writes_residual = shape.name.endswith(("attention.out.weight", "mlp.down.weight"))
    return std * (2 * depth) ** -0.5 if writes_residual and init.residual_scaling else std


def starts_constant(shape: ParamShape, config: ModelConfig) -> bool:
    """Whether a parameter starts at one value: gains and biases, and what the config starts at zero."""
    if shape.role in ("vector", "scalar"):
        return True
    return (config.zero_readout and shape.role == "output") or (
        config.zero_query and shape.name.endswith("query.weight")
    )


def config_mults(shapes: Mapping[str, ParamShape], config: ModelConfig) -> dict[str, float]:
    """The forward multipliers that the config sets, by parameter."""
    by_role = {"input": config.embedding_mult, "output": config.output_mult}
    return {
        name: by_role[shape.role]
        for name, shape in shapes.items()
        if shape.role in by_role and name != "position.weight"
    }


def unit_mults(model: nn.Module, config: ModelConfig) -> dict[str, float]:
    """Forward multipliers that give every map, by parameter, an input of mean square 1 at initialization (u-muP,
    2407.17465, appendix B; where that fits constants, they are computed here).

    Attention starts near uniform: at place t it averages t values, which leaves 1/t of their mean square, and over T
    places H_T/T of it, with H_T the harmonic number.
    """
    attended = (sum(1 / t for t in range(1, config.context + 1)) / config.context) ** 0.5
    mults = {}
    for path, module in model.named_modules():
        if isinstance(module, Attention):
            mults[f"{path}.out.weight"] = 1 / attended
        elif isinstance(module, MLP):
            mults[f"{path}.down.weight"] = 1 / ACTIVATION_RMS[config.activation]
        elif isinstance(module, Transformer) and module.position is not None:
            mults |= dict.fromkeys(("embedding.weight", "position.weight"), 0.5**0.5)
        elif isinstance(module, TokenMLP):
            for name, _ in module.named_parameters():
                adds = name.startswith("embeddings.")
                mults[name] = config.window**-0.5 if adds else 1 / ACTIVATION_RMS["relu"]
    return mults
