"""coord-check as a user meets it."""

import json
from pathlib import Path

import pandas as pd
import pytest

from mutransfer.cli import main

TINY = [
    "--widths",
    "16,32,64",
    "--seeds",
    "3",
    "--steps",
    "2",
    "--lr",
    "2^-9",
    "--model.architecture",
    "mlp",
    "--model.depth",
    "2",
]

OWN = """
import torch
from torch import nn
from mutransfer import parametrize

def plain(width):
    return nn.Sequential(nn.Linear(5, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3))

def batch(seed):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(64, 5, generator=draw), torch.randn(64, 3, generator=draw)

def mup(width, seed):
    return parametrize(plain, width=width, base_width=16, sample=torch.randn(2, 5), seed=seed)

def loss(model, batch):
    return (model(batch[0]) - batch[1]).square().mean()

def flatten(optimizer):
    return Flat(optimizer)

class Flat:
    def __init__(self, optimizer):
        self.optimizer = optimizer
        self.step()

    def step(self):
        for group in self.optimizer.param_groups:
            group["lr"] = 0.002
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    (tmp_path / "my_coord_model.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return ["--batch", "my_coord_model:batch", "--loss", "my_coord_model:loss", *TINY[:8]]


def test_mup_passes_in_one_sentence_and_writes_what_it_promises(tmp_path, capsys) -> None:
    assert main(["coord-check", *TINY, "--out", str(tmp_path / "new" / "out")]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    assert told.out.splitlines()[-1].startswith("coordinate check passed: ")
    found = json.loads((tmp_path / "new" / "out" / "coord_check.json").read_text())
    assert (found["schema"], found["verdict"], found["culprit"]) == (1, "pass", None)
    assert found["lr"] == 2.0**-9
    assert {each["quantity"] for each in found["slopes"]} == {"size", "change", "effective", "pull", "fit"}
    table = pd.read_csv(tmp_path / "new" / "out" / "coordinates.csv", keep_default_na=False)
    assert list(table.columns) == ["module", "quantity", "step", "width", "seed", "value"]
    assert set(table["width"]) == {16, 32, 64}
    assert (tmp_path / "new" / "out" / "coord_check.png").read_bytes().startswith(b"\x89PNG")


def test_sp_fails_with_exit_code_1_and_the_culprit_in_the_last_line(capsys) -> None:
    assert main(["coord-check", *TINY, "--parametrization", "sp"]) == 1
    told = capsys.readouterr()
    last = told.err.splitlines()[-1]
    assert last.startswith("mutransfer: coordinate check failed: hidden.0 grows: hidden lr is not divided by width")
    assert "readout has no output multiplier: readout" in told.out


def test_json_is_all_that_is_printed(capsys) -> None:
    assert main(["coord-check", *TINY, "--parametrization", "sp", "--json", "True"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["verdict"], found["culprit"]) == ("fail", "hidden.0")
    assert found["findings"][0]["ci_low"] > 0


def test_a_model_of_your_own(own, capsys) -> None:
    assert main(["coord-check", "--model", "my_coord_model:mup", *own]) == 0
    assert main(["coord-check", "--model", "my_coord_model:plain", *own]) == 1
    assert "2 grows" in capsys.readouterr().err
    flat = ["--scheduler", "my_coord_model:flatten"]
    assert main(["coord-check", "--model", "my_coord_model:mup", *own, *flat]) == 1
    assert "a scheduler flattened the group rates" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--widths", "16,wide"], "expected a whole number, got 'wide'"),
        (["--widths", "16"], "found 1 widths"),
        (["--model", "no_such_module:build"], "no_such_module"),
        (["--model", "json:dumps", "--parametrization", "sp"], "expected no parametrization settings"),
        (["--model", "builtins:dict"], "found builtins:dict, which takes no width"),
        (["--optimizer.name", "shampoo"], "found 4 steps of shampoo, whose matrices stand still before step 10"),
        (["--optimizer.name", "sophia"], "found sophia, which needs the curvature"),
        (["--batch", "json:dumps"], "expected no batch settings"),
        (["--model.width", "64"], "expected --widths"),
        (["--lr", "fast"], "got 'fast'"),
        (["--optimizer.name", "adamx"], "adamx"),
    ],
)
def test_bad_input_is_named_in_one_line(words, message, capsys) -> None:
    assert main(["coord-check", *words]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
