"""Settings of a search: their order, their shortlist, and the sweep that confirms them."""

from __future__ import annotations

import dataclasses
import json
import random
from typing import Any

import pytest

from mutransfer.analysis import analyze
from mutransfer.analysis.settings import AROUND, at_an_end, pruning_warning, rank, shortlist, to_confirm
from mutransfer.config import Arm, Range, Scale, SweepConfig, validate
from mutransfer.trials.records import Record, to_trials

SPACE = (Range("model.output_mult", 1.0, 16.0), Range("optimizer.beta2", 0.9, 1.0 - 1e-3, log=False))
CONFIG = SweepConfig(search="tpe", widths=(64,), space=SPACE, lrs=(2.0**-10, 2.0**-4))


def record(arm: str, lr: float, mult: float, beta2: float, seed: int, loss: float | None) -> Record:
    trial = CONFIG.trial(Arm(arm, arm), Scale(64), lr, seed, (mult, beta2))
    values: dict[str, Any] = {
        "trial_id": trial.digest("f"),
        "experiment": "x",
        "arm": arm,
        "parametrization": arm,
        "width": 64,
        "depth": 2,
        "batch_size": 16,
        "steps": 150,
        "lr": lr,
        "seed": seed,
        "final_loss": loss,
        "diverged": loss is None,
        "config": json.loads(json.dumps(dataclasses.asdict(trial))),
    }
    missing = {each.name: 0 for each in dataclasses.fields(Record) if each.name not in values}
    missing |= {"pruned_step": None}
    return Record(**(missing | values | {"versions": {}, "data_fingerprint": "f"}))


RECORDS = [
    record("mup", 0.01, 2.0, 0.95, 0, 2.5),
    record("mup", 0.01, 2.0, 0.95, 1, 2.7),
    record("mup", 0.01, 4.0, 0.95, 0, 2.4),  # the same rate, another setting
    record("mup", 0.01, 4.0, 0.95, 1, 2.6),
    record("sp", 0.01, 4.0, 0.95, 0, 2.1),
    record("sp", 0.01, 4.0, 0.95, 1, None),
    record("sp", 0.02, 15.9, 0.901, 0, 2.3),
    record("sp", 0.02, 15.9, 0.901, 1, 2.1),
    record("mup", 0.03, 3.0, 0.95, 0, 1.9),  # its other seed has not run
]


def test_the_best_comes_first_and_what_is_not_known_as_well_comes_later() -> None:
    found = rank(RECORDS, CONFIG)
    names = ["arm", "lr", "model.output_mult", "loss", "seeds", "diverged"]
    rows = found[names].to_numpy().tolist()
    assert rows[:4] == [
        ["sp", 0.02, 15.9, pytest.approx(2.2), 2, 0],
        ["mup", 0.01, 4.0, pytest.approx(2.5), 2, 0],
        ["mup", 0.01, 2.0, pytest.approx(2.6), 2, 0],
        ["mup", 0.03, 3.0, pytest.approx(1.9), 1, 0],
    ]
    assert rows[4][:3] == ["sp", 0.01, 4.0]
    assert rows[4][3] != rows[4][3]  # no mean of a seed that diverged
    assert rows[4][5] == 1
    assert len(rows) == 5


def test_the_order_of_the_records_does_not_matter() -> None:
    uneven = [record("mup", 0.04, 5.0, 0.95, seed, 2 + seed**0.5 / 7) for seed in range(9)]  # a sum that rounds
    found = rank([*RECORDS, *uneven], CONFIG)
    for number in range(20):
        shuffled = random.Random(number).sample([*RECORDS, *uneven], len(RECORDS) + 9)
        assert rank(shuffled, CONFIG).equals(found)


def test_what_lies_at_an_end_of_its_range_is_named() -> None:
    found = rank(RECORDS, CONFIG)
    assert at_an_end(found.iloc[0], CONFIG) == ["model.output_mult", "optimizer.beta2"]
    assert at_an_end(found.iloc[1], CONFIG) == []


