"""The page is one self-contained, escaped, deterministic file that says what the analysis says."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from plotly.offline import get_plotlyjs

from mutransfer.analysis import Settling, analyze
from mutransfer.config.scale import Scale
from mutransfer.report import Provenance, Training, render, write_report
from mutransfer.report.words import band, edge, interval, number, plain, power, rate, scientific, span
from report.planted import AT_END, PROVENANCE, confirmation, with_optimum


class Page(HTMLParser):
    """Tags, attributes and visible text of a page, by section, and by table rows where they are in one. Scripts are
    kept apart by their place."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.attributes, self.rows, self.words = Counter(), [], [], [], []
        self.scripts, self.sections = [], {}
        self.row = self.script = False
        self.section = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags[tag] += 1
        self.attributes += attributes
        given = dict(attributes)
        self.ids += [given["id"]] if "id" in given else []
        if tag == "section":
            self.section = given["id"]
        if tag == "script":
            self.script = True
            self.scripts.append((given, ""))
        if tag == "tr":
            self.rows.append([])
            self.row = True
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self.row = self.row and tag != "tr"
        self.script = self.script and tag != "script"
        self.section = "" if tag == "section" else self.section

    def handle_data(self, data):
        if self.script:
            given, text = self.scripts[-1]
            self.scripts[-1] = given, text + data
            return
        self.words.append(data)
        self.sections[self.section] = self.sections.get(self.section, "") + data
        if self.row and self.rows[-1]:
            self.rows[-1][-1] += data.strip()

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def said(self, section):
        return " ".join(self.sections[section].split())

    @property
    def policy(self):
        content = next(value for name, value in self.attributes if name == "content" and "default-src" in value)
        return dict(part.strip().split(" ", 1) for part in content.split(";"))

    @property
    def charts(self):
        return json.loads(next(text for given, text in self.scripts if given.get("id") == "charts"))


FIGURES = ("loss_curves", "optimal_lr", "regret", "wider_is_better")


