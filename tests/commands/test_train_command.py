"""`mutransfer train` watched, and the commands that look into one run on a model of one's own."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from mutransfer.cli import main
from mutransfer.toolbox.watch.observed import read_observations, to_table

MODEL = """
import torch
from torch import nn

def build(width):
    return nn.Sequential(nn.Embedding(256, width), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 256))
"""
SMALL = shlex.split("--width 16 --model.context 8 --batch-size 4 --device cpu --data text:text")
OURS = [*SMALL, *shlex.split("--model.depth 1 --model.head-dim 8 --base-width 16")]
OWN = [*SMALL, *shlex.split("--base-width 8 --build my_own_model:build --parametrization mup_table3")]


@pytest.fixture(autouse=True)
def in_a_folder_with_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_own_model.py").write_text(MODEL)
    (tmp_path / "text").write_text("the quick brown fox jumps over the lazy dog; " * 100)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_own_model", raising=False)


def test_a_watched_run_is_drawn_is_read_by_the_doctor_and_has_the_bits_of_one_that_is_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = ["train", *OURS, "--steps", "30"]
    assert main([*run, "--out", "plain"]) == 0
    assert main([*run, "--out", "watched", "--watch", "7", "--tensorboard", "live"]) == 0
    plain, watched = (np.load(f"{folder}/curve.npy") for folder in ("plain", "watched"))
    assert plain.tobytes() == watched.tobytes()
    seen = read_observations(Path("watched/watch.jsonl"))
    assert [each.step for each in seen] == [0, 7, 14, 21, 28, 29]
    told = {step: loss for each in seen for step, loss in each.losses}
    assert [told[step] for step in range(30)] == plain.tolist()
    assert seen[-2].attention_logit
    assert not seen[-1].attention_logit
    assert to_table(seen, "update_ratio").columns.tolist() == [0, 7, 14, 21, 28]
    assert Path("watched/watch.png").read_bytes().startswith(b"\x89PNG")
    assert not Path("plain/watch.jsonl").exists()
    assert any(Path("live").iterdir())
    capsys.readouterr()
    assert main(["doctor", "watched/watch.jsonl"]) in (0, 1)
    assert "not judged" in capsys.readouterr().out


def test_a_watched_run_that_goes_on_keeps_what_was_seen_and_another_does_not() -> None:
    run = ["train", *OURS, "--watch", "5", "--schedule.name", "constant", "--schedule.warmup", "0", "--out", "run"]
    assert main([*run, "--steps", "10", "--checkpoint", "run.pt"]) == 0
    assert main([*run, "--steps", "20", "--checkpoint", "run.pt"]) == 0
    assert [each.step for each in read_observations(Path("run/watch.jsonl"))] == [0, 5, 9, 10, 15, 19]
    assert main([*run, "--steps", "10"]) == 0
    assert [each.step for each in read_observations(Path("run/watch.jsonl"))] == [0, 5, 9]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--watch", "0"], "expected watch above 0, got 0"),
        (["--tensorboard", "live"], "found --tensorboard without --watch"),
        (["--execution", "compile"], "expected a known execution, got 'compile'; did you mean 'compiled'?"),
        (["--execution", "graph"], "found execution graph on the cpu; wanted a GPU"),
        (["--execution", "graph", "--device", "auto"], "found execution graph on cpu; wanted a GPU"),
        (["--execution", "compiled", "--watch", "7"], "found --watch with --execution compiled"),
        (["--execution", "compiled", "--optimizer.name", "sophia"], "found execution compiled with sophia"),
    ],
)
def test_bad_input_is_one_line(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *OURS, *words]) == 2
    said = capsys.readouterr().err
    assert told in said
    assert said.count("\n") == 1


def test_a_model_of_ones_own_is_trained_tested_and_measured() -> None:
    for command, *words in (
        ["train", "--steps", "12", "--watch", "4"],
        ["lr-range-test", "--seeds", "1", "--ramp.steps", "12"],
        ["noise-scale", "--steps", "12", "--micro-batches", "2"],
        ["sharpness", "--steps", "12", "--every", "6"],
    ):
        assert main([command, *OWN, *words, "--out", command]) == 0
    for command in ("train", "noise-scale", "sharpness"):
        assert json.loads(Path(f"{command}/trial.json").read_text())["build"] == "my_own_model:build"
    assert set(read_observations(Path("train/watch.jsonl"))[0].weight_norm) == {
        "0.weight",
        "1.weight",
        "1.bias",
        "3.weight",
        "3.bias",
    }
