"""The sweep that language models of others are given, by our own training loop: bytes, short contexts, three widths."""

from mutransfer.config import ModelConfig, SweepConfig


def byte_sweep(name: str, parametrizations: tuple[str, ...]) -> SweepConfig:
    """The width study of `experiments.models.NAME:build`."""
    return SweepConfig(
        experiment=name,
        build=f"experiments.models.{name}:build",
        parametrizations=parametrizations,
        widths=(32, 64, 128),
        base_width=64,
        lrs=tuple(2.0**e for e in range(-12, -2)),
        steps=300,
        model=ModelConfig(context=32),
        out=f"results/models/{name}",
    )
