"""The experiments are what they say they are, and the verdict catches a parametrization with a rule taken out."""

from __future__ import annotations

import dataclasses
import math
import re
import runpy
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mutransfer import Analysis, Result, SweepConfig, read_result, run_sweep
from mutransfer.cli import main
from mutransfer.config import Arm, Scale, validate
from mutransfer.experiment import load_experiment
from mutransfer.search.protocol import group_by_cell, units
from mutransfer.training.trainer import build, make_optimizer

EXPERIMENTS = Path(__file__).parent.parent / "experiments"
FILES = sorted(EXPERIMENTS.glob("*.py"))
WITH_FIGURE = [file.stem for file in FILES if "\ndef figure(" in file.read_text()]
CLAIM = re.compile(r"^(\d+) arms?, (about )?(\d+) trials, about \d+ minutes on two cores\.$", flags=re.MULTILINE)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_experiment_is_valid_and_has_the_name_arms_and_trials_that_it_says(file: Path) -> None:
    config = load_experiment(str(file))
    validate(config)
    assert config.experiment == file.stem
    claims = CLAIM.findall(runpy.run_path(str(file))["__doc__"])
    expected = [each for unit in units(config) for each in unit.search.expect(unit, group_by_cell((), config)).values()]
    about = "about " if any(each.about < each.most for each in expected) else ""
    assert claims == [(str(len(config.arms)), about, str(sum(each.about for each in expected)))]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_page_tells_its_answer(file: Path) -> None:
    assert f"]({file.name})" in (EXPERIMENTS / "README.md").read_text()


def at_base_width(config: SweepConfig, arm: Arm) -> list[Any]:
    """The model and the optimizer of an arm at the base width, but for the order of groups."""
    trial = config.trial(arm, Scale(config.base_width), 2**-6, 0)
    built = build(trial, "cpu")
    rates = {
        id(parameter): (group["lr"], group["eps"], group["weight_decay"])
        for group in make_optimizer(built, trial).param_groups
        for parameter in group["params"]
    }
    parameters = {name: (p.tolist(), rates[id(p)]) for name, p in built.model.named_parameters()}
    forward = {
        f"{path}.{name}": getattr(module, name)
        for path, module in built.model.named_modules()
        for name in ("forward_mult", "attention_scale", "residual_mult", "skip_mult")
        if hasattr(module, name)
    }
    return [parameters, forward]


def test_all_arms_are_one_model_at_the_narrowest_width_of_what_makes_it_transfer() -> None:
    """So that what moves beyond it moves by the rules alone."""
    config = load_experiment(str(EXPERIMENTS / "what_makes_it_transfer.py"))
    assert config.base_width == min(config.widths)
    first, *others = [at_base_width(config, arm) for arm in config.arms]
    assert all(other == first for other in others)


def test_the_decay_modes_are_one_optimizer_at_the_narrowest_width_and_the_best_rate() -> None:
    file = EXPERIMENTS / "weight_decay.py"
    config = load_experiment(str(file))
    assert config.base_width == min(config.widths)
    assert math.log2(runpy.run_path(str(file))["BEST_RATE"]) == -6
    _, first, *others = [at_base_width(config, arm) for arm in config.arms]
    assert all(other == first for other in others)


@pytest.fixture(params=WITH_FIGURE)
def drawn(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Result, list[Path]]:
    """A few steps of an experiment with a figure, at rates of which the highest diverges, and the files drawn."""
    name, words = request.param, ["--steps", "24", "--lrs", "2^-8,2^-6,2^9", "--widths", "32", "--eval-batches", "1"]
    words += ["--executor", "inprocess", "--out", str(tmp_path)]
    assert main(["sweep", str(EXPERIMENTS / f"{name}.py"), *words]) == 0
    files = runpy.run_path(str(EXPERIMENTS / "draw" / "draw.py"))["draw"](name, tmp_path)
    return name, read_result(tmp_path), files


