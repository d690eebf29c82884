"""Runs of a coordinate check: a model of one width and seed, trained for a few steps on one batch."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mutransfer.config import OptimizerConfig
from mutransfer.coordcheck.notes import Notes, Row, root_mean_square
from mutransfer.coordcheck.observer import Observer, find_tensor
from mutransfer.data import load_corpus, sample_batch
from mutransfer.optim import build_optimizer
from mutransfer.parametrization import Parametrized

BATCH_SIZE, CONTEXT = 8, 32

TARGET = 0.25
"""At the narrowest width the chosen rate changes no module by more than this part of its initial size, nor what starts
at zero by more than this: far above rounding, and small enough for changes to stay in proportion to the rate."""
UNMOVED = 1 / 64
"""Of `TARGET`: where the median module changes by less, the rate is too small to see anything."""
LARGEST = 24
"""log2 of the largest and the smallest rate to be tried."""
PROBE = 16.0
"""By how much gradients are multiplied to see what an update makes of it."""

Groups = list[dict[str, Any]]
Built = Parametrized | tuple[nn.Module, Groups] | nn.Module
Build = Callable[..., Built]
Loss = Callable[[nn.Module, Any], Tensor]
Scheduler = Callable[[torch.optim.Optimizer], Any]


def next_token_loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Mean cross-entropy of the model's outputs (..., V) on `batch`, its inputs and its targets (...)."""
    inputs, targets = batch
    outputs = find_tensor(model(inputs))
    if outputs is None:
        raise ValueError("found a model whose output holds no floating-point tensor; wanted logits: give a loss")
    return F.cross_entropy(outputs.flatten(0, -2), targets.flatten())


def text_batches(batch_size: int = BATCH_SIZE, context: int = CONTEXT) -> Callable[[int], tuple[Tensor, Tensor]]:
    """A batch for each seed: bytes of the default corpus and those that follow them, each (batch_size, context)."""
    corpus = load_corpus("stdlib")

    def batch(seed: int) -> tuple[Tensor, Tensor]:
        tokens = torch.from_numpy(sample_batch(corpus.train, seed, 0, batch_size, context))
        return tokens[:, :-1], tokens[:, 1:]

    return batch


@dataclass(frozen=True)
class Run:
    """What one model showed: rows of the frame, the parameter that says most of each module, modules that share one,
    whether the parameter groups came with rates, and the largest change relative to a module's initial size."""

    rows: list[Row]
    parameters: dict[str, str]
    ties: list[list[str]]
    own_rates: bool
    changes: tuple[float, float]
    """The largest of a module relative to its initial size, and the median."""
    final: str
    frozen: list[str]
    roles: Mapping[str, str]
    """Of a `Parametrized`, the role of each module, and of each further parameter by its name."""
    advice: tuple[str, ...]


