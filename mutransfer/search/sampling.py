"""Optuna's samplers, as functions: a seed, the ranges and what is known give what to try."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from optuna import create_study
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import create_trial

from mutransfer.config import SweepConfig
from mutransfer.search.rounds import DIVERGED_LOSS, Values


def distributions(config: SweepConfig) -> dict[str, BaseDistribution]:
    """The ranges of a sweep: of its rate, and of its `space`."""
    return {
        "lr": FloatDistribution(min(config.lrs), max(config.lrs), log=True),
        **{each.name: FloatDistribution(each.low, each.high, log=each.log) for each in config.space},
    }


def sample(
    config: SweepConfig, seed: int, startup: int, size: int, known: Sequence[tuple[Values, float]]
) -> list[Values]:
    """`size` settings to try.

    Args:
        config: its search, lrs and space.
        seed: of the sampler.
        startup: settings that must be known before it is more than random.
        size: how many are tried at once.
        known: settings and their losses, in an order that is a function of themselves; those outside the ranges are
            left out.

    Raises ValueError where the search needs a package that is not installed.
    """
    space = distributions(config)
    study = create_study(sampler=_sampler(config.search, seed, startup))
    if config.search != "random":
        inside = [(dict(zip(space, values, strict=True)), loss) for values, loss in known]
        inside = [(params, loss) for params, loss in inside if all(_holds(space[n], v) for n, v in params.items())]
        worst = _ceiling([loss for _, loss in inside], config.seeds) if config.search == "gp" else None
        for params, loss in inside:
            told = loss if worst is None else min(loss, worst)
            study.add_trial(create_trial(params=params, distributions=dict(space), value=told))
    asked = [study.ask(dict(space)).params for _ in range(size)]
    return [tuple(float(params[name]) for name in space) for params in asked]


def _sampler(search: str, seed: int, startup: int) -> BaseSampler:
    if search == "random":
        return RandomSampler(seed=seed)
    if search == "tpe":
        return TPESampler(seed=seed, n_startup_trials=startup)
    if find_spec("scipy") is None:
        raise ValueError("found search gp without scipy; wanted it installed: pip install 'mutransfer[gp]', or use tpe")
    from optuna.samplers import GPSampler  # it loads torch, which the others need not

    return GPSampler(seed=seed, n_startup_trials=startup)


def _holds(distribution: BaseDistribution, value: float) -> bool:
    return isinstance(distribution, FloatDistribution) and distribution.low <= value <= distribution.high


def _ceiling(losses: Sequence[float], seeds: int) -> float | None:
    """What a Gaussian process is told at most. A few very high losses, and more so what stands for divergence, would
    flatten all others: above the median of what was trained they count by no more than the best lies below it."""
    ordered = sorted(loss for loss in losses if loss < DIVERGED_LOSS / seeds)  # no seed of these diverged
    if not ordered:
        return None
    median = ordered[len(ordered) // 2]
    return median + (median - ordered[0])
