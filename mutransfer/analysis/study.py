"""What an arm has been trained at, as far as it matters to what else might be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from mutransfer.analysis.line import located
from mutransfer.analysis.optimum import Optimum
from mutransfer.analysis.pooled import Located
from mutransfer.config.searches import SEARCHES
from mutransfer.trials.table import Trials

GRID = next(name for name, kind in SEARCHES.items() if not kind.drawn)
"""The search that takes the rates it is given; the others draw them."""
BRACKET = next(name for name, kind in SEARCHES.items() if kind.adaptive)
"""The search that repeats seeds until the slope is known as well as wanted."""
BRACKET_SEEDS = 2
"""Its trials count as so many seeds in a plan, which may have more of them: it runs others at every rate."""
FEWEST_OPTIMA = 2
"""Fewest that have a slope."""


class Tried(NamedTuple):
    """What was run at one size."""

    trials: int
    rates: int
    flops: float
    """Of a trial, on average."""


@dataclass(frozen=True, eq=False)
class Study:
    """The trials of an arm and what was found in them."""

    optima: Sequence[Optimum]
    joint: Located | None
    """The interior ones, where a line goes through them."""
    tried: Mapping[float, Tried]
    seeds: int
    lrs: Sequence[float]
    """Ascending, of all sizes."""
    search: str
    diverged: bool
    """Whether any trial did."""
    tolerance: float
    axis: str
    """The one dimension that varies."""

    @property
    def interior(self) -> list[Optimum]:
        return [optimum for optimum in self.optima if optimum.interior]

    @property
    def drawn(self) -> bool:
        """Whether a search drew the rates, others at each size."""
        return self.search != GRID

    @property
    def adaptive(self) -> bool:
        """Whether the search itself decides on seeds."""
        return self.search == BRACKET

    @property
    def rates(self) -> int:
        """At a size that has them all."""
        return max(each.rates for each in self.tried.values()) if self.drawn else len(self.lrs)

    @property
    def step(self) -> float:
        """Octaves between rates, of a search on average."""
        gaps = np.diff(np.log2(self.lrs))
        if not len(gaps):
            return 1.0
        return float(gaps.sum() / max(self.rates - 1, 1) if self.drawn else np.median(gaps))


def study_of(optima: Sequence[Optimum], table: Trials, tolerance: float, axis: str) -> Study:
    """The study of an arm, along the one dimension that varies in it. Of trials of several searches it is
    about those of the last in SEARCHES; a bracket goes on from those of any search."""
    trials = table.frame
    recorded = set(trials["search"]) if "search" in trials.columns else set()
    searches = [search for search in SEARCHES if search != GRID and search in recorded]
    if searches and searches[-1] != BRACKET:
        trials = trials[trials["search"] == searches[-1]]
    interior = [optimum for optimum in optima if optimum.interior]
    return Study(
        optima=optima,
        joint=located(interior) if len(interior) >= FEWEST_OPTIMA else None,
        tried={
            scale[axis]: Tried(len(each), each["lr"].nunique(), float(each.get("flops", pd.Series([math.nan])).mean()))
            for scale in table.scales
            for each in [trials[trials[axis] == scale[axis]]]
            if len(each)
        },
        seeds=BRACKET_SEEDS if searches[-1:] == [BRACKET] else int(trials["seed"].nunique()),
        lrs=sorted(float(lr) for lr in trials["lr"].unique()),
        search=searches[-1] if searches else GRID,
        diverged=bool(trials["diverged"].any()),
        tolerance=tolerance,
        axis=axis,
    )
