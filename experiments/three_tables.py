"""Are Tables 3, 8 and 9 of Tensor Programs V one parametrization? Their loss curves must fall on each other.

3 arms, 72 trials, about 2 minutes on two cores.
"""

from mutransfer import SweepConfig


def sweep() -> SweepConfig:
    return SweepConfig(
        experiment="three_tables",
        search="grid",
        parametrizations=("mup", "mup_table3", "mup_table9"),
        widths=(32, 64, 128),
        seeds=1,
    )
