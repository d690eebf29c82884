"""One training run: initialization, optimizer, and the `TrialConfig` that holds them. Every default stands here, with
the model's or schedule's, or in the sweep's config, once."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from mutransfer.checks import MOST, all_used, fitting, of_its_types, one_of, positive
from mutransfer.config.model import ModelConfig
from mutransfer.config.schedule import ScheduleConfig
from mutransfer.theory.optimizers import MOMENTA, OPTIMIZERS, OptimizerSpec

SCHEMA = 1
"""Version of the trial digest and the records."""

DTYPES = ("float32", "bfloat16", "float64")
DECAY_MODES = ("width_independent", "coupled", "lr_independent")
LOSSES = {"cross_entropy": "nats", "squared_error": "squared error"}
"""What is trained on, and its unit per token."""
BASE_INITS = ("fan_in", "fixed_std")


@dataclass(frozen=True)
class InitConfig:
    """The base initialization: what the model has at base_width. How it changes with width is the table's business."""

    base: str = "fan_in"
    """fan_in: matrices start with std 1/sqrt(fan_in) at base_width; fixed_std: with `std`."""
    std: float = 0.02
    """The standard deviation under fixed_std, embedding and positions included."""
    embedding_std: float = 1.0
    """The embedding's standard deviation under fan_in (one-hot inputs have no fan-in to speak of)."""
    position_std: float = 0.1
    """The learned position table's standard deviation under fan_in."""
    readout_scale: float = 1.0
    """Multiplies the readout's standard deviation at base_width."""
    residual_scaling: bool = True
    """Divide the standard deviation of projections that write to the residual stream by sqrt(2 depth) (GPT-2)."""

    def validate(self) -> None:
        of_its_types("init.", self)
        one_of("init.base", self.base, BASE_INITS)
        for name in ("std", "embedding_std", "position_std", "readout_scale"):
            positive(f"init.{name}", getattr(self, name))
        fan_in = self.base == "fan_in"
        all_used("init.", self, {"std": not fan_in, "embedding_std": fan_in, "position_std": fan_in}, self.base)


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer at base_width; the table says what becomes of rate, decay and epsilon at other widths."""

    name: str = "adamw"
    """adamw, adam, sgd, lion, muon, ...: a key of OPTIMIZERS. The defaults below hold for all of them; what each
    one's implementation starts from is `OptimizerConfig.published(name)`."""
    beta1: float = 0.9
    """Decay of the first moment of Adam and its kin."""
    beta2: float = 0.95
    """Decay of their second moment (adafactor: its largest value)."""
    eps: float = 1e-8
    """Their epsilon at base_width."""
    scale_eps: bool = True
    """Scale epsilon with width as the table says (Tensor Programs V, appendix B.3)."""
    momentum: float = 0.9
    """Momentum of sgd, lars and muon."""
    nesterov: bool = False
    """Nesterov's momentum for sgd and lars (muon has it always)."""
    precondition_every: int = 10
    """Steps between looks at the curvature: shampoo's and soap's preconditioners, sophia's Hessian."""
    weight_decay: float = 0.0
    """Weight decay at base_width."""
    decay_mode: str = "width_independent"
    """Per step a matrix of rate multiplier m shrinks by lr*wd (width_independent), lr*m*wd (coupled, torch's AdamW as
    it is) or schedule*wd (lr_independent). Under sgd, torch's decay passes through the momentum, so that in the
    long run it shrinks by 1/(1 - momentum) as much. `coupled` follows each table's own m, so with it Tables 3, 8
    and 9 are no longer one parametrization. Where the optimizer finds its rate itself (dadapt_adam, prodigy), lr stands
    for what it finds times lr. Under adam_l2, decay passes through Adam's moments, and the mode says how it grows with
    width before it does."""
    decay_vectors: bool = False
    """Decay gains, biases and scalars too."""
    clip_norm: float | None = None
    """Largest global gradient norm, taken in one gauge (Table 8's) at every width; None: no clipping."""

    @classmethod
    def published(cls, name: str) -> OptimizerConfig:
        """The hyperparameters that an optimizer's implementation (and for the most part its paper) starts from, without
        weight decay."""
        one_of("optimizer.name", name, OPTIMIZERS)
        return cls(name, **OPTIMIZERS[name].defaults)  # type: ignore[arg-type]

    @property
    def spec(self) -> OptimizerSpec:
        """What muP needs to know of the optimizer."""
        return OPTIMIZERS[self.name]

    def validate(self) -> None:
        of_its_types("optimizer.", self)
        one_of("optimizer.name", self.name, OPTIMIZERS)
        one_of("optimizer.decay_mode", self.decay_mode, DECAY_MODES)
        for name in ("beta1", "beta2", "momentum"):
            fitting(f"optimizer.{name}", getattr(self, name), 0 <= getattr(self, name) < 1, "from 0 to below 1")
        positive("optimizer.eps", self.eps)
        fitting("optimizer.weight_decay", self.weight_decay, 0 <= self.weight_decay <= MOST, "of 0 or more")
        if self.clip_norm is not None:
            positive("optimizer.clip_norm", self.clip_norm)
        positive("optimizer.precondition_every", self.precondition_every)
        if self.weight_decay and "weight_decay" not in self.spec.fields:
            raise ValueError(
                f"expected settings of {self.name}, got optimizer.weight_decay {self.weight_decay}, which {self.name} "
                "does not use; leave it out, or use adamw"
            )
        own = sorted({field for spec in OPTIMIZERS.values() for field in spec.fields})
        all_used("optimizer.", self, {field: field in self.spec.fields for field in own}, self.name)
        if self.decay_mode == "lr_independent" and self.spec.decay_follows_lr:
            raise ValueError(
                f"expected a decay that {self.name} can separate from its learning rate, got lr_independent; set "
                "optimizer.decay_mode to width_independent or coupled"
            )
        if self.nesterov and self.momentum == 0:
            raise ValueError("expected optimizer.momentum above 0 with nesterov, got 0; leave optimizer.nesterov out")
        by = self.spec.averages_by
        if by is not None and getattr(self, by) == 0:
            raise ValueError(
                f"expected optimizer.{by} above 0 with {self.name}, which averages by it, got 0; change it"
            )

    def validate_schedule(self, schedule: ScheduleConfig) -> None:
        """Raises ValueError on a schedule that decays, where the optimizer averages its weights instead of it, and on
        one that lowers a momentum which the optimizer does not have, or has less of."""
        if self.spec.averages_by is not None and not schedule.spec.steady:
            raise ValueError(
                f"expected no decay with {self.name}, which averages its weights instead, got schedule "
                f"{schedule.name}; set schedule.name to constant"
            )
        momenta = [getattr(self, name) for name in MOMENTA if name in self.spec.fields]
        if schedule.momentum_dip and not all(momentum > schedule.momentum_dip for momentum in momenta or [0.0]):
            found = f"momentum {min(momenta)}" if momenta else "no momentum"
            raise ValueError(
                f"expected more momentum than schedule.momentum_dip {schedule.momentum_dip}, got {self.name} with "
                f"{found}; lower the dip, or leave it out"
            )


