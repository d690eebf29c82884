"""What the interval of a conclusive arm cannot know, and how to check it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from mutransfer.analysis import Analysis, ArmResult
from mutransfer.analysis.confirmation import Confirmation
from mutransfer.analysis.noise import single_seed_note
from mutransfer.analysis.verdict import INCONCLUSIVE, TRANSFERS
from mutransfer.config import AXES
from mutransfer.report.commands import confirm_command


@dataclass(frozen=True)
class Unknown:
    """What is unknown of some arms, and the commands that would find out."""

    arms: tuple[str, ...]
    text: str
    commands: tuple[str, ...]


def unknowns(
    analysis: Analysis, frame: pd.DataFrame, confirmations: Sequence[Confirmation], folder: str
) -> tuple[Unknown, ...]:
    """One for all conclusive arms of which the same is unknown. A command is given for each arm that transfers and was
    not confirmed; where none transfers there is no rate to check."""
    confirmed = {result.arm: sorted(c.size for c in confirmations if c.arm == result.arm) for result in analysis.arms}
    found: dict[str, list[ArmResult]] = {}
    for result in analysis.arms:
        if result.verdict != INCONCLUSIVE:
            noise = _noise(frame[frame["arm"] == result.arm], analysis.axis)
            found.setdefault(_text(result, noise, confirmed[result.arm], analysis.axis), []).append(result)
    return tuple(
        Unknown(
            arms=tuple(result.arm for result in results),
            text=text,
            commands=tuple(
                # Twice as far as was measured.
                confirm_command(analysis, folder, result.arm, 2 * result.optima[-1].size)
                for result in results
                if result.verdict == TRANSFERS and not confirmed[result.arm]
            ),
        )
        for text, results in found.items()
    )


def single_seed(frame: pd.DataFrame) -> str | None:
    """What the intervals of arms with one seed cannot know; None where every arm has more."""
    seeds = frame.groupby("arm", sort=False)["seed"].nunique()
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
    return f"{seeds} seeds say how much a run varies{where} {AXES[axis].word}."


def _text(result: ArmResult, noise: str, confirmed: Sequence[int], axis: str) -> str:
    names, horizon = AXES[axis], result.horizon
    low, high = result.optima[0].size, result.optima[-1].size
    checked = f" It was checked at {names.word} {' and '.join(map(str, confirmed))}, above." if confirmed else ""
    varied = "" if axis in ("steps", "batch_size") else f" of {horizon.steps} steps of {horizon.batch_size} sequences"
    return (
        f"{noise} The interval is about {names.words} {low} to {high} and about training{varied} on {horizon.data}. "
        f"Whether the line goes on straight beyond {high}, and how the rate moves with longer training, no interval "
        f"from these trials can know.{checked}"
    )