@pytest.fixture(autouse=True)
def undrawn(request, monkeypatch):
    """Most laws are about words, and need no printed figures, which take the longest; `drawn` has them."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr("mutransfer.report.transfer_page.draw", lambda *_: dict.fromkeys(FIGURES))
        monkeypatch.setattr("mutransfer.report.transfer_page.svg", lambda *_: b"<svg/>")


@pytest.fixture
def drawn():
    """Asks for printed figures."""


def opened(analysis, trials, *further):
    return Page(render(analysis, trials, PROVENANCE, *further))


def test_every_case_renders(case, drawn):
    page = opened(*case)
    assert page.tags["figure"] == page.tags["figcaption"] == 4
    bars = sum(result.transfer_slope is not None for result in case[0].arms) if len(case[0].arms) > 2 else 0
    assert page.tags["svg"] == 4 + bars
    for result in case[0].arms:
        assert result.sentence in page.text
    assert set(page.charts) == {"final_loss", "mean_loss", "val_loss"}


def test_sections_stand_in_the_order_of_the_story(told, two_arms):
    ids = ["answer", "figure", "optima", "regret", "surer", "arms", "forgiving", "lost", "conformance", "provenance"]
    assert [name for name in opened(*told).ids if name in ids] == ids
    silent = Page(render(*two_arms, replace(PROVENANCE, conformance=None)))
    assert [name for name in silent.ids if name in ids] == [name for name in ids if name not in ("arms", "conformance")]


def test_nothing_is_loaded_and_only_the_pages_own_scripts_may_run(five_arms, drawn):
    text = render(*five_arms, PROVENANCE)
    page = Page(text)
    own = text.replace(get_plotlyjs(), "")
    assert len(text) - len(own) == len(get_plotlyjs())  # once
    assert "http://" not in own
    assert "https://" not in own
    assert not {"link", "img", "iframe", "image", "object", "embed", "base"} & set(page.tags)
    for name, value in page.attributes:
        assert not name.startswith("on")
        assert name not in ("src", "href") or value.startswith("#"), (name, value)
    assert "@import" not in own
    assert set(re.findall(r"url\((.)", own)) <= {"#"}
    digests = {
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for given, script in page.scripts
        if given.get("type") != "application/json"
    }
    assert len(digests) == 2
    assert set(page.policy["script-src"].split()) == digests  # no unsafe-inline, no unsafe-eval, no source
    assert page.policy["default-src"] == "'none'"
    assert set(page.policy) <= {"default-src", "script-src", "style-src", "img-src", "base-uri", "form-action"}
    assert page.policy["img-src"] == "data:"


HOSTILE = "<script>alert('x')</script>&amp;\"><img src=x onerror=y>"


def hostile_page(two_arms, foreign=False):
    analysis, trials = two_arms
    trials.frame.loc[trials.frame["arm"] == "mup", "arm"] = HOSTILE
    trials.frame.loc[trials.frame["log2_lr"] == -4, ["diverged", "loss"]] = True, float("inf")
    mup = replace(analysis.arms[1], arm=HOSTILE, sentence=HOSTILE, reason=HOSTILE, verdict=HOSTILE)
    analysis = replace(
        analysis,
        experiment=HOSTILE,
        arms=(analysis.arms[0], mup),
        slope_differences={HOSTILE: analysis.arms[0].slopes},
    )
    failed = replace(PROVENANCE.failures[0], arm=HOSTILE, error=HOSTILE)
    hostile = Provenance(
        command=HOSTILE,
        config={HOSTILE: HOSTILE},
        n_trials=1,
        training=None if foreign else Training({HOSTILE: HOSTILE}, HOSTILE, 1.0, 1.0, HOSTILE, (HOSTILE,)),
        reading=(HOSTILE,),
        folder=HOSTILE,
        failures=(failed,),
        conformance=HOSTILE,
    )
    return render(analysis, trials, hostile, [confirmation(arm=HOSTILE, sentence=HOSTILE)])


def texts(data):
    """Every text within JSON data."""
    if isinstance(data, str):
        yield data
    elif isinstance(data, (list, dict)):
        for item in data.values() if isinstance(data, dict) else data:
            yield from texts(item)


def test_text_is_escaped_wherever_it_comes_from(two_arms, drawn):
    others = Page(hostile_page(two_arms, foreign=True))
    assert "img" not in others.tags
    assert "Others trained these runs" in others.text
    page = Page(hostile_page(two_arms))
    assert page.tags["script"] == 3
    assert "img" not in page.tags
    assert page.text.count("<script>alert('x')</script>") >= 18  # shown, as text
    raw = next(text for given, text in page.scripts if given.get("id") == "charts")
    assert not {"<", ">", "&"} & set(raw)
    shown = [text for text in texts(page.charts) if "alert" in text and text != HOSTILE]  # a group's key is not shown
    assert len(shown) > 50
    for text in shown:  # plotly renders some HTML: beside the escaped name only ours is left
        assert "&lt;script&gt;alert('x')&lt;/script&gt;&amp;amp;\"&gt;&lt;img src=x onerror=y&gt;" in text
        assert set(re.findall(r"<[^>]*>", text)) <= {"<b>", "</b>", "<br>", "<sup>", "</sup>"}


def test_ids_are_unique_and_every_reference_finds_its_id(five_arms, drawn):
    text = render(*five_arms, PROVENANCE).replace(get_plotlyjs(), "")
    ids = Page(text).ids
    assert len(ids) > 100
    assert [name for name, times in Counter(ids).items() if times > 1] == []
    references = set(re.findall(r'href="#([^"]+)"', text)) | set(re.findall(r"url\(#([^)]+)\)", text))
    assert references
    assert references <= set(ids)


def test_two_renders_are_equal(diverged, drawn):
    assert render(*diverged, PROVENANCE, [confirmation()]) == render(*diverged, PROVENANCE, [confirmation()])


def test_the_tables_show_the_analysis_numbers(two_arms):
    analysis, trials = two_arms
    rows = [" | ".join(row) for row in opened(analysis, trials).rows]
    for result in analysis.arms:
        for o in result.optima:
            assert any(
                f"{o.scale.width} | {2**o.log2_lr:#.3g} | {2**o.ci_low:#.3g} to {2**o.ci_high:#.3g} | "
                f"{number(o.log2_lr)} | "
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
    rows = opened(*censored).rows
    assert any(row[-6:-2] == ["> 0.0156", "–", "> −6.00", "–"] for row in rows)
    assert any(row[-6:-2] == ["< 0.00391", "–", "< −8.00", "–"] for row in rows)


def test_each_status_and_a_size_that_decides_is_told(special):
    page = opened(*special)
    told = [row[-1] for row in page.rows if row[-1] in ("below range", "above range", "flat", "too few rates")]
    assert told == ["below range", "above range", "flat", "too few rates"]
    assert [row[:2] for row in page.rows if row[-1].endswith("◯ decides the slope")] == [["1024", "0.0156"]]
    assert "width 1024 alone decides the slope, which is +0.000 with it and −0.125 without" in page.said("optima")


def test_the_answer_comes_first_with_each_verdict_in_words(two_arms):
    text = opened(*two_arms).text
    order = ["✗ does not transfer", "sp was planted.", "✓ transfers", "mup was planted.", "Loss against learning rate"]
    places = [text.index(part) for part in order]
    assert places == sorted(places)


def test_confirmed_regrets_stand_beside_the_predicted_ones(two_arms):
    page = opened(*two_arms, [confirmation(), confirmation(arm="sp", scale=Scale(256), **AT_END)])
    assert next(row[:-1] for row in page.rows if row[:2] == ["mup", "512"]) == [
        "mup",
        "512",
        "2−6",
        "2.4125",
        "2.3750",
        "2.4375",
        "2",
        "0.0000",
        "[0.0000, 0.0225]",
        "0.0075",
    ]
    assert ["2", "≥ 0.0125", "[0.0025, ?]", "0.0075", "[0.0015, 0.0175]"] in [row[-5:] for row in page.rows]
    assert page.said("regret").count("mup: it was confirmed.") == 2
    unknown = {"measured": None, "predicted": None, "predicted_low": 0.01, "predicted_high": None}
    lost = confirmation(losses=(2.5, None, None), **unknown)
    row = next(row for row in opened(*two_arms, [lost]).rows if row[:2] == ["mup", "512"])
    assert row[3:] == ["2.5000", "diverged", "diverged", "2", "–", "–", "–", "[0.0100, ?]"]


def test_an_inconclusive_arm_has_its_plans_with_commands_and_costs(told):
    page = opened(*told)
    said = page.said("surer")
    assert "4 seeds in place of 2: narrower mutransfer sweep --out 'a & b' --seeds 4 64 more trials" in said
    assert "6.50 × 10¹³ FLOPs" in said
    assert "more rates mutransfer sweep --out 'a & b' --lrs '2^-12..2^-3' 16 more trials in this arm" in said
    assert said.count("FLOPs") == 1  # an unknown cost is not a number
    plan = Settling(told[0].arms[2].settling[0].what)
    alone = replace(told[0], arms=(*told[0].arms[:2], replace(told[0].arms[2], settling=(plan,))))
    assert "mutransfer sweep" not in opened(alone, told[1]).said("surer")


def test_a_conclusive_arm_is_told_what_its_interval_cannot_know(two_arms):
    analysis, trials = two_arms
    said = opened(analysis, trials).said("surer")
    assert "sp, mup 2 seeds say how much a run varies; they are the same ones at every width." in said
    bracket = opened(analysis, trials.only((trials.frame["seed"] == 0) | (trials.frame["width"] < 256))).said("surer")
    assert "2 seeds say how much a run varies, not all of them at every width." in bracket
    assert "the same ones" not in bracket
    assert "mutransfer confirm 'results/a & b' --width 512 --arm mup" in said
    assert "--arm sp" not in said  # its rate does not transfer
    single = opened(analysis, trials.only((trials.frame["seed"] == 0) | (trials.frame["arm"] == "sp"))).said("surer")
    assert "One seed was trained in mup: one seed cannot see how far another would tilt" in single
    assert "One seed was trained" not in said
    checked = opened(analysis, trials, [confirmation()]).said("surer")
    assert "confirm" not in checked
    assert "It was checked at width 512, above." in checked


def test_arms_stand_side_by_side_where_there_are_several(told):
    analysis, trials = told
    page = opened(analysis, trials)
    rows = [row for row in page.rows if len(row) == 8 and row[5] == "256" and row[0] in ("sp", "mup", "mup_qk")]
    for row, result in zip(rows, analysis.arms, strict=True):
        slope = result.transfer_slope
        assert row[2:4] == [number(slope.estimate, 3, True), interval(slope.ci_low, slope.ci_high, 3, True)]
        assert row[5:] == ["256", f"{result.optima[-1].loss:.4f}", f"{result.sensitivity[-1].estimate:.4f}"]
    # the bars: -1.5..1.5 octaves over 144 units
    drawn = [dict(page.attributes)["cx"]] and [value for name, value in page.attributes if name == "cx"][-3:]
    assert [float(cx) for cx in drawn] == pytest.approx([72 - 48, 72, 72 + 9.6], abs=0.01)


def test_how_forgiving_each_arm_is(told):
    page = opened(*told)
    first = next(row for row in page.rows if row[-1] == "> −5.00")
    assert first == ["sp", "32", "0.1032", "[0.0500, ?]", "≤ −7.25 to −4.75", "≤ −8.00 to −4.00", "> −5.00"]
    last = [row for row in page.rows if row[-1] == "−5.00 to −4.00"][-1]
    assert last == ["256", "0.1456", "[0.0500, ?]", "−7.25 to ≥ −4.75", "−8.00 to ≥ −4.00", "−5.00 to −4.00"]
    assert ["mup", "−0.50", "[−1.00, +1.00]", "−0.250", "[−0.375, −0.125]", "N−0.5, N−1"] in page.rows


def test_diverged_and_failed_trials_are_listed(diverged):
    page = opened(*diverged)
    assert sum(row[:2] == ["sp", "256"] and row[-1] == "17" for row in page.rows) == 6
    assert "6 of 112 trials diverged" in page.said("lost")
    assert ["mup", "size 64", "0.0312", "1", "RuntimeError: out of memory"] in page.rows
    calm = Page(render(*diverged, replace(PROVENANCE, failures=())))
    assert "None failed." in calm.said("lost")


def test_conformance_is_a_line(two_arms):
    assert "19 of 24 claims hold, 2 fail, 3 not run" in opened(*two_arms).said("conformance")


def test_provenance_is_complete(two_arms):
    page = opened(*two_arms)
    wanted = ["mutransfer sweep --out 'a & b'", "1 h 2 min", "3.21 × 10¹⁵ FLOPs", "torch 2.13.0, numpy 2.3.0"]
    for part in [*wanted, "3f9a1c77", "2026-01-02T03:04:05Z", "112", "cpu"]:
        assert part in page.said("provenance")
    for row in (["widths", "32, 64"], ["model.depth", "2"], ["model.n_heads", "–"], ["optimizer.eps", "1e-08"]):
        assert row in page.rows


def test_figures_are_described_and_tables_have_headers(told):
    page = opened(*told, [confirmation()])
    described = [value for name, value in page.attributes if name == "aria-label" and "against" in value]
    assert len(described) == 4
    assert page.tags["thead"] == page.tags["table"] >= 8


def along_batch_size(analysis):
    """The analysis with its widths for batch sizes."""

    def moved(found):
        return replace(found, scale=Scale(batch_size=found.scale.width))

    arms = tuple(
        replace(
            result,
            optima=tuple(moved(each) for each in result.optima),
            slopes={"batch_size": result.slopes["width"]},
            transfer_regret=replace(
                result.transfer_regret,
                proxy=Scale(batch_size=result.transfer_regret.proxy.width),
                target=Scale(batch_size=result.transfer_regret.target.width),
            ),
        )
        for result in analysis.arms
    )
    differences = {pair: {"batch_size": each["width"]} for pair, each in analysis.slope_differences.items()}
    return replace(analysis, dimensions=("batch_size",), arms=arms, slope_differences=differences)


def test_the_words_are_the_axis_own(two_arms):
    analysis, trials = two_arms
    trials = replace(trials, frame=trials.frame.assign(batch_size=trials.frame["width"], width=64))
    analysis = along_batch_size(analysis)
    page = opened(analysis, trials, [confirmation(scale=Scale(batch_size=512))])
    for section in ("answer", "figure", "optima", "regret", "surer", "forgiving", "lost"):
        assert "width" not in page.said(section)
    assert "width" not in " ".join(value or "" for name, value in page.attributes if name == "aria-label")
    assert "batch sizes 32, 64, 128, 256" in page.text
    shown = [text for text in texts(page.charts) if "seed" in text]
    assert all(", batch size " in text for text in shown if "lr" in text)
    assert "--batch-size 512" in opened(analysis, trials).said("surer")


def test_losses_have_the_unit_they_were_trained_in(two_arms):
    analysis, trials = two_arms
    trials.frame["unit"] = "squared error"
    page = opened(analyze(trials, analysis.tolerance), trials)
    assert "in squared error" in page.text
    assert "nats" not in page.text
    assert any("final loss (squared error per token)" in text for text in texts(page.charts))


def test_a_loss_that_not_every_trial_has_is_not_offered(two_arms):
    analysis, trials = two_arms
    trials.frame.loc[3, "val_loss"] = float("nan")
    page = opened(analysis, trials)
    offered = [value for name, value in page.attributes if name == "value"]
    assert offered == list(page.charts) == ["final_loss", "mean_loss"]


def test_an_optimum_that_is_not_bracketed_has_no_interval_in_any_table(special):
    analysis, trials = with_optimum(special[0], "mup", 32, ci_low=None, ci_high=None, status="flat"), special[1]
    assert any(row[-1] == "flat" and row[-3] == "–" for row in opened(analysis, trials).rows)


def test_the_page_is_written(two_arms, tmp_path):
    path = write_report(tmp_path / "report.html", *two_arms, PROVENANCE, [confirmation()])
    assert path.read_text(encoding="utf-8") == render(*two_arms, PROVENANCE, [confirmation()])


def test_numbers_as_text():
    assert number(-1.005, 2) == "−1.00"
    assert number(0.5, 1, True) == "+0.5"
    assert number(None) == number(float("nan")) == "–"
    assert interval(1.0, None) == "[1.00, ?]"
    assert interval(None, float("nan")) == "–"
    assert rate(0.00290) == "0.00290"
    assert (power(-7.0), power(-7.25), power(-0.5, "<N>")) == (
        "2<sup>−7</sup>",
        "2<sup>−7.25</sup>",
        "&lt;N&gt;<sup>−0.50</sup>",
    )
    assert (span(5.04), span(65), span(7260)) == ("5.0 s", "1 min 5 s", "2 h 1 min")
    assert scientific(3.2e-5) == "3.20 × 10⁻⁵"
    assert scientific(None) == scientific(float("nan")) == "–"
    assert plain((1, 2.5e-9, None, True)) == "1, 2.5e-09, –, True"
    assert plain([{"name": "qk", "changes": (("model.qk_norm", True),)}]) == "name qk; changes model.qk_norm, True"
    nan = float("nan")
    assert (band(-8.0, -6.0, True, False), band(nan, nan, False, False)) == ("≤ −8.00 to −6.00", "–")
    assert (edge(-5.0, nan), edge(nan, -9.0), edge(nan, nan)) == ("> −5.00", "≤ −9.00", "–")


@pytest.mark.parametrize("missing", ["command", "config", "n_trials"])
def test_provenance_has_no_defaults(missing):
    with pytest.raises(TypeError):
        Provenance(**{k: v for k, v in vars(PROVENANCE).items() if k != missing})
