"""What to run: frozen dataclasses, the standard library only.

A `SweepConfig` describes a whole sweep; `SweepConfig.trial(...)` gives the `TrialConfig` of one training run, which
holds everything that determines the run's result except the data (named by its fingerprint) and nothing else.
"""

from mutransfer.config.arm import Arm
from mutransfer.config.execution import MODES, Execution, on_cpu
from mutransfer.config.model import GPT2, LLAMA, PRESETS, ModelConfig
from mutransfer.config.plain import differing_fields, flat_trial, flatten, sweep_from_json, to_json
from mutransfer.config.scale import DIMENSIONS, Scale
from mutransfer.config.schedule import ScheduleConfig
from mutransfer.config.space import Range
from mutransfer.config.sweep import SweepConfig
from mutransfer.config.trial import LOSSES, SCHEMA, InitConfig, OptimizerConfig, TrialConfig
from mutransfer.config.validation import validate

__all__ = [
    "DIMENSIONS",
    "GPT2",
    "LLAMA",
    "LOSSES",
    "MODES",
    "PRESETS",
    "SCHEMA",
    "Arm",
    "Execution",
    "InitConfig",
    "ModelConfig",
    "OptimizerConfig",
    "Range",
    "Scale",
    "ScheduleConfig",
    "SweepConfig",
    "TrialConfig",
    "differing_fields",
    "flat_trial",
    "flatten",
    "on_cpu",
    "sweep_from_json",
    "to_json",
    "validate",
]
