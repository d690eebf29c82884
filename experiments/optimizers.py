"""Does each optimizer's best rate transfer across width under muP, and which reaches the lowest loss at its own?

Each arm is an optimizer with its implementation's own hyperparameters (`OptimizerConfig.published(name)`) and rates
about its optimum at width 32. Those whose step is in proportion to a weight's size do not leave a readout that starts
at zero, so theirs is random; schedule-free ones do not decay. Adam is AdamW here, where nothing decays. SGD, whose best
rate lies at the edge of divergence, has finer rates and an experiment of its own, `momentum.py`.

18 arms, about 540 trials, about 20 minutes on two cores.
"""

import dataclasses
from typing import Any

from mutransfer import OPTIMIZERS, Arm, OptimizerConfig, SweepConfig

BEST = {
    "adamw": -8,
    "nadam": -8,
    "radam": -5,
    "rmsprop": -9,
    "adam_atan2": -8,
    "adopt": -8,
    "lion": -9,
    "sophia": -3,
    "soap": -7,
    "adafactor": -4,
    "lamb": -6,
    "lars": 3,
    "muon": -5,
    "shampoo": -6,
    "dadapt_adam": -3,
    "prodigy": -1,
    "schedule_free_adamw": -8,
    "schedule_free_sgd": -3,
}
"""log2 of about the best rate at width 32, from one seed."""


def arm(name: str, best: int) -> Arm:
    """An optimizer at its implementation's hyperparameters, and nine octaves about `best`."""
    published = OptimizerConfig.published(name)
    own = {field.name: getattr(published, field.name) for field in dataclasses.fields(published)}
    changes: dict[str, Any] = {
        f"optimizer.{field.name}": own[field.name]
        for field in dataclasses.fields(published)
        if own[field.name] != field.default
    }
    changes["lrs"] = tuple(2.0**e for e in range(best - 4, best + 5))
    if OPTIMIZERS[name].family == "norm":
        changes |= {"model.zero_readout": False, "model.output_mult": 1.0}
    if name.startswith("schedule_free"):
        changes["schedule.name"] = "constant"
    return Arm(name, "mup", tuple(changes.items()))


def sweep() -> SweepConfig:
    return SweepConfig(
        experiment="optimizers",
        parametrizations=(),
        variants=tuple(arm(name, best) for name, best in BEST.items()),
        widths=(32, 64, 128),
    )