def test_an_answer_is_drawn_from_the_records(drawn: tuple[str, Result, list[Path]]) -> None:
    name, result, files = drawn
    assert [file.name for file in files] == ["answer.svg", "answer.png"]
    assert files[1].read_bytes().startswith(b"\x89PNG")
    assert files[0].read_text().startswith("<?xml")
    module = runpy.run_path(str(EXPERIMENTS / f"{name}.py"))
    result.trials.frame.loc[0, ["final_loss", "attention_logit", "output_log_z"]] = math.nan  # one seed of a rate
    if name == "weight_decay_landscape":
        table: pd.DataFrame = module["landscape"](result)
        assert list(table.index) == sorted(module["DECAYS"], reverse=True)
        losses = {
            pair: trials["final_loss"].to_numpy().mean()
            for pair, trials in result.trials.frame.groupby(["weight_decay", "log2_lr"])
        }
        best = min(loss for loss in losses.values() if not math.isnan(loss))
        for (decay, rate), loss in losses.items():
            assert table.loc[decay, rate] == pytest.approx(loss - best, nan_ok=True)
        assert table[9.0].isna().all()
    else:
        rows = module["against_rate"](result).set_index(["arm", "log2_lr"])
        for pair, trials in result.trials.frame.groupby(["arm", "log2_lr"]):
            for column in module["PANELS"]:
                expected = trials[column].astype("float64").to_numpy().mean()
                assert rows.loc[pair, column] == pytest.approx(expected, nan_ok=True)
        assert rows.xs(9.0, level="log2_lr").isna().all(axis=None)


BROKEN = ("sp", "sp_embedding_lr", "mup_without_hidden_lr")
"""Whose best rate falls by three quarters of an octave a doubling or more."""
WEAKENED = ("mup_without_output_mult", "mup, growing heads, SP scale")
"""Whose best rate falls by less than the tolerance at these widths."""
SOUND = ("mup", "mup, growing heads")


@pytest.fixture(scope="module")
def controls() -> Analysis:
    return read_result(EXPERIMENTS.parent / "results" / "what_makes_it_transfer").analysis


def test_the_controls_are_the_experiments_arms(controls: Analysis) -> None:
    arms = load_experiment(str(EXPERIMENTS / "what_makes_it_transfer.py")).arms
    assert {arm.name for arm in arms} == {*BROKEN, *WEAKENED, *SOUND} == {result.arm for result in controls.arms}


@pytest.mark.parametrize("name", SOUND)
def test_what_is_sound_transfers(controls: Analysis, name: str) -> None:
    assert controls.arm(name).verdict == "transfers", controls.arm(name).sentence


@pytest.mark.parametrize("name", BROKEN)
def test_the_verdict_catches_what_is_broken(controls: Analysis, name: str) -> None:
    assert controls.arm(name).verdict == "does_not_transfer", controls.arm(name).sentence
    assert controls.slope_difference[f"{name}-mup"].ci_high < 0


@pytest.mark.parametrize("name", WEAKENED)
def test_what_is_weakened_is_not_passed_and_what_would_settle_it_is_said(controls: Analysis, name: str) -> None:
    found = controls.arm(name)
    assert found.verdict != "transfers", found.sentence
    assert found.transfer_slope is not None
    assert found.transfer_slope.estimate < controls.arm("mup").transfer_slope.estimate  # type: ignore[union-attr]
    assert found.verdict == "does_not_transfer" or found.settling[0].adds


@pytest.mark.slow
def test_the_verdict_catches_a_rule_taken_out(tmp_path: Path) -> None:
    """Trained anew: negative controls, and muP as the positive one. About four minutes on two cores."""
    whole = load_experiment(str(EXPERIMENTS / "what_makes_it_transfer.py"))
    config = dataclasses.replace(
        whole,
        parametrizations=(*BROKEN, "mup"),
        variants=(),
        lrs=tuple(2.0**e for e in range(-9, -3)),
        out=str(tmp_path / "controls"),
    )
    analysis = read_result(run_sweep(config, command="test").folder).analysis
    test_what_is_sound_transfers(analysis, "mup")
    for name in BROKEN:
        test_the_verdict_catches_what_is_broken(analysis, name)
