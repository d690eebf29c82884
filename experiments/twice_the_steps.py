"""Is the default study long enough to show what it claims? The same sweep with twice the steps."""

import dataclasses

from mutransfer import SweepConfig


def sweep() -> SweepConfig:
    default = SweepConfig()
    return dataclasses.replace(default, experiment="twice_the_steps", steps=2 * default.steps)
