"""Whatever a user types, and whatever is left of a file, is read or refused in one line; a failure says its seed."""

from __future__ import annotations

import copy
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from mutransfer.arguments import read_sweep
from mutransfer.config.validation import validate
from mutransfer.sweep.status import status

REFERENCE = Path(__file__).parent.parent / "results" / "reference_cpu"

WORDS = ["", " ", ",", "16,,", "-1", "0", "1e308", "-1e308", "nan", "inf", "9" * 400, "2^", "2^-8..", "..", "2^99999"]
WORDS += ["None", "True", "x", "ü", "\x00", "[", "{}", "--", "1.5", "10000000", "1e15", "sp", "a" * 300, "2^-3..2^9999"]
OPTIONS = [
    "widths",
    "depths",
    "batch-sizes",
    "step-counts",
    "lrs",
    "seeds",
    "base-width",
    "base-depth",
    "steps",
    "dtype",
]
OPTIONS += ["batch-size", "loss", "z-loss", "final-window", "eval-batches", "search", "n-trials", "budget", "target-se"]
OPTIONS += ["tolerance", "device", "executor", "gpus-per-trial", "cohort-size", "execution", "out", "model", "preset"]
OPTIONS += ["space", "prune", "parametrizations", "experiment", "model.depth", "model.width", "model.mlp-ratio"]
OPTIONS += ["model.head-dim", "model.n-heads", "model.vocab", "model.context", "model.architecture", "init.std"]
OPTIONS += ["optimizer.name", "optimizer.eps", "optimizer.weight-decay", "optimizer.clip-norm", "schedule.name"]
OPTIONS += ["schedule.warmup", "schedule.floor", "schedule.cycle-mult", "schedule.knee", "odd", "width", "lr"]

VALUES: list[Any] = [None, True, 0, -1, 1.5, 10**7, 10**15, 10**18, 1e300, -1e300, 10**40, "", "x", [], {}, [[]], ["x"]]
VALUES += [{"a": 1}, 1e-320, "nan", 2**63]
TEXTS = ["", "[" * 5000, '{"a":' * 5000, "NaN", "1e999", "null", "[]", "\x00", "9" * 5000, '{"config": []}', '"', "ü{"]


def one_line(error: ValueError) -> None:
    assert str(error)
    assert "\n" not in str(error)
    assert len(str(error)) < 2000


@pytest.mark.parametrize("seed", [*range(60), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(60, 660))])
def test_a_command_line_is_a_sweep_or_is_refused_in_one_line(seed: int) -> None:
    draw = random.Random(seed)
    words: list[str] = []
    for _ in range(draw.randint(1, 3)):
        option, value = draw.choice(OPTIONS), draw.choice(WORDS)
        words += [f"--{option}={value}"] if draw.random() < 0.5 else [f"--{option}", value]
    try:
        validate(read_sweep("plan", words))
    except ValueError as error:
        one_line(error)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep's folder with a few of its records."""
    folder = tmp_path_factory.mktemp("whole")
    shutil.copy(REFERENCE / "config.json", folder)
    lines = (REFERENCE / "records.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "records.jsonl").write_bytes(b"".join(lines[:4]))
    return folder


def damaged(data: Any, draw: random.Random) -> Any:
    """JSON with a value somewhere that does not belong there, a field too many, or one too few."""
    data = copy.deepcopy(data)
    place = data
    while True:
        key = draw.choice(list(place) if isinstance(place, dict) else range(len(place)))
        inner = place[key]
        if not (isinstance(inner, dict | list) and inner) or draw.random() < 0.3:
            break
        place = inner
    if isinstance(place, dict) and draw.random() < 0.2:
        place[draw.choice(["odd", ""])] = 1
    elif draw.random() < 0.2:
        del place[key]
    else:
        place[key] = draw.choice(VALUES)
    return data


@pytest.mark.parametrize("seeds", [range(150), pytest.param(range(150, 2350), marks=pytest.mark.slow)], ids=str)
@pytest.mark.parametrize("name", ["config.json", "records.jsonl"])
def test_a_damaged_folder_is_read_or_refused_in_one_line(name: str, seeds: range, whole: Path, tmp_path: Path) -> None:
    lines = (whole / name).read_text().splitlines(keepends=True) if name.endswith("l") else [(whole / name).read_text()]
    ended = {"read": 0, "refused": 0}
    for seed in seeds:
        draw = random.Random(seed)
        changed, at = list(lines), draw.randrange(len(lines))
        if draw.random() < 0.15:
            changed[at] = draw.choice(TEXTS) + "\n"
        elif draw.random() < 0.15:
            changed[at] = changed[at][: draw.randrange(len(changed[at]))] + "\n"
        else:
            changed[at] = json.dumps(damaged(json.loads(changed[at]), draw)) + "\n"
        folder = tmp_path / str(seed)
        shutil.copytree(whole, folder)
        (folder / name).write_text("".join(changed))
        try:
            status(folder)
            ended["read"] += 1
        except ValueError as error:
            one_line(error)
            ended["refused"] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}: {name} with {changed[at][:200]!r}") from error
    assert ended["refused"] > len(seeds) / 2  # most of what is damaged cannot be read
