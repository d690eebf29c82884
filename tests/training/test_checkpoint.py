"""A run that goes on from a checkpoint is the undisturbed run, bit for bit."""

import dataclasses
import random
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mutransfer.cli import main
from mutransfer.config import Arm, ModelConfig, OptimizerConfig, Scale, ScheduleConfig, SweepConfig, TrialConfig
from mutransfer.data import Corpus
from mutransfer.files import write_whole
from mutransfer.optim import rewarmup_factor, rewarmup_steps, schedule_factor, shared_steps
from mutransfer.theory.optimizers import OPTIMIZERS
from mutransfer.training import Checkpoint, TrialResult, train, train_trial
from mutransfer.training.cohort import Cohort
from mutransfer.training.trainer import _train_cohort

DRAWN = (np.random.default_rng(0).random(4000) ** 3 * 64).astype(np.uint8)
CORPUS = Corpus("drawn", "0" * 16, 64, DRAWN[:3500], DRAWN[3500:])
WSD = ScheduleConfig("wsd", warmup=4.0, decay_fraction=0.5, cooldown="sqrt")
MEASURED = ("init_loss", "final_loss", "mean_loss", "val_loss", "attention_logit", "output_log_z", "diverged_step")


def trial(name: str = "adamw", lr: float = 2**-7, **changes: object) -> TrialConfig:
    constant = name.startswith("schedule_free")
    sweep = SweepConfig(
        steps=24,
        batch_size=3,
        eval_batches=1,
        base_width=16,
        model=ModelConfig(depth=1, head_dim=8, context=12, vocab=64, zero_readout=False),
        optimizer=OptimizerConfig(name=name, clip_norm=0.5),
        schedule=ScheduleConfig("constant", warmup=4.0) if constant else WSD,
    )
    return dataclasses.replace(sweep.trial(Arm("mup", "mup"), Scale(32), lr, 0), **changes)  # type: ignore[arg-type]


def same(one: TrialResult, other: TrialResult) -> bool:
    numbers = all(getattr(one, name) == getattr(other, name) for name in MEASURED)
    return numbers and one.train_losses.tobytes() == other.train_losses.tobytes()


class KilledError(Exception):
    """In place of a kill, within this process."""


def until(step: int) -> Callable[[Cohort], None]:
    def tell(cohort: Cohort) -> None:
        if cohort.step >= step:
            raise KilledError

    return tell


def note(steps: list[int]) -> Callable[[Cohort], None]:
    return lambda cohort: steps.append(cohort.step)


def stop_at(step: int, config: TrialConfig, checkpoint: Checkpoint) -> None:
    with pytest.raises(KilledError):
        train_trial(config, CORPUS, "cpu", checkpoint, until(step))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_going_on_is_undisturbed_under_every_optimizer_whatever_the_generators_hold(name: str, tmp_path: Path) -> None:
    """Twice stopped, in the warmup and after it, clipped and scheduled."""
    config, checkpoint = trial(name), Checkpoint(tmp_path / "run.pt", every=3)
    (undisturbed,) = train([config], CORPUS, "cpu")
    for step in (3, 17):
        random.seed(step)
        np.random.seed(step)
        torch.manual_seed(step)
        stop_at(step, config, checkpoint)
    steps: list[int] = []
    resumed = train_trial(config, CORPUS, "cpu", checkpoint, note(steps))
    assert steps == [18, 20, 21, 24]
    assert same(resumed, undisturbed)
    assert undisturbed.final_loss is not None


SCRIPT = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {folder!r})
from test_checkpoint import CORPUS, trial
from mutransfer.training import Checkpoint, train_trial
from mutransfer.training.cohort import Cohort
advance = Cohort.advance
def dying(self, tokens):
    if self.step == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    return advance(self, tokens)
Cohort.advance = dying
for name in {names!r}:
    child = os.fork()
    if child == 0:
        train_trial(trial(name), CORPUS, "cpu", Checkpoint(Path({at!r}, name), every=5))
        os._exit(0)
    print(os.WTERMSIG(os.waitpid(child, 0)[1]))
