"""The confirmations inside a result, `confirm/ARM-DIMENSION=SIZE/`: each a sweep of three rates in one arm at one
scale, with a folder of its own, so that it resumes, extends and has a status as any sweep."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from mutransfer.analysis.confirmation import Confirmation, confirmation
from mutransfer.analysis.transfer import Analysis
from mutransfer.checks import one_of
from mutransfer.config import DIMENSIONS, Scale, SweepConfig
from mutransfer.search.planned import study_name
from mutransfer.sweep.folder import ResultFolder, read_origin
from mutransfer.trials import records
from mutransfer.trials.table import Trials

FOLDER = "confirm"


def target_scale(config: SweepConfig, sizes: Mapping[str, int]) -> Scale:
    """The scale that a command line names, by a size along each dimension that a sweep is about. Raises ValueError
    where it names others, or not all of them."""
    if set(sizes) != set(config.dimensions):
        wanted, given = (" and ".join(map(_option, names)) for names in (config.dimensions, sizes))
        words = " and ".join(DIMENSIONS[name].words for name in config.dimensions)
        raise ValueError(f"expected {wanted} for a sweep of {words}, got {given or 'no size'}; give {wanted}")
    return config.scales[0].replace(**sizes)


def _option(dimension: str) -> str:
    return f"--{dimension.replace('_', '-')}"


def confirmation_sweep(result: Path, config: SweepConfig, arm: str, scale: Scale, lr: float) -> SweepConfig:
    """The sweep that trains an arm of a result at a scale, at half of `lr`, at `lr` and at double."""
    arms = {each.name: each for each in config.arms}
    one_of("arm", arm, arms)
    return dataclasses.replace(
        config.for_arm(arms[arm]).with_scales([scale]),
        lrs=(lr / 2, lr, 2 * lr),
        search="grid",
        out=str(result / FOLDER / study_name(arm, scale, config.dimensions).replace("/", "-")),
    )


def confirmed_lr(folder: ResultFolder) -> float | None:
    """The middle one of the rates that a confirmation was last begun at; None where there is none."""
    origin = read_origin(folder)
    return None if origin is None else sorted(origin.sweeps[-1].config.lrs)[1]


def read_confirmation(folder: ResultFolder, analysis: Analysis, swept: Trials) -> Confirmation | None:
    """What a confirmation says, at the rates it was last begun at.

    Args:
        folder: inside a result.
        analysis, swept: of the result.

    Returns None where no seed has been run at all three. Raises ValueError where the files are corrupt, or where the
    trials differ from the result's in more than rate, seed and size.
    """
    origin = read_origin(folder)
    recorded = records.read(folder.records) if origin is not None and folder.records.exists() else []
    if origin is None or not recorded:
        return None
    lrs = origin.sweeps[-1].config.lrs
    asked = [record for record in recorded if record.lr in lrs]
    return confirmation(analysis, swept, records.to_trials(asked)) if asked else None


def read_confirmations(result: Path, analysis: Analysis, swept: Trials) -> tuple[Confirmation, ...]:
    """Every confirmation inside a result that has a seed at all three rates, by arm and size. Raises as
    `read_confirmation`."""
    folders = [ResultFolder(path.parent) for path in (result / FOLDER).glob("*/config.json")]
    found = [each for folder in folders if (each := read_confirmation(folder, analysis, swept)) is not None]
    order = [arm.arm for arm in analysis.arms]
    return tuple(sorted(found, key=lambda each: (order.index(each.arm), each.scale)))
