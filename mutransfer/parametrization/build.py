"""Our transformer under a parametrization: the base initialization, and what the table makes of it at another width."""

from __future__ import annotations

from dataclasses import replace

import torch

from mutransfer.checks import one_of
from mutransfer.config import InitConfig, ModelConfig, SweepConfig
from mutransfer.models import Transformer
from mutransfer.models.transformer import Attention, Embedding, Linear
from mutransfer.parametrization.parametrized import Parametrized
from mutransfer.parametrization.shapes import ParamShape, scale_shapes
from mutransfer.parametrization.tables import TABLES, Table


def build_transformer(
    config: ModelConfig,
    parametrization: str = "mup",
    *,
    base_width: int = SweepConfig.base_width,
    init: InitConfig | None = None,
    seed: int = 0,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Parametrized:
    """A transformer of `config.width` with its rules.

    Args:
        config: its shape and choices.
        parametrization: a name in `TABLES`: `sp`, `sp_fixed_std`, `mup` (Table 8), `mup_table3`, `mup_table9`.
        base_width: where every parametrization is the same model, bit for bit.
        init: the initialization at base_width.
        seed: initial values depend on it and on each parameter's name, on nothing else.
        device, dtype: where the model stands, and the type of its weights.

    Raises:
        ValueError: on a shape that cannot be built, and on an unknown parametrization or one that forbids tied weights.
    """
    one_of("parametrization", parametrization, TABLES)
    init = InitConfig() if init is None else init
    base = replace(config, width=base_width)
    # twice the base width is a multiple of head_dim or n_heads whenever the base width is
    delta = replace(config, width=2 * base_width)
    for shape in (config, base, delta):
        shape.validate()
    init.validate()
    with torch.device("meta"):
        sample = torch.zeros((1, config.context), dtype=torch.long)
        shapes = scale_shapes(Transformer(base), Transformer(delta), Transformer(config), sample)
    model = Transformer(config).to(device, dtype)
    growth = config.size_of_head / base.size_of_head
    exponent = _attention_exponent(config.attention_scale, TABLES[parametrization])
    # muP: logits scale as 1/d instead of 1/sqrt(d), anchored at the base model's head_dim (TPV B.1)
    scale = config.attention_mult * config.size_of_head**-0.5 * growth**exponent
    attentions = [path for path, module in model.named_modules() if isinstance(module, Attention)]
    parametrized = Parametrized(
        model=model,
        table=TABLES[parametrization],
        shapes=shapes,
        base_std={name: _base_std(name, shape, config, init) for name, shape in shapes.items()},
        tuned_mult={"embedding.weight": config.embedding_mult, "readout.weight": config.output_mult},
        logit_scale=dict.fromkeys(attentions, scale),
    )
    _set_multipliers(parametrized)
    parametrized.initialize(seed)
    return parametrized


def _base_std(name: str, shape: ParamShape, config: ModelConfig, init: InitConfig) -> float:
    """A parameter's initial standard deviation at the base width; 0 for what starts constant."""
    if shape.role in ("vector", "scalar"):
        return 0.0
    if (config.zero_readout and shape.role == "output") or (config.zero_query and name.endswith("query.weight")):
        return 0.0
    if init.base == "fixed_std":
        std = init.std
    elif shape.role == "input":
        std = init.position_std if name == "position.weight" else init.embedding_std
    else:
        std = shape.base_fan_in**-0.5
    if shape.role == "output":
        std *= init.readout_scale
    writes_residual = name.endswith(("attention.out.weight", "mlp.down.weight"))
    return std * (2 * config.depth) ** -0.5 if writes_residual and init.residual_scaling else std


def _set_multipliers(parametrized: Parametrized) -> None:
    """Write the forward multipliers and the attention scale into the modules, as plain floats."""
    rules = parametrized.rules
    for path, module in parametrized.model.named_modules():
        name = f"{path}.weight"
        if isinstance(module, Linear | Embedding):
            module.forward_mult = parametrized.tuned_mult.get(name, 1.0) * rules[name].forward_mult
        elif isinstance(module, Attention):
            module.attention_scale = parametrized.logit_scale[path]


def _attention_exponent(scale: str, table: Table) -> float:
    return {"table": table.attention, "1/sqrt(d)": 0.0, "sqrt(d0)/d": -0.5}[scale]
