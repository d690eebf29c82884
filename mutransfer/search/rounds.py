"""What to try next: pure proposals, computed from the records alone.

| search  | of   | rates                                                      | rounds                                |
|---------|------|------------------------------------------------------------|---------------------------------------|
| grid    | cell | `lrs`, each with every seed                                | one                                   |
| random  | cell | `n_trials`, log-uniform between the least and largest rate | one; pruned, of `ROUND` rates at once |
| tpe     | cell | `n_trials`, the first round as random, then TPE            | of `ROUND` rates, one after the other |
| gp      | cell | as tpe, then a Gaussian process                            | as tpe                                |
| bracket | arm  | as few as tell the slope (bracket.py)                      | until it is known well enough         |

What is searched by itself, a cell or all cells of an arm, is a `Unit`. A round is computed from the results of earlier
rounds, by a sampler seeded with the study's name and the round's number where it draws. So the same command proposes
the same trials whatever finishes first and after any kill, as far as losses are the same: in a cohort, and on a GPU,
their last bits depend on what was trained together, and a sampler's rates may follow them. Rates that are recorded for
a round stay its rates, even if the range or the number of seeds has grown since. Where the sweep has a `space`, random,
tpe and gp search its hyperparameters together with the rate: a "rate" of the table is then a setting of all of them.
Pruned, the settings of a round are compared with each other, and most of them are dropped early (rungs.py).
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from mutransfer.config import SweepConfig
from mutransfer.config.searches import ROUND
from mutransfer.search.planned import Cell, Key, Point, cells
from mutransfer.trials.records import Record, values_of

STARTUP = 3
"""Rounds of a `space` that are drawn at random before TPE or the Gaussian process takes over: 12 settings, where Optuna
starts from 10. A rate alone has one such round."""

Values = tuple[float, ...]
"""A setting: the rate, then the values of the sweep's `space`, in its order."""

Place = Values | str
"""A setting, or the place in the search of one that is not known yet."""

DIVERGED_LOSS = 1e3
"""What a diverged trial is told as, in nats per token: finite, and worse than any loss."""


class Observation(NamedTuple):
    """A recorded trial within its study: `loss` is what the search minimizes."""

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


class Unit(NamedTuple):
    """What is searched by itself, in rounds of its own; `config` is as the arm has it (`SweepConfig.for_arm`)."""

    config: SweepConfig
    cells: tuple[Cell, ...]


class Expected(NamedTuple):
    """Trials that are still to come: so many, or about and at most so many."""

    about: int
    most: int


def units(config: SweepConfig) -> list[Unit]:
    """The units of a sweep, arm by arm."""
    found = cells(config)
    if config.search == "bracket":
        return [Unit(config.for_arm(arm), tuple(cell for cell in found if cell.arm == arm)) for arm in config.arms]
    return [Unit(config.for_arm(cell.arm), (cell,)) for cell in found]


def propose(unit: Unit, histories: Histories) -> list[tuple[Cell, Point]]:
    """The trials of a unit's first unfinished round that are not recorded; none when it is done.

    Args:
        unit: of the sweep.
        histories: everything recorded in its cells, in any order, by any search; may hold other cells too.
    """
    if unit.config.search == "bracket":
        from mutransfer.search.bracketing import propose_round  # it fits, with pandas, which others need not load

        return propose_round(unit, histories)
    (cell,) = unit.cells
    return [(cell, point) for point in propose_rates(unit.config, cell.study, histories[cell.key])]


def check(unit: Unit) -> None:
    """Raises ValueError on a search that cannot begin."""
    if unit.config.search == "bracket":
        from mutransfer.search.bracketing import check_budget

        check_budget(unit)


def find_missing(unit: Unit, histories: Histories) -> dict[Cell, set[tuple[Place, int]]]:
    """The trials that each cell of a unit still needs, rounds to come included, as (values, seed). What is not known
    yet is named by its place in the search: there it is one and the same for every sweep of the study."""
    if unit.config.search == "bracket":
        to_come = expect(unit, histories)
        return {cell: {("bracket", place) for place in range(to_come[cell].about)} for cell in unit.cells}
    (cell,) = unit.cells
    return {cell: find_missing_rates(unit.config, histories[cell.key])}


def expect(unit: Unit, histories: Histories) -> dict[Cell, Expected]:
    """How many trials each cell of a unit still needs, rounds to come included."""
    if unit.config.search == "bracket":
        from mutransfer.search.bracketing import expect_trials

        return expect_trials(unit, histories)
    counts = {cell: len(missing) for cell, missing in find_missing(unit, histories).items()}
    return {cell: Expected(count, count) for cell, count in counts.items()}


def observe(record: Record, config: SweepConfig) -> Observation:
    """What the search of this sweep sees of a record."""
    others = values_of(record, config.space)
    return Observation(
        record.lr, record.seed, objective(record), record.search, record.round, others, record.pruned_step
    )


