"""How a model's initialization, multipliers, rates, decay and epsilon change with width: theory as data."""

from mutransfer.parametrization.build import build_transformer
from mutransfer.parametrization.parametrized import Parametrized
from mutransfer.parametrization.rules import ParamRule
from mutransfer.parametrization.shapes import ParamShape, scale_shapes
from mutransfer.parametrization.tables import TABLES, Row, Table

__all__ = ["TABLES", "ParamRule", "ParamShape", "Parametrized", "Row", "Table", "build_transformer", "scale_shapes"]
