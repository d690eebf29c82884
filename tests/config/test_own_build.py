"""A sweep of a model of one's own: what it takes, and that nothing changed for the others."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from mutransfer.config import (
    InitConfig,
    ModelConfig,
    Scale,
    SweepConfig,
    flat_trial,
    sweep_from_json,
    to_json,
    validate,
)

OWN = SweepConfig(build="a.b:c", model=ModelConfig(context=16, vocab=99))


def test_it_may_have_any_width_and_any_table_for_any_model() -> None:
    validate(dataclasses.replace(OWN, widths=(30, 50), base_width=7, parametrizations=("sp", "mup", "mup_table3")))


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"build": "a.b"}, "build 'a.b'"),
        ({"model": ModelConfig(depth=3)}, "model.depth 3, which a model of your own"),
        ({"model": ModelConfig(qk_norm=True)}, "model.qk_norm True"),
        ({"model": ModelConfig(vocab=0)}, "model.vocab above 0, got 0"),
        ({"init": InitConfig(std=0.5)}, "init.std 0.5"),
        ({"base_depth": 4}, "base_depth 4"),
        ({"depths": (2, 4), "widths": (64,)}, "depths"),
        ({"parametrizations": ("completep",)}, "completep"),
        ({"parametrizations": ("umup",)}, "umup"),
        ({"z_loss": 1e-4, "loss": "squared_error"}, "z_loss"),
        ({"steps": 10, "schedule": dataclasses.replace(OWN.schedule, warmup=20)}, "warmup"),
    ],
    ids=str,
)
def test_what_it_sets_itself_is_refused(changes: dict[str, Any], found: str) -> None:
    with pytest.raises(ValueError, match=found) as error:
        validate(dataclasses.replace(OWN, **changes))
    assert "\n" not in str(error.value)


def test_its_name_is_in_the_id_and_no_other_id_has_changed() -> None:
    own, ours = (
        config.trial(config.arms[0], Scale(64), 0.1, 0) for config in (OWN, dataclasses.replace(OWN, build=""))
    )
    assert own.digest("data") != ours.digest("data") != dataclasses.replace(own, build="a.b:d").digest("data")
    # a record written before there was such a field is of the same setting
    assert flat_trial({name: value for name, value in to_json(ours).items() if name != "build"}) == flat_trial(
        to_json(ours)
    )
    assert sweep_from_json(to_json(OWN)) == OWN
