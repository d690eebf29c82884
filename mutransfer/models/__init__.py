"""Plain modules with plain-float multipliers."""

from mutransfer.models.transformer import Transformer

__all__ = ["Transformer"]
