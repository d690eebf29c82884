"""The learning-rate range test on a model and its optimizer, which are afterwards as they were, bit for bit.

What it measures and what is read off it: `rates.py` beside it.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mutransfer.checks import positive
from mutransfer.config import ScheduleConfig, TrialConfig
from mutransfer.data import Corpus, sample_batch
from mutransfer.toolbox.own_task import task_loss
from mutransfer.toolbox.range_test.rates import SEEDS, Ramp, RangeTest, take_until_it_leaves
from mutransfer.training.trainer import build, make_optimizer, one_thread, train_step


def lr_range_test(
    model: nn.Module,
    loader: Iterable[Any],
    loss_fn: Callable[..., Tensor],
    optimizer: torch.optim.Optimizer,
    *,
    ramp: Ramp | None = None,
    seeds: int = SEEDS,
    lr: float | None = None,
) -> RangeTest:
    """The range test of a model on one's own data, whatever the task:

        test = mt.lr_range_test(model, loader, torch.nn.functional.cross_entropy, optimizer)
        mt.suggest_lrs(test)["minimum"]

    The model, the optimizer and the random states are afterwards as they were (`range_test_of_steps`, which is for
    loops that do more: clipping, accumulation, scalers).

    Args:
        model: in the state and mode (train or eval) in which it is to be tested.
        loader: batches, gone through again where it ends before the ramp does; a one-way iterator is read once, and
            kept. A batch of two is (inputs, targets); tensors are moved to the model's device.
        loss_fn: of the model's outputs and the targets; where batches are no pairs, of the model and the batch.
        optimizer: any of torch's kind.
        ramp, seeds, lr: as in `range_test_of_steps`. Each seed begins the loader anew.

    Raises ValueError on a loader without batches, and as `range_test_of_steps` does.
    """
    ramp = Ramp() if ramp is None else ramp
    kept = list(itertools.islice(loader, ramp.steps)) if iter(loader) is loader else loader
    batches: Iterator[Any] = iter(())

    def step(seed: int, index: int) -> Tensor:
        nonlocal batches
        if index == 0:
            batches = _again_and_again(kept)
        loss = task_loss(model, next(batches), loss_fn)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    return range_test_of_steps(model, optimizer, step, ramp=ramp, seeds=seeds, lr=lr)


def range_test_of_steps(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    step: Callable[[int, int], Tensor],
    *,
    ramp: Ramp | None = None,
    seeds: int = SEEDS,
    lr: float | None = None,
) -> RangeTest:
    """Train along a ramp of rates, once for each seed and each time from the state that was found.

    Every group's rate is multiplied by the same factor, so that the groups keep their ratios. Afterwards parameters,
    buffers, gradients, the optimizer and the random states of Python, NumPy and torch (CPU and CUDA) are as they were,
    bit for bit, whatever was raised; what else `step` changes (an iterator over data, a gradient scaler) is not.

    Args:
        model: all of whose parameters and buffers are put back.
        optimizer: any of torch's kind, over groups with an `lr`, a number or a tensor.
        step: called with the seed and the index of the step, from 0: a forward and a backward pass on a batch of its
            choice, and clipping where there is any. Gradients are cleared before, and the optimizer steps after it.
            Returns the loss, a scalar.
        ramp: the rates; None: fastai's.
        seeds: how many: 0, 1, ... Each seeds the three random generators before its first step.
        lr: what the user calls the rate at which the optimizer stands now; None: the rate of its first group.

    Raises:
        ValueError: where the ramp is none, the optimizer stands at rate 0, or the loss is no scalar.
    """
    ramp = Ramp() if ramp is None else ramp
    ramp.validate()
    positive("seeds", seeds)
    lr = float(optimizer.param_groups[0]["lr"]) if lr is None else lr
    positive("lr", lr)
    losses = []
    for seed in range(seeds):
        with restored(model, optimizer):
            _seed_all(seed)
            losses.append(take_until_it_leaves(_rising(optimizer, step, seed, ramp.lrs / lr), ramp))
    return RangeTest(ramp.lrs, np.array(losses))


def _again_and_again(loader: Iterable[Any]) -> Iterator[Any]:
    """The batches of a loader, from the beginning again where it ends. Raises ValueError where it has none."""
    while True:
        count = 0
        for batch in loader:
            count += 1
            yield batch
        if not count:
            raise ValueError("expected a loader of batches, got none from it; give one that has some")


def range_test_trial(
    trial: TrialConfig, corpus: Corpus, device: str, *, ramp: Ramp | None = None, seeds: int = SEEDS
) -> RangeTest:
    """The range test of a trial's model, optimizer and batches, from a new initialization for each seed.

    The trial's own seed, schedule and number of steps play no part, and its rate only where its decay depends on that.
    On the CPU it takes one thread, as training does. Raises ValueError as `lr_range_test` does.
    """
    ramp = Ramp() if ramp is None else ramp
    ramp.validate()
    positive("seeds", seeds)
    with one_thread(device):
        losses = [
            take_until_it_leaves(_trained(replace(trial, seed=seed), corpus, device, ramp), ramp)
            for seed in range(seeds)
        ]
    return RangeTest(ramp.lrs, np.array(losses))


def _trained(trial: TrialConfig, corpus: Corpus, device: str, ramp: Ramp) -> Iterator[float]:
    """The loss of each step of a trial whose rate is the ramp's."""
    built = build(trial, device)
    optimizer = make_optimizer(built, trial)
    steady = replace(trial, schedule=ScheduleConfig("constant", warmup=0))
    for index, lr in enumerate(ramp.lrs.tolist()):
        tokens = sample_batch(corpus.train, trial.seed, index, trial.batch_size, trial.model.context)
        at_rate = replace(steady, lr=lr)
        yield train_step(built, optimizer, at_rate, index, torch.from_numpy(tokens).to(device)).item()


