"""A whole sweep, and the training run it makes at each (arm, width, rate, seed). Every default stands here, once."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from mutransfer.checks import all_used, of_its_types, one_of, positive, several
from mutransfer.config.model import ModelConfig
from mutransfer.config.trial import DTYPES, InitConfig, OptimizerConfig, ScheduleConfig, TrialConfig

T = TypeVar("T")

PARAMETRIZATIONS = ("sp", "sp_fixed_std", "mup", "mup_table3", "mup_table9")
SEARCHES = ("grid", "random", "tpe")
EXECUTORS = ("ray", "inprocess")
DEVICES = ("auto", "cpu", "cuda")


class Arm(NamedTuple):
    """One line of a comparison."""

    name: str
    parametrization: str


@dataclass(frozen=True)
class SweepConfig:
    """A sweep of the learning rate over widths. The defaults are the project's default width study."""

    experiment: str = "width_transfer"
    """Name of the sweep, and of its folder under results/."""
    parametrizations: tuple[str, ...] = ("sp", "mup")
    """The arms of the comparison."""
    widths: tuple[int, ...] = (32, 64, 128, 256)
    """Widths to train; the smallest is the proxy, the largest the target."""
    lrs: tuple[float, ...] = tuple(2.0**e for e in range(-11, -3))
    """Peak learning rates of the grid; random and tpe search between the smallest and the largest."""
    seeds: int = 2
    """Seeds for each rate: initialization and data order."""
    base_width: int = 128
    """The width at which every parametrization is the same model."""
    steps: int = 150
    """Optimizer steps of a trial."""
    batch_size: int = 16
    """Sequences per step."""
    dtype: str = "float32"
    """float32, bfloat16 (autocast over float32 weights) or float64."""
    final_window: float = 0.1
    """final_loss is the mean training loss over this last part of the steps."""
    eval_batches: int = 8
    """Held-out batches for val_loss, the same for every trial."""
    data: str = "stdlib"
    """stdlib (the source of Python's standard library), text:PATH, or tokens:PATH (uint16)."""
    search: str = "grid"
    """grid, random or tpe."""
    n_trials: int = 12
    """Rates that random and tpe try at each width, each with every seed."""
    tolerance: float = 0.25
    """The verdict's tolerance on transfer_slope, in octaves of rate per doubling of width."""
    executor: str = "ray"
    """ray, or inprocess (one trial after another in this process; imports no ray)."""
    device: str = "auto"
    """auto (cuda where there is one), cpu or cuda."""
    gpus_per_trial: float = 1.0
    """GPUs (or the fraction of one) that a trial occupies on cuda."""
    out: str | None = None
    """The result folder; None: results/EXPERIMENT."""
    model: ModelConfig = field(default_factory=ModelConfig)
    init: InitConfig = field(default_factory=InitConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)

    @property
    def arms(self) -> tuple[Arm, ...]:
        """One arm for each parametrization, named as it."""
        return tuple(Arm(name, name) for name in self.parametrizations)

    @property
    def folder(self) -> str:
        """Path of the result folder."""
        return self.out if self.out is not None else f"results/{self.experiment}"

    def trial(self, arm: Arm, width: int, lr: float, seed: int) -> TrialConfig:
        """The config of one training run of this sweep."""
        return TrialConfig(
            parametrization=arm.parametrization,
            lr=float(lr),
            seed=seed,
            base_width=self.base_width,
            steps=self.steps,
            batch_size=self.batch_size,
            dtype=self.dtype,
            final_window=self.final_window,
            eval_batches=self.eval_batches,
            model=dataclasses.replace(self.model, width=width),
            init=self.init,
            optimizer=self.optimizer,
            schedule=self.schedule,
        )

    def validate(self) -> None:
        """Raises ValueError, in one line, on what cannot be run."""
        of_its_types("", self)
        if self.out == "":
            raise ValueError("found an empty out; wanted a folder")
        if not self.experiment or "/" in self.experiment or self.experiment.startswith("."):
            raise ValueError(f"found experiment {self.experiment!r}; wanted a plain name without '/'")
        several("parametrizations", self.parametrizations)
        several("widths", self.widths)
        several("lrs", self.lrs)
        for name in self.parametrizations:
            one_of("parametrization", name, PARAMETRIZATIONS)
        one_of("search", self.search, SEARCHES)
        one_of("executor", self.executor, EXECUTORS)
        one_of("device", self.device, DEVICES)
        one_of("dtype", self.dtype, DTYPES)
        for lr in self.lrs:
            if not (math.isfinite(lr) and lr > 0):
                raise ValueError(f"found lr {lr:g}; wanted a finite number above 0, such as 2^-7 or 0.003")
        if self.search != "grid" and len(self.lrs) < 2:
            raise ValueError(f"found one rate, {self.lrs[0]:g}, for search {self.search}; wanted a range: give --lrs")
        for width in self.widths:
            positive("width", width)
        for name in ("base_width", "seeds", "steps", "batch_size", "eval_batches", "n_trials", "tolerance"):
            positive(name, getattr(self, name))
        positive("gpus_per_trial", self.gpus_per_trial)
        if self.gpus_per_trial > 1 and self.gpus_per_trial % 1:
            raise ValueError(f"found gpus_per_trial {self.gpus_per_trial}; wanted a fraction below 1 or a whole number")
        if not 0 < self.final_window <= 1:
            raise ValueError(f"found final_window {self.final_window}; wanted above 0 and at most 1")
        self.init.validate()
        self.optimizer.validate()
        self.schedule.validate()
        self._validate_together()

    def _validate_together(self) -> None:
        """Raises ValueError on choices that do not go together."""
        if self.schedule.warmup_steps(self.steps) >= self.steps:
            raise ValueError(
                f"found a warmup of {self.schedule.warmup_steps(self.steps)} steps in a run of {self.steps}; wanted "
                "it shorter than the run: lower schedule.warmup or raise steps"
            )
        model = self.model
        if model.width != ModelConfig.width:
            raise ValueError(f"found model.width {model.width}, which a sweep sets itself; give --widths {model.width}")
        used = {"readout_scale": not model.zero_readout, "embedding_std": not model.tied_embeddings}
        all_used("init.", self.init, used, "a zero readout" if model.zero_readout else "a tied embedding")
        all_used("init.", self.init, {"position_std": model.positions == "learned"}, "rope")
        for width in (*self.widths, self.base_width):
            dataclasses.replace(self.model, width=width).validate()
        if self.model.tied_embeddings and "mup_table3" in self.parametrizations:
            raise ValueError(
                "found tied_embeddings with mup_table3, which has no one rate for them; wanted Table 8 or 9: use mup"
            )


