"""The page of a sweep over sizes: the answer, the figures and the tables.

The interactive figures are drawn by plotly.js, inlined once: every report is about 5 MB for it. Without scripts the
page shows the printed figures, which draw the same marks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from mutransfer.analysis import Analysis, Trials, analyze
from mutransfer.analysis.confirmation import Confirmation
from mutransfer.config.scale import DIMENSIONS
from mutransfer.files import write_whole
from mutransfer.report import words
from mutransfer.report.commands import settling_step
from mutransfer.report.figures import draw
from mutransfer.report.files import svg
from mutransfer.report.loss_chart import loss_curves_chart
from mutransfer.report.marks import ABOVE_A_SIZE, INTERESTING, LOSSES, sizes
from mutransfer.report.page import embed, inline, render_page, source
from mutransfer.report.provenance import Provenance
from mutransfer.report.rate_chart import optimal_lr_chart
from mutransfer.report.tables import (
    comparison_table,
    confirmation_table,
    difference_table,
    diverged_table,
    forgiving_table,
    law_table,
    optima_table,
    settling_table,
    transfer_table,
)
from mutransfer.report.unknowns import single_seed, unknowns

REACH = 2.0
"""Octaves per doubling that the bars of slopes show at most."""


def write_report(
    path: Path,
    analysis: Analysis,
    trials: Trials,
    provenance: Provenance,
    confirmations: Sequence[Confirmation] = (),
) -> Path:
    """Write the page to `path`, whole or not at all."""
    return write_whole(path, render(analysis, trials, provenance, confirmations).encode())


def render(
    analysis: Analysis, trials: Trials, provenance: Provenance, confirmations: Sequence[Confirmation] = ()
) -> str:
    """The page as HTML; the same input gives the same text."""
    figures = draw(analysis, trials, confirmations)
    analyses = by_loss(analysis, trials)
    values = {
        "experiment": analysis.experiment,
        "analysis": analysis,
        "confirmations": confirmations,
        "axis": DIMENSIONS[analysis.dimensions[0]],
        "along": analysis.dimensions[0],
        "arms": [result.arm for result in analysis.arms],
        "sizes": sizes(analysis),
        "unit": words.loss_unit(trials),
        "horizons": _horizons(analysis),
        "interesting": INTERESTING,
        "above_a_size": ABOVE_A_SIZE,
        "reach": _reach(analysis),
        "losses": list(analyses),
        "figures": {name: inline(name, svg(name, figure)) for name, figure in figures.items()},
        "optima": optima_table(analysis).to_dict("records"),
        "transfers": transfer_table(analysis).to_dict("records"),
        "differences": difference_table(analysis).to_dict("records"),
        "confirmed": confirmation_table(confirmations).to_dict("records"),
        "settling": [_plan(row, provenance) for row in settling_table(analysis).to_dict("records")],
        "single_seed": single_seed(trials),
        "unknowns": unknowns(analysis, trials, confirmations, provenance.folder),
        "comparison": comparison_table(analysis).to_dict("records"),
        "forgiving": forgiving_table(analysis).to_dict("records"),
        "laws": [_law(row, analysis) for row in law_table(analysis).to_dict("records")],
        "diverged": diverged_table(trials, analysis.dimensions[0]).to_dict("records"),
        "charts": embed(
            {
                loss: {"loss_curves": loss_curves_chart(each, trials), "optimal_lr": optimal_lr_chart(each)}
                for loss, each in analyses.items()
            }
        ),
    }
    return render_page("transfer_page.html", provenance, values, [get_plotlyjs(), source("page.js")])


def by_loss(analysis: Analysis, trials: Trials) -> dict[str, Analysis]:
    """The analysis of each loss that every trial that did not diverge has; of its own loss it is the one given."""
    trained = trials.frame[~trials.frame["diverged"].astype(bool)]
    return {
        loss: analysis if loss == analysis.loss else analyze(trials.measured_by(loss), analysis.tolerance)
        for loss in (*LOSSES, *(() if analysis.loss in LOSSES else (analysis.loss,)))
        if loss == analysis.loss or (loss in trained.columns and trained[loss].notna().all())
    }


def _plan(row: Mapping[Any, Any], provenance: Provenance) -> dict[str, Any]:
    """A plan with the command that carries it out."""
    step = settling_step(row["arm"], row["what"], row["flags"], provenance.command, provenance.config)
    return {**row, **step._asdict()}


def _law(row: Mapping[Any, Any], analysis: Analysis) -> dict[str, Any]:
    law = analysis.arm(row["arm"]).size_law
    excluded = [] if law is None else [words.power(rule, "N", 1) for rule in law.excludes]
    return {**row, "excludes": Markup(", ").join(excluded) or "–"}


def _reach(analysis: Analysis) -> float:
    """Up to which slope the bars go to both sides."""
    slopes = [result.transfer_slope for result in analysis.arms if result.transfer_slope is not None]
    ends = [abs(end) for slope in slopes for end in (slope.ci_low, slope.ci_high)]
    return min(REACH, math.ceil(max([analysis.tolerance, *ends]) / 0.5) * 0.5)


def _horizons(analysis: Analysis) -> list[str]:
    """What was trained for, but for what varies; nothing where the table of trials does not say."""
    found = []
    for horizon in (result.horizon for result in analysis.arms):
        if horizon is not None:
            steps = "" if "steps" in analysis.dimensions else f"{horizon.steps} steps of "
            batch = "" if "batch_size" in analysis.dimensions else f"{horizon.batch_size} × "
            found.append(f"{steps}{batch}{horizon.context} tokens of {horizon.data}")
    return list(dict.fromkeys(found))
