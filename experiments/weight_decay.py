"""Does weight decay break muP's transfer, and does it matter which way it scales with width?

At the base width, the narrowest, the three modes take the same from a matrix at the rate 2^-6: 0.5% in a step at the
peak, a third in the run. At other widths width_independent takes as much; coupled, torch's AdamW as it is, less by the
matrix's rate multiplier; lr_independent as much as the first, and at every rate the same.

4 arms, 168 trials, about 4 minutes on two cores.
"""

from mutransfer.config import Arm, SweepConfig

DECAY, BEST_RATE = 0.3, 2.0**-6


def sweep() -> SweepConfig:
    return SweepConfig(
        experiment="weight_decay",
        search="grid",
        parametrizations=("mup",),
        variants=tuple(
            Arm(mode, "mup", (("optimizer.decay_mode", mode), ("optimizer.weight_decay", decay)))
            for mode, decay in (
                ("width_independent", DECAY),
                ("coupled", DECAY),
                ("lr_independent", DECAY * BEST_RATE),
            )
        ),
        widths=(32, 64, 128),
        base_width=32,
        lrs=tuple(2.0**e for e in range(-9, -2)),
    )
