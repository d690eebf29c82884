"""What schedules do beside a factor of the step: momentum that dips, drops on plateaus, batches that grow."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mutransfer.cli import main
from mutransfer.config import Arm, ModelConfig, OptimizerConfig, Scale, ScheduleConfig, SweepConfig, TrialConfig
from mutransfer.data import Corpus, sample_batch
from mutransfer.optim import growth_at, momentum_fall, schedule_factor
from mutransfer.toolbox.doctor.recorded import read_trials
from mutransfer.training import Checkpoint, train, train_trial
from mutransfer.training.batches import batch_at, draw_batches
from mutransfer.training.cohort import Cohort
from mutransfer.training.trainer import _train_cohort, build

DRAWN = (np.random.default_rng(0).random(4000) ** 3 * 64).astype(np.uint8)
CORPUS = Corpus("drawn", "0" * 16, 64, DRAWN[:3500], DRAWN[3500:])
STEPS = 46

DIP = ScheduleConfig("one_cycle", warmup=12.0, momentum_dip=0.15)
PLATEAU = ScheduleConfig("plateau", warmup=3.0, gamma=0.5, window=7, patience=0, threshold=0.01)
STEP = ScheduleConfig("step", warmup=5.0, decay_fraction=0.6, gamma=0.5)
CASES = {"dip": (DIP, None), "plateau": (PLATEAU, None), "growth": (STEP, 20)}
"""A schedule, and the largest batch."""


def trial(case: str, lr: float = 2**-6, **changes: object) -> TrialConfig:
    schedule, largest = CASES[case]
    sweep = SweepConfig(
        steps=STEPS,
        batch_size=3,
        eval_batches=1,
        base_width=16,
        model=ModelConfig(depth=1, head_dim=8, context=12, vocab=64, zero_readout=False),
        optimizer=OptimizerConfig(clip_norm=0.5),
        schedule=schedule,
    )
    made = dataclasses.replace(sweep.trial(Arm("mup", "mup"), Scale(32), lr, 0), largest_batch=largest)
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def by_hand(config: TrialConfig, case: str) -> list[float]:
    """The losses of a plain loop with torch's own AdamW and ReduceLROnPlateau."""
    built = build(config, "cpu")
    adamw = torch.optim.AdamW(built.param_groups(config.lr), betas=(0.9, 0.95), fused=True)
    alone = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(alone, factor=0.5, patience=0, threshold=0.01)
    losses: list[float] = []
    for step in range(config.steps):
        batch, beta1 = 3, 0.9
        if case == "plateau":
            factor = min(1.0, (step + 1) / 3)
            if step % 7 == 0 and step > 7:  # the first window begins within the warmup
                plateau.step(np.mean(losses[step - 7 : step]))
            factor *= alone.param_groups[0]["lr"]
        else:
            factor = schedule_factor(config.schedule, step, config.steps)
        if case == "dip":
            beta1 -= momentum_fall(config.schedule, step, config.steps)
        if case == "growth" and step >= 5:
            batch = {1.0: 3, 0.5: 12, 0.25: 20}[round(factor, 6)]  # the square root of 4 is 2; 48 is too large
            factor *= (batch / 3) ** 0.5
        tokens = torch.from_numpy(sample_batch(CORPUS.train, 0, step, batch, 12))
        loss = nn.functional.cross_entropy(built.model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        adamw.zero_grad()
        loss.backward()
        built.clip_grad_norm_(0.5)
        for group in adamw.param_groups:
            group["lr"], group["betas"] = config.lr * factor * group["lr_mult"], (beta1, 0.95)
        adamw.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("case", CASES)
def test_a_trial_is_a_loop_written_by_hand(case: str) -> None:
    config = trial(case)
    (result,) = train([config], CORPUS, "cpu")
    assert result.train_losses.tolist() == by_hand(config, case)


@pytest.mark.parametrize("case", CASES)
def test_a_cohort_is_its_trials_each_by_its_own_losses(case: str) -> None:
    trials = [trial(case, 2.0**e, seed=seed, dtype="float64") for e, seed in ((-6, 0), (-3, 0), (-9, 1))]
    together = train(trials, CORPUS, "cpu")
    assert [each.cohort_size for each in together] == [3, 3, 3]
    for one, config in zip(together, trials, strict=True):
        (alone,) = train([config], CORPUS, "cpu")
        assert one.train_losses == pytest.approx(alone.train_losses, abs=1e-6)
    if case == "plateau":
        factors = {schedule_factor(PLATEAU, STEPS - 1, STEPS, each.train_losses) for each in together}
        assert len(factors) > 1


class KilledError(Exception):
    """In place of a kill, within this process."""


def until(step: int) -> Callable[[Cohort], None]:
    def tell(cohort: Cohort) -> None:
        if cohort.step >= step:
            raise KilledError

    return tell


@pytest.mark.parametrize("case", CASES)
def test_killed_twice_it_is_undisturbed(case: str, tmp_path: Path) -> None:
    config, checkpoint = trial(case), Checkpoint(tmp_path / "run.pt", every=4)
    for step in (8, 33):  # between the looks of plateau too
        with pytest.raises(KilledError):
            train_trial(config, CORPUS, "cpu", checkpoint, until(step))
    resumed, (undisturbed,) = train_trial(config, CORPUS, "cpu", checkpoint), train([config], CORPUS, "cpu")
    assert resumed.train_losses.tobytes() == undisturbed.train_losses.tobytes()
    assert (resumed.final_loss, resumed.val_loss) == (undisturbed.final_loss, undisturbed.val_loss)


def test_a_cohort_with_plateaus_goes_on_as_it_was(tmp_path: Path) -> None:
    trials = [trial("plateau", lr) for lr in (2**-6, 1e6, 2**-3)]
    undisturbed = _train_cohort(trials, CORPUS, "cpu", Checkpoint(tmp_path / "whole.pt", every=9))
    checkpoint = Checkpoint(tmp_path / "run.pt", every=9)
    for step in (9, 36):
        with pytest.raises(KilledError):
            _train_cohort(trials, CORPUS, "cpu", checkpoint, until(step))
    resumed = _train_cohort(trials, CORPUS, "cpu", checkpoint)
    assert [each.diverged for each in resumed] == [False, True, False]
    for one, other in zip(resumed, undisturbed, strict=True):
        assert one.train_losses.tobytes() == other.train_losses.tobytes()


def test_a_run_with_plateaus_is_extended_from_its_end(tmp_path: Path) -> None:
    checkpoint, steps = Checkpoint(tmp_path / "run.pt"), []
    train_trial(trial("plateau"), CORPUS, "cpu", checkpoint)
    longer = trial("plateau", steps=60)
    extended = train_trial(longer, CORPUS, "cpu", checkpoint, lambda cohort: steps.append(cohort.step))
    assert steps[0] == STEPS
    assert extended.train_losses.tobytes() == train([longer], CORPUS, "cpu")[0].train_losses.tobytes()


def test_batches_grow_alike_for_all_of_a_cohort() -> None:
    trials = [trial("growth", seed=seed) for seed in (0, 1)]
    drawn = list(draw_batches(CORPUS, trials, range(10, STEPS), "cpu"))
    sizes = [growth_at(trials[0], step).batch_size for step in range(10, STEPS)]
    assert [batch.shape[:2] for batch in drawn] == [(2, size) for size in sizes]
    assert sizes == [batch_at(trials[1], step) for step in range(10, STEPS)]
    assert set(sizes) == {3, 12, 20}
    for step, batch in zip(range(10, STEPS), drawn, strict=True):
        assert (batch[1].numpy() == sample_batch(CORPUS.train, 1, step, sizes[step - 10], 12)).all()


def test_the_command_grows_the_batch_and_a_sweep_knows_no_such_thing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text").write_text("the quick brown fox jumps over the lazy dog; " * 100)
    words = ["--model.context", "12", "--model.depth", "1", "--batch-size", "3", "--device", "cpu", "--steps", "20"]
    words += ["--data", f"text:{tmp_path / 'text'}", "--out", str(tmp_path / "out"), "--largest-batch"]
    stepwise = ["--schedule.name", "step", "--schedule.gamma", "0.5"]
    assert main(["train", "--width", "32", *words, "20", *stepwise]) == 0
    assert ", batch 20" in capsys.readouterr().out
    assert main(["train", "--width", "32", *words, "2", *stepwise]) == 2
    assert "expected a batch that grows, got largest_batch 2 with batch_size 3; raise it" in capsys.readouterr().err
    assert main(["sweep", "--widths", "32", *words, "20"]) == 2
    assert "expected known options, got --largest-batch" in capsys.readouterr().err


def test_a_sweep_with_plateaus_is_read_back_with_the_rates_that_it_had(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("the quick brown fox jumps over the lazy dog; " * 100)
    words = ["--widths", "16", "--base-width", "16", "--lrs", "2^-8", "2^-4", "--search", "grid", "--seeds", "1"]
    words += [
        "--model.context",
        "12",
        "--model.depth",
        "1",
        "--batch-size",
        "3",
        "--steps",
        "30",
        "--eval-batches",
        "1",
    ]
    words += [
        "--schedule.name",
        "plateau",
        "--schedule.window",
        "3",
        "--schedule.patience",
        "0",
        "--schedule.warmup",
        "0",
    ]
    words += ["--parametrizations", "mup", "--data", f"text:{tmp_path / 'text'}", "--executor", "inprocess"]
    assert main(["sweep", *words, "--device", "cpu", "--out", str(tmp_path / "out")]) == 0
    drops = set()
    for trial in read_trials(tmp_path / "out"):
        assert trial.run is not None
        rates = trial.run.lr.value / trial.record.lr
        assert rates[:3].tolist() == [1.0] * 3
        assert all(rates[step] == rates[step - 1] for step in range(1, 30) if step % 3)
        drops |= set(np.log10(rates).round(6))
    assert len(drops) > 2
