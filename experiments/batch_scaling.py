"""By which rule does the best rate grow with the batch: linear under SGD, square root under Adam?

Goyal et al. (1706.02677) and Malladi et al. (2205.10287) say +1 and +1/2 octave a doubling, over as many examples and
while noise rules the gradients, Adam's betas and epsilon following the batch (`mutransfer.scale_batch`). So every run
sees 1024 sequences, in as many steps as its batch makes of them; they are short, so that there is noise to speak of. A
third line has Adam with the betas and the epsilon of batch 4 at every batch; at batch 4 the two are one.

Each line is an arm for each batch, since more than its size changes. `python experiments/draw/batch_scaling.py` puts
them together, fits the slopes and draws them.

14 arms, 468 trials, about 3 minutes on two cores.
"""

from typing import Any

from mutransfer import Arm, ModelConfig, OptimizerConfig, ScheduleConfig, SweepConfig, scale_batch

EXAMPLES, BATCHES, TUNED = 1024, (1, 2, 4, 8, 16), 4
"""Sequences of a run; sequences of a step; the batch at which Adam's betas and epsilon are the usual ones."""
SGD, FOLLOWING, KEPT = "sgd", "adam, betas and epsilon follow", "adam, as at batch 4"
"""The lines; an arm is named as its line and its batch."""
RATES = {
    SGD: tuple(2.0 ** (e / 2) for e in range(-19, -4)),
    FOLLOWING: tuple(2.0**e for e in range(-13, -4)),
    KEPT: tuple(2.0**e for e in range(-13, -4)),
}
"""SGD is best just below the rates at which it diverges, so its are half an octave apart."""


def arm(line: str, batch: int) -> Arm:
    """A line at one batch size, over EXAMPLES sequences."""
    optimizer = OptimizerConfig("sgd", momentum=0.0) if line == SGD else OptimizerConfig("adam")
    if line == FOLLOWING:
        optimizer = scale_batch(1.0, optimizer, from_batch=TUNED, to_batch=batch).optimizer
    changes: dict[str, Any] = {"batch_size": batch, "steps": EXAMPLES // batch, "lrs": RATES[line]}
    for name in ("name", "momentum", "beta1", "beta2", "eps"):
        if getattr(optimizer, name) != getattr(OptimizerConfig, name):
            changes[f"optimizer.{name}"] = getattr(optimizer, name)
    return Arm(f"{line}, batch {batch}", "mup", tuple(changes.items()))


def sweep() -> SweepConfig:
    return SweepConfig(
        experiment="batch_scaling",
        search="grid",
        parametrizations=(),
        variants=tuple(
            arm(line, batch) for line in RATES for batch in BATCHES if not (line == KEPT and batch == TUNED)
        ),
        widths=(64,),
        seeds=3,
        model=ModelConfig(context=16),
        schedule=ScheduleConfig(warmup=1 / 16),  # 64 sequences, whole steps of every batch
    )
