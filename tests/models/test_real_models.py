"""Models of others under muP: what training changes in them does not depend on width, and at the base width nothing is
touched."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))  # where `experiments` is

import experiments.models.hugging_face  # noqa: F401, I001, before transformers
from experiments.models import encoder, gpt2, llama, mixtral, resnet
from experiments.models.study import Trained, Trial

from mutransfer import Parametrized, coord_check, parametrize
from mutransfer.config import SweepConfig, validate
from mutransfer.coordcheck.result import CoordCheck
from mutransfer.experiment import load_experiment


class Real(NamedTuple):
    """A model of someone else's, and how it is checked."""

    build: Callable[[int], torch.nn.Module]
    table: str
    widths: tuple[int, int, int]
    log2_lr: int
    """Small enough for changes to stay in proportion to it, and for a router to choose the same experts."""
    plain: str = "sp_fixed_std"
    """What it is without muP."""


REAL = {
    "llama": Real(llama.build, "mup_table3", (32, 64, 128), -13),
    "gpt2": Real(gpt2.build, "mup", (32, 64, 128), -14),
    "mixtral": Real(mixtral.build, "mup_table3", (32, 64, 128), -13),
    "resnet": Real(resnet.build, "mup_table3", (16, 32, 64), -11, "sp"),
    "encoder": Real(encoder.build, "mup_table3", (16, 32, 64), -11, "sp"),
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def made(name: str, width: int, parametrization: str, seed: int = 0) -> Parametrized:
    real = REAL[name]
    return parametrize(
        real.build,
        width=width,
        base_width=real.widths[0],
        parametrization=parametrization,
        sample=resnet.batch(0, 0)[0] if name == "resnet" else None,
        seed=seed,
    )


def check(name: str, parametrization: str) -> CoordCheck:
    batches: dict[str, Any] = {"batch": lambda seed: resnet.batch(seed, 0)} if name == "resnet" else {}
    return coord_check(
        lambda width, seed: made(name, width, parametrization, seed),
        REAL[name].widths,
        seeds=2,
        steps=3,
        lr=2.0 ** REAL[name].log2_lr,
        **batches,
    )


@pytest.mark.parametrize("name", REAL)
def test_what_steps_change_does_not_depend_on_width(name: str) -> None:
    found = check(name, REAL[name].table)
    assert found.passed, found.report()
    assert not found.warnings


@pytest.mark.parametrize("name", REAL)
def test_without_mup_it_does(name: str) -> None:
    found = check(name, REAL[name].plain)
    assert found.verdict == "fail", found.report()


@pytest.mark.parametrize("name", REAL)
def test_at_the_base_width_it_is_what_its_own_code_makes(name: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        plain = REAL[name].build(REAL[name].widths[0]).state_dict()
    built = made(name, REAL[name].widths[0], REAL[name].table, seed=3)
    assert built.notes == ()
    assert all(torch.equal(value, plain[key]) for key, value in built.model.state_dict().items())
    assert {rule.lr_mult for rule in built.rules.values()} == {1.0}


def test_roles_of_grouped_queries_and_of_a_router() -> None:
    """With two key/value heads, or four experts, at every width these maps end in a space that does not grow."""
    rules = made("mixtral", 128, "mup_table3").rules
    layer = "model.layers.0"
    for name in (f"{layer}.self_attn.k_proj.weight", f"{layer}.self_attn.v_proj.weight", f"{layer}.mlp.gate.weight"):
        assert (rules[name].role, rules[name].lr_mult) == ("bottleneck", 1 / 4)
    for name in (f"{layer}.mlp.experts.gate_up_proj", f"{layer}.mlp.experts.down_proj"):
        assert (rules[name].role, rules[name].lr_mult) == ("hidden", 1 / 4)
    assert rules["model.embed_tokens.weight"].lr_mult == rules["model.norm.weight"].lr_mult == 1.0
    assert made("llama", 128, "mup_table3").rules[f"{layer}.self_attn.k_proj.weight"].role == "bottleneck"


def test_trainer_with_our_groups_trains_as_a_loop_with_them_does(tmp_path: Path) -> None:
    steps = 4
    trainer = gpt2.make_trainer(made("gpt2", 64, "mup"), 2.0**-6, 0, steps, str(tmp_path))
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]

    built = made("gpt2", 64, "mup")
    assert {group["lr"] for group in built.param_groups(2.0**-6)} == {2.0**-6, 2.0**-7}
    optimizer = torch.optim.AdamW(built.param_groups(2.0**-6), betas=(0.9, 0.95))
    schedule = gpt2.schedule(optimizer, steps)
    windows = gpt2.Windows(0, steps)
    looped = []
    for step in range(steps):
        size = gpt2.STUDY.batch_size
        tokens = torch.stack([windows[index]["input_ids"] for index in range(step * size, (step + 1) * size)])
        loss = built.model(input_ids=tokens, labels=tokens).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        looped.append(loss.item())
    assert losses == pytest.approx(looped, rel=1e-4)


@pytest.mark.parametrize("name", ["llama", "mixtral", "encoder"])
def test_a_study_is_a_sweep_of_its_own_file(name: str) -> None:
    config = load_experiment(f"{Path(gpt2.__file__).parent / name}.py")
    validate(config)
    assert config.build == f"experiments.models.{name}:build"
    assert isinstance(config, SweepConfig)


def test_a_study_of_ones_own_loop_finds_a_planted_optimum(tmp_path: Path) -> None:
    def train(trial: Trial) -> Trained:
        away = math.log2(trial.lr) + 6 + (math.log2(trial.width / 8) if trial.parametrization == "sp" else 0)
        return Trained([2.0] * 30 + [1 + 0.1 * away**2] * 30 if away < 4 else [2.0] + [3.0] * 59, trial.width**2)

    analysis = resnet.STUDY.run(train, tmp_path)
    assert analysis.arm("mup").transfer_slope.estimate == pytest.approx(0, abs=0.05)
    assert analysis.arm("sp").transfer_slope.estimate == pytest.approx(-1, abs=0.05)
    trials = pd.read_csv(tmp_path / "trials.csv")
    assert trials["diverged"].sum() > 0
    assert json.loads((tmp_path / "summary.json").read_text())["arms"]["mup"]["verdict"] == "transfers"
    assert (tmp_path / "loss_curves.png").stat().st_size > 1000
