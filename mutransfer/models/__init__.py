"""Plain modules with plain-float multipliers."""

from collections.abc import Mapping

from torch import nn

from mutransfer.models.mlp import TokenMLP
from mutransfer.models.transformer import Transformer

MODELS: Mapping[str, type[nn.Module]] = {"transformer": Transformer, "mlp": TokenMLP}
"""Each architecture's class, built from a ModelConfig: tokens (B, T) to logits (B, T, V)."""

__all__ = ["MODELS", "TokenMLP", "Transformer"]