def _rising(
    optimizer: torch.optim.Optimizer, step: Callable[[int, int], Tensor], seed: int, factors: np.ndarray[Any, Any]
) -> Iterator[float]:
    """The loss of each step, which trains no further than it is asked."""
    rates = [group["lr"] for group in optimizer.param_groups]
    for index, factor in enumerate(factors.tolist()):
        optimizer.zero_grad(set_to_none=True)
        loss = step(seed, index)
        if loss.numel() != 1:
            raise ValueError(f"found a loss of shape {tuple(loss.shape)}; wanted a scalar: return its mean")
        yield loss.item()
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * factor  # a new tensor where it is one: the old one may be the caller's, or shared
        optimizer.step()


def _seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)
    if _cuda_is_on():  # torch.manual_seed would also seed it for later, which nothing could put back
        torch.cuda.manual_seed_all(seed)


def _cuda_is_on() -> bool:
    on: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return on


@contextlib.contextmanager
def restored(model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Put back, bit for bit and into the same tensors, what training changes: parameters, buffers, gradients, the
    optimizer's state and groups, and the random states."""
    members = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    gradients = {parameter: parameter.grad for parameter in (*model.parameters(), *members)}
    parameters = _keep(dict(enumerate(gradients)))
    buffers = [(module, _keep(dict(module.named_buffers(recurse=False)))) for module in model.modules()]
    state = {parameter: _keep(values) for parameter, values in optimizer.state.items()}
    groups = [
        (group, group["params"], _keep({name: value for name, value in group.items() if name != "params"}))
        for group in optimizer.param_groups
    ]
    python, numpy = random.getstate(), np.random.get_state()
    for parameter in gradients:
        parameter.grad = None  # so that none is added to those that are kept
    try:
        with torch.random.fork_rng(range(torch.cuda.device_count()) if _cuda_is_on() else ()):
            yield
    finally:
        _put_back(parameters)
        for parameter, gradient in gradients.items():
            parameter.grad = gradient
        for module, kept in buffers:
            for name, buffer in _put_back(kept).items():
                setattr(module, name, buffer)
        optimizer.state.clear()
        optimizer.state.update({parameter: _put_back(kept) for parameter, kept in state.items()})
        for group, members, kept in groups:
            group.clear()
            group.update(params=members, **_put_back(kept))
        random.setstate(python)
        np.random.set_state(numpy)


Kept = dict[Any, tuple[Any, Any]]
"""By name, an object and a copy of what it held."""


def _keep(values: Mapping[Any, Any]) -> Kept:
    return {
        name: (value, value.detach().clone() if isinstance(value, Tensor) else copy.deepcopy(value))
        for name, value in values.items()
    }


def _put_back(kept: Kept) -> dict[Any, Any]:
    """The values as they were: a tensor is the same object, with its old content."""
    with torch.no_grad():
        return {name: old.copy_(copied) if isinstance(old, Tensor) else copied for name, (old, copied) in kept.items()}
