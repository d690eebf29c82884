"""Compiled steps, by torch's real compiler: the eager ones but for rounding, whatever a process compiled before."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from mutransfer.config import LLAMA, Arm, ModelConfig, OptimizerConfig, Scale, SweepConfig, TrialConfig
from mutransfer.data import Corpus
from mutransfer.training import Part, train

pytestmark = [
    pytest.mark.skipif(
        shutil.which(os.environ.get("CXX", "g++")) is None, reason="no C++ compiler, which torch.compile needs on a CPU"
    ),
    pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning"),  # torch's own, where it is first loaded
]

DRAWN = np.random.default_rng(0).integers(0, 64, 4000).astype(np.uint8)
CORPUS = Corpus("drawn", "0" * 16, 64, DRAWN, DRAWN)
TINY = ModelConfig(vocab=64, context=8, depth=1, head_dim=8, zero_readout=False)


@pytest.fixture(autouse=True)
def a_process_of_its_own() -> Iterator[None]:
    """Nothing compiled before, or compiled here, is left."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def trial(arm: str = "mup", width: int = 16, model: ModelConfig = TINY, **changes: Any) -> TrialConfig:
    sweep = SweepConfig(batch_size=2, eval_batches=1, base_width=32, model=model, steps=12, dtype="float64")
    return replace(sweep.trial(Arm(arm, arm), Scale(width), 2**-6, 0), **changes)


def check(config: TrialConfig) -> None:
    (eager,), (found,) = train([config], CORPUS, "cpu"), train([config], CORPUS, "cpu", mode="compiled")
    assert (eager.execution, found.execution) == ("eager", "compiled")
    assert eager.final_loss != eager.init_loss
    assert found.train_losses == pytest.approx(eager.train_losses, abs=1e-6)  # float32 both
    assert found.final_loss == pytest.approx(eager.final_loss, abs=1e-10)
    assert found.val_loss == pytest.approx(eager.val_loss, abs=1e-10)


def test_in_float64_they_train_what_eager_steps_train() -> None:
    """In one process, where what was compiled for one arm must not lend its multipliers to the other."""
    check(trial(optimizer=OptimizerConfig(clip_norm=0.3)))
    check(trial("sp"))


def test_they_are_trained_one_by_one_and_in_parts() -> None:
    config = trial()
    both = train([config, replace(config, seed=1)], CORPUS, "cpu", mode="compiled")
    assert [each.cohort_size for each in both] == [1, 1]
    (first,) = train([config], CORPUS, "cpu", Part(6, (None,)), mode="compiled")
    (last,) = train([config], CORPUS, "cpu", Part(12, (first.state,)), mode="compiled")
    assert np.array_equal(last.train_losses, both[0].train_losses)


@pytest.mark.slow
def test_whatever_the_model_and_more_shapes_than_torch_would_take() -> None:
    check(trial(model=replace(LLAMA, head_dim=8, context=8, vocab=64, depth=1)))
    check(trial(model=replace(TINY, qk_norm=True, norm_gain=True), z_loss=0.1))
    check(trial(largest_batch=8))
    for width in range(8, 8 * 11, 8):
        check(trial(width=width))
