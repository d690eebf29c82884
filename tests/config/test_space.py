"""A space: what may be searched, how it is written, and what is refused in one line."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mutransfer
from mutransfer.arguments import read_sweep
from mutransfer.config import (
    Arm,
    InitConfig,
    ModelConfig,
    OptimizerConfig,
    Range,
    Scale,
    SweepConfig,
    sweep_from_json,
    to_json,
    validate,
)
from mutransfer.config.source import to_source
from mutransfer.config.space import SEARCHABLE, parse_range

SPACE = (Range("model.output_mult", 0.5, 32.0), Range("optimizer.weight_decay", 0.0, 0.3, log=False))


def config(**changes: Any) -> SweepConfig:
    fields: dict[str, Any] = {"search": "tpe", "widths": (64,), "space": SPACE}
    return SweepConfig(**(fields | changes))


def test_a_space_is_read_back_as_it_was_written() -> None:
    validate(config())
    validate(config(prune="halving"))
    assert sweep_from_json(json.loads(json.dumps(to_json(config())))) == config()


def test_the_command_line_says_the_same() -> None:
    words = "--search tpe --widths 64 --space model.output_mult=0.5..32 optimizer.weight_decay=0..0.3:linear --seeds 2"
    assert read_sweep("sweep", words.split()) == config()
    assert read_sweep("sweep", f"{words} --prune halving".split()) == config(prune="halving")
    words = "--search tpe --space=model.output_mult=0.5..32,optimizer.weight_decay=0..0.3:linear --widths 64"
    assert read_sweep("sweep", words.split()) == config()


@pytest.mark.parametrize(
    "text",
    [
        "model.output_mult",
        "model.output_mult=1",
        "model.output_mult=1..",
        "=1..2",
        "model.output_mult=1..2:log",
        "x=a..b",
    ],
)
def test_a_range_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(found .*; wanted .*|expected .*, got .*)$"):
        parse_range(text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search": "grid"}, "found a space with search grid, which tries rates alone; wanted one of random, tpe, gp"),
        ({"search": "bracket"}, "found a space with search bracket"),
        ({"widths": (32, 64)}, "found a space with 2 widths; wanted one, the proxy's: give --widths"),
        ({"space": (Range("model.output_mul", 1, 2),)}, "did you mean 'model.output_mult'"),
        ({"space": (Range("model.width", 32, 64),)}, "expected a known hyperparameter, got 'model.width'"),
        ({"space": (Range("model.output_mult", 2, 1),)}, "found model.output_mult from 2 to 1; wanted the lower first"),
        ({"space": (Range("model.output_mult", 1, float("inf")),)}, "wanted the lower first"),
        ({"space": (Range("optimizer.weight_decay", 0, 1),)}, "on a logarithmic scale; wanted it above 0"),
        ({"space": (Range("schedule.warmup", 0.1, 3),)}, "wanted both below 1, a fraction of the steps"),
        ({"space": (Range("schedule.warmup", 1, 400),)}, "at the end 400 of schedule.warmup: found a warmup of 400"),
        (
            {"space": (Range("optimizer.beta2", 0.9, 1.0),)},
            "1 of optimizer.beta2: expected optimizer.beta2 from 0 to below 1",
        ),
        (
            {"space": (Range("init.std", 0.01, 0.1),)},
            "0.01 of init.std: expected settings of fan_in, got init.std",
        ),
        ({"space": (*SPACE, SPACE[0])}, "expected each of space once"),
        ({"space": (Range("model.output_mult", "1", 2),)}, "expected a range's low to be float, got '1'"),  # type: ignore[arg-type]
        ({"space": (("model.output_mult", 1, 2),)}, "expected space to be"),
        ({"variants": (Arm("x", "mup", (("model.output_mult", 2.0),)),)}, "in arm x and in the space; wanted it once"),
        ({"prune": "halve"}, "expected a known prune, got 'halve'; did you mean 'halving'"),
        ({"prune": "halving", "space": ()}, "found prune halving with search tpe over the rate alone, whose optimum"),
        (
            {"prune": "halving", "space": (), "search": "grid"},
            "found prune halving with search grid over the rate alone",
        ),
        (
            {"prune": "halving", "space": (), "search": "bracket"},
            "found prune halving with search bracket over the rate alone",
        ),
        ({"prune": "halving", "search": "grid"}, "found a space with search grid"),
        ({"prune": "halving", "n_trials": 14}, "found n_trials 14 with prune halving, which compares 4 settings at a"),
        ({"prune": "halving", "steps": 3}, "found 3 steps with prune halving; wanted 4 or more"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused_in_a_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        validate(config(**changes))
    assert "\n" not in str(refused.value)


def test_what_is_searchable_are_numbers_of_the_config() -> None:
    for name in SEARCHABLE:
        part, dot, field = name.partition(".")
        kind = type(getattr(SweepConfig(), part)) if dot else SweepConfig
        types = {each.name: str(each.type) for each in dataclasses.fields(kind)}
        assert types[field if dot else part] in ("float", "float | None"), name


@given(values=st.lists(st.floats(1e-3, 10), min_size=2, max_size=2), lr=st.floats(2**-12, 2**-2))
def test_sampled_values_override_the_config_and_nothing_else(values: list[float], lr: float) -> None:
    arm = Arm("sp, gpt", "sp", (("optimizer.beta2", 0.9),))
    searched = config(variants=(arm,))
    found = searched.trial(arm, Scale(64), lr, 3, values)
    plain = searched.trial(arm, Scale(64), lr, 3)
    expected = dataclasses.replace(
        plain,
        model=dataclasses.replace(plain.model, output_mult=values[0]),
        optimizer=dataclasses.replace(plain.optimizer, weight_decay=values[1]),
    )
    assert found == expected


CONFIGS = [
    SweepConfig(),
    config(variants=(Arm('a "b"', "mup", (("model.qk_norm", True), ("lrs", (0.1, 0.2)))),), parametrizations=()),
    SweepConfig(widths=(64,), depths=(2, 4), model=ModelConfig(head_dim=None, n_heads=2), out="somewhere/else"),
    SweepConfig(init=InitConfig(base="fixed_std", std=0.1), optimizer=OptimizerConfig(clip_norm=1.0), cohort_size=3),
]


@pytest.mark.parametrize("written", CONFIGS, ids=["default", "space", "depths", "parts"])
def test_the_source_of_a_config_makes_it_anew(written: SweepConfig) -> None:
    names = {name: getattr(mutransfer, name) for name in mutransfer.__all__}
    for depth in (0, 1):
        assert eval(to_source(written, depth), names) == written


def test_the_source_leaves_out_what_stands_at_its_default() -> None:
    assert to_source(SweepConfig()) == "SweepConfig()"
    assert to_source(SweepConfig(model=ModelConfig(depth=3))) == "SweepConfig(model=ModelConfig(depth=3))"
