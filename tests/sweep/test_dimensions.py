"""Sweeps along several dimensions: their scales, their trials, and what is refused of them."""

from __future__ import annotations

import dataclasses
import math
import os
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from mutransfer.config import Arm, ModelConfig, Scale, SweepConfig, sweep_from_json, to_json, validate
from mutransfer.search.planned import cells
from mutransfer.sweep.folder import ResultFolder, read_origin
from mutransfer.sweep.status import status
from mutransfer.trials import records

from .fake_training import FakeTrain
from .fakes import assert_journal_agrees, measured, small, sweep

MUP = Arm("mup", "mup")
LADDER = (Scale(width=32, steps=10), Scale(width=64, steps=20), Scale(width=96))


def scales(folder: Path) -> set[Scale]:
    return {record.scale for record in records.read(folder / "records.jsonl")}


def test_lists_make_every_combination(tmp_path: Path) -> None:
    config = small(tmp_path, widths=(32, 64), depths=(1, 2), batch_sizes=(4, 8))
    assert config.dimensions == ("width", "depth", "batch_size")
    assert config.scales == tuple(Scale(*each) for each in product((32, 64), (1, 2), (4, 8)))
    ran = sweep(config, FakeTrain(os.devnull)).ran
    assert ran == 8 * len(config.lrs) * config.seeds
    assert scales(tmp_path) == {scale.replace(steps=20) for scale in config.scales}
    assert sweep(config, FakeTrain(os.devnull)).ran == 0
    assert [str(cell) for cell in cells(config)][1] == "mup width 32, depth 1, batch size 8"
    assert_journal_agrees(tmp_path)


def test_a_ladder_has_each_scale_and_no_other(tmp_path: Path) -> None:
    config = small(tmp_path, steps=40, ladder=LADDER, widths=SweepConfig.widths)
    validate(config)
    assert config.scales == (*LADDER[:2], Scale(width=96, steps=40))
    assert config.dimensions == ("width", "steps")
    sweep(config, FakeTrain(os.devnull))
    assert scales(tmp_path) == {config.whole(scale) for scale in LADDER}
    assert sweep_from_json(to_json(config)) == config
    found = status(tmp_path)
    assert (found.done, found.planned) == (18, 18)


def test_what_a_scale_leaves_out_is_the_arms_own(tmp_path: Path) -> None:
    longer = Arm("longer", "mup", (("steps", 50), ("model.depth", 5)))
    config = small(tmp_path, variants=(longer,), widths=(32, 64), batch_sizes=(4, 8))
    trial = config.trial(longer, Scale(width=64, batch_size=8), 0.1, 0)
    assert (trial.model.width, trial.batch_size, trial.steps, trial.model.depth) == (64, 8, 50, 5)
    assert {cell.scale for cell in cells(config) if cell.arm == longer} == {
        Scale(width, 5, batch, 50) for width, batch in product((32, 64), (4, 8))
    }


def test_any_scales_are_given_by_lists_or_by_a_ladder() -> None:
    every = [Scale(width=w, batch_size=b, steps=s) for w, b, s in product((32, 64), (4, 8), (10, 20))]
    for wanted in range(1, 2 ** len(every)):
        asked = [scale for place, scale in enumerate(every) if wanted >> place & 1]
        found = SweepConfig(steps=7, batch_size=3).with_scales(asked)
        assert found.scales == tuple(asked)
        assert bool(found.ladder) == (
            len(asked) != math.prod(len({scale[name] for scale in asked}) for name in asked[0].known)
        )
        validate(found)


