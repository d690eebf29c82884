"""What the interval of a conclusive arm cannot know, and how to check it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from mutransfer.analysis import Analysis, ArmResult, Horizon, Trials
from mutransfer.analysis.confirmation import Confirmation
from mutransfer.analysis.noise import single_seed_note
from mutransfer.analysis.verdict import INCONCLUSIVE, TRANSFERS
from mutransfer.config.scale import DIMENSIONS, Scale
from mutransfer.report.commands import confirm_command


@dataclass(frozen=True)
class Unknown:
    """What is unknown of some arms, and the commands that would find out."""

    arms: tuple[str, ...]
    text: str
    commands: tuple[str, ...]


def unknowns(
    analysis: Analysis, trials: Trials, confirmations: Sequence[Confirmation], folder: str
) -> tuple[Unknown, ...]:
    """One for all conclusive arms of which the same is unknown. A command is given for each arm that transfers and was
    not confirmed; where none transfers there is no rate to check."""
    axis = analysis.dimensions[0]
    confirmed = {
        result.arm: sorted(each.scale[axis] for each in confirmations if each.arm == result.arm)
        for result in analysis.arms
    }
    found: dict[str, list[ArmResult]] = {}
    for result in analysis.arms:
        if result.verdict != INCONCLUSIVE:
            noise = _noise(trials.of_arm(result.arm).frame, axis)
            found.setdefault(_text(result, noise, confirmed[result.arm], axis), []).append(result)
    return tuple(
        Unknown(
            arms=tuple(result.arm for result in results),
            text=text,
            commands=tuple(
                # Twice as far as was measured.
                confirm_command(analysis, folder, result.arm, _doubled(analysis, result.optima[-1].scale))
                for result in results
                if result.verdict == TRANSFERS and not confirmed[result.arm]
            ),
        )
        for text, results in found.items()
    )


def _doubled(analysis: Analysis, scale: Scale) -> Scale:
    return scale.replace(**{name: 2 * scale[name] for name in analysis.dimensions})


def single_seed(trials: Trials) -> str | None:
    """What the intervals of arms with one seed cannot know; None where every arm has more."""
    seeds = trials.frame.groupby("arm", sort=False)["seed"].nunique()
    arms = [str(arm) for arm in seeds.index[seeds == 1]]
    note = single_seed_note(1)
    return f"One seed was trained in {', '.join(arms)}: {note} (--seeds 2)." if arms else None


def _noise(trials: pd.DataFrame, axis: str) -> str:
    """What says how noisy the runs of an arm are."""
    seeds = int(trials["seed"].nunique())
    if seeds == 1:
        return "All trials had one seed, see above."
    alike = bool((trials.groupby(axis)["seed"].nunique() == seeds).all())
    where = "; they are the same ones at every" if alike else ", not all of them at every"
    return f"{seeds} seeds say how much a run varies{where} {DIMENSIONS[axis].word}."


def _text(result: ArmResult, noise: str, confirmed: Sequence[float], axis: str) -> str:
    names, horizon = DIMENSIONS[axis], result.horizon
    low, high = (f"{each.scale[axis]:.15g}" for each in (result.optima[0], result.optima[-1]))
    checked = f" It was checked at {names.word} {' and '.join(map(str, confirmed))}, above." if confirmed else ""
    trained = "" if horizon is None else f" and about training{_varied(horizon, axis)} on {horizon.data}"
    return (
        f"{noise} The interval is about {names.words} {low} to {high}{trained}. "
        f"Whether the line goes on straight beyond {high}, and how the rate moves with longer training, no interval "
        f"from these trials can know.{checked}"
    )


def _varied(horizon: Horizon, axis: str) -> str:
    return "" if axis in ("steps", "batch_size") else f" of {horizon.steps} steps of {horizon.batch_size} sequences"
