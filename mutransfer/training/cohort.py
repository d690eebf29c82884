"""K trials of one shape, trained as one model; K = 1 is the plain model.

One forward and one backward serve all slices: `vmap` over their stacked parameters and their batches, then an ordinary
backward of the sum of their losses, in which each slice's gradient is that of its own loss. The update is each slice's
own, by an ordinary optimizer over views of the stack: its rates, betas, decay and clipping are a single trial's to the
last detail, also where an optimizer looks at whole matrices.

B batch, T time, K cohort
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call

from mutransfer.config import TrialConfig
from mutransfer.optim import (
    backward_twice,
    growth_at,
    lower_momentum,
    momentum_fall,
    needs_curvature,
    rewarmup_factor,
    set_group_rates,
    twice_differentiable,
)
from mutransfer.parametrization import Parametrized
from mutransfer.parametrization.sources import seeded
from mutransfer.training.attention import FoldedAttention
from mutransfer.training.divergence import find_divergence
from mutransfer.training.graph import AGAIN, WARM_UP, Graph
from mutransfer.training.losses import training_loss
from mutransfer.training.stack import Stack


@dataclass
class Curve:
    """The training losses of one trial so far, cut after the step at which it diverged."""

    losses: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    diverged_step: int | None = None

    def extend(self, losses: NDArray[np.floating], trial: TrialConfig) -> None:
        """Add the losses of further steps, and look whether the trial has diverged."""
        self.losses = np.concatenate([self.losses, losses])
        warmup = trial.schedule.warmup_steps(trial.steps)
        self.diverged_step = find_divergence(self.losses, warmup, trial.steps)
        if self.diverged_step is not None:
            self.losses = self.losses[: self.diverged_step + 1]


@dataclass
class Slice:
    """One trial of a cohort. `place`: which of the trials that the cohort began with; `rewarm_from`: the step at which
    its optimizer was made afresh in the middle of the run, where it was."""

    trial: TrialConfig
    built: Parametrized
    optimizer: torch.optim.Optimizer
    place: int = 0
    curve: Curve = field(default_factory=Curve)
    rewarm_from: int | None = None

    def clip(self) -> None:
        """Scale the gradients, where their norm is larger than the trial allows."""
        if self.trial.optimizer.clip_norm is not None:
            self.built.clip_grad_norm_(self.trial.optimizer.clip_norm)

    def update(self, step: int) -> None:
        """Set the rates (and momenta) of the step and update, from the gradients that are there."""
        config = self.trial.optimizer
        factor = growth_at(self.trial, step, self.curve.losses).factor
        if self.rewarm_from is not None:
            factor *= rewarmup_factor(config, step - self.rewarm_from)
        set_group_rates(self.optimizer, self.trial.lr * factor)
        if self.trial.schedule.momentum_dip:
            lower_momentum(self.optimizer, config, momentum_fall(self.trial.schedule, step, self.trial.steps))
        self.optimizer.step()


@dataclass
class Cohort:
    """Trials in training: all that changes from step to step, and all that going on later would need.

    `slices` are those still training, `step` the steps they have made. Without a stack there is one, and its model is
    called as it is, or as `compiled`. `graphs`: whether forward and backward are recorded and replayed.
    """

    slices: list[Slice]
    stack: Stack | None
    step: int = 0
    compiled: Callable[[Tensor], Tensor] | None = None
    graphs: bool = False
    graph: Graph | None = None
    around: Callable[[int], contextlib.AbstractContextManager[Any]] | None = None
    """Of a cohort without a stack: within what each step happens, eagerly, and whose `loss` is told (`Watch.step`)."""

    def advance(self, tokens_KBT1: Tensor) -> Tensor:
        """One update of every slice on its own sequences; returns the plain losses (K) before it, detached.

        Nothing here waits for the device: rates are the host's, norms stay where they are.
        """
        if self.around is None:
            return self._advance(tokens_KBT1)
        with self.around(self.step) as told:
            plain_K = self._advance(tokens_KBT1)
            told.loss = plain_K[0]
        return plain_K

    def _advance(self, tokens_KBT1: Tensor) -> Tensor:
        replays = self.graphs and self.around is None  # a replay shows nobody what happens in it
        plain_K = self._replay(tokens_KBT1) if replays else self._differentiate(tokens_KBT1)
        if self.stack is None:
            self.slices[0].clip()
        else:
            self.stack.clip_grad_norms_()
        for each in self.slices:
            each.update(self.step)
        self.step += 1
        return plain_K

    def look(self, losses_SK: NDArray[np.floating]) -> None:
        """Take up the losses of the last steps, shape (steps, K), and let go of the slices that have diverged.

        They go at once: to leave one of 8 behind at width 128 takes 1.7 ms, a step 245 (results/bench/cohort.json).
        """
        for each, losses in zip(self.slices, losses_SK.T, strict=True):
            each.curve.extend(losses, each.trial)
        self.keep([place for place, each in enumerate(self.slices) if each.curve.diverged_step is None])

    def keep(self, places: Sequence[int]) -> None:
        """Leave the slices at `places` alone, with the state of their optimizers as it is."""
        if len(places) == len(self.slices):
            return
        self.slices = [self.slices[place] for place in places]
        if self.stack is not None and places:
            self.stack.keep(places)

    def _replay(self, tokens_KBT1: Tensor) -> Tensor:
        """`_differentiate` from its recording, made anew for another shape of tokens: where slices have gone, and the
        others have moved in memory, or the batch has grown."""
        if self.graph is None or not self.graph.fits(tokens_KBT1):
            warm_up = WARM_UP if self.graph is None else AGAIN
            self.graph = None  # its memory first
            self.graph = Graph(self._differentiate, tokens_KBT1, warm_up)
        return self.graph(tokens_KBT1)

    def _differentiate(self, tokens_KBT1: Tensor) -> Tensor:
        """Set the gradients of all slices; returns their plain losses (K)."""
        return self._differentiate_one(tokens_KBT1) if self.stack is None else self._differentiate_stack(tokens_KBT1)

    def _differentiate_one(self, tokens_KBT1: Tensor) -> Tensor:
        """Set the gradients of the only slice; returns its plain loss, shape (1)."""
        (only,) = self.slices
        twice = needs_curvature(only.trial.optimizer, self.step)
        # what a model of your own draws (dropout) follows seed and step, wherever the run goes on from
        drawing = seeded(_seed_of_step(only.trial.seed, self.step)) if only.trial.build else contextlib.nullcontext()
        with drawing, twice_differentiable() if twice else contextlib.nullcontext():
            model = only.built.model if self.compiled is None or self.around else self.compiled
            loss, plain = training_loss(model, tokens_KBT1[0], only.trial)
        for group in only.optimizer.param_groups:  # as zero_grad does, but for the record that it opens for profilers
            for parameter in group["params"]:
                parameter.grad = None
        if twice:
            backward_twice(loss, only.optimizer)
        else:
            loss.backward()  # type: ignore[no-untyped-call]
        return plain[None]

    def _differentiate_stack(self, tokens_KBT1: Tensor) -> Tensor:
        """The same in their stack."""
        assert self.stack is not None
        model, trial = self.slices[0].built.model, self.slices[0].trial

        def one(tensors: dict[str, Tensor], tokens_BT1: Tensor) -> tuple[Tensor, Tensor]:
            return training_loss(lambda tokens: functional_call(model, tensors, (tokens,)), tokens_BT1, trial)

        with FoldedAttention():
            losses_K, plain_K = torch.vmap(one)(self.stack.tensors, tokens_KBT1)
        self.stack.backward(losses_K.sum())
        return plain_K


def _seed_of_step(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0])
