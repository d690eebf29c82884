"""Short training runs whose losses the laws compare."""

import torch

from mutransfer.config import ModelConfig, OptimizerConfig, Scale, ScheduleConfig, SweepConfig
from mutransfer.parametrization import build_model
from mutransfer.training.trainer import make_optimizer, train_step

BASE = 16
SMALL = ModelConfig(width=BASE, head_dim=8, context=16, vocab=64, zero_readout=False, output_mult=1.0)
RICH = ModelConfig(
    width=BASE,
    head_dim=8,
    context=16,
    vocab=64,
    output_mult=1.0,
    norm_gain=True,
    bias=True,
    qk_norm=True,
    zero_query=True,
    n_kv_heads=2,
)
MLP = ModelConfig(architecture="mlp", width=BASE, depth=3, context=16, vocab=64, zero_readout=False, output_mult=1.0)


def curve(parametrization: str, model: ModelConfig, steps: int, **optimizer: object) -> list[float]:
    """Training losses in float64 on tokens of a skewed distribution, the same for every call."""
    name = optimizer.get("name", "adamw")
    sweep = SweepConfig(
        parametrizations=(parametrization,),
        steps=steps,
        batch_size=4,
        widths=(model.width,),
        base_width=BASE,
        dtype="float64",
        optimizer=OptimizerConfig(**optimizer),  # type: ignore[arg-type]
        schedule=ScheduleConfig(warmup=5.0),
        model=model,
    )
    trial = sweep.trial(sweep.arms[0], Scale(model.width), 2**-3 if name == "sgd" else 2**-7, 0)
    built = build_model(
        trial.model,
        trial.parametrization,
        base_width=trial.base_width,
        base_depth=trial.base_depth,
        init=trial.init,
        seed=trial.seed,
        dtype=torch.float64,
    )
    optimizer_ = make_optimizer(built, trial)
    draw = torch.Generator().manual_seed(0)
    tokens = (torch.rand((steps, 4, model.context + 1), generator=draw) ** 3 * model.vocab).long()
    return [train_step(built, optimizer_, trial, step, tokens[step]).item() for step in range(steps)]
