"""The range test leaves everything as it was, keeps the ratios of the groups, and trains what it says it trains."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mutransfer.config import Arm, ModelConfig, OptimizerConfig, Scale, SweepConfig
from mutransfer.data import Corpus, sample_batch
from mutransfer.toolbox.range_test.measure import lr_range_test, range_test_of_steps, range_test_trial
from mutransfer.toolbox.range_test.rates import Ramp
from mutransfer.training.losses import training_loss
from mutransfer.training.trainer import build, make_optimizer

RAMP = Ramp(low=1e-4, high=1.0, steps=12)

OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "adamw": lambda groups: torch.optim.AdamW(groups, amsgrad=True),
    "fused": lambda groups: torch.optim.Adam(groups, fused=True),
    "sgd": lambda groups: torch.optim.SGD(groups, momentum=0.9),
    "rate in a tensor": lambda groups: torch.optim.Adam(
        [group | {"lr": torch.tensor(group["lr"])} for group in groups], foreach=False
    ),
    "bfloat16 weights": lambda groups: torch.optim.AdamW(groups),
}


class Odd(nn.Module):
    """Dropout, batch norm, a buffer that is replaced and one that no state dict has."""

    count: Tensor
    last: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 16), nn.Linear(16, 3)
        self.norm, self.dropout = nn.BatchNorm1d(16), nn.Dropout(0.3)
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("last", torch.zeros(3), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        self.count = self.count + 1
        y = self.second(self.dropout(self.norm(self.first(x)).relu()))
        self.last.copy_(y.detach()[0])
        return y


class Run:
    """A model in the middle of its training, on data of Python's, NumPy's and torch's random numbers."""

    def __init__(self, name: str) -> None:
        random.seed(5)
        np.random.seed(6)
        torch.manual_seed(7)
        self.model = Odd()
        if name == "bfloat16 weights":
            self.model.bfloat16()
        first, second = list(self.model.first.parameters()), list(self.model.second.parameters())
        self.optimizer = OPTIMIZERS[name]([{"params": first, "lr": 0.01}, {"params": second, "lr": 0.1}])
        self.losses = [self.train() for _ in range(3)]

    def step(self, _seed: int = 0, _index: int = 0) -> Tensor:
        x = torch.randn(8, 6) * random.random() + float(np.random.rand())
        loss = self.model(x.to(self.model.first.weight.dtype)).float().square().mean()
        loss.backward()
        return loss

    def train(self) -> float:
        self.optimizer.zero_grad()
        loss = self.step()
        self.optimizer.step()
        return loss.item()


