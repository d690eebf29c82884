"""How trials are trained is asked for in words that fit device and cohorts, and is no part of what a trial is."""

import dataclasses

import pytest

from mutransfer.config import OptimizerConfig, Scale, SweepConfig, validate
from mutransfer.config.sweep import RESOURCES


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"execution": "jit"}, "expected a known execution, got 'jit'"),
        ({"execution": "graph", "device": "cpu"}, "found execution graph on the cpu; wanted a GPU"),
        ({"execution": "graph", "optimizer": OptimizerConfig("sophia")}, "found execution graph with sophia"),
        ({"execution": "graph", "build": "mine:model"}, "found execution graph with mine:model"),
        ({"execution": "compiled", "cohort_size": 4}, "found execution compiled with cohort_size 4; wanted trials one"),
    ],
)
def test_what_device_or_cohorts_do_not_have_is_refused(asked: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        validate(SweepConfig(**asked))  # type: ignore[arg-type]


def test_the_rest_is_taken_and_leaves_every_trial_what_it_is() -> None:
    plain = SweepConfig()
    for asked in ({"execution": "graph"}, {"execution": "compiled", "cohort_size": 1}, {"execution": "eager"}):
        config = dataclasses.replace(plain, **asked)  # type: ignore[arg-type]
        validate(config)
        arm = config.arms[0]
        assert config.trial(arm, Scale(64), 0.01, 0) == plain.trial(arm, Scale(64), 0.01, 0)
        assert set(asked) <= set(RESOURCES)