def test_a_folder_is_extended_along_further_dimensions(tmp_path: Path) -> None:
    narrow = small(tmp_path, widths=(32, 64), batch_size=4)
    sweep(narrow, FakeTrain(os.devnull), command="first")
    before = measured(tmp_path)
    both = small(tmp_path, widths=(32,), batch_sizes=(4, 8))
    each = len(narrow.lrs) * narrow.seeds
    assert sweep(both, FakeTrain(os.devnull), command="second").ran == each
    assert before.items() <= measured(tmp_path).items()
    # nothing is counted that nobody asked for: no batch of 8 at width 64
    found = status(tmp_path)
    assert (found.done, found.planned, found.along) == (3 * each, 3 * each, ("width", "batch_size"))
    assert_journal_agrees(tmp_path)
    # either command finds all of its own done
    assert sweep(narrow, FakeTrain(os.devnull), command="first").ran == 0
    assert sweep(both, FakeTrain(os.devnull), command="second").ran == 0
    origin = read_origin(ResultFolder(tmp_path))
    assert origin is not None
    assert [sweep.command for sweep in origin.sweeps] == ["first", "second"]
    assert set(origin.config.scales) == {Scale(32, batch_size=4), Scale(64, batch_size=4), Scale(32, batch_size=8)}


def test_what_is_missing_of_each_sweep_is_counted_once(tmp_path: Path) -> None:
    sweep(small(tmp_path, widths=(32,), batch_size=4), FakeTrain(os.devnull), command="first")
    both = small(tmp_path, widths=(32, 64), batch_sizes=(4, 8), step_counts=(10, 20), steps=SweepConfig.steps)
    sweep(both, FakeTrain(os.devnull), command="second")
    lines = (tmp_path / "records.jsonl").read_text().splitlines(keepends=True)
    kept = [line for line in lines if '"width": 64' not in line]
    (tmp_path / "records.jsonl").write_text("".join(kept))
    found = status(tmp_path)
    assert (found.done, found.planned, found.command) == (24, 48, "second")
    assert {cell.scale.width for cell in found.cells if cell.to_run} == {64}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"ladder": (Scale(32), Scale(32))}, "expected each scale once in the ladder, got width 32 twice; remove one"),
        ({"ladder": (Scale(32), Scale(32, steps=150))}, "got width 32, number of steps 150 twice"),
        ({"ladder": (Scale(32, steps=10),), "steps": 20}, "got steps 20 as well; leave it out"),
        ({"ladder": (Scale(32, depth=1),), "model": ModelConfig(depth=3)}, "got model.depth 3 as well"),
        ({"ladder": (Scale(32),), "batch_sizes": (4,)}, "expected a ladder or batch_sizes, got both; leave one out"),
        ({"ladder": (Scale(32),), "widths": (32, 64)}, "expected a ladder or widths, got both; leave one out"),
        (
            {"ladder": (Scale(steps=10), Scale(steps=20))},
            "expected one width for a ladder whose scales have",
        ),
        ({"ladder": (Scale(-32),)}, "expected width in the ladder to be a whole number above 0, got -32"),
        ({"ladder": (Scale(32, batch_size=8.5),)}, "expected batch_size in the ladder to be a whole number above 0"),
        ({"ladder": (Scale(params=1e6),)}, "expected a ladder of width, depth, batch_size, steps, got params 1e+06"),
        ({"ladder": (Scale(),)}, "got none of these"),
        ({"ladder": (32, 64)}, "expected ladder to be"),
        ({"widths": (32, 64), "batch_sizes": (4, -8)}, "expected batch_size above 0, got -8"),
        ({"widths": (32, 64), "step_counts": (10, 10)}, "expected each of step_counts once, got 10 twice"),
        ({"widths": (32,), "step_counts": (10, 0)}, "expected steps above 0, got 0"),
    ],
)
def test_scales_that_cannot_be_are_refused_in_a_line(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=r"expected|found") as refused:
        validate(SweepConfig(**changes))
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_arm_changes_nothing_of_which_the_sweep_lists_sizes() -> None:
    config = SweepConfig(variants=(Arm("x", "mup", (("batch_size", 3),)),))
    validate(config)
    with pytest.raises(ValueError, match="expected no change of batch_size in arm x"):
        validate(dataclasses.replace(config, batch_sizes=(2, 4)))
    with pytest.raises(ValueError, match="expected no change of batch_size in arm x"):
        validate(dataclasses.replace(config, ladder=(Scale(32, batch_size=4),)))
