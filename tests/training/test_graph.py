"""Steps from a recording are the eager steps, bit for bit, and the host makes no more of them than it must."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mutransfer.config import Arm, ModelConfig, OptimizerConfig, Scale, SweepConfig, TrialConfig
from mutransfer.data import Corpus
from mutransfer.training import cohort as cohort_module
from mutransfer.training import train
from mutransfer.training.batches import batch_at, draw_batches
from mutransfer.training.graph import AGAIN, WARM_UP
from mutransfer.training.trainer import start

from .recorded_graph import without_a_gpu

DRAWN = np.random.default_rng(0).integers(0, 64, 4000).astype(np.uint8)
CORPUS = Corpus("drawn", "0" * 16, 64, DRAWN, DRAWN)
STEPS = 8


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    without_a_gpu(monkeypatch)


@pytest.fixture
def differentiated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of trials at every time that the host itself went through forward and backward."""
    seen: list[int] = []
    of_stack = cohort_module.Cohort._differentiate

    def counted(self: Any, tokens: torch.Tensor) -> torch.Tensor:
        seen.append(len(self.slices))
        return of_stack(self, tokens)

    monkeypatch.setattr(cohort_module.Cohort, "_differentiate", counted)
    return seen


def trials(count: int, **changes: Any) -> list[TrialConfig]:
    model = ModelConfig(vocab=64, context=8, depth=1, head_dim=8)
    sweep = SweepConfig(batch_size=2, base_width=16, model=model, steps=STEPS)
    each = sweep.trial(Arm("mup", "mup"), Scale(16), 2**-5, 0)
    return [replace(each, lr=each.lr * 2**place, seed=place % 2, **changes) for place in range(count)]


def curves(config: Sequence[TrialConfig], mode: str, leave: int | None = None) -> torch.Tensor:
    """Losses by step and trial; the second slice leaves after `leave` steps."""
    cohort, losses = start(config, "cpu", mode=mode), []
    left = [each.trial for each in cohort.slices]
    for step in range(STEPS):
        if step == leave:
            cohort.keep([place for place in range(len(left)) if place != 1])
            left = [each.trial for each in cohort.slices]
        (tokens,) = draw_batches(CORPUS, left, range(step, step + 1), "cpu")
        losses.append(cohort.advance(tokens))
    return torch.stack([each[[0, -1]] for each in losses])


CHANGES = [
    {},
    {"z_loss": 1e-2, "optimizer": OptimizerConfig(clip_norm=0.3)},
    {"dtype": "float64", "optimizer": OptimizerConfig("sgd", momentum=0.9)},
    {"dtype": "bfloat16"},
    {"largest_batch": 8},
]


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_a_replayed_step_is_the_eager_step(count: int, changes: dict[str, Any]) -> None:
    config = trials(count, **changes)
    eager, replayed = curves(config, "eager"), curves(config, "graph")
    assert replayed.isfinite().all()
    assert torch.equal(eager, replayed)


def test_after_a_slice_has_left_it_is_recorded_anew(differentiated: list[int]) -> None:
    config = trials(3)
    replayed = curves(config, "graph", leave=3)
    assert differentiated == [3] * (WARM_UP + 1) + [2] * (AGAIN + 1)
    assert torch.equal(curves(config, "eager", leave=3), replayed)


def test_the_host_goes_through_a_step_once(differentiated: list[int]) -> None:
    curves(trials(2), "graph")
    assert len(differentiated) == WARM_UP + 1
    differentiated.clear()
    growing = trials(1, largest_batch=8)
    curves(growing, "graph")
    sizes = {batch_at(growing[0], step) for step in range(STEPS)}
    assert len(differentiated) == WARM_UP + 1 + (len(sizes) - 1) * (AGAIN + 1)


def test_who_looks_into_a_step_sees_it(differentiated: list[int]) -> None:
    @contextlib.contextmanager
    def around(step: int) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace()

    cohort = start(trials(1), "cpu", mode="graph")
    cohort.around = around
    for tokens in draw_batches(CORPUS, trials(1), range(STEPS), "cpu"):
        cohort.advance(tokens)
    assert len(differentiated) == STEPS


def test_what_no_graph_can_hold_is_refused() -> None:
    (plain,) = trials(1)
    with pytest.raises(ValueError, match="found execution graph on cpu; wanted a GPU"):
        train([plain], CORPUS, "cpu", mode="graph")
    with pytest.raises(ValueError, match="found execution graph with mine:model; wanted eager or compiled"):
        train([replace(plain, build="mine:model")], CORPUS, "cuda:0", mode="graph")
    for mode in ("graph", "compiled"):
        with pytest.raises(ValueError, match=f"found execution {mode} with sophia, which looks at the curvature"):
            train([replace(plain, optimizer=OptimizerConfig("sophia"))], CORPUS, "cuda:0", mode=mode)
    with pytest.raises(ValueError, match="expected a known execution, got 'graphs'; "):
        train([plain], CORPUS, "cuda:0", mode="graphs")
