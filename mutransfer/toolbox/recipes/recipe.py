"""A recipe, a range of rates, and what a family of recipes says of width."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mutransfer.config import ScheduleConfig

MARKS: Mapping[str, str] = {
    "read": "stands so in the source, whose text was read",
    "quoted": "stands so in texts that quote the source; the source itself was not read for it",
    "derived": "computed from numbers in the source",
    "assumed": "not stated in the source; what its siblings or its code have",
}
"""How far a number was checked."""


@dataclass(frozen=True)
class Fact:
    """A value as it is printed, where it stands, and a key of MARKS; a value of None was not found in the source."""

    value: float | str | None
    source: str
    mark: str = "read"


@dataclass(frozen=True)
class Recipe:
    """How one model was trained.

    `schedule` is over `length` units (steps, or million tokens where the source counts tokens), with its decay ending
    at `decay_end`; from there on the rate stays where it is. `floor` is a factor of the peak. Batches are in tokens.
    """

    name: str
    title: str
    width: int
    depth: int
    unit: str
    length: int
    decay_end: int
    schedule: ScheduleConfig
    shape: Fact
    peak: Fact
    floor: Fact
    warmup: Fact
    batch: Fact
    tokens: Fact
    weight_decay: Fact
    clip_norm: Fact
    betas: Fact
    eps: Fact
    remark: str = ""
    parametrization: str = "sp"
    base_width: int | None = None
    """The width that the peak is for, where the model follows muP itself."""

    @property
    def peak_lr(self) -> float:
        return float(self.peak.value or math.nan)

    @property
    def facts(self) -> dict[str, Fact]:
        """All of it, by what it is called in print."""
        return {
            "schedule": self.shape,
            "peak rate": self.peak,
            "floor": self.floor,
            "warmup": self.warmup,
            "batch": self.batch,
            "tokens": self.tokens,
            "weight decay": self.weight_decay,
            "clipping": self.clip_norm,
            "betas": self.betas,
            "epsilon": self.eps,
        }

    def hidden_lr(self, width: int) -> float:
        """What muP (Table 8 under Adam) makes of the peak for the hidden matrices of a model of another width: it falls
        as base width over width. Embeddings, vectors and readout keep the peak."""
        return self.peak_lr * (self.base_width or self.width) / width


class Example(NamedTuple):
    """A run that is known to have used a rate (None: not one of the range's), in words."""

    rate: float | None
    text: str
    source: str
    mark: str = "read"


@dataclass(frozen=True)
class RateRange:
    """The rates that a kind of training is done with, and why they lie there."""

    name: str
    title: str
    per: str
    """What the rates are for, where they depend on it, such as a batch of 256 images."""
    schedule: str
    why: str
    examples: tuple[Example, ...]

    @property
    def rates(self) -> list[float]:
        """Those of the examples, from the lowest to the highest."""
        return sorted(example.rate for example in self.examples if example.rate is not None)


class Trend(NamedTuple):
    """The slope of log peak rate on log width in a family: by least squares, and from its narrowest model to its
    widest. Depth, batch and data vary along, so it is what was published, not what width alone does."""

    slope: float
    between_ends: float
    intercept: float

    def at(self, width: float) -> float:
        """The peak rate on the fitted line."""
        return math.exp(self.intercept + self.slope * math.log(width))


def trend(recipes: Sequence[Recipe]) -> Trend | None:
    """The trend of a family; None where all its models have one width."""
    widths, rates = zip(*sorted((math.log(recipe.width), math.log(recipe.peak_lr)) for recipe in recipes), strict=True)
    if widths[0] == widths[-1]:
        return None
    slope, intercept = statistics.linear_regression(widths, rates)
    return Trend(slope, (rates[-1] - rates[0]) / (widths[-1] - widths[0]), intercept)
