"""A whole sweep, and the training run it makes at each (arm, width, rate, seed). Every default stands here, once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mutransfer.checks import of_its_types
from mutransfer.config.arm import AXES, Arm, plain_name
from mutransfer.config.choices import validate_choices
from mutransfer.config.combinations import validate_combinations
from mutransfer.config.model import ModelConfig
from mutransfer.config.schedule import ScheduleConfig
from mutransfer.config.space import Range, validate_pruning, validate_space
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
    """A sweep of the learning rate over widths. The defaults are the project's default width study."""

    experiment: str = "width_transfer"
    """Name of the sweep, and of its folder under results/."""
    parametrizations: tuple[str, ...] = ("sp", "mup")
    """The arms of the comparison, each named as its parametrization."""
    variants: tuple[Arm, ...] = ()
    """Further arms, with changes of their own; given in an experiment file."""
    widths: tuple[int, ...] = (32, 64, 128, 256)
    """Widths to train; the smallest is the proxy, the largest the target."""
    depths: tuple[int, ...] = ()
    """Depths to train, all at one width: the rate is then swept across depth."""
    batch_sizes: tuple[int, ...] = ()
    """Batch sizes to train with, all at one width: the rate is then swept across batch size."""
    step_counts: tuple[int, ...] = ()
    """Numbers of steps to train for, all at one width: the rate is then swept across them."""
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
    def axis(self) -> str:
        """What varies beside rate and seed, a key of AXES: width unless another one's sizes are given."""
        return next((name for name in AXES if name != "width" and getattr(self, AXES[name].sizes)), "width")

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes along the axis."""
        found: tuple[int, ...] = getattr(self, AXES[self.axis].sizes)
        return found

    @property
    def folder(self) -> str:
        """Path of the result folder."""
        return self.out if self.out is not None else f"results/{self.experiment}"

    def for_arm(self, arm: Arm) -> SweepConfig:
        """This sweep with an arm's changes, and that arm alone. Raises ValueError on a change that cannot be made."""
        changed = self
        for name, value in arm.changes:
            part, dot, field_name = name.partition(".")
            if name in (self.axis, f"model.{self.axis}"):
                raise ValueError(
                    f"found the change {name} in arm {arm.name} of a sweep along {self.axis}; leave it out"
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

    def at(self, size: int) -> SweepConfig:
        """This sweep at one size along its axis."""
        changes: dict[str, Any] = {AXES[self.axis].sizes: (size,)}
        if self.axis == "depth":
            changes["model"] = dataclasses.replace(self.model, depth=size)
        elif self.axis != "width":
            changes[self.axis] = size
        return dataclasses.replace(self, **changes)

    def trial(self, arm: Arm, size: int, lr: float, seed: int, others: Sequence[float] = ()) -> TrialConfig:
        """The config of one training run of this sweep; `others` are values of its `space`, in its order."""
        run = self.for_arm(self.with_values(arm, others) if others else arm).at(size)
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

    def validate(self) -> None:
        """Raises ValueError, in one line, on what cannot be run."""
        of_its_types("", self)
        if self.out == "":
            raise ValueError("found an empty out; wanted a folder")
        if not plain_name(self.experiment):
            raise ValueError(f"found experiment {self.experiment!r}; wanted a plain name, without a slash: rename it")
        for arm in self.arms:
            arm.validate()
        validate_choices(self)
        trained: dict[TrialConfig, str] = {}
        for arm in self.arms:
            trial = self.trial(arm, self.sizes[0], self.lrs[0], 0)
            if trial in trained:
                raise ValueError(f"found arms {trained[trial]} and {arm.name} alike; wanted a difference: remove one")
            trained[trial] = arm.name
            if arm.changes:
                changed = self.for_arm(arm)
                try:
                    changed.validate()
                except ValueError as error:
                    raise ValueError(f"in arm {arm.name}: {error}") from None
        if self.space:
            validate_space(self)
        if self.prune != "none":
            validate_pruning(self)
        self.init.validate()
        self.optimizer.validate()
        self.schedule.validate()
        for size in self.sizes:
            validate_combinations(self.at(size))


RESOURCES = ("executor", "device", "gpus_per_trial", "cohort_size", "execution", "out")
"""Fields of a SweepConfig that decide where trials run, not what they are."""

EXTENSIONS = (
    *(axis.sizes for axis in AXES.values()),
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
