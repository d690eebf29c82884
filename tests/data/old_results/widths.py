"""Two arms of the width study at a size that takes seconds, one with a change of its own."""

from mutransfer import Arm, ModelConfig, SweepConfig


def sweep() -> SweepConfig:
    return SweepConfig(
        experiment="old",
        parametrizations=("mup",),
        variants=(Arm("mup, rmsnorm", "mup", (("model.norm", "rmsnorm"),)),),
        widths=(16, 32),
        lrs=tuple(2.0**e for e in range(-6, -3)),
        search="grid",
        seeds=1,
        base_width=16,
        steps=20,
        batch_size=4,
        eval_batches=1,
        executor="inprocess",
        data="text:corpus.txt",
        model=ModelConfig(depth=1, context=16, head_dim=8),
    )
