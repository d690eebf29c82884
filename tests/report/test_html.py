"""The page is one self-contained, escaped, deterministic file that says what the analysis says."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from mutransfer.report.html import Provenance, interval, number, plain, rate, render, scientific, span, write_report

PROVENANCE = Provenance(
    command="mutransfer sweep --out 'a & b'",
    config={"widths": [32, 64], "model": {"depth": 2, "n_heads": None}, "optimizer": {"eps": 1e-8}},
    versions={"torch": "2.13.0", "numpy": "2.3.0"},
    data_fingerprint="3f9a1c77",
    n_trials=112,
    wall_s=3723.0,
    flops=3.21e15,
    started="2026-01-02T03:04:05Z",
    devices=("cpu",),
)


class Page(HTMLParser):
    """Tags, attributes and visible text of a page, by table rows where they are in one."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.attributes, self.rows, self.words = Counter(), [], [], [], []
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags[tag] += 1
        self.attributes += attributes
        self.ids += [value for name, value in attributes if name == "id"]
        if tag == "tr":
            self.rows.append([])
            self.inside = True
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        if tag == "tr":
            self.inside = False

    def handle_data(self, data):
        self.words.append(data)
        if self.inside and self.rows[-1]:
            self.rows[-1][-1] += data.strip()

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def test_every_case_renders(case):
    page = Page(render(*case, PROVENANCE))
    assert page.tags["figure"] == page.tags["svg"] == page.tags["figcaption"] == 4
    for result in case[0].arms:
        assert result.sentence in page.text


def test_nothing_is_loaded_and_nothing_runs(five_arms):
    text = render(*five_arms, PROVENANCE)
    page = Page(text)
    assert "http://" not in text
    assert "https://" not in text
    assert not {"script", "link", "img", "iframe", "image"} & set(page.tags)
    for name, value in page.attributes:
        assert not name.startswith("on")
        assert name not in ("src", "href") or value.startswith("#"), (name, value)
    assert "@import" not in text
    assert set(re.findall(r"url\((.)", text)) <= {"#"}


HOSTILE = "<script>alert('x')</script>&amp;\"><img src=x onerror=y>"


def test_text_is_escaped_wherever_it_comes_from(two_arms):
    analysis, frame = two_arms
    frame.loc[frame["arm"] == "mup", "arm"] = HOSTILE
    frame.loc[frame["log2_lr"] == -4, ["diverged", "final_loss"]] = True, float("nan")
    mup = replace(analysis.arms[1], arm=HOSTILE, sentence=HOSTILE, reason=HOSTILE, verdict=HOSTILE)
    analysis = replace(
        analysis,
        experiment=HOSTILE,
        arms=(analysis.arms[0], mup),
        slope_difference={HOSTILE: analysis.arms[0].transfer_slope},
    )
    hostile = Provenance(HOSTILE, {HOSTILE: HOSTILE}, {HOSTILE: HOSTILE}, HOSTILE, 1, 1.0, 1.0, HOSTILE, (HOSTILE,))
    page = Page(render(analysis, frame, hostile))
    assert not {"script", "img"} & set(page.tags)
    assert page.text.count("<script>alert('x')</script>") >= 12  # shown, as text


def test_ids_are_unique_and_every_reference_finds_its_id(five_arms):
    text = render(*five_arms, PROVENANCE)
    ids = Page(text).ids
    assert len(ids) > 100
    assert [name for name, times in Counter(ids).items() if times > 1] == []
    references = set(re.findall(r'href="#([^"]+)"', text)) | set(re.findall(r"url\(#([^)]+)\)", text))
    assert references
    assert references <= set(ids)


def test_two_renders_are_equal(diverged):
    assert render(*diverged, PROVENANCE) == render(*diverged, PROVENANCE)


