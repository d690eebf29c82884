"""What `make sweep` is given is used, or is refused before anything is set up."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def make(*words: str) -> subprocess.CompletedProcess[str]:
    # The make that runs this test is no business of the one it runs.
    env = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    typed = ["make", "-n", "-o", ".venv/.ready", *words]
    return subprocess.run(typed, capture_output=True, text=True, cwd=ROOT, env=env)


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize(
    ("given", "right"),
    [
        ("WIDTH=64", "write WIDTHS"),
        ("LR=0.1", "write LRS"),
        ("SEED=3", "write SEEDS"),
        ("BATCH_SIZE=16", 'write ARGS="--batch-size 16"'),
        ("MODEL=mine:build", 'write ARGS="--model mine:build"'),
        ("widths=64", "got widths"),
    ],
)
def test_a_name_that_sweep_does_not_take_is_refused_with_the_right_one(given: str, right: str) -> None:
    ran = make("sweep", given, "STEPS=3")
    assert ran.returncode == 2
    assert f"got {given.partition('=')[0]}" in ran.stderr
    assert right in ran.stderr
    assert ran.stdout == ""


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_names_that_it_takes_become_options() -> None:
    ran = make("sweep", "WIDTHS=16,32", "LRS=2^-9..2^-5", "ARGS=--batch-size 4")
    assert ran.returncode == 0
    assert ran.stdout.split()[1:] == ["sweep", "--widths", "16", "32", "--lrs", "2^-9..2^-5", "--batch-size", "4"]
    assert make("bench", "ONLY=cohort").returncode == 0
