"""A trial's id: every choice counts, a later version's fields do not, and defaults do not change unnoticed."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from mutransfer.config import (
    SCHEMA,
    Arm,
    OptimizerConfig,
    Scale,
    ScheduleConfig,
    SweepConfig,
    TrialConfig,
    differing_fields,
    flat_trial,
    sweep_from_json,
    to_json,
    validate,
)
from mutransfer.strict import structure
from mutransfer.theory.optimizers import OPTIMIZERS
from mutransfer.theory.schedules import SCHEDULES

TRIAL = SweepConfig().trial(SweepConfig().arms[0], Scale(64), 2.0**-7, 0)

DEFAULTS = "3e4e"
"""Digest of every default of a trial, under schema 1."""


def test_an_id_says_what_differs_from_the_defaults_and_nothing_else() -> None:
    changed = dataclasses.replace(TRIAL, optimizer=OptimizerConfig(beta2=0.99), schedule=ScheduleConfig(warmup=0.2))
    said = to_json(changed) | {
        "model": {"width": 64},
        "init": {},
        "optimizer": {"beta2": 0.99},
        "schedule": {"warmup": 0.2},
    }
    del said["build"], said["largest_batch"]  # at their defaults
    text = json.dumps([SCHEMA, "data", said], sort_keys=True)
    assert changed.digest("data") == hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(TrialConfig)])
def test_every_field_counts(field: str) -> None:
    other: Any = {
        "model": dataclasses.replace(TRIAL.model, depth=3),
        "init": dataclasses.replace(TRIAL.init, std=0.5),
        "optimizer": dataclasses.replace(TRIAL.optimizer, eps=1e-6),
        "schedule": dataclasses.replace(TRIAL.schedule, floor=0.1),
        "largest_batch": 32,
    }
    value = getattr(TRIAL, field)
    changed = other[field] if field in other else value + ("x" if isinstance(value, str) else 1)
    assert dataclasses.replace(TRIAL, **{field: changed}).digest("data") != TRIAL.digest("data")


def test_a_changed_default_needs_another_schema() -> None:
    """Where this fails: a default of the model, init, optimizer or schedule was changed, so that old ids now name other
    trials. Raise SCHEMA, or take the change back; a new field needs only the new digest here."""
    defaults = flat_trial({})
    assert hashlib.sha256(json.dumps([SCHEMA, defaults], sort_keys=True).encode()).hexdigest()[:4] == DEFAULTS


def test_committed_records_have_the_ids_of_their_configs() -> None:
    """Whatever fields were added since they were written."""
    for file in (Path(__file__).parents[2] / "results").glob("*/records.jsonl"):
        for record in map(json.loads, file.read_text().splitlines()):
            assert structure(record["config"], TrialConfig).digest(record["data_fingerprint"]) == record["trial_id"]


def test_a_floor_that_no_schedule_was_given_is_its_own() -> None:
    assert (ScheduleConfig().end, ScheduleConfig("cosine").end, ScheduleConfig("cosine", floor=0.0).end) == (0, 0.1, 0)
    for name, floor, read in (("linear", None, 0), ("cosine", None, 0.1), ("cosine", 0.0, 0), ("linear", 0.2, 0.2)):
        assert flat_trial({"schedule": {"name": name, "floor": floor}})["schedule.floor"] == read


def test_a_trial_has_one_id_however_its_floor_is_said() -> None:
    """And that which it had when every floor that was not given was 0."""

    def digest(name: str, floor: float | None) -> str:
        return dataclasses.replace(TRIAL, schedule=ScheduleConfig(name, floor=floor)).digest("data")

    assert digest("linear", 0.0) == digest("linear", None)
    assert digest("cosine", 0.1) == digest("cosine", None)
    assert len({digest("cosine", None), digest("cosine", 0.0), digest("cosine", 0.2)}) == 3
    said = to_json(TRIAL) | {"model": {"width": 64}, "init": {}, "optimizer": {}, "schedule": {"name": "cosine"}}
    text = json.dumps(
        [SCHEMA, "data", {n: v for n, v in said.items() if n not in ("build", "largest_batch")}], sort_keys=True
    )
    assert digest("cosine", 0.0) == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_a_sweep_of_an_earlier_version_keeps_its_floors() -> None:
    """It is read as it was, goes on where that is the same, and does not where an arm's cosine ended at 0."""
    cosine, constant = (Arm(name, "mup", (("schedule.name", name),)) for name in ("cosine", "constant"))
    for arms, differing in (((constant,), []), ((constant, cosine), ["schedule.floor"])):
        now = SweepConfig(variants=arms)
        earlier = sweep_from_json(to_json(dataclasses.replace(now, schedule=ScheduleConfig(floor=0.0))))
        validate(earlier)
        assert earlier.trial(arms[-1], Scale(64), 0.1, 0).schedule.end == 0
        assert differing_fields(earlier, now) == differing
    assert differing_fields(SweepConfig(), SweepConfig(variants=(cosine,), schedule=ScheduleConfig(floor=0.0))) == []


def test_a_record_without_a_later_field_is_of_the_same_setting() -> None:
    full = to_json(TRIAL)
    assert flat_trial({**full, "optimizer": {"name": "adamw"}}) == flat_trial(full)


