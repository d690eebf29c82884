"""Does the best rate transfer across depth? muP has no rule for it, depth-muP and CompleteP have.

3 arms, 192 trials, about 5 minutes on two cores.
"""

from mutransfer import SweepConfig


def sweep() -> SweepConfig:
    return SweepConfig(
        experiment="depth",
        search="grid",
        parametrizations=("mup", "depth_mup", "completep"),
        widths=(32,),
        depths=(2, 4, 8, 16),
    )
