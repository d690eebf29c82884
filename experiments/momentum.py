"""What does momentum do to SGD's best rate, and does that rate transfer across width under muP?

In the long run a gradient moves a weight by lr/(1 - momentum), and a rule of thumb has the best rate in proportion to
1 - momentum. Against it stands the edge of stability, 2 (1 + momentum)/sharpness for a gradient step with momentum
(Cohen et al. 2103.00065, appendix B), which rises with it: SGD is best just below the rates at which it diverges, so
the rates here are half an octave apart.

6 arms, 324 trials, about 8 minutes on two cores.
"""

from mutransfer import Arm, SweepConfig

HIGHEST = {0.0: -2.5, 0.5: -3.0, 0.8: -3.5, 0.9: -4.0, 0.95: -4.5}
"""log2 of the highest rate tried, by momentum."""
NESTEROV = 0.9
RATES = 9


def arm(label: str, momentum: float, highest: float, nesterov: bool = False) -> Arm:
    rates = tuple(2.0 ** (highest - step / 2) for step in reversed(range(RATES)))
    own = (("optimizer.name", "sgd"), ("optimizer.momentum", momentum), ("optimizer.nesterov", nesterov))
    return Arm(label, "mup", (*own, ("lrs", rates)))


def sweep() -> SweepConfig:
    return SweepConfig(
        experiment="momentum",
        search="grid",
        parametrizations=(),
        variants=(
            *(arm(f"momentum {momentum}", momentum, highest) for momentum, highest in HIGHEST.items()),
            arm(f"Nesterov {NESTEROV}", NESTEROV, HIGHEST[NESTEROV] + 0.5, nesterov=True),
        ),
        widths=(32, 64, 128),
    )