def everything(run: Run) -> list[Any]:
    """All that training depends on, as bytes, with the places of its tensors."""

    def told(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.data_ptr(), value.dtype, bytes(value.detach().reshape(-1).view(torch.uint8).tolist())
        return value

    state, groups = run.optimizer.state, run.optimizer.param_groups
    return [
        [(name, told(value)) for name, value in run.model.named_parameters()],
        [(name, told(parameter.grad)) for name, parameter in run.model.named_parameters()],
        [(name, told(value)) for name, value in run.model.named_buffers()],
        [[(key, told(value)) for key, value in state[p].items()] for p in run.model.parameters() if p in state],
        [[(key, told(value)) for key, value in group.items() if key != "params"] for group in groups],
        [[id(p) for p in group["params"]] for group in groups],
        random.getstate(),
        [part.tolist() if isinstance(part, np.ndarray) else part for part in np.random.get_state()],
        torch.get_rng_state().tolist(),
    ]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_everything_is_afterwards_as_it_was(name: str) -> None:
    run = Run(name)
    before = everything(run)
    test = range_test_of_steps(run.model, run.optimizer, run.step, ramp=RAMP)
    assert everything(run) == before
    assert test.losses.shape == (3, 12)
    assert len(set(test.losses[:, 0])) == 3  # each seed draws its own data
    disturbed = [run.train() for _ in range(3)]
    undisturbed = Run(name)
    assert disturbed == [undisturbed.train() for _ in range(3)]


def test_an_optimizer_that_has_not_stepped_has_no_state_afterwards() -> None:
    model = nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(model.parameters())
    range_test_of_steps(model, optimizer, lambda *_: backward(model(torch.ones(2)).square().sum()), ramp=RAMP)
    assert not optimizer.state
    assert model.weight.grad is None


def test_everything_is_as_it_was_when_a_step_fails() -> None:
    run = Run("adamw")
    before = everything(run)

    def step(seed: int, index: int) -> Tensor:
        if index == 4:
            raise ZeroDivisionError
        return run.step()

    with pytest.raises(ZeroDivisionError):
        range_test_of_steps(run.model, run.optimizer, step, ramp=RAMP)
    assert everything(run) == before


def backward(loss: Tensor) -> Tensor:
    loss.backward()
    return loss


@pytest.mark.parametrize("lr", [None, 0.02])
def test_rates_are_multiplied_and_never_set_flat(lr: float | None) -> None:
    """The rates at which the optimizer steps: those of the ramp for a group that stands at `lr`, by default the first
    group's, and in their ratio for the others."""
    model = nn.Linear(2, 2)
    groups = [{"params": [model.weight], "lr": 0.01}, {"params": [model.bias], "lr": 0.3}]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    stepped: list[list[float]] = []
    optimizer.register_step_pre_hook(lambda *_: stepped.append([group["lr"] for group in optimizer.param_groups]))
    flat = lambda *_: backward((0 * model(torch.ones(2))).sum() + 1)  # noqa: E731
    range_test_of_steps(model, optimizer, flat, ramp=RAMP, seeds=1, lr=lr)
    of_first = RAMP.lrs if lr is None else RAMP.lrs / 2
    assert np.array(stepped) == pytest.approx(np.stack([of_first, 30 * of_first], axis=1))
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, 0.3]


def test_the_losses_are_those_of_gradient_descent_at_the_ramp() -> None:
    """loss = w^2 / 2: each loss is before the update at its rate, w_(t+1) = (1 - lr_t) w_t; every seed starts at 3."""
    model = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    nn.init.constant_(model.weight, 3.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    test = range_test_of_steps(
        model, optimizer, lambda *_: backward(model.weight.square().sum() / 2), ramp=RAMP, seeds=2
    )
    w = 3 * np.cumprod(np.concatenate([[1.0], 1 - RAMP.lrs[:-1]]))
    assert test.losses == pytest.approx(np.stack([w**2 / 2] * 2))
    assert test.lrs.tolist() == RAMP.lrs.tolist()


def test_a_step_is_told_its_seed_and_index_and_is_not_called_once_the_loss_has_left() -> None:
    model = nn.Linear(1, 1)
    called: list[tuple[int, int]] = []

    def step(seed: int, index: int) -> Tensor:
        called.append((seed, index))
        return backward(model.weight.sum() * 0 + (1000.0 if index == 5 else 1.0))

    range_test_of_steps(model, torch.optim.SGD(model.parameters(), lr=0.1), step, ramp=RAMP, seeds=2)
    assert called == [(seed, index) for seed in (0, 1) for index in range(6)]


def test_what_cannot_be_tested_is_refused() -> None:
    model = nn.Linear(2, 2)
    step = lambda *_: backward(model(torch.ones(2)).sum())  # noqa: E731
    with pytest.raises(ValueError, match="expected lr above 0, got 0"):
        range_test_of_steps(model, torch.optim.SGD(model.parameters(), lr=0.0), step)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="expected seeds above 0, got 0"):
        range_test_of_steps(model, optimizer, step, seeds=0)
    with pytest.raises(ValueError, match=r"found a loss of shape \(2,\); wanted a scalar"):
        range_test_of_steps(model, optimizer, lambda *_: model(torch.ones(2)))
    with pytest.raises(ValueError, match="wanted it to rise"):
        range_test_of_steps(model, optimizer, step, ramp=Ramp(low=2.0, high=1.0))


