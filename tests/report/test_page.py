"""Every page is laid out by one hand: it ends alike, runs nothing but its own scripts, and escapes what it is given."""

from __future__ import annotations

import re
from dataclasses import replace

import pandas as pd
import pytest

from mutransfer.config import Range, SweepConfig
from mutransfer.report import render
from mutransfer.report.search_page import render_search
from report.planted import PROVENANCE

SEARCH = SweepConfig(
    experiment="searched", search="tpe", widths=(32,), space=(Range("model.output_mult", 1.0, 16.0),), n_trials=4
)
SETTINGS = pd.DataFrame(
    {
        "arm": ["mup", "mup", "sp"],
        "lr": [2.0**-7, 2.0**-6, 2.0**-8],
        "model.output_mult": [2.0, 4.0, 8.0],
        "loss": [2.0, 2.5, 3.0],
        "seeds": [2, 2, 2],
        "diverged": [0, 0, 0],
        "pruned": [float("nan")] * 3,
    }
)


def searched(provenance):
    return render_search(SETTINGS, SEARCH, {"mup": {"lr": 0.75, "model.output_mult": 0.25}}, None, provenance)


def test_every_page_tells_alike_how_to_do_it_again(two_arms, monkeypatch):
    figures = ("loss_curves", "optimal_lr", "regret", "wider_is_better")
    monkeypatch.setattr("mutransfer.report.transfer_page.draw", lambda *_: dict.fromkeys(figures))
    monkeypatch.setattr("mutransfer.report.transfer_page.svg", lambda *_: b"<svg/>")
    failures = (replace(PROVENANCE.failures[0], arm="mup"), PROVENANCE.failures[0])
    for provenance in (PROVENANCE, replace(PROVENANCE, failures=failures, training=None)):
        pages = [render(*two_arms, provenance), searched(provenance)]
        ends = [re.findall(r'<section id="provenance">.*?</section>', page, re.S) for page in pages]
        assert ends[0] == ends[1]
        assert len(ends[0]) == 1
        failed = f"<dt>failed</dt><dd>{len(provenance.failures)}</dd>"
        assert (failed in ends[0][0]) == (provenance.training is not None)


@pytest.mark.parametrize("field", ["command", "reading"])
def test_a_page_without_scripts_can_run_none(field):
    told = "<script>alert(1)</script>"
    page = searched(replace(PROVENANCE, training=None, **{field: told if field == "command" else (told,)}))
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "script-src &#39;none&#39;" in page