@dataclass(frozen=True)
class Bench:
    """All that a run needs beside width, seed and rate."""

    build: Build
    config: OptimizerConfig
    batch: Callable[[int], Any]
    loss: Loss
    scheduler: Scheduler | None
    steps: int
    device: str

    def start(self, width: int, seed: int, lr: float) -> tuple[nn.Module, Groups, bool, Built]:
        """A model at its initialization, its parameter groups, whether these came with rates, and what was built."""
        torch.manual_seed(seed)
        takes_seed = "seed" in inspect.signature(self.build).parameters
        built = self.build(width, seed=seed) if takes_seed else self.build(width)
        if isinstance(built, Parametrized):
            built.model.to(self.device)
            return built.model, built.groups_for(lr, self.config), False, built
        if isinstance(built, nn.Module):
            built = (built, [{"params": list(built.parameters())}])
        if not (isinstance(built, tuple) and len(built) == 2 and isinstance(built[0], nn.Module)):
            raise ValueError(
                f"found build({width}) to return {type(built).__name__}; wanted a Parametrized, a module, or a pair of "
                "a module and its parameter groups"
            )
        model, groups = built
        model.to(self.device)
        own = any("lr" in group for group in groups)
        # torch's AdamW would decay what does not say how much
        plain = {"lr": 1.0, "lr_mult": 1.0, "weight_decay": 0.0}
        return model, [{**plain, **group, "lr": lr * {**plain, **group}["lr"]} for group in groups], own, built

    def run(self, width: int, seed: int, lr: float, *, scheduled: bool = True) -> Run:
        """Train a model for a few steps and note what each shows."""
        with self._forked():
            model, groups, own_rates, built = self.start(width, seed, lr)
            shapes, advice = (built.shapes, built.notes) if isinstance(built, Parametrized) else (None, ())
            given = {id(p): float(group["lr"]) for group in groups for p in group["params"] if p.requires_grad}
            optimizer = build_optimizer(groups, self.config)
            scheduler = self.scheduler(optimizer) if scheduled and self.scheduler is not None else None
            batch = _moved(self.batch(seed), self.device)
            notes = Notes(model, width, seed)
            rates = given
            for step in range(self.steps + 1):
                torch.manual_seed(seed)
                with Observer(model, notes.initial) as observer:
                    loss = self.loss(model, batch)
                if step < self.steps:
                    optimizer.zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]
                notes.take(step, observer.calls, rates, observer.final)
                if step == self.steps:
                    break
                rates = {id(p): float(group["lr"]) for group in optimizer.param_groups for p in group["params"]}
                optimizer.step()
                if scheduler is not None:
                    scheduler.step()
        frozen = [module for module, name in notes.main.items() if not model.get_parameter(name).requires_grad]
        known = {} if shapes is None else {name: shape.role for name, shape in shapes.items()}
        roles = dict(known)
        for module, name in notes.main.items():
            weight = model.get_parameter(name)
            here = [each for each in known if each.rpartition(".")[0] == module and model.get_parameter(each) is weight]
            if here or name in known:
                roles[module] = known[here[0] if here else name]  # of a shared weight, its use here
        return Run(notes.rows, notes.main, notes.ties, own_rates, notes.changes(), notes.final, frozen, roles, advice)

    def choose_lr(self, width: int) -> float:
        """The largest power of two at which, without the scheduler, no module changes by more than `TARGET`; where that
        is so small that most do not move at all (a gain that starts near zero changes by many times its size, a router
        that decides anew by a jump), at which half of them do not."""
        lr, typical = self._largest_lr(width, 0)
        return lr if typical >= UNMOVED * TARGET else self._largest_lr(width, 1)[0]

    def _largest_lr(self, width: int, which: int) -> tuple[float, float]:
        """The largest power of two at which one of `Run.changes` is within `TARGET`, and the median change there."""
        seen: dict[int, tuple[float, float]] = {}

        def too_large(exponent: int) -> bool:
            seen[exponent] = self.run(width, 0, 2.0**exponent, scheduled=False).changes
            return not seen[exponent][which] <= TARGET

        low = high = -8
        while not too_large(high) and high < LARGEST:
            low, high = high, high + 4
        while too_large(low) and low > -LARGEST:
            low, high = low - 4, low
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if too_large(middle) else (middle, high)
        return 2.0**low, seen[low][1]

    def gradient_powers(self, width: int) -> dict[str, float]:
        """By parameter, the power of the gradient's size with which its first update goes: 1 for SGD, 0 for Adam."""
        sizes: list[dict[str, float]] = []
        with self._forked():
            for scale in (1.0, PROBE):
                model, groups, *_ = self.start(width, 0, 1.0)
                optimizer = build_optimizer(groups, self.config)
                before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
                torch.manual_seed(0)
                for parameter in model.parameters():
                    parameter.grad = scale * torch.randn_like(parameter) if parameter.requires_grad else None
                optimizer.step()
                sizes.append(
                    {name: root_mean_square([p.detach() - before[name]]) for name, p in model.named_parameters()}
                )
        return {
            name: math.log(sizes[1][name] / size, PROBE) if size > 0 and sizes[1][name] > 0 else 0.0
            for name, size in sizes[0].items()
        }

    def _forked(self) -> Any:
        """A context that leaves torch's generators as they were."""
        return torch.random.fork_rng(devices=[] if self.device == "cpu" else [self.device])


def _moved(batch: Any, device: str) -> Any:
    """A batch on a device, through tuples, lists and mappings."""
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, Mapping):
        return {name: _moved(value, device) for name, value in batch.items()}
    if isinstance(batch, tuple | list):
        return type(batch)(_moved(value, device) for value in batch)
    return batch
