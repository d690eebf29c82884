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
        ScheduleConfig,
        SweepConfig,
        TrialConfig,
    )
    from mutransfer.data import Corpus, load_corpus, sample_batch
    from mutransfer.optim import check_group_rates, schedule_factor
    from mutransfer.parametrization import TABLES, Parametrized, ParamRule, build_model
    from mutransfer.result import Result, read_result, write_result
    from mutransfer.sweep.driver import run_sweep
    from mutransfer.training import TrialResult, train

_HOMES = {
    "mutransfer.analysis": ("Analysis", "analyze", "recommend"),
    "mutransfer.config": (
        "GPT2",
        "LLAMA",
        "Arm",
        "InitConfig",
        "ModelConfig",
        "OptimizerConfig",
        "ScheduleConfig",
        "SweepConfig",
        "TrialConfig",
    ),
    "mutransfer.data": ("Corpus", "load_corpus", "sample_batch"),
    "mutransfer.optim": ("check_group_rates", "schedule_factor"),
    "mutransfer.parametrization": ("TABLES", "ParamRule", "Parametrized", "build_model"),
    "mutransfer.result": ("Result", "read_result", "write_result"),
    "mutransfer.sweep.driver": ("run_sweep",),
    "mutransfer.training": ("TrialResult", "train"),
}

_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "GPT2",
    "LLAMA",
    "TABLES",
    "Analysis",
    "Arm",
    "Corpus",
    "InitConfig",
    "ModelConfig",
    "OptimizerConfig",
    "ParamRule",
    "Parametrized",
    "Result",
    "ScheduleConfig",
    "SweepConfig",
    "TrialConfig",
    "TrialResult",
    "analyze",
    "build_model",
    "check_group_rates",
    "load_corpus",
    "read_result",
    "recommend",
    "run_sweep",
    "sample_batch",
    "schedule_factor",
    "train",
    "write_result",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mutransfer' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
