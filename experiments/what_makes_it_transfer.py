"""Which of muP's rules makes the best rate stand still? Each taken out in turn, and put into SP where it is only one.

The base width is the narrowest here, so that there every arm is the same model, and what moves beyond it moves by its
rules alone. The two arms whose heads grow with width part only in how their attention logits scale.

7 arms, 294 trials, about 7 minutes on two cores.
"""

from mutransfer.config import Arm, SweepConfig

GROWING_HEADS = (("model.head_dim", None), ("model.n_heads", 2))


def sweep() -> SweepConfig:
    return SweepConfig(
        experiment="what_makes_it_transfer",
        search="grid",
        parametrizations=("sp", "sp_embedding_lr", "mup_without_hidden_lr", "mup_without_output_mult", "mup"),
        variants=(
            Arm("mup, growing heads", "mup", GROWING_HEADS),
            Arm("mup, growing heads, SP scale", "mup", (*GROWING_HEADS, ("model.attention_scale", "1/sqrt(d)"))),
        ),
        widths=(32, 64, 128),
        base_width=32,
        lrs=tuple(2.0**e for e in range(-9, -2)),
    )
