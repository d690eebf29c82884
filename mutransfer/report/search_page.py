"""The page of a search over several hyperparameters: one self-contained file, without scripts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from mutransfer.analysis.settings import pruning_warning, ranges
from mutransfer.config import LOSSES, SweepConfig
from mutransfer.report.files import svg
from mutransfer.report.page import inline, render_page
from mutransfer.report.provenance import Provenance
from mutransfer.report.settings import best_table, slices
from mutransfer.report.words import significant


def render_search(
    settings: pd.DataFrame,
    config: SweepConfig,
    importances: Mapping[str, Mapping[str, float]],
    confirm: str | None,
    provenance: Provenance,
) -> str:
    """The page as HTML; the same input gives the same text.

    Args:
        settings: as `analysis.settings.rank` has them.
        config: the search.
        importances: by arm, the part of each hyperparameter; arms may be missing.
        confirm: the command that confirms the best settings; None where none is fit for it.
        provenance: how it came about.
    """
    table = best_table(settings, config)
    cells = [[_cell(each) for each in row] for row in table.values.tolist()]
    searched = ranges(config)
    values = {
        "experiment": config.experiment,
        "scale": config.scales[0].describe(config.dimensions),
        "ranges": searched,
        "importance_columns": [f"#{each.name}" for each in searched],
        "unit": f"{LOSSES[config.loss]} per token",
        "search": config.search,
        "settings": len(settings),
        "warning": pruning_warning(settings),
        "columns": list(table.columns),
        "best": cells,
        "importances": importances,
        "confirm": confirm,
        "figure": inline("slices", svg("slices", slices(settings, config))),
    }
    return render_page("search_page.html", provenance, values)


def _cell(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "–"
    return significant(value) if isinstance(value, float) else str(value)
