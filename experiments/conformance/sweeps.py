"""The sweeps behind the claims. Each is a result folder of its own, so running them again resumes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mutransfer import InitConfig, ModelConfig, OptimizerConfig, ScheduleConfig, SweepConfig
from mutransfer.config import Arm
from mutransfer.experiment import load_experiment

WIDTH_TRANSFER = SweepConfig(search="grid")
"""SP and muP, widths 32 to 256: the default study, committed in results/reference_cpu."""

RELATIVES = replace(
    WIDTH_TRANSFER,
    experiment="relatives",
    parametrizations=("mup_simple",),
    variants=(Arm("sp_full_align", "sp_full_align", (("model.zero_readout", False), ("model.output_mult", 1.0))),),
)
"""A readout that starts at random is all that SP with a rate for each layer has beside muP; at zero they are one."""

QK_NORM = replace(
    WIDTH_TRANSFER,
    experiment="qk_norm",
    parametrizations=(),
    lrs=tuple(2.0**e for e in range(-11, -1)),
    variants=(Arm("sp_qk_norm", "sp", (("model.qk_norm", True), ("model.norm_gain", True), ("schedule.warmup", 0.3))),),
)
"""Two rates more than the default study, in which the optimum at width 32 was beyond the highest. Three tenths of the
steps are 45, longer than the memory of Adam's second moment (20 steps at beta2 = 0.95), as the source's 700 are."""

FIXED_STD = SweepConfig(
    experiment="fixed_std",
    search="grid",
    parametrizations=("sp_fixed_std",),
    lrs=tuple(2.0**e for e in range(-12, -3)),
    steps=123,
    model=ModelConfig(tied_embeddings=True, zero_readout=False, output_mult=1.0),
    init=InitConfig(base="fixed_std"),
    optimizer=OptimizerConfig(weight_decay=0.1, decay_mode="coupled", clip_norm=1.0),
    schedule=ScheduleConfig("constant", warmup=0.0),
)
"""nanoGPT-mup's tiny-shakespeare setup as far as it fits a CPU: its widths are 256 to 2048, its batch eight times ours,
its context 1024."""

LOSSES = load_experiment(str(Path(__file__).parents[1] / "sgd_and_the_loss.py"))
"""An MLP of three layers under plain SGD, by cross-entropy and by squared error."""

EPSILON = SweepConfig(
    experiment="epsilon",
    search="grid",
    parametrizations=(),
    variants=(
        Arm("eps_constant", "mup", (("optimizer.scale_eps", False),)),
        Arm("eps_scaled", "mup"),
    ),
    widths=(32, 64, 128),
    base_width=32,
    lrs=tuple(2.0**e for e in range(-9, -1)),
    optimizer=OptimizerConfig(eps=1e-3),
)
"""Epsilon 1e-3 at base_width, 100,000 times the usual, so that it matters at these widths."""

HORIZON_STEPS = 160


def _horizon(width: int, *step_counts: int) -> SweepConfig:
    return SweepConfig(
        experiment=f"horizon_{width}",
        search="grid",
        parametrizations=("sp",),
        widths=(width,),
        step_counts=step_counts,
        lrs=tuple(2.0**e for e in range(-11, -2)),
    )


HORIZONS = (_horizon(32, 40, HORIZON_STEPS), _horizon(64, HORIZON_STEPS), _horizon(128, HORIZON_STEPS, 640))
"""Steps in proportion to the square of the width, and the same number at every width."""

SWEEPS = (WIDTH_TRANSFER, RELATIVES, QK_NORM, FIXED_STD, LOSSES, EPSILON, *HORIZONS)
