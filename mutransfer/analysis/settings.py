"""A search over several hyperparameters: its settings from best to worst, and how to confirm the best of them.

The least of many noisy losses is too low, and a setting may owe its place to luck: what was found on a small model is a
shortlist, to be trained again at several sizes (Tensor Programs V, section 7, transfers what a random search found).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from mutransfer.config import Arm, Range, SweepConfig
from mutransfer.trials.records import Record, values_of

SHORTLIST = 3
"""Settings that are worth confirming."""
AROUND = (-2, -1, 0, 1, 2)
"""Octaves from a setting's rate at which it is trained again."""
GROWTH = (1, 2, 4)
"""Sizes at which it is, over the proxy's."""
END = 0.05
"""The part of a range within which a value lies at its end."""


def ranges(config: SweepConfig) -> tuple[Range, ...]:
    """All that a search varies: the rate, then its space."""
    return (Range("lr", min(config.lrs), max(config.lrs)), *config.space)


def rank(records: Sequence[Record], config: SweepConfig) -> pd.DataFrame:
    """A search's settings, the best first: a row each with `arm`, a column by the name of each hyperparameter, `loss`
    (the mean final_loss of its seeds; NaN where one diverged), `seeds`, `diverged`, how many of them did, and `pruned`,
    the step at which it was dropped, whose loss it has; NaN where it was not.

    Settings that were pruned come after all that were not, the earlier the later, and settings with fewer seeds than
    others, which a search that was cut short leaves, after those with more.
    """
    names = [each.name for each in ranges(config)]
    trials = pd.DataFrame(
        [
            (
                each.arm,
                each.lr,
                *values_of(each, config.space),
                each.seed,
                each.final_loss,
                each.diverged,
                each.pruned_step,
            )
            for each in records
        ],
        columns=["arm", *names, "seed", "loss", "diverged", "pruned"],
    ).sort_values("seed", kind="stable")
    trials["loss"] = trials["loss"].astype("float64").mask(trials["diverged"])
    trials["pruned"] = trials["pruned"].astype("float64")
    found = trials.groupby(["arm", *names], as_index=False, sort=True).agg(
        loss=("loss", lambda losses: losses.mean(skipna=False)),
        seeds=("seed", "size"),
        diverged=("diverged", "sum"),
        pruned=("pruned", "min"),
    )
    order = found.assign(
        failed=found["diverged"] > 0, fewer=-found["seeds"], early=-found["pruned"].fillna(float("inf"))
    )
    best_first = order.sort_values(["failed", "early", "fewer", "loss"], kind="stable").index
    ranked: pd.DataFrame = found.loc[best_first].reset_index(drop=True)
    return ranked


def shortlist(settings: pd.DataFrame, count: int = SHORTLIST) -> pd.DataFrame:
    """The best few: of the settings with all seeds, none diverged, that were not pruned."""
    whole = settings["pruned"].isna() & (settings["diverged"] == 0)
    fit: pd.DataFrame = settings[whole & (settings["seeds"] == settings["seeds"].max())]
    return fit.head(count)


def pruning_warning(settings: pd.DataFrame) -> str | None:
    """What pruning may have done to the order of the settings; None where none was pruned."""
    pruned = settings["pruned"].notna().sum()
    if not pruned:
        return None
    return (
        f"{pruned} of {len(settings)} settings were pruned, by their losses at "
        f"{' or '.join(f'step {step:.0f}' for step in sorted(settings['pruned'].dropna().unique()))}: early losses "
        "favour larger rates, so the best setting may be biased towards them; confirm it over rates around its own"
    )


def at_an_end(row: pd.Series[Any], config: SweepConfig) -> list[str]:
    """Hyperparameters of a setting whose value lies at an end of its range: the best may lie beyond."""
    return [each.name for each in ranges(config) if not END <= _part(each, float(row[each.name])) <= 1 - END]


def to_confirm(config: SweepConfig, settings: pd.DataFrame, count: int = SHORTLIST) -> SweepConfig | None:
    """The sweep that confirms the best few: an arm each, over sizes and over rates around its own. None where no
    setting is fit for it."""
    known = {arm.name: arm for arm in config.arms}
    arms = []
    for place, (_, row) in enumerate(shortlist(settings, count).iterrows(), 1):
        arm = known[row["arm"]]
        own = tuple(change for change in arm.changes if change[0] != "lrs")
        found = tuple((each.name, float(row[each.name])) for each in config.space)
        lrs = tuple(float(row["lr"]) * 2.0**octaves for octaves in AROUND)
        arms.append(Arm(f"{arm.name} {place}", arm.parametrization, (*own, *found, ("lrs", lrs))))
    if not arms:
        return None
    (scale,), along = config.scales, config.dimensions[0]
    return dataclasses.replace(
        config.with_scales([scale.replace(**{along: scale[along] * times}) for times in GROWTH]),
        experiment=f"{config.experiment}_confirmed",
        out=None if config.out is None else f"{config.out.rstrip('/')}_confirmed",
        parametrizations=(),
        variants=tuple(arms),
        lrs=SweepConfig.lrs,  # each arm has its own
        space=(),
        search="grid",
        n_trials=SweepConfig.n_trials,
        prune=SweepConfig.prune,
    )


def _part(each: Range, value: float) -> float:
    """Where in its range a value lies, from 0 to 1."""
    low, high, at = (math.log(x) if each.log else x for x in (each.low, each.high, value))
    return (at - low) / (high - low)
