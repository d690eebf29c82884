"""What every page is made of: one layout, one template environment, one policy, and how it came about at its end.

A page is one self-contained file. It needs no network and may have none: a Content-Security-Policy forbids every
connection, and every script but the page's own, known by their digests. Every text is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any
from xml.etree import ElementTree

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from mutransfer.config import flatten
from mutransfer.config.scale import DIMENSIONS
from mutransfer.report import words
from mutransfer.report.provenance import Provenance

BAR = 144.0
"""Width of a bar of slopes in the units of its drawing."""


def source(name: str) -> str:
    """A file that belongs to a page."""
    return resources.files("mutransfer.report").joinpath(name).read_text(encoding="utf-8")


_ENVIRONMENT = Environment(
    loader=FunctionLoader(source), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_ENVIRONMENT.filters |= {
    **{name: getattr(words, name) for name in ("number", "interval", "rate", "rates", "power", "span")},
    **{name: getattr(words, name) for name in ("scientific", "plain", "band", "edge")},
    "verdict": lambda name: words.VERDICTS.get(name, name),
    "status": lambda name: words.STATUSES.get(name, name),
    "loss": lambda name: words.LOSS_WORDS.get(name, name),
    "way": lambda proxy, target: f"{proxy} → {target}" if isinstance(proxy, str) else "–",
    "size": words.size_text,
    "dimension": lambda name: DIMENSIONS[name].word,
    "beyond": lambda status: {"censored_low": "< ", "censored_high": "> "}.get(status, ""),
    "loss_or_diverged": lambda loss: "diverged" if math.isnan(loss) else words.number(loss, 4),
    "across": lambda value, reach: round(BAR * (min(max(value / reach, -1), 1) + 1) / 2, 2),
}


def render_page(template: str, provenance: Provenance, values: Mapping[str, Any], scripts: Sequence[str] = ()) -> str:
    """A page as HTML; the same input gives the same text.

    Args:
        template: a file that extends page.html.
        provenance: how the results came about.
        values: what the template shows, by name; `experiment` is the page's heading.
        scripts: all that may run, in their order.
    """
    return _ENVIRONMENT.get_template(template).render(
        {
            **values,
            "provenance": provenance,
            "config": flatten(provenance.config),
            "policy": _policy(scripts),
            "style": Markup(source("page.css")),
            "scripts": [Markup(script) for script in scripts],
        }
    )


def embed(data: Mapping[str, Any]) -> Markup:
    """Data as JSON in a script element, out of which no text can lead."""
    text = json.dumps(data, allow_nan=False, sort_keys=True, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


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


def _policy(scripts: Sequence[str]) -> str:
    """The Content-Security-Policy: these scripts by their digests, styles of the page's own, pictures in data, no
    connections."""
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _prefixed(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "href":
        return value.replace("#", f"#{name}-", 1)
    return value.replace("url(#", f"url(#{name}-")
