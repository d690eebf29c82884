"""A cohort of K trains what K single trials train."""

import copy
import dataclasses
import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mutransfer.analysis.curve import Curve
from mutransfer.analysis.optimum import optima
from mutransfer.config import (
    Arm,
    InitConfig,
    ModelConfig,
    OptimizerConfig,
    Scale,
    ScheduleConfig,
    SweepConfig,
    TrialConfig,
)
from mutransfer.config.model import GPT2, LLAMA
from mutransfer.data import Corpus, load_corpus, sample_batch
from mutransfer.theory.optimizers import OPTIMIZERS
from mutransfer.training import TrialResult, train
from mutransfer.training.batches import draw_batches
from mutransfer.training.cohort import Cohort
from mutransfer.training.trainer import build, make_optimizer, stackable, start, train_step

PLAIN = ModelConfig(depth=1, head_dim=8, context=12, vocab=64, zero_readout=False, output_mult=1.0)
DRAWN = (np.random.default_rng(0).random(4000) ** 3 * 64).astype(np.uint8)
CORPUS = Corpus("drawn", "0" * 16, 64, DRAWN[:3500], DRAWN[3500:])
MEASURED = ("init_loss", "final_loss", "mean_loss", "val_loss", "attention_logit", "output_log_z")


def trial(lr: float = 2**-7, seed: int = 0, model: ModelConfig = PLAIN, **changes: object) -> TrialConfig:
    sweep = SweepConfig(steps=24, batch_size=3, eval_batches=1, base_width=16, dtype="float64", model=model)
    made = sweep.trial(Arm("mup", "mup"), Scale(32), lr, seed)
    return replace(made, **changes)  # type: ignore[arg-type]


def optimizer(name: str, **changes: object) -> OptimizerConfig:
    return replace(OptimizerConfig.published(name), **changes)  # type: ignore[arg-type]


def check_alike(together: list[TrialResult], alone: list[TrialResult], within: float) -> None:
    for one, other in zip(together, alone, strict=True):
        assert one.diverged_step == other.diverged_step
        assert one.train_losses == pytest.approx(other.train_losses, abs=max(within, 1e-6))  # float32 both
        for name in MEASURED:
            found, expected = getattr(one, name), getattr(other, name)
            assert (found is None) == (expected is None), name
            assert found is None or found == pytest.approx(expected, rel=within, abs=within), name


def check_cohort(trials: list[TrialConfig], within: float = 1e-10) -> None:
    assert len({each.cohort_key for each in trials}) == 1
    together = train(trials, CORPUS, "cpu")
    assert [result.cohort_size for result in together] == [len(trials)] * len(trials)
    alone = [train([each], CORPUS, "cpu")[0] for each in trials]
    assert {result.cohort_size for result in alone} == {1}
    assert len({result.final_loss for result in alone}) == len(trials), "trials that are alike show nothing"
    check_alike(together, alone, within)


def mixture(name: str, lr: float, **changes: float) -> list[TrialConfig]:
    """Trials that differ in all that those of one cohort may."""
    plain = trial(lr, model=replace(PLAIN, norm_gain=True), optimizer=optimizer(name))
    return [
        plain,
        replace(plain, lr=2 * lr, optimizer=optimizer(name, clip_norm=0.3)),
        replace(plain, lr=lr / 2, seed=1),
        replace(plain, seed=1, init=InitConfig(embedding_std=0.5)),
        replace(plain, seed=2, schedule=ScheduleConfig(name="cosine", warmup=0.2, floor=0.1)),
        *(replace(plain, optimizer=optimizer(name, **{field: value})) for field, value in changes.items()),
    ]


DECAYING = [
    {"weight_decay": 0.3},
    {"weight_decay": 0.3, "decay_mode": "coupled"},
    {"weight_decay": 0.1, "decay_mode": "lr_independent", "decay_vectors": True, "clip_norm": 0.5},
]


@pytest.mark.parametrize(
    ("name", "lr", "changes"),
    [
        ("adamw", 2**-6, {"beta1": 0.7, "beta2": 0.8, "eps": 1e-3, "scale_eps": False}),
        ("adam", 2**-6, {"beta1": 0.7, "eps": 1e-3}),
        ("sgd", 2**-3, {"momentum": 0.5}),
        ("lion", 2**-9, {"beta1": 0.7}),
        ("lamb", 2**-6, {"beta2": 0.8}),
    ],
)
def test_in_float64_a_cohort_trains_what_single_trials_train(name: str, lr: float, changes: dict[str, float]) -> None:
    trials = mixture(name, lr, **changes)
    if name != "adam":
        trials += [replace(trials[0], optimizer=optimizer(name, **decay)) for decay in DECAYING]
    check_cohort(trials)


