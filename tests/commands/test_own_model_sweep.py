"""A model of one's own from the command line: plan, sweep, status, recommend and explain tell one story."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

from mutransfer.analysis.recommend import Recommendation
from mutransfer.arguments import read_sweep
from mutransfer.cli import main
from mutransfer.config.scale import Scale
from mutransfer.study.advice import _groups
from mutransfer.study.result import read_result
from mutransfer.sweep.driver import run_sweep

MODEL = """
import torch
from torch import nn

def build(width):
    return nn.Sequential(nn.Embedding(256, width), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 256))
"""
PARAMS = 256 * 16 + 16 * 17 + 17 * 256
WORDS = shlex.split(
    "--executor inprocess --widths 8,16 --base-width 8 --lrs 2^-9..2^-6 --seeds 1 --steps 20 --batch-size 4 "
    "--eval-batches 1 --model.context 8 --parametrizations mup_table3 --out found"
)


@pytest.fixture(autouse=True)
def in_a_folder_with_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_tiny_model.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_tiny_model", raising=False)


def test_one_story(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--model", "my_tiny_model:build", *WORDS]
    assert main(["plan", *words]) == 0
    planned = capsys.readouterr().out
    assert f"{PARAMS:,}" in planned
    run_sweep(read_sweep("sweep", words), command="")
    records = [json.loads(line) for line in Path("found/records.jsonl").read_text().splitlines()]
    assert len(records) == 8
    for record in records:
        assert record["config"]["build"] == "my_tiny_model:build"
        assert record["flops"] == 6 * record["n_params"] * record["tokens"]
    assert {record["n_params"] for record in records if record["width"] == 16} == {PARAMS}
    capsys.readouterr()
    with pytest.raises(ValueError, match="build"):  # ours, in its folder
        run_sweep(read_sweep("sweep", [*WORDS, "--model.head-dim", "8"]), command="")
    result = read_result(Path("found"))
    fields = dict.fromkeys(Recommendation.__dataclass_fields__)
    found = Recommendation(
        **{**fields, "arm": "mup_table3", "scale": Scale(32), "lr": 2.0**-6, "parametrization": "mup_table3"}
    )
    rates = {name: group.lr for group in _groups(result, found) for name in group.parameters}
    assert rates == {
        **dict.fromkeys(("0.weight", "1.bias", "3.bias"), 2.0**-6),
        **dict.fromkeys(("1.weight", "3.weight"), 2.0**-8),
    }
    capsys.readouterr()
    asked = shlex.split("--width 32 --base-width 8 --parametrization mup_table3 --lr 2^-6 --format json")
    assert main(["explain", "--model", "my_tiny_model:build", *asked]) == 0
    assert {row["parameter"]: row["lr"] for row in json.loads(capsys.readouterr().out)} == rates


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ("my_tiny_model:biuld", "did you mean 'build'"),
        ("no_such_module:build", "found no module"),
        ("x", "found build"),
    ],
)
def test_a_name_that_leads_nowhere_is_told_before_anything_runs(
    spec: str, found: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", "--model", spec, *WORDS]) == 2
    assert found in capsys.readouterr().err
    assert not Path("found/records.jsonl").exists()
