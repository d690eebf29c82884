"""A sweep of the batch size by the bracket search, at a size that takes seconds."""

from mutransfer import ModelConfig, SweepConfig


def sweep() -> SweepConfig:
    return SweepConfig(
        experiment="old_batches",
        parametrizations=("mup",),
        widths=(16,),
        batch_sizes=(4, 8),
        lrs=tuple(2.0**e for e in range(-9, 0)),
        search="bracket",
        budget=16,
        base_width=16,
        steps=20,
        eval_batches=1,
        executor="inprocess",
        data="text:corpus.txt",
        model=ModelConfig(depth=1, context=16, head_dim=8),
    )
