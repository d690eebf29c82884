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
from mutransfer.trials.table import ADAPTIVE, DRAWN, GIVEN, Trials

ADAPTIVE_SEEDS = 2
"""The trials of an adaptive search count as so many seeds in a plan, which may have more of them: it runs others at
every rate."""
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
    """The name of what placed the trials; empty where the table does not say."""
    placement: str
    """How it did."""
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
        return self.placement != GIVEN

    @property
    def adaptive(self) -> bool:
        """Whether the search itself decides on seeds."""
        return self.placement == ADAPTIVE

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
    """The study of an arm, along the one dimension that varies in it. An adaptive search goes on from the trials of any
    other; of several that draw rates it is about the one with the most trials."""
    trials, placement, search = table.frame, GIVEN, ""
    placed = trials["placement"] if table.has("placement") else pd.Series(GIVEN, index=trials.index)
    for kind in (DRAWN, ADAPTIVE):
        placement = kind if (placed == kind).any() else placement
    if table.has("search"):
        named = trials.loc[placed == placement, "search"]
        search = str(named.mode().iloc[0]) if len(named) else search
        trials = trials[trials["search"] == search] if placement == DRAWN else trials
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
        seeds=ADAPTIVE_SEEDS if placement == ADAPTIVE else int(trials["seed"].nunique()),
        lrs=sorted(float(lr) for lr in trials["lr"].unique()),
        search=search,
        placement=placement,
        diverged=bool(trials["diverged"].any()),
        tolerance=tolerance,
        axis=axis,
    )
