"""The page: one self-contained file with the answer, the figures, the tables and how to do it again. No scripts, no
network; every text is escaped."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from mutransfer.analysis import Analysis
from mutransfer.config import flatten
from mutransfer.files import write_whole
from mutransfer.report.figures import draw
from mutransfer.report.files import svg
from mutransfer.report.marks import ABOVE_A_WIDTH, INTERESTING
from mutransfer.report.tables import difference_table, diverged_table, optima_table, transfer_table

VERDICTS = {"transfers": "✓ transfers", "does_not_transfer": "✗ does not transfer", "inconclusive": "? inconclusive"}
STATUSES = {
    "interior": "interior",
    "censored_low": "below range",
    "censored_high": "above range",
    "flat": "flat",
    "too_few": "too few rates",
}


@dataclass(frozen=True)
class Provenance:
    """How the results came about. wall_s: seconds summed over trials; started: ISO 8601 UTC; config may be nested."""

    command: str
    config: Mapping[str, Any]
    versions: Mapping[str, str]
    data_fingerprint: str
    n_trials: int
    wall_s: float
    flops: float
    started: str
    devices: tuple[str, ...]


def write_report(path: Path, analysis: Analysis, frame: pd.DataFrame, provenance: Provenance) -> Path:
    """Write the page to `path`, whole or not at all."""
    return write_whole(path, render(analysis, frame, provenance).encode())


def render(analysis: Analysis, frame: pd.DataFrame, provenance: Provenance) -> str:
    """The page as HTML; the same input gives the same text."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "number": number,
        "interval": interval,
        "rate": rate,
        "rates": lambda low, high: "–" if rate(low) == "–" else f"{rate(low)} to {rate(high)}",
        "span": span,
        "scientific": scientific,
        "plain": plain,
        "verdict": lambda name: VERDICTS.get(name, name),
        "widths": lambda proxy, target: "–" if math.isnan(proxy) else f"{proxy:.0f} → {target:.0f}",
        "beyond": lambda status: {"censored_low": "< ", "censored_high": "> "}.get(status, ""),
        "status": lambda name: STATUSES.get(name, name),
    }
    source = resources.files("mutransfer.report").joinpath("template.html").read_text(encoding="utf-8")
    return environment.from_string(source).render(
        analysis=analysis,
        provenance=provenance,
        widths=sorted({optimum.width for result in analysis.arms for optimum in result.optima}),
        interesting=INTERESTING,
        above_a_width=ABOVE_A_WIDTH,
        config=flatten(provenance.config),
        figures={name: inline(name, svg(name, figure)) for name, figure in draw(analysis, frame).items()},
        optima=optima_table(analysis).to_dict("records"),
        transfers=transfer_table(analysis).to_dict("records"),
        differences=difference_table(analysis).to_dict("records"),
        diverged=diverged_table(frame).to_dict("records"),
    )


def inline(name: str, document: bytes) -> Markup:
    """An SVG document as an element of a page: no namespaces, no metadata, and every id prefixed with `name`, since the
    ids of all figures of a page share one space."""
    root = ElementTree.fromstring(document)
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style"):  # a style would apply to the whole page
                parent.remove(child)
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = {_local(key): _prefixed(_local(key), value, name) for key, value in element.attrib.items()}
    root.set("aria-hidden", "true")  # the page describes the figure
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def number(value: float | None, digits: int = 2, signed: bool = False) -> str:
    """A number with so many decimals and a true minus sign; a dash where it is missing."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:{'+' if signed else ''}.{digits}f}".replace("-", "−")


def interval(low: float | None, high: float | None, digits: int = 2, signed: bool = False) -> str:
    """Both ends of an interval; a question mark for one that is missing, a dash for both."""
    ends = [number(end, digits, signed) for end in (low, high)]
    return "–" if ends == ["–", "–"] else f"[{', '.join(ends)}]".replace("–", "?")


def rate(value: float | None) -> str:
    """A learning rate with three digits; a dash where it is missing."""
    return "–" if value is None or not math.isfinite(value) else f"{value:#.3g}"


def span(seconds: float) -> str:
    """A time in its two largest units."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def scientific(value: float) -> str:
    """A large number as 1.23 × 10⁴."""
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa} × 10{str(int(exponent)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def plain(value: Any) -> str:
    """A config's value: a list without brackets, nothing as a dash."""
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(item) for item in value)
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _prefixed(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "href":
        return value.replace("#", f"#{name}-", 1)
    return value.replace("url(#", f"url(#{name}-")