"""


def test_killed_in_the_middle_and_run_again_is_undisturbed(tmp_path: Path) -> None:
    names = ["adamw", "sgd", "muon"]
    script = SCRIPT.format(folder=str(Path(__file__).parent), names=names, at=str(tmp_path))
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.split() == [str(int(signal.SIGKILL))] * 3
    for name in names:
        steps: list[int] = []
        resumed = train_trial(trial(name), CORPUS, "cpu", Checkpoint(tmp_path / name, 5), note(steps))
        assert steps[0] == 10
        (undisturbed,) = train([trial(name)], CORPUS, "cpu")
        assert same(resumed, undisturbed)
        assert trial(name).optimizer.momentum > 0


def test_a_finished_run_trains_no_step_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = Checkpoint(tmp_path / "run.pt")
    first = train_trial(trial(), CORPUS, "cpu", checkpoint)
    monkeypatch.delattr(Cohort, "advance")
    assert same(train_trial(trial(), CORPUS, "cpu", checkpoint), first)


def test_a_divergence_is_kept_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, config = Checkpoint(tmp_path / "run.pt"), trial(lr=1e38, steps=40)
    first = train_trial(config, CORPUS, "cpu", checkpoint)
    assert first.diverged_step in range(1, 19)  # not finite; seen at step 20, at which no checkpoint would be due
    with pytest.raises(ValueError, match="of a trial that has diverged; wanted one to extend"):
        train_trial(dataclasses.replace(config, steps=60), CORPUS, "cpu", checkpoint)
    monkeypatch.delattr(Cohort, "advance")
    assert same(train_trial(config, CORPUS, "cpu", checkpoint), first)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_cohort_goes_on_as_it_was_also_when_one_of_it_has_diverged(name: str, tmp_path: Path) -> None:
    trials = [trial(name), trial(name, lr=1e6), trial(name, lr=2**-5)]
    undisturbed = _train_cohort(trials, CORPUS, "cpu", Checkpoint(tmp_path / "whole.pt", every=7))
    checkpoint = Checkpoint(tmp_path / "run.pt", every=7)
    for step in (7, 21):
        with pytest.raises(KilledError):
            _train_cohort(trials, CORPUS, "cpu", checkpoint, until(step))
    resumed = _train_cohort(trials, CORPUS, "cpu", checkpoint)
    assert [each.diverged for each in resumed] == [False, True, False]
    assert all(same(one, other) for one, other in zip(resumed, undisturbed, strict=True))


SCHEDULES = [
    WSD,
    dataclasses.replace(WSD, decay_fraction=0.3, cooldown="linear", floor=0.3),
    ScheduleConfig("constant", warmup=4.0),
    ScheduleConfig("inverse_sqrt", warmup=4.0, knee=6.0),
    ScheduleConfig("power", warmup=4.0, knee=6.0),
    ScheduleConfig("step", warmup=4.0, decay_fraction=0.5),
    ScheduleConfig("cosine", warmup=4.0),
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda each: each.name)
def test_a_finished_run_is_extended_from_what_it_shares_with_the_longer_one(
    schedule: ScheduleConfig, tmp_path: Path
) -> None:
    short, long = trial(schedule=schedule), trial(schedule=schedule, steps=40)
    checkpoint = Checkpoint(tmp_path / "run.pt")
    train_trial(short, CORPUS, "cpu", checkpoint)
    steps: list[int] = []
    extended = train_trial(long, CORPUS, "cpu", checkpoint, note(steps))
    assert steps[0] == shared_steps(schedule, 24) > 0
    (undisturbed,) = train([long], CORPUS, "cpu")
    assert same(extended, undisturbed)
    # and once more, from what the longer run has left
    longest = dataclasses.replace(long, steps=50)
    assert same(train_trial(longest, CORPUS, "cpu", checkpoint), train([longest], CORPUS, "cpu")[0])


def test_wsd_redoes_the_cooldown_alone(tmp_path: Path) -> None:
    assert shared_steps(WSD, 24) == 4 + (24 - 4) // 2
    factors = [schedule_factor(WSD, step, 24) for step in range(24)]
    assert factors[4:15] == [1.0] * 11
    checkpoint = Checkpoint(tmp_path / "run.pt")
    train_trial(trial(), CORPUS, "cpu", checkpoint)
    assert checkpoint.shared_path.exists()
    steps: list[int] = []
    train_trial(trial(steps=30), CORPUS, "cpu", checkpoint, note(steps))
    assert steps[0] == 14


def test_without_the_optimizers_state_the_rate_warms_up_again_and_it_says_so(tmp_path: Path) -> None:
    config = trial(schedule=ScheduleConfig("constant", warmup=0.0), optimizer=OptimizerConfig(beta1=0.5, beta2=0.75))
    checkpoint = Checkpoint(tmp_path / "run.pt", every=5, optimizer_state=False)
    stop_at(5, config, checkpoint)
    rates: dict[int, float] = {}

    def watch(cohort: Cohort) -> None:
        rates[cohort.step - 1] = cohort.slices[0].optimizer.param_groups[0]["lr"] / config.lr

    every_step = Checkpoint(checkpoint.path, every=1)
    with pytest.warns(UserWarning, match=r"no state of the optimizer in .*from step 5 .*over 8 steps"):
        resumed = train_trial(config, CORPUS, "cpu", every_step, watch)
    mult = rates[23]
    wanted = [(step + 1) / 8 for step in range(8)] + [1.0] * 11
    assert [rates[step] / mult for step in range(5, 24)] == pytest.approx(wanted)
    assert not same(resumed, train([config], CORPUS, "cpu")[0])


def test_killed_in_the_second_warmup_it_goes_on_with_it(tmp_path: Path) -> None:
    config = trial(schedule=ScheduleConfig("constant", warmup=0.0))
    stop_at(5, config, Checkpoint(tmp_path / "bare.pt", every=5, optimizer_state=False))
    whole, killed = (Checkpoint(tmp_path / name, every=4) for name in ("whole.pt", "killed.pt"))
    for checkpoint in (whole, killed):
        shutil.copy(tmp_path / "bare.pt", checkpoint.path)
    with pytest.warns(UserWarning, match="no state of the optimizer"):
        undisturbed = train_trial(config, CORPUS, "cpu", whole)
    with pytest.warns(UserWarning, match="no state of the optimizer"):
        stop_at(8, config, killed)
    assert same(train_trial(config, CORPUS, "cpu", killed), undisturbed)


def test_the_second_warmup_is_as_long_as_the_optimizers_memory() -> None:
    assert rewarmup_steps(OptimizerConfig(beta2=0.999)) == 2000
    assert rewarmup_steps(OptimizerConfig(name="sgd", momentum=0.9)) == 20
    assert rewarmup_steps(OptimizerConfig(name="sgd", momentum=0.0)) == 2
    config = OptimizerConfig(beta2=0.95)
    assert [rewarmup_factor(config, step) for step in (0, 19, 39, 400)] == [1 / 40, 0.5, 1.0, 1.0]


def refusal(config: TrialConfig, checkpoint: Checkpoint, corpus: Corpus = CORPUS) -> str:
    with pytest.raises(ValueError, match=r"^(found .*; wanted |expected .*, got )") as error:
        train_trial(config, corpus, "cpu", checkpoint)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_it_refuses_another_trial_other_data_and_steps_that_do_not_agree(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "run.pt", every=5)
    train_trial(trial(), CORPUS, "cpu", checkpoint)
    assert "of a trial with lr 0.0078125; wanted 0.5:" in refusal(trial(lr=0.5), checkpoint)
    assert "with optimizer.name 'adamw'; wanted 'sgd'" in refusal(trial("sgd"), checkpoint)
    assert "with seed 0; wanted 1" in refusal(trial(seed=1), checkpoint)
    other = dataclasses.replace(CORPUS, fingerprint="1" * 16)
    assert f"of data with fingerprint {'0' * 16}; wanted {'1' * 16}" in refusal(trial(), checkpoint, other)
    checkpoint.shared_path.unlink()
    assert "at step 24 of a run of 24 steps, for one of 40" in refusal(trial(steps=40), checkpoint)
    assert "wanted one at step 14 or before" in refusal(trial(steps=40), checkpoint)
    assert "at step 24 of a run of 24 steps, for one of 20" in refusal(trial(steps=20), checkpoint)
    assert refusal(trial(), Checkpoint(tmp_path)).startswith("found a folder at")
    assert refusal(trial(), dataclasses.replace(checkpoint, every=0)).startswith("expected every above 0, got 0")


def test_a_schedule_in_parts_of_the_run_cannot_be_extended(tmp_path: Path) -> None:
    config = trial(schedule=dataclasses.replace(WSD, warmup=0.25))
    checkpoint = Checkpoint(tmp_path / "run.pt", every=5)
    stop_at(5, config, checkpoint)
    assert "warmup (and knee) as a number of steps" in refusal(dataclasses.replace(config, steps=40), checkpoint)
    assert not checkpoint.shared_path.exists()


def test_it_refuses_a_file_that_is_torn_damaged_or_something_else(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "run.pt")
    train_trial(trial(), CORPUS, "cpu", checkpoint)
    checkpoint.shared_path.unlink()
    whole = checkpoint.path.read_bytes()
    for size in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        checkpoint.path.write_bytes(whole[:size])
        assert "no whole checkpoint" in refusal(trial(), checkpoint)
    # a byte of a weight, which torch alone would read without a word
    checkpoint.path.write_bytes(whole)
    with zipfile.ZipFile(checkpoint.path) as archive:
        weight = max(archive.infolist(), key=lambda each: each.file_size).header_offset + 200
    checkpoint.path.write_bytes(whole[:weight] + bytes([whole[weight] ^ 1]) + whole[weight + 1 :])
    assert "no whole checkpoint" in refusal(trial(), checkpoint)
    torch.save({"weights": torch.zeros(3)}, checkpoint.path)
    assert "no whole checkpoint" in refusal(trial(), checkpoint)
    torch.save(OptimizerConfig(), checkpoint.path)
    assert "no whole checkpoint" in refusal(trial(), checkpoint)


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = Checkpoint(tmp_path / "run.pt", every=5)
    stop_at(5, trial(), checkpoint)
    before = checkpoint.path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            train_trial(trial(), CORPUS, "cpu", checkpoint)
    assert checkpoint.path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["run.pt"]
    assert same(train_trial(trial(), CORPUS, "cpu", checkpoint), train([trial()], CORPUS, "cpu")[0])


def test_killed_between_its_two_files_it_can_still_be_extended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = Checkpoint(tmp_path / "run.pt", every=5)
    written: list[Path] = []

    def dying(path: Path, data: bytes, *, sync: bool) -> None:
        if len(written) == 3:  # at steps 5 and 10, and the first of the two at step 14
            raise KilledError
        write_whole(path, data, sync=sync)
        written.append(path)

    with monkeypatch.context() as patched:
        patched.setattr("mutransfer.training.checkpoint.write_whole", dying)
        with pytest.raises(KilledError):
            train_trial(trial(), CORPUS, "cpu", checkpoint)
    train_trial(trial(), CORPUS, "cpu", checkpoint)
    extended = train_trial(trial(steps=40), CORPUS, "cpu", checkpoint)
    assert same(extended, train([trial(steps=40)], CORPUS, "cpu")[0])


def test_the_command_resumes_and_extends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text").write_text("the quick brown fox jumps over the lazy dog; " * 100)
    words = ["--width", "32", "--model.context", "12", "--model.depth", "1", "--batch-size", "3", "--device", "cpu"]
    words += ["--data", f"text:{tmp_path / 'text'}", "--schedule.name", "wsd", "--schedule.warmup", "4"]
    kept = ["--checkpoint", str(tmp_path / "new" / "run.pt"), "--every", "5"]
    assert main(["train", *words, *kept, "--steps", "24", "--out", str(tmp_path / "short")]) == 0
    told = capsys.readouterr().out
    assert "step 24 of 24: loss " in told
    assert "going on" not in told
    assert main(["train", *words, *kept, "--steps", "40", "--out", str(tmp_path / "long")]) == 0
    assert "going on from step 20" in capsys.readouterr().out
    assert main(["train", *words, "--steps", "40", "--out", str(tmp_path / "whole")]) == 0
    curves = [np.load(tmp_path / name / "curve.npy") for name in ("short", "long", "whole")]
    assert [len(curve) for curve in curves] == [24, 40, 40]
    assert curves[1].tobytes() == curves[2].tobytes()
    capsys.readouterr()
    assert main(["train", *words, *kept, "--steps", "40", "--lr", "0.5"]) == 2
    assert "wanted 0.5: give another file" in capsys.readouterr().err
