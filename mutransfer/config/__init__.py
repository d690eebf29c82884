"""What to run: frozen dataclasses, the standard library only.

A `SweepConfig` describes a whole sweep; `SweepConfig.trial(...)` gives the `TrialConfig` of one training run, which
holds everything that determines the run's result except the data (named by its fingerprint) and nothing else.
"""

from mutransfer.config.model import GPT2, LLAMA, PRESETS, ModelConfig
from mutransfer.config.sweep import (
    Arm,
    SweepConfig,
    differing_fields,
    flatten,
    sweep_from_json,
    to_json,
)
from mutransfer.config.trial import SCHEMA, InitConfig, OptimizerConfig, ScheduleConfig, TrialConfig

__all__ = [
    "GPT2",
    "LLAMA",
    "PRESETS",
    "SCHEMA",
    "Arm",
    "InitConfig",
    "ModelConfig",
    "OptimizerConfig",
    "ScheduleConfig",
    "SweepConfig",
    "TrialConfig",
    "differing_fields",
    "flatten",
    "sweep_from_json",
    "to_json",
]
