"""Our models under a parametrization: the base initialization, and what the table makes of it at another size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

import torch
from torch import nn

from mutransfer.checks import one_of, positive
from mutransfer.config import InitConfig, ModelConfig, SweepConfig
from mutransfer.models import MODELS
from mutransfer.models.transformer import Attention, Block, SubLayer
from mutransfer.parametrization.initial import base_std, config_mults, starts_constant, unit_mults
from mutransfer.parametrization.multipliers import set_multipliers
from mutransfer.parametrization.parametrized import Parametrized, StreamMult
from mutransfer.parametrization.rules import name_seed
from mutransfer.parametrization.shapes import ParamShape, normalized_next, scale_shapes
from mutransfer.theory.parametrizations import MATRICES, TABLES, Depth, Table


def build_model(
    config: ModelConfig,
    parametrization: str = "mup",
    *,
    base_width: int = SweepConfig.base_width,
    base_depth: int = SweepConfig.base_depth,
    init: InitConfig | None = None,
    seed: int = 0,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Parametrized:
    """The model of `config` (a transformer or an MLP over tokens) with its rules.

    Args:
        config: its shape and choices.
        parametrization: a name in `TABLES`, such as `sp`, `mup` (Table 8) or `completep`.
        base_width, base_depth: where every parametrization but `umup` is the same model, bit for bit.
        init: the initialization at base_width.
        seed: initial values depend on it and on each parameter's name, on nothing else.
        device, dtype: where the model stands, and the type of its weights.

    Raises:
        ValueError: on a shape that cannot be built, on an unknown parametrization or one that forbids tied weights, and
            on an initialization for `umup`, which has its own.
    """
    one_of("parametrization", parametrization, TABLES)
    table = TABLES[parametrization]
    init = InitConfig() if init is None else init
    positive("base_depth", base_depth)
    base, delta = _narrow(config, base_width)
    for shape in (config, base, delta):
        shape.validate()
    init.validate()
    if table.absolute and init != InitConfig():
        raise ValueError(f"found init settings with {table.name}, which starts every weight at std 1; leave them out")
    # Made where it stands: a model that is moved to `meta` loses its tied weights.
    with torch.device(device):
        model = MODELS[config.architecture](config).to(dtype)
    depth_mult = config.depth / (1 if table.absolute else base_depth)
    shapes = dict(_shapes(config, base_width, depth_mult))
    if table.absolute:
        shapes = {
            name: shape._replace(width_mult_in=float(shape.fan_in), width_mult_out=float(shape.fan_out))
            for name, shape in shapes.items()
        }
        stds = {name: 0.0 if starts_constant(shape, config) else 1.0 for name, shape in shapes.items()}
    else:
        # a table with rules for depth says all that depth does
        room = config.depth if table.depth == Depth() else base_depth
        stds = {name: base_std(shape, config, init, room) for name, shape in shapes.items()}
    constants, units = config_mults(shapes, config), unit_mults(model, config) if table.absolute else {}
    attentions = [path for path, module in model.named_modules() if isinstance(module, Attention)]
    parametrized = Parametrized(
        model=model,
        table=table,
        shapes=shapes,
        base_std=stds,
        tuned_mult={name: constants.get(name, 1.0) * units.get(name, 1.0) for name in shapes},
        logit_scale=dict.fromkeys(attentions, _logit_scale(config, base, table)),
        stream_mult=_stream_mults(model, table, depth_mult),
    )
    _set_multipliers(parametrized)
    _initialize(parametrized, seed)
    return parametrized


def _narrow(config: ModelConfig, base_width: int) -> tuple[ModelConfig, ModelConfig]:
    """At the base width, and at the delta's: twice that is a multiple of head_dim or n_heads whenever the base is."""
    return replace(config, width=base_width), replace(config, width=2 * base_width)


@lru_cache
def _shapes(config: ModelConfig, base_width: int, depth_mult: float) -> Mapping[str, ParamShape]:
    """How every parameter scales, seen once for all trials of a shape: it takes a forward pass, and no values."""
    make = MODELS[config.architecture]
    with torch.device("meta"):
        base, delta, target = (make(each) for each in (*_narrow(config, base_width), config))
        sample = torch.zeros((1, config.context), dtype=torch.long)
        shapes = scale_shapes(base, delta, target, sample, residual=_inside_blocks(target), depth_mult=depth_mult)
    for name, shape in shapes.items():
        if config.qk_norm and shape.role == "bottleneck" and name.endswith("key.weight"):
            shapes[name] = normalized_next(shape)
    return shapes


def _inside_blocks(model: nn.Module) -> set[str]:
    blocks = [(path, module) for path, module in model.named_modules() if isinstance(module, Block)]
    return {f"{path}.{name}" for path, block in blocks for name, _ in block.named_parameters()}


def _logit_scale(config: ModelConfig, base: ModelConfig, table: Table) -> float:
    """muP: logits scale as 1/d instead of 1/sqrt(d), anchored at the base model's head_dim (TPV B.1)."""
    exponent = {"table": table.attention, "1/sqrt(d)": 0.0, "sqrt(d0)/d": -0.5}[config.attention_scale]
    absolute = table.absolute and config.attention_scale == "table"
    growth = config.size_of_head / (1 if absolute else base.size_of_head)
    return float(config.attention_mult * config.size_of_head**-0.5 * growth**exponent)


def _stream_mults(model: nn.Module, table: Table, depth_mult: float) -> dict[str, StreamMult]:
    """What each sub-layer does to the residual stream: adds itself times the branch multiplier b.

    An absolute table also keeps the stream's variance at 1: after i sub-layers it would be 1 + i b^2, so each divides
    it by the root of the ratio of what it would be after to what it would be before. With b^2 = 1/L this is u-muP's
    scheme (2407.17465, appendix G, alpha_res = alpha_res-attn-ratio = 1): embedding, attention and MLPs each make a
    third of the whole.
    """
    branch = float(depth_mult**table.depth.branch)
    mults = {}
    for index, path in enumerate(path for path, module in model.named_modules() if isinstance(module, SubLayer)):
        before, after = (1 + i * branch**2 if table.absolute else 1.0 for i in (index, index + 1))
        mults[path] = StreamMult(branch * after**-0.5, (before / after) ** 0.5)
    return mults


def _set_multipliers(parametrized: Parametrized) -> None:
    """Write the forward multipliers, the attention scale and those of the stream into the modules, as plain floats."""
    rules, tuned = parametrized.rules, parametrized.tuned_mult
    set_multipliers(parametrized.model, {name: tuned[name] * rules[name].forward_mult for name in rules}, {})
    for path, module in parametrized.model.named_modules():
        if isinstance(module, Attention):
            module.attention_scale = parametrized.logit_scale[path]
        if isinstance(module, SubLayer):
            module.residual_mult, module.skip_mult = parametrized.stream_mult[path]


def _initialize(parametrized: Parametrized, seed: int) -> None:
    """Fill every matrix with normal values that depend on (seed, parameter name) alone; vectors stay as built."""
    rules = parametrized.rules
    for name, parameter in parametrized.model.named_parameters():
        if rules[name].role in MATRICES:
            draw = torch.Generator().manual_seed(name_seed(seed, name))
            # float64 before the scale, so that the tables' gauges agree to the last bits of a float64 model
            normal = torch.randn(parameter.shape, generator=draw, device="cpu").double()
            with torch.no_grad():
                parameter.copy_(normal * rules[name].init_std)