@pytest.mark.parametrize(
    "model",
    [
        replace(LLAMA, head_dim=8, context=12, vocab=64),
        replace(GPT2, head_dim=8, context=12, vocab=64),
        replace(PLAIN, qk_norm=True, norm_gain=True, zero_query=True, depth=2),
        ModelConfig(architecture="mlp", context=12, vocab=64, zero_readout=False),
    ],
    ids=["llama", "gpt2", "qk_norm", "mlp"],
)
def test_whatever_the_model(model: ModelConfig) -> None:
    check_cohort([trial(lr, seed, model) for lr, seed in ((2**-6, 0), (2**-5, 0), (2**-6, 1))])


@pytest.mark.parametrize("changes", [{"loss": "squared_error"}, {"z_loss": 0.1}], ids=str)
def test_whatever_the_loss(changes: dict[str, object]) -> None:
    check_cohort([trial(lr, seed, **changes) for lr, seed in ((2**-6, 0), (2**-5, 0), (2**-6, 1))])


def test_in_bfloat16_nearly_so() -> None:
    check_cohort([trial(lr, seed, dtype="bfloat16") for lr, seed in ((2**-6, 0), (2**-5, 0), (2**-6, 1))], within=0.02)


def test_in_float32_the_losses_and_the_optimum_are_the_same_but_for_rounding() -> None:
    corpus, exponents = load_corpus("stdlib"), np.arange(-10.0, -3.0)
    sweep = SweepConfig(steps=50, batch_size=4, eval_batches=1, model=ModelConfig(context=16, depth=1))
    trials = [sweep.trial(Arm("sp", "sp"), Scale(32), 2.0**exponent, 0) for exponent in exponents]
    together = np.array([result.final_loss for result in train(trials, corpus, "cpu")])
    alone = np.array([train([each], corpus, "cpu")[0].final_loss for each in trials])
    assert np.abs(together - alone).max() < 1e-3
    found = [optima([Curve(Scale(32), exponents, losses[None])])[0] for losses in (together, alone)]
    assert [each.status for each in found] == ["interior"] * 2
    assert abs(found[0].log2_lr - found[1].log2_lr) < 0.05


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if stackable(trial(optimizer=optimizer(name)))])
def test_every_optimizer_updates_a_slice_as_it_updates_a_model_of_its_own(name: str) -> None:
    """From the same gradients: some of them make much of a rounding error in those, which a cohort's may have."""
    lr = min(OPTIMIZERS[name].lr, 0.1)
    schedule = ScheduleConfig(name="constant", warmup=1.0)
    trials = [
        trial(rate, seed, schedule=schedule, optimizer=optimizer(name, **changes))
        for rate, seed, changes in ((lr, 0, {}), (lr, 1, {"clip_norm": 0.2}), (lr / 4, 0, {"decay_vectors": True}))
    ]
    cohort = start(trials, "cpu")
    draw = torch.Generator().manual_seed(0)
    for each in cohort.slices:
        single = build(each.trial, "cpu")
        alone = make_optimizer(single, each.trial)
        pairs = list(zip(single.model.parameters(), each.built.model.parameters(), strict=True))
        for step in range(12):
            for own, shared in pairs:
                own.grad = torch.randn(own.shape, dtype=own.dtype, generator=draw)
                assert shared.grad is not None
                shared.grad.copy_(own.grad)
            each.clip()
            each.update(step)
            if each.trial.optimizer.clip_norm is not None:
                single.clip_grad_norm_(each.trial.optimizer.clip_norm)
            for group in alone.param_groups:
                group["lr"] = each.trial.lr * group["lr_mult"]
            alone.step()
        for own, shared in pairs:
            torch.testing.assert_close(shared, own, rtol=1e-12, atol=1e-12)


def test_optimizers_that_look_at_the_curvature_train_their_trials_one_by_one() -> None:
    trials = [trial(lr, optimizer=optimizer("sophia")) for lr in (2**-4, 2**-3)]
    together = train(trials, CORPUS, "cpu")
    assert [result.cohort_size for result in together] == [1, 1]
    check_alike(together, [train([each], CORPUS, "cpu")[0] for each in trials], within=0.0)


