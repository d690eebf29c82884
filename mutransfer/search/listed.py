"""Searches of one cell whose settings are listed, or sampled a round at a time: grid, random, tpe and gp."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from mutransfer.config import SweepConfig
from mutransfer.config.searches import ROUND, SEARCHES
from mutransfer.search.planned import Cell, Point
from mutransfer.search.protocol import Expected, Histories, Observation, Place, Unit, Values

STARTUP = 3
"""Rounds of a `space` that are drawn at random before TPE or the Gaussian process takes over: 12 settings, where Optuna
starts from 10. A rate alone has one such round."""


class Listed:
    """Every setting with every seed. Where the sweep has a `space`, random, tpe and gp search its hyperparameters
    together with the rate. A round is computed from the results of earlier ones, by a sampler seeded with the study's
    name and the round's number. Pruned, the settings of a round are compared with each other, and most of them are
    dropped early (rungs.py)."""

    def check(self, unit: Unit) -> None:
        """It can always begin."""

    def propose(self, unit: Unit, histories: Histories) -> list[tuple[Cell, Point]]:
        (cell,) = unit.cells
        return [(cell, point) for point in propose_settings(unit.config, cell.study, histories[cell.key])]

    def expect(self, unit: Unit, histories: Histories) -> dict[Cell, Expected]:
        (cell,) = unit.cells
        missing = find_missing(unit.config, histories[cell.key])
        return {cell: Expected(frozenset(missing), len(missing))}

    def done(self, unit: Unit, histories: Histories) -> None:
        """There is nothing to say but that all is recorded."""


SEARCH = Listed()


def propose_settings(config: SweepConfig, study: str, history: Sequence[Observation]) -> list[Point]:
    """The trials of a study's first unfinished round that are not in its history; of all rounds where none depends on
    another; none when the study is done.

    Args:
        config: its search, lrs, space, seeds and n_trials, as the arm of the study has them (`SweepConfig.for_arm`).
        study: the study's name, which seeds its samplers.
        history: everything recorded in the study, in any order, by any search.
    """
    done = {(seen.values, seen.seed) for seen in history}
    if not SEARCHES[config.search].drawn:
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


def find_missing(config: SweepConfig, history: Sequence[Observation]) -> set[tuple[Place, int]]:
    """The trials a study still needs, as `Expected.trials`."""
    places: list[Place] = []
    if not SEARCHES[config.search].drawn:
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
    from mutransfer.search.sampling import sample  # it loads optuna, and `status` samples nothing

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
    trained = {values for values, seen in settings.items() if all(math.isfinite(each.loss) for each in seen)}
    told: dict[Values, float] = {}
    for step in sorted(set(steps.values()), reverse=True):
        outlived = max((loss for values, loss in told.items() if values in trained), default=-math.inf)
        told |= {values: max(means[values], outlived) for values in settings if steps[values] == step}
    return told
