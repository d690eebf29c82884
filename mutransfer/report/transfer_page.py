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
from mutransfer.report.answer import answer
from mutransfer.report.commands import settling_step
from mutransfer.report.figures import draw
from mutransfer.report.files import svg
from mutransfer.report.loss_chart import loss_curves_chart
from mutransfer.report.marks import RECORDED_LOSSES, loss_curves_data, optimal_lr_data, place
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
from mutransfer.report.views import left_out, loss_view, panels_of, shown, sizes
from mutransfer.report.worth import regret_data

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
    analyses, varies = by_loss(analysis, trials), analysis.dimensions
    view = loss_view(analysis)
    one = DIMENSIONS[varies[0]]
    values = {
        "experiment": analysis.experiment,
        "analysis": analysis,
        "confirmations": confirmations,
        "answer": answer(analysis, provenance.folder),
        "axis": {"word": one.word, "words": one.words} if len(varies) == 1 else {"word": "scale", "words": "scales"},
        "varies": varies,
        "size_heads": [f"#{DIMENSIONS[name].word}" for name in varies],
        "ranges": [f"{DIMENSIONS[name].words} {_listed(sizes(analysis, name))}" for name in varies],
        "notes": list(dict.fromkeys([*analysis.notes, *(note for arm in analysis.arms for note in arm.notes)])),
        "arms": [result.arm for result in analysis.arms],
        "panels": shown(panels_of(analysis, view)),
        "left_out": left_out(analysis, view),
        "rates": {DIMENSIONS[name].word: "optimal_lr" if len(varies) == 1 else f"optimal_lr_{name}" for name in varies},
        "occurs": _occurs(analysis, trials, confirmations),
        "unit": words.loss_unit(trials),
        "horizons": _horizons(analysis),
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
        "diverged": diverged_table(trials, varies).to_dict("records"),
        "charts": embed(
            {
                loss: {
                    name: chart
                    for name, chart in {
                        "loss_curves": loss_curves_chart(each, trials),
                        "optimal_lr": optimal_lr_chart(each),
                    }.items()
                    if chart is not None
                }
                for loss, each in analyses.items()
            }
        ),
    }
    return render_page("transfer_page.html", provenance, values, [get_plotlyjs(), source("page.js")])


def _listed(values: Sequence[float]) -> str:
    """Sizes in words: all of a few, else how many between which."""
    if len(values) <= 12:
        return ", ".join(map(words.size_text, values))
    return f"{len(values)} from {words.size_text(values[0])} to {words.size_text(values[-1])}"


def _occurs(analysis: Analysis, trials: Trials, confirmations: Sequence[Confirmation]) -> dict[str, bool]:
    """Which marks the figures have, so that captions explain those alone."""
    data, _ = place(loss_curves_data(analysis, trials))
    regrets = regret_data(analysis, trials, confirmations)
    statuses = {optimum.status for arm in analysis.arms for optimum in arm.optima}
    known = {str(each).removeprefix("confirmed_") for each in regrets["known"]}
    bounded = regrets["ci_low"].notna() & regrets["ci_high"].isna()
    return {
        "censored": bool(statuses & {"censored_low", "censored_high"}),
        "flat": "flat" in statuses,
        "too_few": "too_few" in statuses,
        "open": statuses != {"interior"},
        "leverage": any(arm.leverage is not None for arm in analysis.arms),
        "above": bool(data["above"].any()),
        "diverged": bool((data["mark"] == "diverged").any()),
        "still": bool((optimal_lr_data(analysis)["mark"] == "still").any()),
        "at_least": "at_least" in known,
        "regret_diverged": "diverged" in known,
        "unknown": "unknown" in known,
        "regret_open": bool((bounded & ~regrets["known"].str.endswith("at_least")).any()),
    }


def by_loss(analysis: Analysis, trials: Trials) -> dict[str, Analysis]:
    """The analysis of each loss that every trial that did not diverge has; of its own loss it is the one given."""
    trained = trials.frame[~trials.frame["diverged"].astype(bool)]
    return {
        loss: analysis if loss == analysis.loss else analyze(trials.measured_by(loss), analysis.tolerance)
        for loss in dict.fromkeys((*RECORDED_LOSSES, analysis.loss))
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
    slopes = [slope for result in analysis.arms for slope in result.slopes.values()]
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
