"""A run in parts is the run in one go, whatever trials are trained together in each of them."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from mutransfer.config import Arm, ModelConfig, OptimizerConfig, Scale, ScheduleConfig, SweepConfig, TrialConfig
from mutransfer.data import Corpus
from mutransfer.training import Part, TrialResult, train, trainer

DRAWN = (np.random.default_rng(0).random(4000) ** 3 * 64).astype(np.uint8)
CORPUS = Corpus("drawn", "0" * 16, 64, DRAWN[:3500], DRAWN[3500:])
STEPS = 16
MEASURED = ("init_loss", "final_loss", "mean_loss", "val_loss", "attention_logit", "output_log_z", "diverged_step")


def trial(name: str = "adamw", lr: float = 2**-7, seed: int = 0, **changes: Any) -> TrialConfig:
    sweep = SweepConfig(
        steps=STEPS,
        batch_size=3,
        eval_batches=1,
        base_width=16,
        dtype="float64",
        final_window=0.25,
        model=ModelConfig(depth=1, head_dim=8, context=12, vocab=64, zero_readout=False, norm_gain=True),
        optimizer=OptimizerConfig(name=name, clip_norm=0.5),
        schedule=ScheduleConfig("constant" if name.startswith("schedule_free") else "linear"),
    )
    return dataclasses.replace(sweep.trial(Arm("mup", "mup"), Scale(32), lr, seed), **changes)


def go(trials: Sequence[TrialConfig], until: int, before: Sequence[TrialResult | None]) -> list[TrialResult]:
    states = tuple(None if each is None else each.state for each in before)
    return train(trials, CORPUS, "cpu", Part(until, states))


def same(one: TrialResult, other: TrialResult) -> bool:
    numbers = all(getattr(one, name) == getattr(other, name) for name in MEASURED)
    return numbers and one.train_losses.tobytes() == other.train_losses.tobytes()


@pytest.mark.parametrize("name", ["adamw", "muon", "sophia", "schedule_free_adamw", "sgd", "nadam"])
def test_the_parts_of_a_run_are_the_run(name: str) -> None:
    config = trial(name)
    (whole,) = train([config], CORPUS, "cpu")
    result = None
    for until in (STEPS // 4, STEPS // 2):
        (result,) = go([config], until, [result])
        assert result.train_losses.tobytes() == whole.train_losses[:until].tobytes()
        window = result.train_losses[-STEPS // 4 :]  # as long as that of final_loss
        assert result.final_loss == pytest.approx(window.mean(), abs=1e-6)
        assert (result.val_loss, result.diverged) == (None, False)
    (last,) = go([config], STEPS, [result])
    assert same(last, whole)
    assert last.state is None


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_the_parts_of_a_run_may_be_trained_with_any_others(name: str) -> None:
    """Some go on, one that was alone joins them, and each trains what it trains by itself."""
    trials = [trial(name), trial(name, 2**-6, 1), trial(name, 2**-8), trial(name, 2**-5, 2)]
    alone = [train([each], CORPUS, "cpu")[0] for each in trials]
    first = [*go(trials[:3], 4, [None] * 3), *go(trials[3:], 4, [None])]
    assert [each.cohort_size for each in first] == [3, 3, 3, 1]
    sizes = [len(each.state or b"") for each in first]
    assert max(sizes) < 1.1 * min(sizes)  # nothing of the others is in it
    ends = go(trials[1:], STEPS, first[1:])
    assert [each.cohort_size for each in ends] == [3, 3, 3]
    for end, expected in zip(ends, alone[1:], strict=True):
        for measured in ("final_loss", "val_loss", "mean_loss"):
            assert getattr(end, measured) == pytest.approx(getattr(expected, measured), rel=1e-9)


def test_trials_that_were_left_at_different_steps_go_on_from_their_own() -> None:
    trials = [trial(), trial(lr=2**-6), trial(lr=1e6)]
    alone = [train([each], CORPUS, "cpu")[0] for each in trials]
    left = [None, go(trials[1:2], 3, [None])[0], None]
    ends = go(trials, STEPS, left)
    assert same(ends[1], alone[1])
    assert ends[0].final_loss == pytest.approx(alone[0].final_loss, rel=1e-9)
    assert ends[2].diverged
    assert ends[2].diverged_step == alone[2].diverged_step
    assert ends[2].state is None


def test_what_does_not_fit_goes_on_in_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = [trial(), trial(lr=2**-6), trial(lr=2**-5)]
    alone = [train([each], CORPUS, "cpu")[0] for each in trials]
    whole = trainer._train_cohort

    def small(trials: Sequence[TrialConfig], *rest: Any, **named: Any) -> list[TrialResult]:
        if len(trials) > 1:
            raise torch.OutOfMemoryError
        return whole(trials, *rest, **named)

    monkeypatch.setattr(trainer, "_train_cohort", small)
    ends = go(trials, STEPS, go(trials, 4, [None] * 3))
    assert all(same(end, expected) for end, expected in zip(ends, alone, strict=True))


def test_a_state_of_another_trial_or_a_damaged_one_is_refused_in_a_line() -> None:
    (left,) = go([trial()], 4, [None])
    assert left.state is not None
    with pytest.raises(ValueError, match=r"of a trial with seed 0; wanted 1") as refused:
        go([trial(seed=1)], 8, [left])
    assert "\n" not in str(refused.value)
    name = f"{trial().digest(CORPUS.fingerprint)}.pt"
    with pytest.raises(ValueError, match=f"found {name}, which is no whole checkpoint"):
        go([trial()], 8, [dataclasses.replace(left, state=left.state[:-100])])
