"""Is the default study long enough to show what it claims? The same sweep with twice the steps.

2 arms, 128 trials, about 14 minutes on two cores.
"""

import dataclasses

from mutransfer import SweepConfig


def sweep() -> SweepConfig:
    default = SweepConfig()
    return dataclasses.replace(default, experiment="twice_the_steps", search="grid", steps=2 * default.steps)