@dataclass(frozen=True)
class TrialConfig:
    """One training run: everything that determines its result, except the data. Resources and names are not in it."""

    parametrization: str
    lr: float
    seed: int
    base_width: int
    base_depth: int
    steps: int
    batch_size: int
    dtype: str
    loss: str
    z_loss: float
    final_window: float
    eval_batches: int
    model: ModelConfig
    init: InitConfig
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    build: str = ""
    largest_batch: int | None = None
    """Grow the batch up to this in place of the schedule's decay; None: it stays. A sweep's trials have none."""

    def validate_growth(self) -> None:
        """Raises ValueError on a batch that cannot grow in place of the decay."""
        if self.largest_batch is None:
            return
        found = f"got largest_batch {self.largest_batch}"
        if self.largest_batch < self.batch_size:
            raise ValueError(f"expected a batch that grows, {found} with batch_size {self.batch_size}; raise it")
        if self.optimizer.spec.batch_exponent is None:
            known = [name for name, spec in OPTIMIZERS.items() if spec.batch_exponent is not None]
            raise ValueError(
                f"expected an optimizer with a rule for what a batch is worth, {found} with {self.optimizer.name}; use "
                f"one of {', '.join(known)}, or leave it out"
            )
        if self.schedule.spec.steady or self.schedule.spec.by_losses:
            raise ValueError(
                f"expected a schedule whose decay the steps decide, {found} with {self.schedule.name}; set "
                "schedule.name, such as to step or cosine"
            )

    def digest(self, data_fingerprint: str) -> str:
        """The trial's id: 16 hex digits over this config and the data's fingerprint.

        What stands at its default is left out, so that a field which a later version adds changes no id. A default that
        is changed asks for another `SCHEMA`. The schedule's floor counts as what it comes to, left out where it is 0.
        """
        floor = self.schedule.end or None
        said = dataclasses.replace(self, schedule=dataclasses.replace(self.schedule, floor=floor))
        text = json.dumps([SCHEMA, data_fingerprint, stated(said)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def cohort_key(self) -> TrialConfig:
        """What trials have in common that can be trained as one: all but rate, seed, initial values, those numbers of
        the optimizer that a param group can hold, and the schedule, unless the batch follows it."""
        optimizer = OptimizerConfig(name=self.optimizer.name, precondition_every=self.optimizer.precondition_every)
        schedule = ScheduleConfig() if self.largest_batch is None else self.schedule
        return dataclasses.replace(self, lr=1.0, seed=0, init=InitConfig(), optimizer=optimizer, schedule=schedule)

    @property
    def tokens(self) -> int:
        """Tokens seen in training, where the batch does not grow."""
        return self.steps * self.batch_size * self.model.context


def stated(config: Any) -> Any:
    """A config as plain data without the fields that stand at their default; tuples as lists, all else as it is."""
    if isinstance(config, tuple | list):
        return [stated(each) for each in config]
    if not dataclasses.is_dataclass(config):
        return config
    found = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value) or value != field.default:
            found[field.name] = stated(value)
    return found