def test_trials_of_a_cohort_share_all_but_rate_seed_and_what_a_slice_has_of_its_own() -> None:
    for same in (
        dataclasses.replace(TRIAL, lr=0.5, seed=9),
        dataclasses.replace(TRIAL, optimizer=OptimizerConfig(weight_decay=0.1, beta1=0.8, clip_norm=1.0)),
        dataclasses.replace(TRIAL, schedule=ScheduleConfig(name="cosine")),
    ):
        assert same.cohort_key == TRIAL.cohort_key
    for other in (
        dataclasses.replace(TRIAL, steps=7),
        dataclasses.replace(TRIAL, parametrization="mup"),
        dataclasses.replace(TRIAL, optimizer=OptimizerConfig(name="sgd")),
        dataclasses.replace(TRIAL, optimizer=OptimizerConfig(precondition_every=5)),
    ):
        assert other.cohort_key != TRIAL.cohort_key


def test_where_the_batch_grows_a_cohort_shares_its_schedule() -> None:
    cosine, growing = ScheduleConfig("cosine"), dataclasses.replace(TRIAL, largest_batch=64)
    growing.validate_growth()
    assert dataclasses.replace(growing, lr=0.5, seed=9).cohort_key == growing.cohort_key != TRIAL.cohort_key
    assert dataclasses.replace(growing, schedule=cosine).cohort_key != growing.cohort_key


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"largest_batch": 8}, "expected a batch that grows, got largest_batch 8 with batch_size 16"),
        ({"optimizer": OptimizerConfig("lion")}, "a rule for what a batch is worth, got largest_batch .* with lion"),
        (
            {"schedule": ScheduleConfig("plateau")},
            "decay the steps decide, got largest_batch .* with plateau",
        ),
        ({"schedule": ScheduleConfig("constant")}, "with constant"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_batch_that_cannot_grow_in_place_of_a_decay_is_refused(changes: dict[str, Any], words: str) -> None:
    TRIAL.validate_growth()
    with pytest.raises(ValueError, match=words) as caught:
        dataclasses.replace(TRIAL, **({"largest_batch": 64} | changes)).validate_growth()
    assert "\n" not in str(caught.value)


def test_a_dip_needs_more_momentum() -> None:
    dip = ScheduleConfig("one_cycle", momentum_dip=0.1)
    OptimizerConfig("sgd").validate_schedule(dip)
    with pytest.raises(ValueError, match=r"momentum_dip 0\.1, got sgd with momentum 0\.1; lower the dip"):
        OptimizerConfig("sgd", momentum=0.1).validate_schedule(dip)


def other(value: Any) -> Any:
    """A valid value that is not this one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, tuple):
        return (*value, 0.5)
    return {"linear": "cosine"}[value] if isinstance(value, str) else value + 1 if isinstance(value, int) else 0.3


@pytest.mark.parametrize(("cls", "specs"), [(OptimizerConfig, OPTIMIZERS), (ScheduleConfig, SCHEDULES)])
def test_a_field_that_is_not_used_is_refused_and_no_other(cls: Any, specs: dict[str, Any]) -> None:
    uses = {name: spec.fields for name, spec in specs.items()}
    for name, used in uses.items():
        needed = {"floor": 0.01} if name == "exponential" else {}
        cls(name, **needed).validate()
        for field in {field for fields in uses.values() for field in fields}:
            changed = cls(name, **{**needed, field: other(getattr(cls, field))})
            if field in used:
                changed.validate()
            else:
                with pytest.raises(ValueError, match=field):
                    changed.validate()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (ScheduleConfig("exponential"), "with an exponential decay, which never reaches 0"),
        (ScheduleConfig("wsd", cooldown="exponential"), "with an exponential decay, which never reaches 0"),
        (ScheduleConfig("wsd", cooldown="lineer"), "did you mean 'linear'"),
        (ScheduleConfig("step", gamma=0.0), "schedule.gamma above 0 and at most 1, got 0.0"),
        (ScheduleConfig("one_cycle", start=1.5), "schedule.start above 0 and at most 1, got 1.5"),
        (ScheduleConfig("triangular", cycles=0), "schedule.cycles above 0, got 0"),
        (ScheduleConfig("inverse_sqrt", knee=-1.0), "schedule.knee from 0 to .*, got -1.0"),
        (ScheduleConfig("one_cycle", momentum_dip=1.0), "schedule.momentum_dip from 0 to below 1, got 1.0"),
        (ScheduleConfig("plateau", window=0), "schedule.window above 0, got 0"),
        (ScheduleConfig("plateau", patience=-1), "schedule.patience of 0 or more looks, got -1"),
        (ScheduleConfig("plateau", threshold=1.0), "schedule.threshold from 0 to below 1, got 1.0"),
        (
            OptimizerConfig("sgd", momentum=0.0, nesterov=True),
            "optimizer.momentum above 0 with nesterov, got 0",
        ),
        (OptimizerConfig("soap", precondition_every=0), "optimizer.precondition_every above 0, got 0"),
        (OptimizerConfig("rmsprop", weight_decay=0.1), "which rmsprop does not use"),
        (OptimizerConfig("prodigy", decay_mode="lr_independent"), "can separate from its learning rate"),
        (OptimizerConfig("schedule_free_sgd", momentum=0.0), "optimizer.momentum above 0 with schedule_free_sgd"),
        (OptimizerConfig("schedule_free_adamw", beta1=0.0), "optimizer.beta1 above 0 with schedule_free_adamw"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_makes_no_sense_is_refused_in_one_line(config: OptimizerConfig | ScheduleConfig, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        config.validate()
    assert "\n" not in str(caught.value)


def test_averaging_replaces_a_decay() -> None:
    for name in OPTIMIZERS:
        OptimizerConfig(name).validate_schedule(ScheduleConfig("constant"))
        if name.startswith("schedule_free"):
            with pytest.raises(ValueError, match=r"expected no decay with .*; set schedule"):
                OptimizerConfig(name).validate_schedule(ScheduleConfig("cosine"))
        else:
            OptimizerConfig(name).validate_schedule(ScheduleConfig("cosine"))
