"""What a search is: `check`, `propose`, `expect` and `done`, each a function of what is recorded alone.

| search  | of   | rates                                                      | rounds                                |
|---------|------|------------------------------------------------------------|---------------------------------------|
| grid    | cell | `lrs`, each with every seed                                | one                                   |
| random  | cell | `n_trials`, log-uniform between the least and largest rate | one; pruned, of `ROUND` rates at once |
| tpe     | cell | `n_trials`, the first round as random, then TPE            | of `ROUND` rates, one after the other |
| gp      | cell | as tpe, then a Gaussian process                            | as tpe                                |
| bracket | arm  | as few as tell the slope (bracket_rates.py)                | until it is known well enough         |

What is searched by itself, a cell or all cells of an arm, is a `Unit`. The same command proposes the same trials
whatever finishes first and after any kill, as far as losses are the same: in a cohort, and on a GPU, their last bits
depend on what was trained together, and a search may follow them. What is recorded for a round stays of that round,
even if the range or the number of seeds has grown since.

The searches by name, and what a config must know of them, are in `config/searches.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from math import inf
from typing import NamedTuple, Protocol

from mutransfer.config import SweepConfig
from mutransfer.config.searches import SEARCHES
from mutransfer.search.planned import Cell, Key, Point, cells
from mutransfer.trials.records import Record, values_of

Values = tuple[float, ...]
"""A setting: the rate, then the values of the sweep's `space`, in its order."""

Place = Values | str
"""A setting, or the place in the search of one that is not known yet."""


class Observation(NamedTuple):
    """A recorded trial within its study: `loss` is what the search minimizes, inf where it diverged."""

    lr: float
    seed: int
    loss: float
    search: str
    round: int
    others: tuple[float, ...] = ()
    pruned_step: int | None = None

    @property
    def values(self) -> Values:
        return (self.lr, *self.others)


Histories = Mapping[Key, Sequence[Observation]]
"""What is recorded, by the key of the cell."""


class Expected(NamedTuple):
    """Trials of a cell that are still to come, rounds to come included, as (setting, seed); at most `most`. What is not
    known yet is named by its place in the search: there it is one and the same for every sweep of the study."""

    trials: frozenset[tuple[Place, int]]
    most: int

    @property
    def about(self) -> int:
        """How many, as far as is known."""
        return len(self.trials)


@dataclass(frozen=True)
class Searched:
    """How far the search of an arm came. `se` is the standard error of its slope, octaves of rate per doubling of
    size; where `several` dimensions vary it is that of the least sure partial slope. None where the optima do
    not tell. `spent` and `budget` are in trials at every size; `more`: whether a larger budget would buy a
    further round; `most_seeds`: that it repeats at one scale."""

    arm: str
    se: float | None
    target_se: float
    spent: float
    budget: float
    more: bool
    most_seeds: int
    several: bool = False

    @property
    def reached(self) -> bool:
        """Whether the slope is known as well as wanted."""
        return self.se is not None and self.se <= self.target_se

    @property
    def sentence(self) -> str:
        """All of it in a line."""
        cost = f"for the cost of {self.spent:.1f} of {self.budget:g} trials at every size"
        slope = "the least sure slope" if self.several else "the slope"
        ended = "no further round fits the budget (--budget)"
        if self.se is None:
            few = "too few scales have an optimum" if self.several else "fewer than two sizes have an optimum"
            found = f"{self.arm}: no standard error of {slope} {cost}: {few}"
            return f"{found}, and {ended}" if self.more else found
        found = f"{self.arm}: standard error of {slope} {self.se:.3f}, wanted {self.target_se:g}, {cost}"
        if self.reached:
            return found
        return f"{found}: {ended if self.more else f'every size with an optimum has {self.most_seeds} seeds, the most'}"


class Unit(NamedTuple):
    """What is searched by itself, in rounds of its own; `config` is as the arm has it (`SweepConfig.for_arm`)."""

    config: SweepConfig
    cells: tuple[Cell, ...]

    @property
    def search(self) -> Search:
        """The search that the config names."""
        found: Search = import_module(f"mutransfer.search.{SEARCHES[self.config.search].home}").SEARCH
        return found


class Search(Protocol):
    """A search. Histories may hold other cells than the unit's too, in any order, by any search."""

    def check(self, unit: Unit) -> None:
        """Raises ValueError on a search that cannot begin."""

    def propose(self, unit: Unit, histories: Histories) -> list[tuple[Cell, Point]]:
        """The trials of the unit's first unfinished round that are not recorded; none when it is done."""

    def expect(self, unit: Unit, histories: Histories) -> dict[Cell, Expected]:
        """What each cell of the unit still needs."""

    def done(self, unit: Unit, histories: Histories) -> Searched | None:
        """How far it came; None where there is nothing to say but that all is recorded."""


def units(config: SweepConfig) -> list[Unit]:
    """The units of a sweep, arm by arm: a search that decides itself on its trials weighs the cells of an arm against
    each other."""
    found = cells(config)
    if SEARCHES[config.search].adaptive:
        return [Unit(config.for_arm(arm), tuple(cell for cell in found if cell.arm == arm)) for arm in config.arms]
    return [Unit(config.for_arm(cell.arm), (cell,)) for cell in found]


def observe(record: Record, config: SweepConfig) -> Observation:
    """What the search of this sweep sees of a record."""
    others, loss = values_of(record, config.space), record.final_loss
    loss = inf if record.diverged or loss is None else loss
    return Observation(record.lr, record.seed, loss, record.search, record.round, others, record.pruned_step)


def group_by_cell(recorded: Iterable[Record], config: SweepConfig) -> defaultdict[Key, list[Observation]]:
    """What the search sees of the records, by the key of their cell."""
    histories: defaultdict[Key, list[Observation]] = defaultdict(list)
    for record in recorded:
        histories[record.arm, record.scale].append(observe(record, config))
    return histories