DRAWN = np.random.default_rng(0).integers(0, 50, 2000).astype(np.uint8)
CORPUS = Corpus("drawn", "0" * 16, 50, DRAWN[:1000], DRAWN[1000:])


def test_a_trial_is_tested_from_a_new_start_with_batches_of_each_seed() -> None:
    """The same losses as a loop written out: muP's groups, clipping, the z-loss left out of what is reported."""
    sweep = SweepConfig(
        base_width=16,
        batch_size=3,
        z_loss=0.1,
        model=ModelConfig(head_dim=8, context=12, vocab=50),
        optimizer=OptimizerConfig(clip_norm=0.5),
    )
    trial = sweep.trial(Arm("mup", "mup"), Scale(32), 0.25, 9)
    test = range_test_trial(trial, CORPUS, "cpu", ramp=RAMP, seeds=2)
    for seed, losses in enumerate(test.losses):
        built = build(dataclasses.replace(trial, seed=seed), "cpu")
        optimizer = make_optimizer(built, trial)
        for index, lr in enumerate(RAMP.lrs):
            tokens = torch.from_numpy(sample_batch(CORPUS.train, seed, index, 3, 12))
            loss, plain = training_loss(built.model, tokens, trial)
            assert plain.item() == losses[index]
            optimizer.zero_grad()
            loss.backward()
            built.clip_grad_norm_(0.5)
            for group in optimizer.param_groups:
                group["lr"] = lr.item() * group["lr_mult"]
            optimizer.step()


def digits(seed: int = 0) -> tuple[nn.Module, list[tuple[Tensor, Tensor]]]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    x, y = torch.randn(80, 1, 8, 8), torch.randint(0, 10, (80,))
    return model, [(x[i : i + 16], y[i : i + 16]) for i in range(0, 80, 16)]


def test_on_a_loader_it_trains_what_a_loop_of_ones_own_trains() -> None:
    model, batches = digits()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    test = lr_range_test(model, batches, nn.functional.cross_entropy, optimizer, ramp=RAMP, seeds=1)
    assert all(torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))
    for index, (lr, loss) in enumerate(zip(RAMP.lrs, test.losses[0], strict=True)):
        x, y = batches[index % 5]
        found = nn.functional.cross_entropy(model(x), y)
        assert found.item() == pytest.approx(loss, rel=1e-6)
        optimizer.param_groups[0]["lr"] = float(lr)
        optimizer.zero_grad()
        found.backward()
        optimizer.step()


@pytest.mark.parametrize("kind", ["list", "iterator", "dict", "loader"])
def test_batches_may_be_of_any_kind(kind: str) -> None:
    model, batches = digits()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    given: Any = batches
    loss: Any = nn.functional.cross_entropy
    if kind == "iterator":
        given = iter(batches)
    if kind == "dict":
        given = [{"x": x, "y": y} for x, y in batches]
        loss = lambda model, batch: nn.functional.cross_entropy(model(batch["x"]), batch["y"])  # noqa: E731
    if kind == "loader":
        whole = torch.utils.data.TensorDataset(torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches]))
        given = torch.utils.data.DataLoader(whole, batch_size=16)
    test = lr_range_test(model, given, loss, optimizer, ramp=RAMP, seeds=2)
    model, batches = digits()
    same = lr_range_test(
        model, batches, nn.functional.cross_entropy, torch.optim.Adam(model.parameters(), lr=0.1), ramp=RAMP, seeds=2
    )
    np.testing.assert_array_equal(test.losses, same.losses)
    np.testing.assert_array_equal(test.losses[0], test.losses[1])  # each seed begins the loader anew


def test_a_loader_without_batches_is_refused() -> None:
    model, _ = digits()
    with pytest.raises(ValueError, match="expected a loader of batches, got none"):
        lr_range_test(model, [], nn.functional.cross_entropy, torch.optim.SGD(model.parameters(), lr=0.1), ramp=RAMP)
