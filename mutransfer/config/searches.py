"""The searches by name, as far as a config must know them: a search is added by an entry here, and by what it proposes
in its module of `mutransfer.search`. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class SearchKind:
    """What a search takes, and makes nothing of."""

    home: str
    """The module of `mutransfer.search` that has it, as SEARCH."""
    drawn: bool = True
    """Whether it places learning rates itself, between the least and the largest of `lrs`."""
    sampled: bool = False
    """Whether it samples `n_trials` of them, and so can search several hyperparameters at once."""
    adaptive: bool = False
    """Whether it decides itself which trials it needs, seeds included, until the slope is as sure as `target_se`."""
    idle: tuple[str, ...] = ()
    """Fields of a SweepConfig that it makes nothing of."""


_SAMPLED = SearchKind("listed", sampled=True, idle=("target_se", "budget"))

SEARCHES: Mapping[str, SearchKind] = {
    "grid": SearchKind("listed", drawn=False, idle=("n_trials", "target_se", "budget")),
    "random": _SAMPLED,
    "tpe": _SAMPLED,
    "gp": _SAMPLED,
    "bracket": SearchKind("bracket", adaptive=True, idle=("seeds", "n_trials")),
}

SAMPLED = tuple(name for name, kind in SEARCHES.items() if kind.sampled)
"""Searches that can search several hyperparameters at once."""

ROUND = 4
"""Rates or settings that TPE and the Gaussian process propose at once: few enough to learn from, enough to keep several
slots busy. It is also how many settings halving compares, which drops half of them twice."""

PRUNES = ("none", "halving")
"""Of `ROUND` settings halving drops the worse half at a quarter of their steps, and the worse of the others at half."""