def test_the_tables_show_the_analysis_numbers(two_arms):
    analysis, frame = two_arms
    rows = [" | ".join(row) for row in Page(render(analysis, frame, PROVENANCE)).rows]
    for result in analysis.arms:
        for o in result.optima:
            assert any(
                f"{o.width} | {2**o.log2_lr:#.3g} | {2**o.ci_low:#.3g} to {2**o.ci_high:#.3g} | {number(o.log2_lr)} | "
                f"[{number(o.ci_low)}, {number(o.ci_high)}] | {o.loss:.4f} | interior" in row
                for row in rows
            )
        slope, regret = result.transfer_slope, result.transfer_regret
        ends = f"[{number(slope.ci_low, 3, True)}, {number(slope.ci_high, 3, True)}]"
        assert any(
            row.startswith(result.arm)
            and row.endswith(
                f"{number(slope.estimate, 3, True)} | {ends} | 32 → 256 | {regret.nats:.4f} | "
                f"[{regret.ci_low:.4f}, {regret.ci_high:.4f}]"
            )
            for row in rows
        )
    assert "sp-mup | −1.000 | [−1.250, −0.750]" in rows


def test_an_optimum_beyond_the_rates_tried_is_not_shown_as_a_number(censored):
    rows = Page(render(*censored, PROVENANCE)).rows
    assert any(row[-6:-2] == ["> 0.0156", "–", "> −6.00", "–"] for row in rows)
    assert any(row[-6:-2] == ["< 0.00391", "–", "< −8.00", "–"] for row in rows)


def test_the_answer_comes_first_with_each_verdict_in_words(two_arms):
    text = Page(render(*two_arms, PROVENANCE)).text
    order = ["✗ does not transfer", "sp was planted.", "✓ transfers", "mup was planted.", "Loss against learning rate"]
    places = [text.index(part) for part in order]
    assert places == sorted(places)


def test_diverged_trials_are_listed(diverged):
    rows = Page(render(*diverged, PROVENANCE)).rows
    assert sum(row[:2] == ["sp", "256"] and row[-1] == "17" for row in rows) == 6


def test_provenance_is_complete(two_arms):
    page = Page(render(*two_arms, PROVENANCE))
    wanted = ["mutransfer sweep --out 'a & b'", "1 h 2 min", "3.21 × 10¹⁵ FLOPs", "torch 2.13.0, numpy 2.3.0"]
    for part in [*wanted, "3f9a1c77", "2026-01-02T03:04:05Z", "112", "cpu"]:
        assert part in page.text
    for row in (["widths", "32, 64"], ["model.depth", "2"], ["model.n_heads", "–"], ["optimizer.eps", "1e-08"]):
        assert row in page.rows


def test_figures_are_described_and_tables_have_headers(two_arms):
    page = Page(render(*two_arms, PROVENANCE))
    described = [value for name, value in page.attributes if name == "aria-label" and "against" in value]
    assert len(described) == 4
    assert page.tags["thead"] == page.tags["table"] >= 4


def test_the_page_is_written(two_arms, tmp_path):
    path = write_report(tmp_path / "report.html", *two_arms, PROVENANCE)
    assert path.read_text(encoding="utf-8") == render(*two_arms, PROVENANCE)


def test_numbers_as_text():
    assert number(-1.005, 2) == "−1.00"
    assert number(0.5, 1, True) == "+0.5"
    assert number(None) == number(float("nan")) == "–"
    assert interval(1.0, None) == "[1.00, ?]"
    assert interval(None, float("nan")) == "–"
    assert rate(0.00290) == "0.00290"
    assert (span(5.04), span(65), span(7260)) == ("5.0 s", "1 min 5 s", "2 h 1 min")
    assert scientific(3.2e-5) == "3.20 × 10⁻⁵"
    assert plain((1, 2.5e-9, None, True)) == "1, 2.5e-09, –, True"


@pytest.mark.parametrize("missing", ["command", "config", "versions", "devices"])
def test_provenance_has_no_defaults(missing):
    with pytest.raises(TypeError):
        Provenance(**{k: v for k, v in vars(PROVENANCE).items() if k != missing})
