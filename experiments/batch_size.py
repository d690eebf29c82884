"""How does muP's best rate move with the batch size, at as many steps?

Adam's square-root rule (Malladi et al. 2205.10287) says +1/2 octave a doubling while noise rules, and less, to nothing,
for larger batches.

1 arm, 120 trials, about 3 minutes on two cores.
"""

from mutransfer import SweepConfig


def sweep() -> SweepConfig:
    return SweepConfig(
        experiment="batch_size",
        search="grid",
        parametrizations=("mup",),
        widths=(64,),
        batch_sizes=(4, 8, 16, 32, 64),
        seeds=3,
    )
