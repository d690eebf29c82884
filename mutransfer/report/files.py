"""Figures as bytes, and bytes as files. The same input gives the same bytes; a file is there whole or not at all."""

from __future__ import annotations

import io
import os
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from mutransfer.analysis import Analysis
from mutransfer.report.figures import draw
from mutransfer.report.style import THEME

DPI = 200

_UNDATED = {"Date": None, "Creator": None, "Format": None, "Type": None}


def save_figures(analysis: Analysis, frame: pd.DataFrame, folder: Path) -> list[Path]:
    """Write each figure as .svg and .png (200 dpi) into `folder`, which is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in draw(analysis, frame).items():
        for kind, data in (("svg", svg(name, figure)), ("png", png(figure))):
            paths.append(write_whole(folder / f"{name}.{kind}", data))
    return paths


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


def write_whole(path: Path, data: bytes) -> Path:
    """Write a file beside its place and move it there, so that a reader or a crash never sees half of it."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(data)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    return path
