"""How does muP's best rate move with the number of steps?

A rate tuned on short runs is expected to be too high for long ones. The warmup, a tenth of the run, grows with it.

1 arm, 96 trials, about 3 minutes on two cores.
"""

from mutransfer import SweepConfig


def sweep() -> SweepConfig:
    return SweepConfig(
        experiment="steps",
        search="grid",
        parametrizations=("mup",),
        widths=(64,),
        step_counts=(75, 150, 300, 600),
        seeds=3,
    )
