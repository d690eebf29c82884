"""A run's curves, with what the doctor found marked where it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from mutransfer.report.style import FAINT, FULL_PAGE, INK, THEME, literal
from mutransfer.toolbox.doctor import PROBLEM, Curve, Diagnosis, Finding, Run

LOG_RANGE = 20.0
"""A quantity that spans this factor or more, all above 0, is drawn on a log axis."""
PANEL = 1.25
"""Inches of height that each panel below the loss takes."""


class Panel(NamedTuple):
    """A quantity on an axis of its own: its label, and its curves by name, the first in the plainest colour."""

    label: str
    curves: dict[str, Curve]
    log: bool


def panels_of(run: Run) -> list[Panel]:
    """What of a run is drawn, the loss first; what was not logged is left out."""
    asked = [
        ("loss", {"training loss": run.loss, "held-out loss": run.val_loss}, False),
        ("rate", {"rate": run.lr}, False),
        (
            "gradient norm",
            {"as it was": run.grad_norm, "clipped": _if_other(run.clipped_grad_norm, run.grad_norm)},
            False,
        ),
        ("update / weight", dict(run.update_ratio), True),
    ]
    panels = []
    for label, curves, ratio in asked:
        known = {name: curve for name, curve in curves.items() if len(curve)}
        if known:
            panels.append(Panel(label, known, ratio or (label != "rate" and _spans(list(known.values())))))
    return panels


def draw_run(run: Run, diagnosis: Diagnosis) -> Figure:
    """The run's curves over its steps; each finding is a band over the steps that it is about, problems in red."""
    panels = panels_of(run)
    looks = _looks(diagnosis.findings)
    with matplotlib.rc_context(THEME):
        height = 2.8 + PANEL * (len(panels) - 1) + 0.16 * len(looks)
        figure = Figure(figsize=(FULL_PAGE, height), layout="constrained")
        ratios = [1.9] + [1.0] * (len(panels) - 1)
        rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=ratios)[:, 0]
        for axes, panel in zip(rows, panels, strict=True):
            _draw_panel(axes, panel)
            for finding, colour in looks:
                axes.axvspan(
                    finding.first_step, max(finding.last_step, finding.first_step + 1), color=colour, alpha=0.1, lw=0
                )
        _mark_lost(rows[0], run)
        rows[-1].set_xlabel("step")
        handles = [Patch(color=colour, alpha=0.3, label=literal(f"{f.severity}: {f.what}")) for f, colour in looks]
        title = literal(f"{diagnosis.name}: {'not healthy' if diagnosis.healthy is False else 'no problem found'}")
        figure.legend(handles=handles, title=title, loc="outside upper left", alignment="left")
    return figure


def _draw_panel(axes: Axes, panel: Panel) -> None:
    colours = [INK, *sns.color_palette("colorblind").as_hex()]
    for (name, curve), colour in zip(panel.curves.items(), colours * len(panel.curves), strict=False):
        drawn = np.isfinite(curve.value) & ((curve.value > 0) | (not panel.log))
        value = np.where(drawn, curve.value, np.nan)
        axes.plot(curve.step, value, color=colour, lw=0.9 if len(curve) > 60 else 1.2, label=literal(name))
    if panel.log:
        axes.set_yscale("log")
    axes.set_ylabel(panel.label)
    if 1 < len(panel.curves) <= 3:
        axes.legend(loc="best")


def _mark_lost(axes: Axes, run: Run) -> None:
    """A cross on top where the loss was not finite."""
    lost = run.loss.step[~np.isfinite(run.loss.value)]
    if len(lost):
        at_top = axes.get_xaxis_transform()
        axes.plot(lost, np.full(len(lost), 0.96), "x", transform=at_top, color="#b2182b", ms=6, mew=1.6)
        axes.legend(handles=[*axes.get_lines()[:-1], _cross()], loc="upper left")


def _cross() -> Line2D:
    return Line2D([], [], marker="x", ls="none", color="#b2182b", ms=6, mew=1.6, label="not finite")


def _looks(findings: Sequence[Finding]) -> list[tuple[Finding, str]]:
    reds, greys = ("#b2182b", "#ef8a62", "#9970ab", "#d6604d"), (FAINT, "#4393c3")
    problems = [finding for finding in findings if finding.severity == PROBLEM]
    notes = [finding for finding in findings if finding.severity != PROBLEM]
    return [(f, reds[i % len(reds)]) for i, f in enumerate(problems)] + [
        (f, greys[i % len(greys)]) for i, f in enumerate(notes)
    ]


def _if_other(curve: Curve, other: Curve) -> Curve:
    """A curve, or an empty one where it is the same."""
    return Curve() if len(curve) == len(other) and np.allclose(curve.value, other.value, equal_nan=True) else curve


def _spans(curves: Sequence[Curve]) -> bool:
    values = np.concatenate([curve.value[np.isfinite(curve.value)] for curve in curves])
    return bool(len(values) and values.min() > 0 and values.max() / values.min() >= LOG_RANGE)
