"""What known models were trained with: data, each number with its source and how far it was checked."""

from mutransfer.toolbox.recipes.finetuning import RANGES
from mutransfer.toolbox.recipes.pretraining import FAMILIES, RECIPES
from mutransfer.toolbox.recipes.recipe import MARKS, Example, Fact, RateRange, Recipe, Trend, trend

__all__ = ["FAMILIES", "MARKS", "RANGES", "RECIPES", "Example", "Fact", "RateRange", "Recipe", "Trend", "trend"]
