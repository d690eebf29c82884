"""The workflow page's commands run, in its order, and its loop watches a run."""

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from mutransfer.cli import main

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "learning-rates.md").read_text()

SHORT = {
    "sweep": ["--steps", "6", "--seeds", "1", "--lrs", "2^-8,2^-7", "--executor", "inprocess", "--eval-batches", "1"],
    "lr-range-test": ["--seeds", "1"],
    "train": ["--steps", "8", "--batch-size", "4"],
    "noise-scale": ["--batch-size", "8"],
    "sharpness": ["--batch-size", "4"],
}
"""What makes a command short enough for a test."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def commands() -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [words[1:] for line in lines if (words := shlex.split(line, comments=True))]


def test_every_command_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    shutil.copytree(ROOT / "results" / "reference_cpu", tmp_path / "results" / "reference_cpu")
    run = commands()
    assert [words[0] for words in run] == [
        "lr-range-test",
        "sweep",
        "recommend",
        "sweep",
        "recipe",
        "train",
        "train",
        "train",
        "noise-scale",
        "train",
        "sharpness",
        "doctor",
        "coord-check",
    ]
    for words in run:
        given = SHORT.get(words[0], [])
        pairs = zip(given[::2], given[1::2], strict=True)
        assert main([*words, *(word for flag, value in pairs if flag not in words for word in (flag, value))]) == 0, (
            words
        )
    written = {words[words.index("--out") + 1] for words in run if "--out" in words}
    assert all(any((tmp_path / folder).iterdir()) for folder in written), written


def test_the_pages_loop_watches_a_run_and_its_layers_have_rates_of_their_own() -> None:
    loop, by_layer = blocks("python")
    scope: dict[str, Any] = {}
    exec(compile(loop, "learning-rates.md", "exec"), scope)
    assert {each.step for each in scope["seen"]} == {0, 20, 39}
    exec(compile(by_layer, "learning-rates.md", "exec"), scope)
    groups, names = scope["optimizer"].param_groups, {id(p): n for n, p in scope["mup"].model.named_parameters()}
    rates = {names[id(p)]: group["lr"] for group in groups for p in group["params"]}
    assert rates["embedding.weight"] == pytest.approx(2 * 2**-8 / 2.6**3)
    assert rates["blocks.1.mlp.up.weight"] == pytest.approx(2 * 2**-8 / 2.6)  # muP's multiplier at width 64 is 2


def test_what_the_page_links_to_is_there() -> None:
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", PAGE) if not link.startswith("http")]
    assert links
    assert all((ROOT / "docs" / link).exists() for link in links), links
