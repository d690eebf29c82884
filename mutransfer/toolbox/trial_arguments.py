"""One training run as the command line describes it, for the commands that look into one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mutransfer.arguments import LearningRate, refuse_model_width
from mutransfer.config import (
    InitConfig,
    ModelConfig,
    OptimizerConfig,
    Scale,
    ScheduleConfig,
    SweepConfig,
    TrialConfig,
    validate,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class TrialArguments:
    """The model, its training and where that runs."""

    width: int
    """The width of the model."""
    parametrization: str = "mup"
    """A table by name, such as sp, mup (Table 8) or completep."""
    base_width: int = SweepConfig.base_width
    """The width at which every parametrization is the same model."""
    base_depth: int = SweepConfig.base_depth
    """The depth at which tables with rules for depth are the same model as those without."""
    lr: LearningRate = 2.0**-8
    """The peak rate before multipliers, such as 0.003 or 2^-8."""
    steps: int = SweepConfig.steps
    """Optimizer steps."""
    batch_size: int = SweepConfig.batch_size
    """Sequences per step."""
    seed: int = 0
    """Initialization and data order."""
    dtype: str = SweepConfig.dtype
    """float32, bfloat16 (autocast over float32 weights) or float64."""
    loss: str = SweepConfig.loss
    """cross_entropy, in nats per token, or squared_error of the outputs against the one-hot target."""
    data: str = SweepConfig.data
    """stdlib (the source of Python's standard library), text:PATH, tokens:PATH (uint16), or hf:NAME, as in a sweep."""
    device: str = SweepConfig.device
    """auto (cuda where there is one), cpu or cuda."""
    build: str = SweepConfig.build
    """A model of your own in place of ours: module:function, as in a sweep."""
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    init: InitConfig = dataclasses.field(default_factory=InitConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = dataclasses.field(default_factory=ScheduleConfig)

    def trial(self) -> TrialConfig:
        """The run. Raises ValueError on what cannot be run."""
        refuse_model_width(self.model, "--width")
        sweep = SweepConfig(
            parametrizations=(self.parametrization,),
            widths=(self.width,),
            lrs=(self.lr,),
            search="grid",
            base_width=self.base_width,
            base_depth=self.base_depth,
            steps=self.steps,
            batch_size=self.batch_size,
            dtype=self.dtype,
            loss=self.loss,
            data=self.data,
            device=self.device,
            build=self.build,
            model=self.model,
            init=self.init,
            optimizer=self.optimizer,
            schedule=self.schedule,
        )
        validate(sweep)
        return sweep.trial(sweep.arms[0], Scale(self.width), self.lr, self.seed)


def write_looks(folder: Path, name: str, trial: TrialConfig, rows: Sequence[Mapping[str, Any]], figure: Figure) -> Path:
    """Write NAME.jsonl, a row on each line with null for what is not finite, NAME.svg and .png, and the run in
    trial.json; returns the picture."""
    import json
    import math

    from mutransfer.config import to_json
    from mutransfer.files import write_whole
    from mutransfer.report.files import save_figure

    def known(value: Any) -> Any:
        return None if isinstance(value, float) and not math.isfinite(value) else value

    lines = [json.dumps({key: known(value) for key, value in row.items()}) for row in rows]
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "trial.json", json.dumps(to_json(trial), indent=1).encode() + b"\n")
    write_whole(folder / f"{name}.jsonl", ("\n".join(lines) + "\n").encode())
    return save_figure(name, figure, folder)[1]
