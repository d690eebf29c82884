"""The doctor as a user meets it: what it prints, how it exits, and what it says to bad input."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mutransfer.cli import main
from mutransfer.toolbox.doctor import RULES
from mutransfer.trials.logs import LAYERED, SPELLINGS
from mutransfer.trials.logs.names import meaning

DATA = Path(__file__).parents[2] / "data" / "doctor"
REFERENCE = Path(__file__).parents[3] / "results" / "reference_cpu"


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


def test_a_problem_is_said_with_its_evidence_and_exits_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(DATA / "lm_repeated.csv")]) == 1
    said = capsys.readouterr()
    for part in ("problem: the held-out loss parts", "evidence: ", "try first: ", "then: ", "source: ", "not judged"):
        assert part in said.out
    assert said.err == f"mutransfer: found parting in {DATA / 'lm_repeated.csv'}\n"


@pytest.mark.parametrize("name", ["lm_healthy_mup", "lm_bad_batch"])
def test_health_and_notes_exit_with_0(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(DATA / f"{name}.csv")]) == 0
    said = capsys.readouterr()
    assert "healthy: " in said.out
    assert said.err == ""


def test_what_is_too_short_is_not_called_healthy_and_what_is_missing_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "log.csv").write_text("step,loss\n1,2\n2,1.9\n")
    assert main(["doctor", str(tmp_path / "log.csv")]) == 0
    said = capsys.readouterr().out
    assert "no problem found, and too little to call it healthy" in said
    assert "loss_rose (fewer than 8 logged losses), " in said
    assert main(["doctor", str(tmp_path / "log.csv"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["healthy"] is None


def test_what_was_taken_for_what_is_printed_and_columns_can_be_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "".join(f"{10 * i},{i / 2},{3 + 1 / (1 + i)},{2 + 1 / (1 + i)}\n" for i in range(60))
    (tmp_path / "log.csv").write_text("iteration,_runtime,my loss,lm loss\n" + rows)
    assert main(["doctor", str(tmp_path / "log.csv"), "--loss", "my loss", "--json"]) == 0
    read = json.loads(capsys.readouterr().out)
    assert read["read_as"] == {"_runtime": "seconds", "my loss": "loss", "iteration": "step"}
    assert (read["format"], read["unit"], read["not_read"]) == ("W&B's history", "step", ["lm loss"])
    assert main(["doctor", str(tmp_path / "log.csv")]) == 0
    said = capsys.readouterr().out
    assert "read as W&B's history, _runtime as seconds, lm loss as loss, iteration as step" in said
    assert "0.05 s a step" in said


def test_json_holds_every_finding(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(DATA / "digits_squared_growing.csv"), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["schema"], told["healthy"]) == (1, False)
    assert [finding["rule"] for finding in told["findings"]] == ["loss_rose", "growing_oscillation", "update_size"]
    assert set(told["findings"][0]) >= {"severity", "evidence", "first", "second", "source", "first_step", "last_step"}
    assert "epsilon_dominates" in told["not_judged"]


def test_what_a_log_leaves_out_can_be_said(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(DATA / "digits_squared_edge.csv")
    assert main(["doctor", path, "--json"]) == 0
    assert "edge_of_stability" in json.loads(capsys.readouterr().out)["not_judged"]
    assert main(["doctor", path, "--json", "--stability-limit", "2"]) == 0
    told = json.loads(capsys.readouterr().out)["findings"]
    assert "edge_of_stability" in {finding["rule"] for finding in told}
    assert main(["doctor", str(DATA / "lm_decay_follows.csv"), "--json", "--weight-decay", "1"]) == 0
    assert "decay_followed_rate" in capsys.readouterr().out


def test_a_sweep_is_healthy_though_its_highest_rates_diverge(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(REFERENCE)]) == 0
    said = capsys.readouterr().out
    assert "128 trials" in said
    assert "sp, width 256: best rate 0.001953, healthy" in said
    assert "diverged_at_once at 0.03125 (x2), 0.0625 (x2)" in said
    assert main(["doctor", str(REFERENCE), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    diverged = [trial for trial in told["trials"] if not trial["healthy"]]
    assert (len(told["trials"]), len(diverged), len(told["cells"])) == (128, 16, 8)


def test_a_sweep_in_which_no_rate_survives_exits_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shutil.copytree(REFERENCE, tmp_path / "result")
    lines = (folder / "records.jsonl").read_text().splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["diverged"] and json.loads(line)["width"] == 256]
    (folder / "records.jsonl").write_text("".join(kept))
    assert main(["doctor", str(folder)]) == 1
    said = capsys.readouterr()
    assert "sp, width 256: none survives" in said.out
    assert "sp at width 256, mup at width 256" in said.err


def test_one_trial_of_a_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = (REFERENCE / "records.jsonl").read_text().splitlines()
    trial = next(found for line in lines if (found := json.loads(line))["diverged"] and found["width"] == 256)
    words = ["doctor", str(REFERENCE), "--trial", trial["trial_id"][:8], "--out", str(tmp_path / "trial.png")]
    assert main(words) == 1
    assert "the loss diverged within the first steps" in capsys.readouterr().out
    assert (tmp_path / "trial.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere.csv"], "got nothing at nowhere.csv"),
        ([], "Missing from mutransfer doctor"),
        ([str(DATA)], "got none; give the file"),
        ([str(DATA / "make.py")], "which is none of them"),
        ([str(REFERENCE), "--trial", "zzz"], "found 0 trials 'zzz'"),
        ([str(REFERENCE), "--trial", ""], "found 128 trials"),
        ([str(REFERENCE), "--weight-decay", "0.1"], "found --weight-decay"),
        ([str(REFERENCE), "--out", "a.png"], "give --trial too"),
        ([str(DATA / "lm_slow.csv"), "--trial", "a"], "found --trial"),
        ([str(DATA / "lm_slow.csv"), "--clip-norm", "0"], "expected clip-norm above 0, got 0"),
        ([str(DATA / "lm_slow.csv"), "--warmup", "-1"], "found --warmup -1"),
        ([str(DATA / "lm_slow.csv"), "--out", "a.pdf"], "ends in .png or .svg"),
        ([str(DATA / "lm_slow.csv"), "--out", "nowhere/a.png"], "cannot be written"),
    ],
)
def test_bad_input_is_one_line_and_exits_with_2(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["doctor", *words]) == 2
    assert said in one_line(capsys)


def test_a_log_is_read_without_torch() -> None:
    code = (
        "import sys; from mutransfer.cli import main; "
        f"main(['doctor', {str(DATA / 'lm_healthy_mup.csv')!r}]); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_the_page_of_the_doctor_names_every_finding_its_run_and_every_column() -> None:
    page = (Path(__file__).parents[3] / "docs" / "doctor.md").read_text()
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| `")]
    named = {row[1].split("`")[1]: row[3] for row in rows}
    assert set(RULES) <= set(named)
    for rule in RULES:
        assert all((DATA / f"{run}.csv").exists() for run in named[rule].split("`")[1::2])
    for name in {spelling.name for spelling in SPELLINGS}:
        known = [meaning(other) for other in named[name].split("`")[1::2]]
        assert all(each is not None and each[0] == name for each in known), known
    assert {f"{head}:LAYER" for head in LAYERED} <= set(named)
