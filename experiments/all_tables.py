"""Under which parametrizations does the best rate stand still, and which is best at its own?

The readout starts at random: with one that starts at zero, several of these tables are one but for epsilon. u-muP has
rates of another scale: its slope compares with the others', its rates do not.

7 arms, 294 trials, about 7 minutes on two cores.
"""

from mutransfer.config import Arm, ModelConfig, SweepConfig


def sweep() -> SweepConfig:
    return SweepConfig(
        experiment="all_tables",
        search="grid",
        parametrizations=("sp", "sp_full_align", "mup_simple", "ntk", "mean_field", "mup"),
        variants=(Arm("umup", "umup", (("lrs", tuple(2.0**e for e in range(-4, 3))),)),),
        widths=(32, 64, 128),
        lrs=tuple(2.0**e for e in range(-10, -3)),
        model=ModelConfig(zero_readout=False, output_mult=1.0),
    )
