"""How does the best learning rate move with width, under SP and under muP? The default width study."""

from mutransfer import SweepConfig


def sweep() -> SweepConfig:
    return SweepConfig()
