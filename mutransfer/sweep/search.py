"""What to try next: pure proposals for one study, computed from its records alone.

| search | rates of a study                                           | rounds                                    |
|--------|------------------------------------------------------------|-------------------------------------------|
| grid   | `lrs`, each with every seed                                | one                                       |
| random | `n_trials`, log-uniform between the least and largest rate | one                                       |
| tpe    | `n_trials`, the first round as random, then TPE            | of `ROUND` rates, one after the other     |

A round is computed from the results of earlier rounds, by a sampler seeded with the study's name and the round's
number. So the same command proposes the same trials whatever finishes first and after any kill. Rates that are
recorded for a round stay its rates, even if the range or the number of seeds has grown since.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mutransfer.config import SweepConfig
from mutransfer.records import Record

ROUND = 4
"""Rates that TPE proposes at once: few enough to learn from, enough to keep several slots busy."""

DIVERGED_LOSS = 1e3
"""What a diverged trial is told as, in nats per token: finite, and worse than any loss."""


class Point(NamedTuple):
    """A trial to run within its study."""

    lr: float
    seed: int
    round: int


class Observation(NamedTuple):
    """A recorded trial within its study: `loss` is what the search minimizes."""

    lr: float
    seed: int
    loss: float
    search: str
    round: int


def observe(record: Record) -> Observation:
    """What the search sees of a record."""
    return Observation(record.lr, record.seed, objective(record), record.search, record.round)


def group_by_cell(recorded: Sequence[Record], axis: str) -> defaultdict[tuple[str, int], list[Observation]]:
    """What the search sees of the records, by (arm, size along the axis)."""
    histories: defaultdict[tuple[str, int], list[Observation]] = defaultdict(list)
    for record in recorded:
        histories[record.arm, getattr(record, axis)].append(observe(record))
    return histories


def objective(record: Record) -> float:
    """What Optuna is told: final_loss, or `DIVERGED_LOSS`."""
    return DIVERGED_LOSS if record.diverged or record.final_loss is None else record.final_loss


def propose(config: SweepConfig, study: str, history: Sequence[Observation]) -> list[Point]:
    """The trials of a study's first unfinished round that are not in its history; none when the study is done.

    Args:
        config: its search, lrs, seeds and n_trials, as the arm of the study has them (`SweepConfig.for_arm`).
        study: the study's name, which seeds its samplers.
        history: everything recorded in the study, in any order, by any search.
    """
    done = {(seen.lr, seen.seed) for seen in history}
    if config.search == "grid":
        return _missing([(lr, 0) for lr in config.lrs], config.seeds, done)
    recorded = _recorded_rates(config, history)
    for number, size in enumerate(_round_sizes(config)):
        rates = recorded[number][:size]
        if len(rates) < size:
            earlier = [seen for seen in history if seen.search != config.search or seen.round < number]
            sampled = _sample(config, f"{study}/round={number}", size, earlier)
            known = set(rates)
            rates = rates + [lr for lr in sampled if lr not in known][: size - len(rates)]
        missing = _missing([(lr, number) for lr in rates], config.seeds, done)
        if missing:
            return missing
    return []


def find_missing(config: SweepConfig, history: Sequence[Observation]) -> set[tuple[float | str, int]]:
    """The trials a study still needs, rounds to come included, as (rate, seed). A rate that is not drawn yet is named
    by its place in the search: there it is one and the same for every sweep of the study."""
    rates: list[float | str] = []
    if config.search == "grid":
        rates += config.lrs
    else:
        recorded = _recorded_rates(config, history)
        for number, size in enumerate(_round_sizes(config)):
            rates += recorded[number][:size]
            rates += [f"{config.search}/{number}/{place}" for place in range(len(recorded[number]), size)]
    return {(lr, seed) for lr in rates for seed in range(config.seeds)} - {(seen.lr, seen.seed) for seen in history}


def count_missing(config: SweepConfig, history: Sequence[Observation]) -> int:
    """How many trials a study still needs, rounds to come included."""
    return len(find_missing(config, history))


def _round_sizes(config: SweepConfig) -> list[int]:
    size = config.n_trials if config.search == "random" else ROUND
    return [min(size, config.n_trials - start) for start in range(0, config.n_trials, size)]


def _recorded_rates(config: SweepConfig, history: Iterable[Observation]) -> defaultdict[int, list[float]]:
    """The rates of each round; first those with the most of the seeds, so that a sweep of fewer rates has its own."""
    seeds: defaultdict[int, Counter[float]] = defaultdict(Counter)
    for seen in history:
        if seen.search == config.search:
            seeds[seen.round][seen.lr] += seen.seed < config.seeds
    return defaultdict(list, {n: sorted(found, key=lambda lr: (-found[lr], lr)) for n, found in seeds.items()})


def _missing(rates: Iterable[tuple[float, int]], seeds: int, done: set[tuple[float, int]]) -> list[Point]:
    return [Point(lr, seed, number) for lr, number in rates for seed in range(seeds) if (lr, seed) not in done]


def _sample(config: SweepConfig, name: str, size: int, earlier: Iterable[Observation]) -> list[float]:
    """`size` rates: a function of the name, the range and the earlier results, whatever their order."""
    # Loaded here, because `status` counts what is missing and samples nothing.
    from optuna import create_study
    from optuna.distributions import FloatDistribution
    from optuna.samplers import RandomSampler, TPESampler
    from optuna.trial import create_trial

    low, high = min(config.lrs), max(config.lrs)
    space = {"lr": FloatDistribution(low, high, log=True)}
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4])
    if config.search == "random":
        study = create_study(sampler=RandomSampler(seed=seed))
    else:
        study = create_study(sampler=TPESampler(seed=seed, n_startup_trials=ROUND))
        for lr, loss in _seed_means(earlier):
            if low <= lr <= high:
                study.add_trial(create_trial(params={"lr": lr}, distributions=dict(space), value=loss))
    return [float(study.ask(dict(space)).params["lr"]) for _ in range(size)]


def _seed_means(history: Iterable[Observation]) -> list[tuple[float, float]]:
    """Each rate and its mean loss over seeds, round by round: beyond 25 results TPE weighs later ones more."""
    losses: defaultdict[tuple[int, float], list[tuple[int, float]]] = defaultdict(list)
    for seen in history:
        losses[seen.round, seen.lr].append((seen.seed, seen.loss))
    return [(lr, sum(loss for _, loss in sorted(pairs)) / len(pairs)) for (_, lr), pairs in sorted(losses.items())]
