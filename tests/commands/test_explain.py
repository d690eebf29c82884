"""`mutransfer explain`: our models and anyone's, as a table, JSON and CSV, and two parametrizations side by side."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from pathlib import Path

import pytest

from mutransfer.cli import main
from mutransfer.config import ModelConfig
from mutransfer.parametrization import build_model
from mutransfer.theory.parametrizations import TABLES

MODELS = """
import torch
from torch import nn


class Tokens(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.embedding = nn.Embedding(50, width)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(3))
        self.head = nn.Linear(width, 50)

    def forward(self, tokens):
        x = self.embedding(tokens)
        for layer in self.layers:
            x = x + layer(x).relu()
        return self.head(x)


class Tied(Tokens):
    def __init__(self, width):
        super().__init__(width)
        self.head.weight = self.embedding.weight


class LowRank(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.inner = nn.Linear(5, width)
        self.down = nn.Parameter(torch.randn(4, width))
        self.up = nn.Parameter(torch.randn(width, 4))
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        return self.head(self.inner(x) @ (self.up @ self.down).T)


class Counts(Tokens):
    def __init__(self, width):
        super().__init__(width)
        self.total = self.embedding.weight.sum().item()


def sample():
    return torch.ones(2, 5)


not_a_function = 3
"""
SIZES = ("--width", "64", "--base-width", "16")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "some_models.py").write_text(MODELS)
    (tmp_path / "broken_models.py").write_text("import os\n\nwidth = os.environ['NOT_THERE']\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "some_models", raising=False)
    return tmp_path


def rows(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, dict[str, object]]:
    assert main(["explain", *words, "--format", "json"]) == 0
    return {row["parameter"]: row for row in json.loads(capsys.readouterr().out)}


def test_a_model_of_ones_own_by_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = rows(capsys, "--model", "some_models:Tokens", *SIZES, "--lr", "2^-8", "--optimizer.weight-decay", "0.1")
    hidden = found["layers.*.weight"]
    assert (hidden["role"], hidden["count"], hidden["shape"], hidden["base_shape"]) == ("hidden", 3, "64x64", "16x16")
    assert (hidden["lr"], hidden["decay_per_step"]) == (2**-10, pytest.approx(0.1 * 2**-8))
    assert found["head.weight"]["role"] == "output"
    assert found["head.weight"]["forward_mult"] == 1.0
    assert found["head.weight"]["source"] == "TPV Table 3: no multipliers: output"
    assert found["embedding.weight"]["why"] == "dim 0 looked up"


def test_a_table_ends_in_totals_and_in_what_was_done(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--model", "some_models:Tied", *SIZES]) == 0
    out = capsys.readouterr().out
    assert out.startswith("mup at width 64, base width 16: TPV Table 8")
    assert "head has a forward hook that multiplies its input by 0.25" in out
    totals = {
        line.split()[0]: line.split()[1:] for line in out.splitlines() if line.strip().startswith(("input", "hid"))
    }
    assert totals["input"][1:3] == ["1", str(50 * 64)]
    assert totals["hidden"][1:3] == ["3", str(3 * 64 * 64)]


def test_csv_has_a_line_per_row(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--model", "some_models:Tokens", *SIZES, "--format", "csv"]) == 0
    listed = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {row["parameter"] for row in listed} == {
        "embedding.weight",
        "layers.*.weight",
        "layers.*.bias",
        "head.weight",
        "head.bias",
    }


def test_diff_shows_what_differs_and_nothing_else(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """sp and mup_simple differ in the Adam rate of what is inside alone."""
    words = ("--model", "some_models:Tokens", *SIZES, "--lr", "0.5")
    found = rows(capsys, *words, "--diff", "sp", "mup_simple")
    assert list(found) == ["layers.*.weight"]
    row = found["layers.*.weight"]
    assert (row.pop("lr sp"), row.pop("lr mup_simple")) == (0.5, 0.125)
    assert set(row) == {"parameter", "role"}
    assert rows(capsys, *words, "--diff", "mup", "mup") == {}
    assert main(["explain", *words, "--diff", "mup", "mup"]) == 0
    assert capsys.readouterr().out == "no difference\n"


def test_diff_of_our_own_model_follows_its_rules(capsys: pytest.CaptureFixture[str]) -> None:
    found = rows(capsys, "--width", "512", "--diff", "sp", "completep", "--base-depth", "1")
    built = build_model(ModelConfig(width=512), "completep", base_depth=1)
    up = found["blocks.*.mlp.up.weight"]
    assert (up["lr sp"], up["lr completep"]) == (1.0, built.rules["blocks.0.mlp.up.weight"].lr_mult)
    branch = found["blocks.*.mlp.residual_mult"]
    assert (branch["role"], branch["forward_mult sp"], branch["forward_mult completep"]) == ("residual", None, 0.5)
    assert "blocks.*.attention.query.weight" in found


def test_what_is_not_found_can_be_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--model", "some_models:LowRank", "--sample", "some_models:sample", *SIZES)
    assert main(["explain", *words]) == 2
    assert "roles={'down': 'hidden'}" in capsys.readouterr().err
    roles = ("--roles", "down=bottleneck", "up=input")
    assert rows(capsys, *words, *roles, "--init-powers", "*.bias=-0.5")["up"]["role"] == "input"


def test_a_model_that_needs_values_is_told_to_take_a_device(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--model", "some_models:Counts", *SIZES]) == 2
    assert "--device cpu" in capsys.readouterr().err
    assert rows(capsys, "--model", "some_models:Counts", *SIZES, "--device", "cpu")


def test_its_help_says_which_tables_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["explain", "--help"])
    told = re.sub(r"[^\w]+", " ", capsys.readouterr().out)
    assert [name for name, table in TABLES.items() if not table.ablation and f" {name} " not in told] == []


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("--model", "some_models"), "my_package.my_module:build"),
        (("--model", "no_models:Tokens"), "no module 'no_models' in"),
        (("--model", "some_models:Token"), "did you mean 'Tokens'"),
        (("--model", "some_models:not_a_function"), "found no function 'not_a_function'"),
        (("--model", "broken_models:build"), r"KeyError: 'NOT_THERE' in .*broken_models.py, line 3"),
        (("--model", "some_models:LowRank"), "no embedding in LowRank"),
        (("--model", "some_models:Tokens", "--model.depth", "3"), "model settings for a model of your own"),
        (("--model", "some_models:Tokens", "--base-depth", "3"), "base-depth settings"),
        (("--model", "some_models:Tokens", "--roles", "head"), "wanted pattern=value"),
        (("--model", "some_models:Tokens", "--roles", "head*=outptu"), "did you mean 'output'"),
        (("--model", "some_models:Tokens", "--init-powers", "head*=x"), "found the power 'x'"),
        (("--roles", "head*=output"), "roles settings for our own model"),
        (("--device", "cpu"), "device settings for our own model"),
        (("--diff", "sp", "mpu"), "did you mean 'mup'"),
        (("--diff", "sp", "mup", "--parametrization", "mup"), "leave one out"),
        (("--format", "xml"), "expected a known format"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_one_line(
    words: tuple[str, ...], found: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", *SIZES, *words]) == 2
    text = capsys.readouterr().err.strip()
    assert re.search(found, text), text
    assert "\n" not in text
