"""Choices of a sweep, each looked at by itself: its name is known, its number can be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mutransfer.checks import one_of, positive, several
from mutransfer.config.arm import AXES
from mutransfer.config.execution import validate_execution
from mutransfer.config.space import PRUNES
from mutransfer.config.trial import DTYPES, LOSSES

if TYPE_CHECKING:
    from mutransfer.config.sweep import SweepConfig

SEARCHES = ("grid", "random", "tpe", "gp", "bracket")
IDLE: Mapping[str, tuple[str, ...]] = {
    "bracket": ("seeds", "n_trials"),
    "grid": ("n_trials", "target_se", "budget"),
    **dict.fromkeys(("random", "tpe", "gp"), ("target_se", "budget")),
}
"""Fields of a SweepConfig that a search makes nothing of."""
EXECUTORS = ("ray", "inprocess")
DEVICES = ("auto", "cpu", "cuda")


def validate_choices(config: SweepConfig) -> None:
    """Raises ValueError on a name that is not known, a number that cannot be, or sizes along more than one axis."""
    several("arms", tuple(arm.name for arm in config.arms))
    several("widths", config.widths)
    several("lrs", config.lrs)
    one_of("search", config.search, SEARCHES)
    one_of("executor", config.executor, EXECUTORS)
    one_of("device", config.device, DEVICES)
    one_of("dtype", config.dtype, DTYPES)
    one_of("loss", config.loss, LOSSES)
    one_of("prune", config.prune, PRUNES)
    for lr in config.lrs:
        if not (math.isfinite(lr) and lr > 0):
            raise ValueError(f"found lr {lr:g}; wanted a finite number above 0, such as 2^-7 or 0.003")
    if config.search != "grid" and len(config.lrs) < 2:
        raise ValueError(
            f"found one rate, {config.lrs[0]:g}, for search {config.search}; wanted a range: give more --lrs, or "
            "--search grid for that rate alone"
        )
    _validate_axis(config)
    for name in (
        "base_width",
        "base_depth",
        "seeds",
        "steps",
        "batch_size",
        "eval_batches",
        "n_trials",
        "tolerance",
        "target_se",
        "budget",
    ):
        positive(name, getattr(config, name))
    if config.cohort_size is not None:
        positive("cohort_size", config.cohort_size)
    validate_execution(config.execution, config.device, config.cohort_size)
    gpus = config.gpus_per_trial
    if gpus is not None:
        positive("gpus_per_trial", gpus)
        if gpus > 1 and gpus % 1:
            raise ValueError(f"found gpus_per_trial {gpus}; wanted a fraction below 1 or a whole number")
    if not 0 < config.final_window <= 1:
        raise ValueError(f"found final_window {config.final_window}; wanted above 0 and at most 1")
    if not (math.isfinite(config.z_loss) and config.z_loss >= 0):
        raise ValueError(f"found z_loss {config.z_loss}; wanted 0 or more")


def _validate_axis(config: SweepConfig) -> None:
    """Raises ValueError on sizes that cannot be, and on more than one axis with several."""
    for axis, (sizes, _, words) in AXES.items():
        for size in getattr(config, sizes):
            positive(axis, size)
        if getattr(config, sizes):
            several(sizes, getattr(config, sizes))
        if axis not in ("width", config.axis) and getattr(config, sizes):
            raise ValueError(
                f"found several {AXES[config.axis].words} and several {words}; wanted one axis: leave one out"
            )
    if config.axis != "width" and len(config.widths) > 1:
        raise ValueError(
            f"found {len(config.widths)} widths with {AXES[config.axis].words} to sweep; wanted one: give --widths"
        )
    if config.axis != "width":
        part, name = (config.model, "depth") if config.axis == "depth" else (config, config.axis)
        if getattr(part, name) != getattr(type(part), name):
            raise ValueError(
                f"found {name} {getattr(part, name)} in a sweep along {AXES[config.axis].words}, which sets it "
                "itself; leave it out"
            )
