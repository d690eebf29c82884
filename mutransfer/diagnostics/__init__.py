"""What a model and an optimizer are like at several widths, measured."""

from mutransfer.diagnostics.coord_check import coord_check

__all__ = ["coord_check"]