def test_trials_of_several_shapes_are_trained_cohort_by_cohort_and_come_back_in_order() -> None:
    wide = replace(PLAIN, width=48)
    trials = [trial(), trial(model=wide), trial(2**-6), trial(steps=30), trial(2**-6, model=wide)]
    trials[1], trials[4] = (replace(each, model=wide) for each in (trials[1], trials[4]))
    together = train(trials, CORPUS, "cpu")
    assert [result.cohort_size for result in together] == [2, 2, 2, 1, 2]
    check_alike(together, [train([each], CORPUS, "cpu")[0] for each in trials], within=1e-10)


def advanced(cohort: Cohort, steps: int) -> list[Tensor]:
    """The losses of further steps."""
    trials = [each.trial for each in cohort.slices]
    block = range(cohort.step, cohort.step + steps)
    return [cohort.advance(tokens) for tokens in draw_batches(CORPUS, trials, block, "cpu")]


@pytest.mark.parametrize("planted", [torch.nan, torch.inf])
def test_what_is_not_finite_in_one_slice_reaches_no_other(planted: float) -> None:
    trials = [trial(seed=seed, optimizer=optimizer("adamw", clip_norm=0.5)) for seed in range(3)]
    sound, sick = start(trials, "cpu"), start(trials, "cpu")
    advanced(sound, 3)
    advanced(sick, 3)
    with torch.no_grad():
        sick.slices[1].built.model.blocks[0].mlp.up.weight[0, 0] = planted
    expected, found = (torch.stack(advanced(cohort, 5)) for cohort in (sound, sick))
    assert not found[:, 1].isfinite().any()
    torch.testing.assert_close(found[:, [0, 2]], expected[:, [0, 2]], rtol=0, atol=0)
    for place in (0, 2):
        for one, other in zip(
            sound.slices[place].built.model.parameters(), sick.slices[place].built.model.parameters(), strict=True
        ):
            assert torch.equal(one, other)


def test_a_trial_that_diverges_is_recorded_as_alone_and_leaves_the_others_as_they_are() -> None:
    rates = (2**-7, 1e9, 2**-6, 1e5, 2**-5)
    trials = [trial(lr, seed=place % 2, steps=50) for place, lr in enumerate(rates)]
    together = train(trials, CORPUS, "cpu")
    assert [result.diverged for result in together] == [False, True, False, True, False]
    assert {result.cohort_size for result in together} == {5}
    for result in together:
        assert result.diverged == (result.diverged_step is not None) == (result.final_loss is None)
        assert len(result.train_losses) == (50 if result.diverged_step is None else result.diverged_step + 1)
    alone = [train([each], CORPUS, "cpu")[0] for each in trials]
    assert [one.diverged_step for one in together] == [one.diverged_step for one in alone]
    survivors = [place for place, result in enumerate(alone) if not result.diverged]
    check_alike([together[place] for place in survivors], [alone[place] for place in survivors], within=1e-10)


@pytest.mark.parametrize("name", ["adamw", "muon", "schedule_free_adamw"])
@pytest.mark.parametrize("places", [[0, 2], [1], [2, 0]])
def test_who_stays_goes_on_as_if_nobody_had_left(name: str, places: list[int]) -> None:
    schedule = ScheduleConfig(name="constant")
    trials = [trial(2.0**-seed / 64, seed, schedule=schedule, optimizer=optimizer(name)) for seed in range(3)]
    whole, part = start(trials, "cpu"), start(trials, "cpu")
    advanced(whole, 4)
    advanced(part, 4)
    storage = [p.untyped_storage().data_ptr() for p in part.slices[0].built.model.parameters()]
    part.keep(places)
    assert [each.place for each in part.slices] == places
    for each in part.slices:
        kept = [p.untyped_storage().data_ptr() for p in each.built.model.parameters()]
        assert not set(kept) & set(storage), "the memory of those who left is held"
    expected, found = (torch.stack(advanced(cohort, 6)) for cohort in (whole, part))
    torch.testing.assert_close(found, expected[:, places], rtol=1e-12, atol=1e-12)


