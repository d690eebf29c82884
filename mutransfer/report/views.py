"""How scales of several dimensions are laid out in a figure: one along its axis or in colours, the others in panels.

Where one dimension varies nothing is held fixed: loss curves have a panel an arm and a colour a size, and the best
learning rates of all arms stand in one panel. Where several vary, a figure shows one at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mutransfer.analysis import Analysis, ArmResult
from mutransfer.config.scale import Scale
from mutransfer.report.words import size_words

ARM = "arm"
"""In the place of a dimension: the arm."""
MOST_PANELS = 12
"""Of more panels so many are drawn, evenly spread; the tables hold all."""


class View(NamedTuple):
    """What colours tell, and what each panel holds fixed: dimensions, or ARM. `along` is the dimension of the axis, ""
    where that is the learning rate."""

    colours: str
    panels: tuple[str, ...]
    along: str = ""

    def panel(self, arm: str, scale: Scale) -> str:
        """The title of the panel in which an arm stands at a scale."""
        return ", ".join(arm if each == ARM else size_words(each, scale[each]) for each in self.panels)

    def line(self, arm: str, scale: Scale) -> str | float:
        """What tells its colour."""
        return arm if self.colours == ARM else scale[self.colours]


def loss_view(analysis: Analysis) -> View:
    """Loss against learning rate: in colours the dimension that leaves the fewest panels."""
    chosen = _fewest(analysis, analysis.dimensions)
    return View(chosen, _fixed(analysis, [each for each in analysis.dimensions if each != chosen]))


def rate_views(analysis: Analysis) -> dict[str, View]:
    """What is drawn against size, by the dimension along the axis: one figure each."""
    if len(analysis.dimensions) == 1:
        return {analysis.dimensions[0]: View(ARM, (), analysis.dimensions[0])}
    found = {}
    for along in analysis.dimensions:
        others = [each for each in analysis.dimensions if each != along]
        colours = _fewest(analysis, others)
        found[along] = View(colours, _fixed(analysis, [each for each in others if each != colours]), along)
    return found


def panels_of(analysis: Analysis, view: View, of: Sequence[ArmResult] = ()) -> list[str]:
    """The titles of all panels of a view, arm by arm and by ascending scale."""
    return list(dict.fromkeys(view.panel(arm.arm, each.scale) for arm in of or analysis.arms for each in arm.optima))


def shown(panels: Sequence[str]) -> list[str]:
    """Those that are drawn, at most MOST_PANELS."""
    if len(panels) <= MOST_PANELS:
        return list(panels)
    return [panels[round(at * (len(panels) - 1) / (MOST_PANELS - 1))] for at in range(MOST_PANELS)]


def left_out(analysis: Analysis, view: View) -> str:
    """A sentence on the panels that are not drawn; empty where all are."""
    every = panels_of(analysis, view)
    count = len(shown(every))
    return "" if count == len(every) else f"{count} of {len(every)} panels are drawn; the tables hold all."


def dodges(lines: Sequence[str | float], octaves: Iterable[float]) -> dict[str | float, float]:
    """How far aside the marks of each line stand, in octaves of size, so that those of one size do not hide each
    other."""
    tried, n = sorted(octaves), len(lines)
    step = min(0.08, 0.3 / n) * ((tried[-1] - tried[0]) / max(len(tried) - 1, 1) or 1.0)
    return {line: step * (i - (n - 1) / 2) for i, line in enumerate(lines)}


def octaves_of(analysis: Analysis, along: str) -> list[float]:
    """log2 of all sizes that were tried along a dimension, ascending."""
    return [math.log2(size) for size in sizes(analysis, along)]


def sizes(analysis: Analysis, along: str) -> list[float]:
    """All sizes that were tried along a dimension, ascending."""
    return sorted({optimum.scale[along] for result in analysis.arms for optimum in result.optima})


def _fixed(analysis: Analysis, dimensions: Sequence[str]) -> tuple[str, ...]:
    """What a panel holds fixed: some dimensions, and the arm where there are several or nothing else is fixed."""
    return tuple(dimensions) if dimensions and len(analysis.arms) == 1 else (ARM, *dimensions)


def _fewest(analysis: Analysis, among: Sequence[str]) -> str:
    """The dimension that, in colours, leaves the fewest panels; the first of those that tie."""
    scales = {optimum.scale for arm in analysis.arms for optimum in arm.optima}
    fixed = {each: {scale.replace(**{each: None}) for scale in scales} for each in among}
    return min(among, key=lambda each: len(fixed[each]))
