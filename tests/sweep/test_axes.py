"""Arms that change the config, and sweeps along other axes than width."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest

from mutransfer.config import DIMENSIONS, Arm, Scale, SweepConfig, sweep_from_json, to_json, validate
from mutransfer.search.listed import find_missing
from mutransfer.study.advice import advise
from mutransfer.study.result import read_result
from mutransfer.trials import records

from .fake_training import FakeTrain
from .fakes import small, sweep

SIZES = {"depth": (1, 2, 4), "batch_size": (2, 4, 8), "steps": (4, 8, 16)}


def along(out: Path, axis: str, **changes: Any) -> SweepConfig:
    sizes = {DIMENSIONS[axis].sizes: SIZES[axis]}
    return dataclasses.replace(small(out, steps=SweepConfig.steps, **changes), widths=(32,), **sizes)


@pytest.mark.parametrize("axis", SIZES)
def test_a_sweep_along_an_axis_varies_that_alone(tmp_path: Path, axis: str) -> None:
    config = along(tmp_path, axis)
    sweep(config, FakeTrain(os.devnull))
    recorded = records.read(tmp_path / "records.jsonl")
    assert {getattr(record, axis) for record in recorded} == set(SIZES[axis])
    assert len(recorded) == len(SIZES[axis]) * len(config.lrs) * config.seeds
    result = read_result(tmp_path)
    assert result.analysis.dimensions == (axis,)
    assert [optimum.scale[axis] for optimum in result.analysis.arms[0].optima] == list(SIZES[axis])
    again = sweep(config, FakeTrain(os.devnull))
    assert again.ran == 0


def test_the_axes_own_field_gives_way_to_the_sizes(tmp_path: Path) -> None:
    trial = along(tmp_path, "steps").trial(Arm("mup", "mup"), Scale(steps=16), 0.1, 0)
    assert trial.steps == 16
    trial = along(tmp_path, "depth").trial(Arm("mup", "mup"), Scale(depth=4), 0.1, 0)
    assert (trial.model.depth, trial.model.width, trial.base_depth) == (4, 32, 2)


def test_a_folder_is_extended_along_its_axis(tmp_path: Path) -> None:
    config = along(tmp_path, "depth")
    sweep(config, FakeTrain(os.devnull))
    deeper = dataclasses.replace(config, depths=(2, 8))
    assert sweep(deeper, FakeTrain(os.devnull)).ran == len(config.lrs) * config.seeds
    assert [optimum.scale.depth for optimum in read_result(tmp_path).analysis.arms[0].optima] == [1, 2, 4, 8]


def test_a_size_given_twice_and_a_field_that_the_axis_sets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected each of depths once, got 2 twice"):
        validate(dataclasses.replace(along(tmp_path, "depth"), depths=(2, 2)))
    deep = dataclasses.replace(SweepConfig().model, depth=9)
    for axis, changes, told in (
        ("depth", {"model": deep}, "expected the depth in depths alone, got model.depth 9 as well"),
        ("steps", {"steps": 999}, "expected the number of steps in step_counts alone, got steps 999 as well"),
        ("batch_size", {"batch_size": 999}, "expected the batch size in batch_sizes alone, got batch_size 999 as well"),
    ):
        config = SweepConfig(widths=(32,), **{DIMENSIONS[axis].sizes: SIZES[axis]}, **changes)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=told):
            validate(config)


@pytest.mark.parametrize("axis", ["batch_size", "steps"])
def test_a_rate_along_the_training_itself_has_two_regimes(tmp_path: Path, axis: str) -> None:
    sweep(along(tmp_path, axis), FakeTrain(os.devnull))
    found = advise(tmp_path, Scale(**{axis: 2 * SIZES[axis][-1]}))
    assert found.recommendation.form == "two_regimes"
    assert found.check is None
    assert found.recommendation.lr in {group.lr for group in found.groups}
    with pytest.raises(ValueError, match=f"expected --{axis.replace('_', '-')}, because the trials differ in it"):
        advise(tmp_path, Scale())


VARIANTS = (
    Arm("mup with qk_norm", "mup", (("model.qk_norm", True), ("lrs", (2.0**-5, 2.0**-3)))),
    Arm("sp, decayed", "sp", (("optimizer.weight_decay", 0.1), ("steps", 6))),
)


def test_an_arm_trains_what_it_changes_and_nothing_else(tmp_path: Path) -> None:
    config = small(tmp_path, variants=VARIANTS)
    validate(config)
    plain, normed, decayed = config.arms
    lr, seed = 2.0**-6, 0
    at_32 = {arm.name: config.trial(arm, Scale(32), lr, seed) for arm in config.arms}
    model = dataclasses.replace(at_32["mup"].model, qk_norm=True)
    assert at_32[normed.name] == dataclasses.replace(at_32[plain.name], model=model)
    optimizer = dataclasses.replace(at_32["mup"].optimizer, weight_decay=0.1)
    assert at_32[decayed.name] == dataclasses.replace(at_32["mup"], parametrization="sp", optimizer=optimizer, steps=6)


def test_every_arm_has_its_own_rates_and_its_own_line(tmp_path: Path) -> None:
    config = small(tmp_path, variants=VARIANTS)
    assert len(find_missing(config.for_arm(VARIANTS[0]), ())) == 2 * config.seeds
    sweep(config, FakeTrain(os.devnull))
    recorded = records.read(tmp_path / "records.jsonl")
    rates = {record.lr for record in recorded if record.arm == "mup with qk_norm"}
    assert rates == {2.0**-5, 2.0**-3}
    assert [arm.arm for arm in read_result(tmp_path).analysis.arms] == ["mup", "mup with qk_norm", "sp, decayed"]
    assert sweep(config, FakeTrain(os.devnull)).ran == 0


def test_arms_survive_the_config_file() -> None:
    config = SweepConfig(variants=VARIANTS)
    assert sweep_from_json(to_json(config)) == config


def test_one_name_for_two_arms_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected each of arms once, got sp twice"):
        validate(SweepConfig(variants=(Arm("sp", "sp"),)))
    sweep(small(tmp_path, variants=VARIANTS[:1]), FakeTrain(os.devnull))
    other = Arm(VARIANTS[0].name, "mup", (("model.bias", True),))
    with pytest.raises(ValueError, match="expected each of arms once"):
        sweep(small(tmp_path, variants=(other,)), FakeTrain(os.devnull))


def test_arms_that_train_the_same_are_refused() -> None:
    with pytest.raises(ValueError, match="got 'mup' and 'again' alike; remove one"):
        validate(SweepConfig(variants=(Arm("again", "mup", (("model.qk_norm", False),)),)))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("model.qk_nrm", True), "found the change model.qk_nrm in arm x"),
        (("model.heads", 4), "found the change model.heads in arm x"),
        (("model.", 4), "found the change model. in arm x"),
        ((None, 1), "found the changes .* in arm x; wanted pairs"),
        (("steps", 1, 2), "found the changes .* in arm x; wanted pairs"),
        (("widths", (1, 2)), "found the change widths in arm x"),
        (("model.width", 8), "expected no change of model.width in arm x"),
        (("steps", -1), "in arm x: expected steps above 0, got -1"),
        (("model.qk_norm", 3), "in arm x: expected model.qk_norm to be bool, got 3"),
        (("z_loss", float("nan")), "in arm x: found z_loss nan"),
    ],
)
def test_a_wrong_change_is_told_with_its_arm(change: tuple[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told) as raised:
        validate(SweepConfig(variants=(Arm("x", "mup", (change,)),)))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["", "a/b", "a\nb", ".a", "a\\b", 3])
def test_a_name_that_is_no_folder_is_refused_in_a_line(name: Any) -> None:
    for config in (SweepConfig(variants=(Arm(name, "mup", (("model.qk_norm", True),)),)), SweepConfig(experiment=name)):
        with pytest.raises(ValueError, match=r"wanted|expected") as raised:
            validate(config)
        assert "\n" not in str(raised.value)
