"""How a model's initialization, multipliers, rates, decay and epsilon change with size: theory as data."""

from mutransfer.parametrization.any_model import parametrize
from mutransfer.parametrization.build import build_model
from mutransfer.parametrization.parametrized import Parametrized
from mutransfer.parametrization.rules import ParamRule
from mutransfer.parametrization.shapes import ParamShape, scale_shapes
from mutransfer.parametrization.user_model import load_build

__all__ = [
    "ParamRule",
    "ParamShape",
    "Parametrized",
    "build_model",
    "load_build",
    "parametrize",
    "scale_shapes",
]