def test_the_best_few_are_confirmed_over_sizes_and_rates_around_their_own() -> None:
    found = rank(RECORDS, CONFIG)
    assert shortlist(found)["loss"].tolist() == pytest.approx([2.2, 2.5, 2.6])
    plan = to_confirm(CONFIG, found, 2)
    assert plan is not None
    validate(plan)
    assert plan.widths == (64, 128, 256)
    assert plan.space == ()
    first, second = plan.arms
    assert (first.name, first.parametrization, second.name) == ("sp 1", "sp", "mup 2")
    for place, arm in enumerate(plan.arms):
        row = found.iloc[place]
        lrs = plan.for_arm(arm).lrs
        assert lrs == tuple(row["lr"] * 2.0**octaves for octaves in AROUND)
        # at the proxy's size and its own rate it is the trial that was searched
        searched = CONFIG.trial(
            Arm("", arm.parametrization), Scale(64), row["lr"], 1, [row[each.name] for each in SPACE]
        )
        assert plan.trial(arm, Scale(64), row["lr"], 1) == searched


def test_an_arm_keeps_what_it_changes() -> None:
    arm = Arm("normed", "mup", (("model.qk_norm", True), ("lrs", (0.1, 0.2))))
    searched = dataclasses.replace(CONFIG, parametrizations=(), variants=(arm,))
    records = [dataclasses.replace(each, arm="normed") for each in RECORDS[:4]]
    plan = to_confirm(searched, rank(records, searched))
    assert plan is not None
    assert [dict(each.changes)["model.qk_norm"] for each in plan.arms] == [True, True]


def test_where_all_diverged_nothing_is_confirmed() -> None:
    records = [dataclasses.replace(each, final_loss=None, diverged=True) for each in RECORDS]
    assert to_confirm(CONFIG, rank(records, CONFIG)) is None


def pruned(step: int, *found: Record) -> list[Record]:
    return [dataclasses.replace(each, pruned_step=step) for each in found]


def test_what_was_pruned_comes_after_all_that_was_not_and_is_never_confirmed() -> None:
    """However low a loss of an earlier step is."""
    records = [
        *RECORDS,
        *pruned(50, record("mup", 0.05, 2.0, 0.95, 0, 1.0), record("mup", 0.05, 2.0, 0.95, 1, 1.0)),
        *pruned(25, record("mup", 0.06, 2.0, 0.95, 0, 0.5), record("mup", 0.06, 2.0, 0.95, 1, 0.5)),
    ]
    found = rank(records, CONFIG)
    assert found["pruned"].tolist()[4:6] == [50, 25]
    assert found["lr"].tolist()[:3] == rank(RECORDS, CONFIG)["lr"].tolist()[:3]
    assert found["diverged"].tolist()[6] == 1
    assert shortlist(found, 9)["lr"].tolist() == shortlist(rank(RECORDS, CONFIG), 9)["lr"].tolist()
    dropped = pruned(25, *(dataclasses.replace(each, arm="mup") for each in RECORDS[:4]))
    assert to_confirm(CONFIG, rank(dropped, CONFIG)) is None
    plan = to_confirm(dataclasses.replace(CONFIG, prune="halving"), found)
    assert plan is not None
    validate(plan)  # a sweep of the rate alone, without pruning


def test_of_pruning_there_is_a_warning_and_none_without() -> None:
    assert pruning_warning(rank(RECORDS, CONFIG)) is None
    found = rank([*RECORDS, *pruned(25, record("mup", 0.06, 2.0, 0.95, 0, 0.5))], CONFIG)
    warning = pruning_warning(found)
    assert warning is not None
    assert warning.startswith(
        "1 of 6 settings were pruned, by their losses at step 25: early losses favour larger rates"
    )


def test_a_fit_over_the_rate_refuses_them() -> None:
    with pytest.raises(ValueError, match=r"^expected one model.output_mult in arm mup, .* got .*2.0") as refused:
        analyze(to_trials(RECORDS), 0.25)
    assert "\n" not in str(refused.value)