RESOURCES = ("executor", "device", "gpus_per_trial", "out")
"""Fields of a SweepConfig that decide where trials run, not what they are."""

EXTENSIONS = ("widths", "lrs", "seeds", "parametrizations", "search", "n_trials", "tolerance")
"""Fields by which an existing result folder may be extended."""


def to_json(config: Any) -> dict[str, Any]:
    """A config as plain JSON data."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def sweep_from_json(data: Mapping[str, Any]) -> SweepConfig:
    """The SweepConfig that `to_json` wrote. Raises ValueError on a field it does not know or lacks."""
    return _from_json(SweepConfig, data)


_NESTED: Mapping[str, type] = {
    "model": ModelConfig,
    "init": InitConfig,
    "optimizer": OptimizerConfig,
    "schedule": ScheduleConfig,
}


def _from_json(cls: type[T], data: Mapping[str, Any]) -> T:
    names = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    if set(data) != names:
        odd = sorted(set(data) ^ names)
        raise ValueError(
            f"found a {cls.__name__} that differs in the fields {', '.join(odd)}; it is of another version"
        )
    values = {
        name: _from_json(_NESTED[name], value)
        if name in _NESTED
        else tuple(value)
        if isinstance(value, list)
        else value
        for name, value in data.items()
    }
    return cls(**values)


def differing_fields(one: SweepConfig, other: SweepConfig) -> list[str]:
    """Dotted names of the fields in which two sweeps differ beyond resources and extensions."""
    free = {*RESOURCES, *EXTENSIONS}
    flat_one, flat_other = flatten(to_json(one)), flatten(to_json(other))
    return [name for name in flat_one if name not in free | {"model.width"} and flat_one[name] != flat_other[name]]


def flatten(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys."""
    flat: dict[str, Any] = {}
    for name, value in data.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat
