"""A folder of a search over several hyperparameters: what its table, figure and page say is what its records hold, and
the experiment that it writes confirms the best."""

from __future__ import annotations

import dataclasses
import html
import json
import math
import os
import re
from pathlib import Path

import pytest
from rich.console import Console
from sweep.fake_legs import FakeLegs
from sweep.fake_training import FakeTrain
from sweep.fakes import small, sweep

from mutransfer.analysis.settings import at_an_end, ranges
from mutransfer.cli import main
from mutransfer.config import Range
from mutransfer.experiment import load_experiment
from mutransfer.report.settings import best_table, slices, slices_data
from mutransfer.search.sampling import importances
from mutransfer.study.result import read_result
from mutransfer.study.search_result import SearchResult, is_search, read_search, write_search
from mutransfer.terminal import print_search
from mutransfer.trials import records
from mutransfer.trials.records import Record

NAME = 'a & <b> """c'
SPACE = (Range("model.output_mult", 0.5, 32.0), Range("optimizer.beta2", 0.8, 0.999, log=False))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    """A search in two arms, of which trials diverge at the largest rates."""
    folder = tmp_path_factory.mktemp("results") / NAME
    config = small(
        folder,
        experiment=NAME,
        parametrizations=("sp", "mup"),
        widths=(32,),
        lrs=(2.0**-10, 2.0**-2),
        search="random",
        n_trials=16,
        space=SPACE,
    )
    sweep(config, FakeTrain(os.devnull))
    result = read_search(folder)
    write_search(result)
    return result


def value(record: Record, name: str) -> float:
    """Of a hyperparameter, from a record's own config."""
    if name == "lr":
        return record.lr
    part, field = name.split(".")
    return float(record.config[part][field])


def by_setting(result: SearchResult) -> dict[tuple[str, float, float, float], list[Record]]:
    grouped: dict[tuple[str, float, float, float], list[Record]] = {}
    for record in records.read(result.folder / "records.jsonl"):
        names = ("model.output_mult", "optimizer.beta2")
        key = (record.arm, record.lr, value(record, names[0]), value(record, names[1]))
        grouped.setdefault(key, []).append(record)
    return grouped


def test_the_table_is_what_the_records_say(found: SearchResult) -> None:
    expected = by_setting(found)
    table = best_table(found.settings, found.config, 100)
    assert len(table) == len(expected) == 32
    assert any(table["diverged"])
    for row in table.to_dict("records"):
        trials = expected[row["arm"], row["lr"], row["model.output_mult"], row["optimizer.beta2"]]
        assert row["seeds"] == len(trials) == 2
        assert row["diverged"] == sum(each.diverged for each in trials)
        losses = [each.final_loss for each in trials if each.final_loss is not None]
        if row["diverged"]:
            assert math.isnan(row["loss"])
        else:
            assert row["loss"] == pytest.approx(sum(losses) / 2)
    losses = table.loc[table["diverged"] == 0, "loss"].tolist()
    assert losses == sorted(losses)
    assert table["place"].tolist() == list(range(1, 33))


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_a_terminal_of_any_width_shows_every_name_and_number_whole(
    found: SearchResult, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mutransfer.terminal.open_console", lambda: Console(width=width))
    print_search(found)
    lines = capsys.readouterr().out.splitlines()
    shown: dict[str, list[str]] = {}
    for name, *values in ([cell.strip() for cell in line[1:-1].split("│")] for line in lines if line[:1] == "│"):
        assert "" not in values  # nor is any cell broken in two
        shown.setdefault(name, []).extend(values)
    assert max(len(line) for line in lines if line[:1] in "┏┃┡│└") <= width
    best = found.settings.head(10)
    assert shown["arm"] == best["arm"].tolist()
    assert shown["loss"] == [f"{loss:.4g}" for loss in best["loss"]]
    for each in ranges(found.config):
        ends = ["*" if each.name in at_an_end(row, found.config) else "" for _, row in best.iterrows()]
        assert shown[each.name] == [f"{x:.4g}{end}" for x, end in zip(best[each.name], ends, strict=True)]
    assert any("*" in cell for cells in shown.values() for cell in cells)


def test_the_figure_shows_every_setting_once_in_each_panel(found: SearchResult) -> None:
    data = slices_data(found.settings, found.config)
    assert data.groupby("name").size().to_dict() == {"lr": 32, "model.output_mult": 32, "optimizer.beta2": 32}
    for name, panel in data.groupby("name", sort=False):
        expected = sorted(value(trials[0], str(name)) for trials in by_setting(found).values())
        assert sorted(panel["value"]) == expected
        assert panel["x"].tolist() == [v if name == "optimizer.beta2" else math.log2(v) for v in panel["value"]]
        (best,) = panel[panel["best"]].to_dict("records")
        assert best["loss"] == found.settings["loss"].min()
    shown = data[data["mark"] == "trial"]
    assert (shown["y"] == shown["loss"]).all()
    assert (data.loc[data["mark"] == "above", "loss"] > data["y"].max()).all()
    assert (data["mark"] == "diverged").sum() == 3 * (found.settings["diverged"] > 0).sum()
    drawn = slices(found.settings, found.config)
    assert [axes.get_xlabel() for axes in drawn.axes if axes.get_visible()] == ["lr", *(each.name for each in SPACE)]


def test_the_page_is_one_file_without_scripts_that_says_the_same(found: SearchResult) -> None:
    page = (found.folder / "report.html").read_text()
    assert "<script" not in page
    assert "script-src 'none'" in html.unescape(page)
    assert "a &amp; &lt;b&gt;" in page
    assert "<b>" not in page
    assert "model.<wbr>output_mult</th>" in page  # or the table would be wider than the page
    best = found.settings.iloc[0]
    assert f"<td>{best['loss']:.4g}</td>" in page
    for arm, parts in found.importances.items():
        cells = "".join(f'<td class="n">{parts[name]:.2f}</td>' for name in ("lr", *(each.name for each in SPACE)))
        assert f'<th scope="row">{arm}</th>{cells}' in page
    assert not re.search(r'(src|href)="http', page)


def test_the_summary_is_plain_data(found: SearchResult) -> None:
    summary = json.loads((found.folder / "summary.json").read_text())
    assert summary["importances"].keys() == {"sp", "mup"}
    assert [row["loss"] for row in summary["best"]] == found.settings["loss"].head(3).tolist()


def test_the_experiment_it_writes_runs_and_holds_the_searched_trials(found: SearchResult, tmp_path: Path) -> None:
    config = load_experiment(str(found.folder / "confirm.py"))
    assert config == found.confirmation
    text = (found.folder / "confirm.py").read_text()
    assert f"{len(config.arms) * 5 * 3 * 2} trials" in text
    sweep(dataclasses.replace(config, out=str(tmp_path)), FakeTrain(os.devnull))
    confirmed = read_result(tmp_path)
    assert [arm.arm for arm in confirmed.analysis.arms] == [arm.name for arm in config.arms]
    # the trials of the shortlist are among them, by their ids
    ids = {each.trial_id for each in confirmed.records}
    for row in found.settings.head(3).to_dict("records"):
        trials = by_setting(found)[row["arm"], row["lr"], row["model.output_mult"], row["optimizer.beta2"]]
        assert {each.trial_id for each in trials} <= ids


def test_a_command_about_rates_refuses_a_search_in_a_line(
    found: SearchResult, capsys: pytest.CaptureFixture[str]
) -> None:
    assert is_search(found.folder)
    for words in (["recommend", str(found.folder), "--width", "64"], ["confirm", str(found.folder), "--width", "64"]):
        assert main(words) == 2
        said = capsys.readouterr().err
        assert "found a search over lr, model.output_mult, optimizer.beta2 in" in said
        assert said.count("\n") == 1


def test_the_report_of_a_search_is_made_from_its_records_alone(
    found: SearchResult, capsys: pytest.CaptureFixture[str]
) -> None:
    made = {name: (found.folder / name).read_bytes() for name in ("report.html", "confirm.py", "figures/slices.svg")}
    for name in made:
        (found.folder / name).unlink()
    assert main(["report", str(found.folder)]) == 0
    assert {name: (found.folder / name).read_bytes() for name in made} == made
    said = capsys.readouterr().out
    assert "mutransfer sweep" in said
    assert str(found.folder / "confirm.py") in said


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    """A search in which three of four settings were dropped, and some diverged."""
    folder = tmp_path_factory.mktemp("pruned")
    config = small(
        folder,
        widths=(32,),
        lrs=(2.0**-10, 2.0**-2.5),
        search="random",
        n_trials=64,
        seeds=1,
        prune="halving",
        space=SPACE,
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda descriptor: None)  # of no use here, and slow
        sweep(config, FakeLegs(os.devnull))  # type: ignore[arg-type]
    result = read_search(folder)
    write_search(result)
    return result


def test_a_pruned_search_warns_wherever_it_is_shown(
    pruned: SearchResult, found: SearchResult, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(pruned.folder)]) == 0
    said = capsys.readouterr().out
    summary, page = (pruned.folder / "summary.json").read_text(), (pruned.folder / "report.html").read_text()
    count = sum(each.pruned_step is not None for each in pruned.records)
    words = (
        f"{count} of 64 settings were pruned, by their losses at step 5 or step 10: early losses favour larger rates"
    )
    (warning,) = json.loads(summary)["warnings"]
    assert json.loads(summary)["pruned"] == count
    assert words in warning
    assert f"warning: {words}" in said
    assert f"<strong>Warning:</strong> {words}" in html.unescape(page)
    for path in ("summary.json", "report.html"):
        assert "favour larger rates" not in (found.folder / path).read_text()
    assert json.loads((found.folder / "summary.json").read_text())["warnings"] == []


def test_pruned_settings_are_drawn_otherwise_and_count_for_nothing(pruned: SearchResult) -> None:
    settings = pruned.settings
    data = slices_data(settings, pruned.config)
    step = {each.lr: each.pruned_step for each in pruned.records}
    for row in data[data["name"] == "lr"].to_dict("records"):
        assert (row["mark"] == "pruned") == (step[row["value"]] is not None)
    # few enough outlive the others that the panel has room for all of them
    assert set(data["mark"]) == {"trial", "pruned"}
    whole_run = data.loc[data["mark"] == "trial", "loss"]
    assert data["y"].max() <= whole_run.min() + 1.16 * (whole_run.max() - whole_run.min())
    assert not data.loc[data["best"], "mark"].isin(["pruned", "diverged"]).any()
    fills = {line.get_fillstyle() for line in slices(settings, pruned.config).axes[0].lines}
    assert fills == {"full", "none"}
    # of those that were trained to the end alone
    whole = dataclasses.replace(pruned, settings=settings[settings["pruned"].isna()])
    assert pruned.importances == importances(whole.config, whole.settings)
    assert pruned.importances != importances(pruned.config, settings)
    shown = best_table(settings, pruned.config, 64)
    assert shown["pruned"].tolist() == [
        "–" if step[row["lr"]] is None else f"step {step[row['lr']]}" for _, row in shown.iterrows()
    ]
    assert "pruned" not in best_table(whole.settings, whole.config)
    assert pruned.confirmation is not None
    for arm in pruned.confirmation.arms:
        assert step[dict(arm.changes)["lrs"][2]] is None