def group_by_cell(recorded: Sequence[Record], config: SweepConfig) -> defaultdict[Key, list[Observation]]:
    """What the search sees of the records, by the key of their cell."""
    histories: defaultdict[Key, list[Observation]] = defaultdict(list)
    for record in recorded:
        histories[record.arm, record.scale].append(observe(record, config))
    return histories


def objective(record: Record) -> float:
    """What Optuna is told: final_loss, or `DIVERGED_LOSS`."""
    return DIVERGED_LOSS if record.diverged or record.final_loss is None else record.final_loss


def propose_rates(config: SweepConfig, study: str, history: Sequence[Observation]) -> list[Point]:
    """The trials of a study's first unfinished round that are not in its history; of all rounds where none depends on
    another; none when the study is done.

    Args:
        config: its search, lrs, space, seeds and n_trials, as the arm of the study has them (`SweepConfig.for_arm`).
        study: the study's name, which seeds its samplers.
        history: everything recorded in the study, in any order, by any search.
    """
    done = {(seen.values, seen.seed) for seen in history}
    if config.search == "grid":
        return _missing([((lr,), 0) for lr in config.lrs], config.seeds, done)
    recorded = _recorded_values(config, history)
    found: list[Point] = []
    for number, size in enumerate(_round_sizes(config)):
        settings = recorded[number][:size]
        if len(settings) < size:
            earlier = [seen for seen in history if seen.search != config.search or seen.round < number]
            sampled = _sample(config, f"{study}/round={number}", size, earlier)
            known = set(settings)
            settings = settings + [values for values in sampled if values not in known][: size - len(settings)]
        found += _missing([(values, number) for values in settings], config.seeds, done)
        if found and config.search != "random":
            break
    return found


def find_missing_rates(config: SweepConfig, history: Sequence[Observation]) -> set[tuple[Place, int]]:
    """The trials a study still needs, as `find_missing`."""
    places: list[Place] = []
    if config.search == "grid":
        places += [(lr,) for lr in config.lrs]
    else:
        recorded = _recorded_values(config, history)
        for number, size in enumerate(_round_sizes(config)):
            places += recorded[number][:size]
            places += [f"{config.search}/{number}/{place}" for place in range(len(recorded[number]), size)]
    done = {(seen.values, seen.seed) for seen in history}
    return {(place, seed) for place in places for seed in range(config.seeds)} - done


def _round_sizes(config: SweepConfig) -> list[int]:
    size = config.n_trials if config.search == "random" and config.prune == "none" else ROUND
    return [min(size, config.n_trials - start) for start in range(0, config.n_trials, size)]


def _recorded_values(config: SweepConfig, history: Iterable[Observation]) -> defaultdict[int, list[Values]]:
    """The settings of each round; first those with the most of the seeds, so that a sweep of fewer has its own."""
    seeds: defaultdict[int, Counter[Values]] = defaultdict(Counter)
    for seen in history:
        if seen.search == config.search:
            seeds[seen.round][seen.values] += seen.seed < config.seeds
    return defaultdict(list, {n: sorted(found, key=lambda each: (-found[each], each)) for n, found in seeds.items()})


def _missing(settings: Iterable[tuple[Values, int]], seeds: int, done: set[tuple[Values, int]]) -> list[Point]:
    return [
        Point(values[0], seed, number, values[1:])
        for values, number in settings
        for seed in range(seeds)
        if (values, seed) not in done
    ]


def _sample(config: SweepConfig, name: str, size: int, earlier: Iterable[Observation]) -> list[Values]:
    """`size` settings: a function of the name, the ranges and the earlier results, whatever their order."""
    # Loaded here, because `status` counts what is missing and samples nothing.
    from mutransfer.search.sampling import sample

    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4])
    startup = ROUND * (STARTUP if config.space else 1)
    return sample(config, seed, startup, size, _seed_means(earlier))


def _seed_means(history: Iterable[Observation]) -> list[tuple[Values, float]]:
    """Each setting and its mean loss over seeds, round by round: beyond 25 results TPE weighs later ones more. One that
    was pruned has a loss of an earlier step, and counts as no better than what outlived it in its round."""
    rounds: defaultdict[int, defaultdict[Values, list[Observation]]] = defaultdict(lambda: defaultdict(list))
    for seen in history:
        rounds[seen.round][seen.values].append(seen)
    return [pair for _, settings in sorted(rounds.items()) for pair in sorted(_told(settings).items())]


def _told(settings: Mapping[Values, Sequence[Observation]]) -> dict[Values, float]:
    """The loss that each setting of a round counts with."""
    means = {
        values: sum(each.loss for each in sorted(seen, key=lambda each: each.seed)) / len(seen)
        for values, seen in settings.items()
    }
    steps = {values: min(each.pruned_step or math.inf for each in seen) for values, seen in settings.items()}
    trained = {values for values, seen in settings.items() if all(each.loss != DIVERGED_LOSS for each in seen)}
    told: dict[Values, float] = {}
    for step in sorted(set(steps.values()), reverse=True):
        outlived = max((loss for values, loss in told.items() if values in trained), default=-math.inf)
        told |= {values: max(means[values], outlived) for values in settings if steps[values] == step}
    return told
