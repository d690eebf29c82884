"""mutransfer: which learning rate to train the big model with, and how sure you can be.

What is listed in `__all__` is the public surface; what is not may change. Names load when first used, so that importing
the package costs nothing: torch, ray and optuna come only with what needs them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mutransfer.analysis import Analysis, analyze, recommend
    from mutransfer.config import (
        GPT2,
        LLAMA,
        Arm,
        InitConfig,
        ModelConfig,
        OptimizerConfig,
        Range,
        Scale,
        ScheduleConfig,
        SweepConfig,
        TrialConfig,
    )
    from mutransfer.coordcheck import CoordCheck, coord_check
    from mutransfer.data import Corpus, load_corpus, sample_batch
    from mutransfer.optim import (
        build_optimizer,
        check_group_rates,
        layer_decay,
        reduce_on_plateau,
        role_mults,
        scale_rates,
        schedule_factor,
        scheduler,
    )
    from mutransfer.parametrization import Parametrized, ParamRule, build_model, parametrize
    from mutransfer.search.sampler import BracketSampler
    from mutransfer.study.result import Result, read_result, write_result
    from mutransfer.sweep.driver import run_sweep
    from mutransfer.theory.optimizers import OPTIMIZERS
    from mutransfer.theory.parametrizations import TABLES
    from mutransfer.theory.schedules import power_knee
    from mutransfer.toolbox.doctor import Curve, Diagnosis, Run, diagnose
    from mutransfer.toolbox.noise_scale.batch_scaling import scale_batch
    from mutransfer.toolbox.noise_scale.measure import GradientNoise
    from mutransfer.toolbox.range_test.measure import lr_range_test
    from mutransfer.toolbox.range_test.rates import Ramp, RangeTest, suggest_lrs
    from mutransfer.toolbox.recipes import RECIPES
    from mutransfer.toolbox.sharpness.measure import follow_sharpness, measure_sharpness
    from mutransfer.toolbox.watch.observed import Observation, read_observations
    from mutransfer.toolbox.watch.watch import Watch
    from mutransfer.training import Checkpoint, TrialResult, train, train_trial
    from mutransfer.trials.foreign.folder import read_trials
    from mutransfer.trials.foreign.taking import ReadOptions

_HOMES = {
    "mutransfer.analysis": ("Analysis", "analyze", "recommend"),
    "mutransfer.toolbox.doctor": ("Curve", "Diagnosis", "Run", "diagnose"),
    "mutransfer.toolbox.range_test.rates": ("Ramp", "RangeTest", "suggest_lrs"),
    "mutransfer.toolbox.watch.observed": ("Observation", "read_observations"),
    "mutransfer.config": (
        "GPT2",
        "LLAMA",
        "Arm",
        "InitConfig",
        "ModelConfig",
        "OptimizerConfig",
        "Range",
        "Scale",
        "ScheduleConfig",
        "SweepConfig",
        "TrialConfig",
    ),
    "mutransfer.data": ("Corpus", "load_corpus", "sample_batch"),
    "mutransfer.coordcheck": ("CoordCheck", "coord_check"),
    "mutransfer.optim": (
        "build_optimizer",
        "check_group_rates",
        "layer_decay",
        "reduce_on_plateau",
        "role_mults",
        "scale_rates",
        "schedule_factor",
        "scheduler",
    ),
    "mutransfer.parametrization": ("ParamRule", "Parametrized", "build_model", "parametrize"),
    "mutransfer.toolbox.recipes": ("RECIPES",),
    "mutransfer.study.result": ("Result", "read_result", "write_result"),
    "mutransfer.sweep.driver": ("run_sweep",),
    "mutransfer.search.sampler": ("BracketSampler",),
    "mutransfer.theory.optimizers": ("OPTIMIZERS",),
    "mutransfer.theory.schedules": ("power_knee",),
    "mutransfer.theory.parametrizations": ("TABLES",),
    "mutransfer.toolbox.noise_scale.batch_scaling": ("scale_batch",),
    "mutransfer.toolbox.noise_scale.measure": ("GradientNoise",),
    "mutransfer.toolbox.range_test.measure": ("lr_range_test",),
    "mutransfer.toolbox.sharpness.measure": ("follow_sharpness", "measure_sharpness"),
    "mutransfer.toolbox.watch.watch": ("Watch",),
    "mutransfer.trials.foreign.folder": ("read_trials",),
    "mutransfer.trials.foreign.taking": ("ReadOptions",),
    "mutransfer.training": ("Checkpoint", "TrialResult", "train", "train_trial"),
}

_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "GPT2",
    "LLAMA",
    "OPTIMIZERS",
    "RECIPES",
    "TABLES",
    "Analysis",
    "Arm",
    "BracketSampler",
    "Checkpoint",
    "CoordCheck",
    "Corpus",
    "Curve",
    "Diagnosis",
    "GradientNoise",
    "InitConfig",
    "ModelConfig",
    "Observation",
    "OptimizerConfig",
    "ParamRule",
    "Parametrized",
    "Ramp",
    "Range",
    "RangeTest",
    "ReadOptions",
    "Result",
    "Run",
    "Scale",
    "ScheduleConfig",
    "SweepConfig",
    "TrialConfig",
    "TrialResult",
    "Watch",
    "analyze",
    "build_model",
    "build_optimizer",
    "check_group_rates",
    "coord_check",
    "diagnose",
    "follow_sharpness",
    "layer_decay",
    "load_corpus",
    "lr_range_test",
    "measure_sharpness",
    "parametrize",
    "power_knee",
    "read_observations",
    "read_result",
    "read_trials",
    "recommend",
    "reduce_on_plateau",
    "role_mults",
    "run_sweep",
    "sample_batch",
    "scale_batch",
    "scale_rates",
    "schedule_factor",
    "scheduler",
    "suggest_lrs",
    "train",
    "train_trial",
    "write_result",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mutransfer' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
