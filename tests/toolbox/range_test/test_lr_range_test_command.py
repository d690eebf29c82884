"""The range test as a user meets it."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from mutransfer.cli import main
from mutransfer.config import Arm, ModelConfig, Scale, SweepConfig
from mutransfer.data import load_corpus
from mutransfer.toolbox.range_test.measure import range_test_trial
from mutransfer.toolbox.range_test.rates import Ramp

RAMP = ["--ramp.low", "1e-5", "--ramp.high", "10", "--ramp.steps", "30", "--device", "cpu"]
SHORT = Ramp(low=1e-5, high=10.0, steps=30)
TINY = ["--model.head-dim", "8", "--model.context", "8"]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("data") / "text"
    file.write_text("the quick brown fox jumps over the lazy dog; " * 500)
    return f"text:{file}"


@pytest.fixture(scope="module")
def result(text: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study") / "result"
    words = ["--widths", "16,32", "--lrs", "2^-9..2^-3", "--base-width", "16", "--steps", "12", "--seeds", "1"]
    words += ["--batch-size", "4", "--executor", "inprocess", "--device", "cpu", "--eval-batches", "1", *TINY]
    assert main(["sweep", *words, "--data", text, "--out", str(folder)]) == 0
    return folder


def test_it_tests_the_model_that_the_options_describe(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--width", "32", "--parametrization", "sp", "--batch-size", "3", "--data", text, "--seeds", "2", *TINY]
    assert main(["lr-range-test", *words, *RAMP, "--out", str(tmp_path / "a" / "test"), "--json", "True"]) == 0
    told = json.loads(capsys.readouterr().out)
    sweep = SweepConfig(batch_size=3, model=ModelConfig(head_dim=8, context=8))
    expected = range_test_trial(
        sweep.trial(Arm("sp", "sp"), Scale(32), 1.0, 0), load_corpus(text), "cpu", ramp=SHORT, seeds=2
    )
    losses = np.array([[math.nan if loss is None else loss for loss in losses] for losses in told["losses"]])
    assert np.array_equal(losses, expected.losses, equal_nan=True)
    assert told["lrs"] == expected.lrs.tolist()
    assert told["optimum"] is None
    assert set(told["suggestions"]) == {"valley", "steep", "minimum", "slide", "edge"}
    for name in ("range_test.png", "range_test.svg"):
        assert (tmp_path / "a" / "test" / name).stat().st_size > 5000
    assert json.loads((tmp_path / "a" / "test" / "range_test.json").read_text()) == told


def test_of_a_result_it_tests_the_model_and_shows_the_optimum_beside(
    result: Path, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["lr-range-test", "--width", "16", "--result", str(result), "--arm", "sp", *RAMP, "--out", str(tmp_path)]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "minimum" in out
    told = json.loads((tmp_path / "range_test.json").read_text())
    summary = json.loads((result / "summary.json").read_text())
    (optimum,) = [each for each in summary["arms"]["sp"]["optima"] if each["width"] == 16]
    assert told["optimum"] == {name: optimum[name] for name in ("log2_lr", "ci_low", "ci_high", "status")}
    assert (told["trial"]["batch_size"], told["trial"]["model"]["width"], told["trial"]["base_width"]) == (4, 16, 16)
    found = told["suggestions"]["minimum"]["log2_lr"]
    away = f"{found - optimum['log2_lr']:+.2f}"
    assert (away in out) == (optimum["status"] == "interior")


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--arm", "sp"], "found --arm sp without --result"),
        (["--ramp.shape", "cosine"], "expected a known ramp.shape, got 'cosine'"),
        (["--ramp.low", "100"], "wanted it to rise"),
        (["--seeds", "0"], "expected seeds above 0, got 0"),
        (["--model.width", "64"], "expected --width, got --model.width 64; give --width 64"),
        (["--parametrization", "mupp"], "did you mean 'mup'"),
        (["--data", "text:nowhere"], "found no file nowhere"),
    ],
)
def test_a_mistake_is_told_in_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lr-range-test", "--width", "32", *words]) == 2
    assert said in one_line(capsys)


def test_what_a_result_says_is_not_said_again(result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        (["--batch-size", "8"], "found --batch-size with --result"),
        (["--model.depth", "3"], "found --model with --result"),
        (["--arm", "mupp"], "mupp"),
    ):
        assert main(["lr-range-test", "--width", "16", "--result", str(result), *words]) == 2
        assert said in one_line(capsys)


TASKS = """
import torch
from torch import nn

def digits(width):
    model = nn.Sequential(nn.Conv2d(1, width, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36 * width, 10))
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(32, 1, 8, 8, generator=draw)
    y = torch.randint(0, 10, (32,), generator=draw)
    return model, [(x[:16], y[:16]), (x[16:], y[16:])], nn.functional.cross_entropy

def line(width):
    model = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 1))
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(32, 4, generator=draw)
    return model, [(x, x.sum(1, keepdim=True))], nn.functional.mse_loss

def wrong(width):
    model, batches, loss = line(width)
    return model, [(x[:, :3], y) for x, y in batches], loss

def tokens(width):
    return nn.Linear(width, width)
"""


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_tasks.py").write_text(TASKS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_tasks", raising=False)


@pytest.mark.parametrize("task", ["digits", "line"])
def test_a_task_without_tokens_is_tested_at_a_width(task: str, tasks: None, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["lr-range-test", "--width", "32", "--base-width", "16", "--task", f"my_tasks:{task}", "--device", "cpu"]
    words += ["--ramp.steps", "40", "--ramp.low", "1e-4", "--seeds", "1", "--out", "found"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "recommended: lr" in said
    told = json.loads(Path("found/range_test.json").read_text())
    assert told["trial"]["task"] == f"my_tasks:{task}"
    losses = [loss for loss in told["losses"][0] if loss is not None]
    assert min(losses) < 0.95 * losses[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--task", "my_tasks:tokens"], "expected (model, batches, loss) from my_tasks:tokens, got (Linear)"),
        (["--task", "my_tasks:wrong"], "to take its first batch, got RuntimeError: mat1 and mat2"),
        (["--task", "my_tasks:line", "--build", "my_tasks:line"], "expected --task alone, got --build beside it"),
    ],
)
def test_a_task_that_does_not_fit_is_refused_in_one_line(
    words: list[str], said: str, tasks: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lr-range-test", "--width", "32", "--base-width", "16", "--device", "cpu", *words]) == 2
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert said in told.err