def test_those_who_diverged_leave_at_the_next_look(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    advance = Cohort.advance

    def spy(self: Cohort, tokens: Tensor) -> Tensor:
        sizes.append(len(tokens))
        return advance(self, tokens)

    monkeypatch.setattr(Cohort, "advance", spy)
    train([trial(), trial(1e9), trial(2**-6), trial(1e9, seed=1)], CORPUS, "cpu")
    assert sizes == [4] * 20 + [2] * 4
    sizes.clear()
    train([trial(1e9), trial(1e9, seed=1)], CORPUS, "cpu")
    assert sizes == [2] * 20


def test_where_memory_is_short_a_cohort_is_halved_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = [trial(2.0**-exponent) for exponent in range(5, 10)]
    whole = train(trials, CORPUS, "cpu")
    advance = Cohort.advance

    def full(self: Cohort, tokens: Tensor) -> Tensor:
        if len(tokens) > 2 and self.step == 7:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return advance(self, tokens)

    monkeypatch.setattr(Cohort, "advance", full)
    halves = train(trials, CORPUS, "cpu")
    assert [result.cohort_size for result in halves] == [2, 2, 1, 2, 2]
    check_alike(halves, whole, within=1e-10)


def test_a_single_trial_that_does_not_fit_is_said_to_be_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Cohort, tokens: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(Cohort, "advance", full)
    with pytest.raises(torch.OutOfMemoryError, match=r"^found too little memory on cpu for one trial of width 32 .*$"):
        train([trial(), trial(2**-6)], CORPUS, "cpu")


@pytest.mark.parametrize("seeds", [(0,), (3, 3), (1, 0, 1)])
def test_batches_are_those_of_single_trials(seeds: tuple[int, ...]) -> None:
    trials = [trial(seed=seed) for seed in seeds]
    for step, tokens in zip(range(5, 9), draw_batches(CORPUS, trials, range(5, 9), "cpu"), strict=True):
        assert tokens.dtype == torch.int64
        for mine, seed in zip(tokens.numpy(), seeds, strict=True):
            assert (mine == sample_batch(CORPUS.train, seed, step, 3, 12)).all()


@pytest.mark.parametrize("clip_norm", [None, 0.3])
def test_a_trial_alone_has_the_bits_of_a_loop_written_by_hand(clip_norm: float | None) -> None:
    config = trial(dtype="float32", optimizer=OptimizerConfig(weight_decay=0.1, clip_norm=clip_norm))
    (result,) = train([config], CORPUS, "cpu")
    built = build(config, "cpu")
    groups = built.param_groups(config.lr, weight_decay=0.1)
    by_hand = torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=True)
    losses = []
    for step in range(config.steps):
        tokens = torch.from_numpy(sample_batch(CORPUS.train, 0, step, 3, 12))
        loss = nn.functional.cross_entropy(built.model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        by_hand.zero_grad()
        loss.backward()
        if clip_norm is not None:
            built.clip_grad_norm_(clip_norm)
        rate = config.lr * ((step + 1) / 2 if step < 2 else 1 - (step - 2) / 22)
        for group in by_hand.param_groups:
            group["lr"] = rate * group["lr_mult"]
        by_hand.step()
        losses.append(loss.item())
    assert result.train_losses.tolist() == losses


def test_a_step_of_a_cohort_of_one_is_the_step_of_a_trial() -> None:
    config = trial()
    (only,) = start([config], "cpu").slices
    cohort, built = Cohort([only], None), build(config, "cpu")
    alone = make_optimizer(built, config)
    for step, tokens in enumerate(draw_batches(CORPUS, [config], range(5), "cpu")):
        assert torch.equal(cohort.advance(tokens)[0], train_step(built, alone, config, step, tokens[0]))


class Waits(TorchFunctionMode):
    """Counts what must wait for a device that still computes."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        waiting = ("item", "tolist", "cpu", "__bool__", "__float__", "__int__", "__index__", "nonzero")
        self.count += func.__name__ in waiting
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("size", [1, 3])
def test_the_loop_waits_for_the_device_once_in_twenty_steps(size: int) -> None:
    def waits(steps: int) -> int:
        trials = [trial(seed=seed, steps=steps, optimizer=optimizer("adamw", clip_norm=0.3)) for seed in range(size)]
        with Waits() as found:
            train(trials, CORPUS, "cpu")
        return found.count

    assert waits(60) - waits(20) == 2


def test_the_state_of_a_cohort_is_all_that_going_on_needs() -> None:
    """Step, parameters, optimizers and curves: another cohort that is given them makes the same losses."""
    trials = [trial(2.0**-exponent, seed) for exponent, seed in itertools.product((5, 6), range(2))]
    first, second = start(trials, "cpu"), start(trials, "cpu")
    advanced(first, 5)
    for mine, other in zip(second.slices, first.slices, strict=True):
        mine.built.model.load_state_dict(other.built.model.state_dict())
        mine.optimizer.load_state_dict(copy.deepcopy(other.optimizer.state_dict()))
        mine.curve = dataclasses.replace(other.curve)
    second.step = first.step
    assert torch.equal(torch.stack(advanced(first, 5)), torch.stack(advanced(second, 5)))
