"""Does the loss decide how the best rate moves with width, under SP? An MLP trained with plain SGD.

Cross-entropy survives logits that grow with width and allows rates that fall as n^-1/2; squared error does not, and
forces n^-1 (Haas et al. 2505.22491). Both are best just below the rates at which they diverge, where a grid says no
more than its step, so the rates are half an octave apart.

2 arms, 240 trials, about 4 minutes on two cores.
"""

from mutransfer import Arm, InitConfig, ModelConfig, OptimizerConfig, SweepConfig

HALF_OCTAVES = {"cross_entropy": range(-6, 4), "squared_error": range(-13, 1)}
"""Rates about the optima of each loss, as log2, in half octaves."""


def sweep() -> SweepConfig:
    return SweepConfig(
        experiment="sgd_and_the_loss",
        search="grid",
        parametrizations=(),
        variants=tuple(
            Arm(loss, "sp", (("loss", loss), ("lrs", tuple(2.0 ** (e / 2) for e in rates))))
            for loss, rates in HALF_OCTAVES.items()
        ),
        widths=(32, 64, 128, 256, 512),
        model=ModelConfig(architecture="mlp", depth=3, output_mult=1.0),
        init=InitConfig(embedding_std=0.5),
        optimizer=OptimizerConfig(name="sgd", momentum=0.0),
    )
