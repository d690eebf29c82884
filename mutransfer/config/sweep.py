"""A whole sweep, and the training run it makes at each (arm, scale, learning rate, seed). Every default stands here,
once; what cannot be run is refused by `validate` (validation.py)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from mutransfer.config.arm import Arm
from mutransfer.config.model import ModelConfig
from mutransfer.config.scale import DIMENSIONS, SWEPT, Scale, varying
from mutransfer.config.schedule import ScheduleConfig
from mutransfer.config.space import Range
from mutransfer.config.trial import InitConfig, OptimizerConfig, TrialConfig

PARTS: Mapping[str, type] = {
    "model": ModelConfig,
    "init": InitConfig,
    "optimizer": OptimizerConfig,
    "schedule": ScheduleConfig,
}
"""The parts of a SweepConfig that are dataclasses of their own."""

CHANGEABLE = ("lrs", "base_width", "base_depth", "steps", "batch_size", "loss", "z_loss", "final_window")
"""Fields of a SweepConfig that an arm may change, beside those of its model, init, optimizer and schedule."""


@dataclass(frozen=True)
class SweepConfig:
    """A sweep of the learning rate over scales. The defaults are the project's default width study."""

    experiment: str = "width_transfer"
    """Name of the sweep, and of its folder under results/."""
    parametrizations: tuple[str, ...] = ("sp", "mup")
    """The arms of the comparison, each named as its parametrization."""
    variants: tuple[Arm, ...] = ()
    """Further arms, with changes of their own; given in an experiment file."""
    widths: tuple[int, ...] = (32, 64, 128, 256)
    """Widths to train; the smallest is the proxy, the largest the target."""
    depths: tuple[int, ...] = ()
    """Depths to train, each at every width."""
    batch_sizes: tuple[int, ...] = ()
    """Batch sizes to train with, each at every width and depth."""
    step_counts: tuple[int, ...] = ()
    """Numbers of steps to train for, each at every width, depth and batch size."""
    ladder: tuple[Scale, ...] = ()
    """In place of these lists, the scales to train one by one, given in an experiment file:
    (Scale(width=64, steps=150), Scale(width=128, steps=600)). What they leave out the rest of this config says."""
    lrs: tuple[float, ...] = tuple(2.0**e for e in range(-11, -3))
    """Peak learning rates of the grid; every other search tries rates between the smallest and the largest."""
    space: tuple[Range, ...] = ()
    """Further hyperparameters that random, tpe or gp search together with the rate, at one size; in an experiment file
    Range("model.output_mult", 1, 16), on the command line --space model.output_mult=1..16 optimizer.beta2=0.9..0.99."""
    seeds: int = 2
    """Seeds for each rate: initialization and data order. A bracket repeats seeds where they help, whatever it is; a
    command that gives seeds and no search asks for a grid."""
    base_width: int = 128
    """The width at which every parametrization is the same model."""
    base_depth: int = ModelConfig.depth
    """The depth at which parametrizations with rules for depth are the same model as those without."""
    steps: int = 150
    """Optimizer steps of a trial."""
    batch_size: int = 16
    """Sequences per step."""
    dtype: str = "float32"
    """float32, bfloat16 (autocast over float32 weights) or float64."""
    loss: str = "cross_entropy"
    """cross_entropy, in nats per token, or squared_error of the outputs against the one-hot target."""
    z_loss: float = 0.0
    """Adds z_loss * log(Z)^2 of the softmax to what is trained on (PaLM, 2204.02311, section 5); not to any loss that
    is reported."""
    final_window: float = 0.1
    """final_loss is the mean training loss over this last part of the steps."""
    eval_batches: int = 8
    """Held-out batches for val_loss, the same for every trial."""
    data: str = "stdlib"
    """stdlib (the source of Python's standard library), text:PATH, tokens:PATH (uint16), or hf:NAME (a Hugging Face
    dataset or a path to one; hf:NAME:SUBSET where it has several)."""
    search: str = "bracket"
    """bracket (few trials, placed where they tell most about the slope), grid (every rate with every seed), random,
    tpe, or gp (Gaussian process)."""
    n_trials: int = 12
    """Rates (with a space, settings) that random, tpe and gp try at each width, each with every seed."""
    prune: str = "none"
    """none, or halving, for a space alone: of every four settings the worse two stop at a quarter of their steps, the
    worse of the others at half. It saves half of all steps; early losses favour larger rates, and so does it."""
    target_se: float = 0.05
    """Standard error of transfer_slope at which bracket ends, octaves of rate per doubling of width."""
    budget: float = 8.0
    """What bracket may spend on an arm: the cost of so many trials at every width. Most go to the narrow ones."""
    tolerance: float = 0.25
    """The verdict's tolerance on transfer_slope, in octaves of rate per doubling of width."""
    executor: str = "ray"
    """ray, or inprocess (one trial after another in this process; imports no ray)."""
    device: str = "auto"
    """auto (cuda where there is one), cpu or cuda."""
    gpus_per_trial: float | None = None
    """GPUs (or the fraction of one) that what is trained as one occupies on cuda; None: one, or, while more waits than
    there are GPUs, the share of one that it fills, as a measurement there says."""
    cohort_size: int | None = None
    """Most trials of one shape that are trained as one; None: on cuda as many as a measurement there finds fastest, on
    the cpu eight where a step is tiny, of 64 tokens say, and one elsewhere."""
    execution: str = "auto"
    """eager, graph (CUDA graphs, on cuda alone), compiled (torch.compile; trials one by one), or auto: on cuda what a
    measurement there finds fastest over a whole trial, on the cpu eager, whose bits no compiler decides."""
    out: str | None = None
    """The result folder; None: results/EXPERIMENT."""
    build: str = ""
    """A model of your own in place of ours: module:function, which takes a width and returns a torch.nn.Module from
    tokens (B, T) to logits (B, T, V), or to what has them as `.logits`. Of model, only vocab and context are used.
    Trials are told apart by this name, not by the code: give another out after changing it."""
    model: ModelConfig = field(default_factory=ModelConfig)
    init: InitConfig = field(default_factory=InitConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)

    @property
    def arms(self) -> tuple[Arm, ...]:
        """One arm for each parametrization, named as it, then the variants."""
        return (*(Arm(name, name) for name in self.parametrizations), *self.variants)

    @property
    def listed(self) -> tuple[str, ...]:
        """The dimensions whose sizes it lists; of the others it has one size."""
        if self.ladder:
            return tuple(name for name in DIMENSIONS if any(getattr(scale, name) is not None for scale in self.ladder))
        return tuple(name for name in SWEPT if getattr(self, DIMENSIONS[name].sizes))

    @property
    def scales(self) -> tuple[Scale, ...]:
        """The scales that it trains, along the dimensions that it lists."""
        if self.ladder:
            return tuple(self.whole(scale).only(self.listed) for scale in self.ladder)
        sizes = [getattr(self, DIMENSIONS[name].sizes) for name in self.listed]
        return tuple(Scale(**dict(zip(self.listed, each, strict=True))) for each in product(*sizes))

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The dimensions that it is about, at least one: those that vary, or where none does those that it lists beside
        the width, or the width."""
        return varying(self.scales) or tuple(name for name in self.listed if name != "width") or ("width",)

    @property
    def folder(self) -> str:
        """Path of the result folder."""
        return self.out if self.out is not None else f"results/{self.experiment}"

    def for_arm(self, arm: Arm) -> SweepConfig:
        """This sweep with an arm's changes, and that arm alone. Raises ValueError on a change that cannot be made."""
        changed = self
        for name, value in arm.changes:
            part, dot, field_name = name.partition(".")
            if name in [DIMENSIONS[listed].field for listed in self.listed]:
                raise ValueError(
                    f"expected no change of {name} in arm {arm.name}, of which the sweep lists sizes, got {value}; "
                    "leave it out"
                )
            names = {field.name for field in dataclasses.fields(PARTS[part])} if part in PARTS else set()
            if field_name not in names if dot else name not in CHANGEABLE:
                raise ValueError(
                    f"found the change {name} in arm {arm.name}; wanted one of {', '.join(CHANGEABLE)}, or a field of "
                    f"{', '.join(PARTS)} such as model.qk_norm"
                )
            if dot:
                value = dataclasses.replace(getattr(changed, part), **{field_name: value})
            changed = dataclasses.replace(changed, **{part: value})
        return dataclasses.replace(changed, parametrizations=(), variants=(Arm(arm.name, arm.parametrization),))

    def whole(self, scale: Scale) -> Scale:
        """A scale along all dimensions that sweeps vary: what it leaves out is as the rest of this config says."""
        own = Scale(self.widths[0], self.model.depth, self.batch_size, self.steps)
        return own.replace(**{name: scale[name] for name in scale.known})

    def at(self, scale: Scale) -> SweepConfig:
        """This sweep at one scale; what that leaves out is as the rest of this config says."""
        width, depth, batch_size, steps = (int(self.whole(scale)[name]) for name in SWEPT)
        model = dataclasses.replace(self.model, depth=depth)
        return dataclasses.replace(self, **_NO_LISTS, widths=(width,), model=model, batch_size=batch_size, steps=steps)

    def with_scales(self, scales: Sequence[Scale]) -> SweepConfig:
        """This sweep over other scales, which know the same dimensions as each other: by lists where they are all
        combinations of some sizes, else by a ladder."""
        listed = scales[0].known
        sizes = {name: tuple(dict.fromkeys(scale[name] for scale in scales)) for name in listed}
        lists: dict[str, Any] = {DIMENSIONS[name].sizes: each for name, each in sizes.items()}
        alone: dict[str, Any] = {name: getattr(SweepConfig, name) for name in ("batch_size", "steps") if name in listed}
        if "depth" in listed:
            alone["model"] = dataclasses.replace(self.model, depth=ModelConfig.depth)
        if len(scales) == math.prod(map(len, sizes.values())):
            return dataclasses.replace(self, **_NO_LISTS | lists | alone)
        alone["widths"] = SweepConfig.widths if "width" in listed else self.widths
        return dataclasses.replace(self, **_NO_LISTS | alone | {"ladder": tuple(scales)})

    def trial(self, arm: Arm, scale: Scale, lr: float, seed: int, others: Sequence[float] = ()) -> TrialConfig:
        """The config of one training run of this sweep; `others` are values of its `space`, in its order."""
        run = self.for_arm(self.with_values(arm, others) if others else arm).at(scale)
        return TrialConfig(
            parametrization=arm.parametrization,
            lr=float(lr),
            seed=seed,
            base_width=run.base_width,
            base_depth=run.base_depth,
            steps=run.steps,
            batch_size=run.batch_size,
            dtype=run.dtype,
            loss=run.loss,
            z_loss=run.z_loss,
            final_window=run.final_window,
            eval_batches=run.eval_batches,
            model=dataclasses.replace(run.model, width=run.widths[0]),
            init=run.init,
            optimizer=run.optimizer,
            schedule=run.schedule,
            build=run.build,
        )

    def with_values(self, arm: Arm, others: Sequence[float]) -> Arm:
        """An arm that changes the hyperparameters of the `space` too, to these values in its order."""
        values = tuple((each.name, value) for each, value in zip(self.space, others, strict=True))
        return dataclasses.replace(arm, changes=(*arm.changes, *values))


_NO_LISTS: dict[str, Any] = {**{DIMENSIONS[name].sizes: () for name in SWEPT if name != "width"}, "ladder": ()}

RESOURCES = ("executor", "device", "gpus_per_trial", "cohort_size", "execution", "out")
"""Fields of a SweepConfig that decide where trials run, not what they are."""

EXTENSIONS = (
    *(DIMENSIONS[name].sizes for name in SWEPT),
    "ladder",
    "lrs",
    "seeds",
    "parametrizations",
    "variants",
    "search",
    "n_trials",
    "target_se",
    "budget",
    "tolerance",
)
"""Fields by which an existing result folder may be extended."""
