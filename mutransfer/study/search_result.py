"""A folder of a search over several hyperparameters: its settings ranked, and everything computed from them written."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mutransfer.analysis.settings import pruning_warning, rank, shortlist, to_confirm
from mutransfer.config import SCHEMA, Arm, SweepConfig
from mutransfer.config.source import to_source
from mutransfer.config.sweep import PARTS
from mutransfer.files import write_whole
from mutransfer.report.files import save_figure
from mutransfer.report.search_page import render_search
from mutransfer.report.settings import slices
from mutransfer.study.result import Recorded, provenance, read_recorded
from mutransfer.sweep.folder import ResultFolder, explain_write_errors, read_origin

CONFIRM = "confirm.py"
"""The experiment file, in the search's folder, that confirms its best settings."""

NAMED = (Arm, *PARTS.values())
"""What a sweep over sizes is made of."""

_EXPERIMENT = '''"""The best settings of the search in {folder}, trained again at {sizes}: {trials} trials.

`{command}` runs it. Each arm is a setting; the rates lie around its own.
"""

from mutransfer import {names}


def sweep() -> SweepConfig:
    return {source}
'''


@dataclass(frozen=True)
class SearchResult(Recorded):
    """The records of a search and what they say: its settings from best to worst (`analysis.settings.rank`), by arm the
    importance of each hyperparameter among the settings that were not pruned, and the sweep that confirms the best few;
    None where none is fit for it."""

    settings: pd.DataFrame
    importances: Mapping[str, Mapping[str, float]]
    confirmation: SweepConfig | None

    @property
    def confirm_command(self) -> str | None:
        """What to type to confirm the best few."""
        if self.confirmation is None:
            return None
        return shlex.join(["mutransfer", "sweep", str(self.folder / CONFIRM)])

    @property
    def lines(self) -> list[str]:
        """What the search says beside its table."""
        said = [
            f"{arm}: what tells the best quarter from the rest: "
            + ", ".join(f"{name} {part:.2f}" for name, part in parts.items())
            for arm, parts in self.importances.items()
        ]
        warning = pruning_warning(self.settings)
        said += [f"warning: {warning}"] if warning is not None else []
        if self.confirm_command is None:
            pruned = " or was pruned" if warning is not None else ""
            return [*said, f"no setting can be confirmed: each of them diverged{pruned}"]
        return [*said, f"the best few are a shortlist; to confirm them at several sizes: {self.confirm_command}"]


def is_search(path: Path) -> bool:
    """Whether a folder holds a search over several hyperparameters. Raises ValueError where its config is corrupt."""
    origin = read_origin(ResultFolder(path))
    return origin is not None and bool(origin.config.space)


def read_search(path: Path) -> SearchResult:
    """Read and rank a search, from its folder's config and records alone.

    Raises ValueError where there is no sweep or no finished trial, where it searched the rate alone, or where the files
    are corrupt.
    """
    from mutransfer.search.sampling import importances  # it loads optuna

    found = read_recorded(path)
    if not found.config.space:
        raise ValueError(f"found a sweep of the rate alone in {path}; wanted a search over several hyperparameters")
    settings = rank(found.records, found.config)
    return SearchResult(
        path,
        found.config,
        found.command,
        found.asked,
        found.records,
        settings,
        importances(found.config, settings[settings["pruned"].isna()]),
        to_confirm(found.config, settings),
    )


def write_search(result: SearchResult) -> None:
    """Write summary.json, figures/, report.html and confirm.py into the folder. Raises ValueError where it cannot be
    written."""
    with explain_write_errors(ResultFolder(result.folder)):
        summary = json.dumps(to_summary(result), indent=1, allow_nan=False)
        write_whole(result.folder / "summary.json", summary.encode() + b"\n")
        save_figure("slices", slices(result.settings, result.config), result.folder / "figures")
        page = render_search(
            result.settings, result.config, result.importances, result.confirm_command, provenance(result)
        )
        write_whole(result.folder / "report.html", page.encode())
        if result.confirmation is not None:
            write_whole(result.folder / CONFIRM, experiment_file(result, result.confirmation).encode())


def to_summary(result: SearchResult) -> dict[str, Any]:
    """The search as plain data: its best settings, the importances, and what to beware of."""
    warning = pruning_warning(result.settings)
    best = [
        {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}
        for row in shortlist(result.settings).drop(columns="pruned").to_dict("records")
    ]
    return {
        "schema": SCHEMA,
        "experiment": result.config.experiment,
        "search": result.config.search,
        "settings": len(result.settings),
        "pruned": int(result.settings["pruned"].notna().sum()),
        "warnings": [] if warning is None else [warning],
        "best": best,
        "importances": {arm: dict(parts) for arm, parts in result.importances.items()},
    }


def experiment_file(result: SearchResult, config: SweepConfig) -> str:
    """The text of an experiment whose `sweep()` is this config."""
    text = to_source(config, depth=1)
    used = [name for name in (SweepConfig.__name__, *(each.__name__ for each in NAMED)) if f"{name}(" in text]
    rates = sum(len(dict(arm.changes)["lrs"]) for arm in config.variants)
    return _EXPERIMENT.format(
        folder=_in_docstring(str(result.folder)),
        sizes="; ".join(scale.describe(config.dimensions) for scale in config.scales),
        trials=rates * len(config.scales) * config.seeds,
        command=_in_docstring(str(result.confirm_command)),
        names=", ".join(sorted(used)),
        source=text,
    )


def _in_docstring(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
