"""Figures as bytes and as files. The same input gives the same bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from mutransfer.analysis import Analysis, Trials
from mutransfer.analysis.confirmation import Confirmation
from mutransfer.files import write_whole
from mutransfer.report.figures import draw
from mutransfer.report.style import THEME

DPI = 200

_UNDATED = {"Date": None, "Creator": None, "Format": None, "Type": None}


def save_figures(
    analysis: Analysis, trials: Trials, folder: Path, confirmations: Sequence[Confirmation] = ()
) -> list[Path]:
    """Write each figure as .svg and .png (200 dpi) into `folder`, which is made where it is missing."""
    drawn = draw(analysis, trials, confirmations)
    return [path for name, figure in drawn.items() for path in save_figure(name, figure, folder)]


def save_figure(name: str, figure: Figure, folder: Path) -> tuple[Path, Path]:
    """Write a figure as NAME.svg and NAME.png (200 dpi) into `folder`, which is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    return write_whole(folder / f"{name}.svg", svg(name, figure)), write_whole(folder / f"{name}.png", png(figure))


def svg(name: str, figure: Figure) -> bytes:
    """The figure as an SVG document, without a date; `name` salts its ids."""
    with matplotlib.rc_context({**THEME, "svg.hashsalt": name}):
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata=_UNDATED)
    return file.getvalue()


def png(figure: Figure) -> bytes:
    """The figure as a PNG of 200 dpi."""
    with matplotlib.rc_context(THEME):
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=DPI)
    return file.getvalue()
