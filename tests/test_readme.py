"""Every command of the README runs, and what it links to is there."""

import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mutransfer.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "experiments/README.md")]

# What makes a command of the README short enough for a test; the full ones are the reference result's.
QUICK = ["--steps", "6", "--seeds", "1", "--lrs", "2^-8,2^-7", "--executor", "inprocess", "--eval-batches", "1"]
CONFIRM = ["--width", "48", "--seeds", "1", "--executor", "inprocess"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def write_runs(path: Path) -> None:
    """A sweep as a tracker exports it: three widths, seven rates, the best one at 2^-7 everywhere."""
    lines = ["Name,State,config/learning_rate,config/d_model,summary/val_loss"]
    for width in (256, 512, 1024):
        for octave in range(-10, -3):
            loss = 3.0 - 0.1 * math.log2(width / 256) + 0.02 * (octave + 7) ** 2
            lines.append(f"run-{width}-{octave},finished,{2.0**octave!r},{width},{loss:.5f}")
    path.write_text("\n".join(lines))


def test_every_command_is_of_a_kind_that_is_run_here() -> None:
    assert {words[0] for words in commands()} == {"make", "mutransfer"}
    assert {words[1] for words in commands() if words[0] == "make"} == {"sweep", "test"}


def test_the_programs_commands_run_word_for_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.txt").write_text("some words of my own, " * 500)
    shutil.copytree(ROOT / "results" / "reference_cpu", tmp_path / "results" / "reference_cpu")
    run = [words[1:] for words in commands() if words[0] == "mutransfer"]
    write_runs(tmp_path / "runs.csv")
    told = {"plan", "sweep", "status", "report", "recommend", "confirm", "explain", "analyze"}
    assert {words[0] for words in run} == told
    for words in run:
        pairs = zip(QUICK[::2], QUICK[1::2], strict=True) if words[0] in ("plan", "sweep") else ()
        short = [word for flag, value in pairs if flag not in words for word in (flag, value)]
        if words[0] == "confirm":
            short = CONFIRM
            # as `make sweep` leaves it
            shutil.copytree(tmp_path / "results" / "reference_cpu", tmp_path / "results" / "width_transfer")
        assert main([*words, *short]) == 0, words
    assert (tmp_path / "results" / "mine2" / "report.html").exists()


@pytest.mark.parametrize("words", [words[1:] for words in commands() if words[:2] == ["make", "sweep"]], ids=" ".join)
def test_make_sweep_hands_its_variables_on(words: list[str], tmp_path: Path) -> None:
    """What make would type is run, with few steps and in a folder of its own."""
    if shutil.which("make") is None:
        pytest.skip("there is no make on this machine")
    # the make that runs this test is no business of the one it runs
    env = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    dry = subprocess.run(
        ["make", "-n", "-o", ".venv/.ready", *words], capture_output=True, text=True, check=True, cwd=ROOT, env=env
    )
    line = shlex.split(dry.stdout.splitlines()[-1])
    assert line[0].endswith("bin/mutransfer")
    typed = line[1:]
    for variable, flag in (("WIDTHS", "--widths"), ("SEEDS", "--seeds"), ("LRS", "--lrs"), ("OUT", "--out")):
        assert any(word.startswith(variable) for word in words) == (flag in typed), (words, typed)
    folder = tmp_path / "out"
    assert main(["plan", *typed[1:], "--steps", "12", "--eval-batches", "1", "--out", str(folder)]) == 0
    assert not folder.exists()


def test_the_training_loop_runs_and_learns(capsys: pytest.CaptureFixture[str]) -> None:
    (loop,) = [block for block in blocks("python") if "optimizer.step()" in block]
    scope: dict[str, object] = {}
    exec(compile(loop, "README.md", "exec"), scope)
    assert scope["loss"].item() < 5.0  # type: ignore[attr-defined]
    assert "blocks.*.attention.key.weight" in capsys.readouterr().out


def test_a_model_of_ones_own_is_parametrized_and_passes(capsys: pytest.CaptureFixture[str]) -> None:
    scope: dict[str, object] = {}
    for block in blocks("python"):
        if "mt.parametrize" in block:
            exec(compile(block, "README.md", "exec"), scope)
    told = capsys.readouterr().out
    assert "output" in told
    assert scope["check"].passed, told  # type: ignore[attr-defined]


def test_the_example_of_an_experiment_is_one(tmp_path: Path) -> None:
    (example,) = [block for block in blocks("python") if "def sweep" in block]
    (tmp_path / "mine.py").write_text(example)
    assert main(["plan", str(tmp_path / "mine.py"), *QUICK, "--out", str(tmp_path / "out")]) == 0


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_named_files_exist(document: Path) -> None:
    text = document.read_text()
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("http")]
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line.lower()).replace(" ", "-") for line in re.findall(r"^#+ (.*)", text, re.M)
    }
    assert {link[1:] for link in links if link.startswith("#")} <= headings
    links = [link for link in links if not link.startswith("#")]
    assert all((document.parent / link).exists() for link in links), links
    for path in re.findall(r"`((?:mutransfer|tests|experiments|results)/[\w./]+)`", text):
        if not path.startswith(("results/", "experiments/NAME")):
            assert (ROOT / path).exists(), path


def test_the_file_map_names_every_room() -> None:
    (tree,) = re.findall(r"## The files\n\n```\n(.*?)```", README, flags=re.DOTALL)
    named = {line.split()[0].rstrip("/") for line in tree.splitlines() if line.startswith("  ")}
    there = {
        path.name
        for path in (ROOT / "mutransfer").iterdir()
        if (path.is_dir() and (path / "__init__.py").exists()) or path.suffix == ".py"
    }
    assert named == there - {"__init__.py"}


def test_the_package_lists_what_it_hands_on() -> None:
    import mutransfer as mt

    assert all(getattr(mt, name) is not None for name in mt.__all__)
    assert set(mt.__all__) == set(mt._HOME)
    with pytest.raises(AttributeError, match="no attribute 'parametrise'"):
        _ = mt.parametrise
    run = subprocess.run(
        [sys.executable, "-c", "import mutransfer, sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {"torch", "numpy", "pandas", "ray", "optuna"} & set(run.stdout.split())
