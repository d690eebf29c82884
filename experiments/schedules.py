"""Does muP's rate transfer across width under every schedule and warmup, and does it transfer between them?

6 arms, 252 trials, about 6 minutes on two cores.
"""

from mutransfer.config import Arm, SweepConfig


def sweep() -> SweepConfig:
    return SweepConfig(
        experiment="schedules",
        search="grid",
        parametrizations=(),
        variants=(
            *(Arm(name, "mup", (("schedule.name", name),)) for name in ("constant", "linear", "wsd")),
            Arm("cosine", "mup", (("schedule.name", "cosine"), ("schedule.floor", 0.0))),
            *(Arm(f"linear, warmup {share}", "mup", (("schedule.warmup", share),)) for share in (0.0, 0.3)),
        ),
        widths=(32, 64, 128),
        lrs=tuple(2.0**e for e in range(-10, -3)),
    )
