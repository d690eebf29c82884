"""The page of a search over several hyperparameters: one self-contained file, without scripts."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from mutransfer.analysis.settings import pruning_warning, ranges
from mutransfer.config import AXES, LOSSES, SweepConfig, flatten
from mutransfer.report import words
from mutransfer.report.files import svg
from mutransfer.report.html import inline, policy, source
from mutransfer.report.provenance import Provenance
from mutransfer.report.settings import best_table, slices


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
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {name: getattr(words, name) for name in ("number", "plain", "span", "scientific")}
    table = best_table(settings, config)
    cells = [[f"{each:.4g}" if isinstance(each, float) else each for each in row] for row in table.values.tolist()]
    return environment.from_string(source("search.html")).render(
        experiment=config.experiment,
        axis=AXES[config.axis],
        size=config.sizes[0],
        ranges=ranges(config),
        unit=f"{LOSSES[config.loss]} per token",
        search=config.search,
        settings=len(settings),
        warning=pruning_warning(settings),
        columns=list(table.columns),
        best=cells,
        importances=importances,
        confirm=confirm,
        figure=inline("slices", svg("slices", slices(settings, config))),
        provenance=provenance,
        config=flatten(provenance.config),
        policy=policy(),
        style=Markup(source("page.css")),
    )
