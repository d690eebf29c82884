"""The page in a real browser: its figures are drawn, the switch switches, and nothing is asked of the network."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
from dataclasses import replace

import pytest
from plotly.offline import get_plotlyjs

from mutransfer.report import render
from mutransfer.report.marks import loss_curves_data, optimal_lr_data
from report.planted import PROVENANCE, diverged_case, special_case

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="found no chromium, chromium-browser or google-chrome")

HOSTILE = "<img src=x onerror=\"document.title='owned'\"> <a href='https://example.org'>x</a> $x$ %{x}"

PROBE = """
const found = {errors: []};
addEventListener("error", (event) => found.errors.push(event.message));
const screen_ = (name) => document.getElementById(`screen-${name}`);
const drawn = () => ["loss_curves", "optimal_lr"].every((name) => screen_(name).querySelector("svg.main-svg"));
const until = async (true_) => { while (!true_()) await new Promise((next) => setTimeout(next, 20)); };
const count = (name, what) => screen_(name).querySelectorAll(what).length;
const losses = () => screen_("loss_curves").data.filter((trace) => trace.hovertext).flatMap((trace) => trace.y);
const title = () => screen_("loss_curves").querySelector(".ytitle").textContent;
(async () => {
  await until(drawn);
  found.points = count("loss_curves", ".points path.point");
  found.bars = count("loss_curves", ".errorbar path.xerror");
  found.optima = count("optimal_lr", ".points path.point");
  found.choices = [...document.querySelectorAll("input[name=loss]")].map((input) => input.value);
  found.y = {}; found.title = {}; found.slopes = {};
  for (const choice of found.choices) {
    const before = title();
    document.querySelector(`input[value=${choice}]`).click();
    if (choice !== "final_loss") await until(() => title() !== before);
    await until(() => screen_("optimal_lr").layout.uirevision === choice);
    found.y[choice] = losses();
    found.title[choice] = title();
    found.slopes[choice] = screen_("optimal_lr").querySelector(".legendtext").textContent;
  }
  const trace = screen_("loss_curves").data.findIndex((each) => (each.hovertext || [""])[0].includes("seed"));
  const { xaxis, yaxis } = screen_("loss_curves")._fullData[trace];
  Plotly.Fx.hover("screen-loss_curves", [{ curveNumber: trace, pointNumber: 0 }], xaxis + yaxis);
  await until(() => count("loss_curves", ".hoverlayer .hovertext"));
  found.hover = screen_("loss_curves").querySelector(".hovertext").textContent;
  found.hidden = getComputedStyle(document.querySelector(".print")).display;
  found.switch = getComputedStyle(document.querySelector(".switch")).display;
  found.loaded = performance.getEntriesByType("resource").map((entry) => entry.name);
  found.images = document.querySelectorAll("img, image[href^=http], a, iframe, object, embed").length;
  found.handlers = [...document.querySelectorAll("*")].filter(
    (element) => [...element.attributes].some((attribute) => attribute.name.startsWith("on"))).length;
  found.document = document.title;
  found.names = [...document.querySelectorAll(".legendtext, .annotation-text")].map((each) => each.textContent);
  const report = document.createElement("pre");
  report.id = "found";
  report.textContent = JSON.stringify(found);
  document.body.append(report);
})();
"""


def browse(path, *options):
    """The page's DOM as the browser has it in the end, and what it says on its console."""
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"]
    offline = [
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--virtual-time-budget=30000",
        f"--user-data-dir={path}.profile",
    ]
    done = subprocess.run(
        [*command, *offline, *options, path.as_uri()], capture_output=True, text=True, timeout=180, check=True
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def probe(path, text, *options):
    """What the probe finds in a copy of the page whose policy allows it beside the page's own scripts."""
    digest = base64.b64encode(hashlib.sha256(PROBE.encode()).digest()).decode()
    allowed = text.replace("script-src ", f"script-src &#39;sha256-{digest}&#39; ", 1)
    path.write_text(allowed.replace("</body>", f"<script>{PROBE}</script></body>"), encoding="utf-8")
    dom, console = browse(path, *options)
    found = re.search(r'<pre id="found">(.*?)</pre>', dom, re.DOTALL)
    assert found, console
    return json.loads(html.unescape(found[1])), console


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    analysis, trials = special_case()
    path = tmp_path_factory.mktemp("page") / "report.html"
    return analysis, trials, *probe(path, render(analysis, trials, PROVENANCE))


def test_every_mark_is_drawn(seen):
    analysis, trials, found, _ = seen
    data = loss_curves_data(analysis, trials)
    assert found["points"] == data["mark"].isin(["trial", "diverged", "optimum", "leverage"]).sum()
    assert found["bars"] == ((data["mark"] == "optimum") & (data["status"] == "interior")).sum()
    assert found["optima"] == optimal_lr_data(analysis)["mark"].isin(["optimum", "leverage"]).sum()
    assert (found["hidden"], found["switch"]) == ("none", "flex")  # the printed figures give way


def test_nothing_is_wrong_and_nothing_is_loaded(seen):
    *_, found, console = seen
    assert console == []
    assert found["errors"] == found["loaded"] == []


def test_the_switch_changes_the_losses_that_are_plotted(seen):
    _, trials, found, _ = seen
    assert found["choices"] == ["final_loss", "mean_loss", "val_loss"]
    for loss, y in found["y"].items():
        within = [value for value in trials.frame.loc[~trials.frame["diverged"], loss].round(6) if value < max(y)]
        assert len(within) > 80  # those above the panel stand on its edge
        assert set(within) <= set(y)
    assert len({tuple(y) for y in found["y"].values()}) == 3
    assert found["title"] == {
        "final_loss": "final loss (nats per token)",
        "mean_loss": "mean loss (nats per token)",
        "val_loss": "validation loss (nats per token)",
    }
    assert len(set(found["slopes"].values())) > 1


def test_a_trial_under_the_pointer_says_what_it_was(seen):
    _, trials, found, _ = seen
    first = trials.frame.iloc[0]
    lines = [f"final loss {first['final_loss']:.4f}", f"mean loss {first['mean_loss']:.4f}"]
    assert found["hover"].replace("\u200b", "") == "".join(
        ["sp, width 32, seed 0", "lr 2−10 = 0.000977", *lines, f"validation loss {first['val_loss']:.4f}"]
    )


def test_a_hostile_name_is_shown_and_does_nothing(tmp_path):
    analysis, trials = diverged_case()
    trials.frame.loc[trials.frame["arm"] == "mup", "arm"] = HOSTILE
    analysis = replace(analysis, arms=(analysis.arms[0], replace(analysis.arms[1], arm=HOSTILE)))
    found, console = probe(tmp_path / "report.html", render(analysis, trials, PROVENANCE), "--window-size=400,900")
    assert (found["images"], found["handlers"], found["errors"], console) == (0, 0, [], [])
    assert found["document"] == "planted · learning-rate transfer"
    assert any(HOSTILE in name for name in found["names"])


def test_a_script_that_is_not_the_pages_own_does_not_run(tmp_path):
    path = tmp_path / "report.html"
    foreign = "<script>document.title = 'owned'</script><img src=x onerror=\"document.title = 'owned'\">"
    path.write_text(render(*diverged_case(), PROVENANCE).replace("</body>", f"{foreign}</body>"), encoding="utf-8")
    dom, console = browse(path)
    assert "<title>planted · learning-rate transfer</title>" in dom
    assert any("Content Security Policy" in line for line in console)


def test_where_nothing_can_be_drawn_the_printed_figures_stay(tmp_path):
    path = tmp_path / "report.html"
    path.write_text(render(*diverged_case(), PROVENANCE).replace(get_plotlyjs(), ""), encoding="utf-8")
    dom, console = browse(path)
    assert any("Plotly is not defined" in line for line in console)
    assert '<html lang="en" class="">' in dom  # not live: the style shows what is printed
    assert dom.count('<div class="print"><svg') == 4
