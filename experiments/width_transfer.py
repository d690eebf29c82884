"""How does the best learning rate move with width, under SP and under muP? The default width study.

2 arms, about 70 trials, about 3 minutes on two cores.
"""

from mutransfer import SweepConfig


def sweep() -> SweepConfig:
    return SweepConfig()
