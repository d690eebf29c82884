"""The one training loop: trials in, results out.

B batch, T time, V vocabulary
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from mutransfer.config import TrialConfig
from mutransfer.data import Corpus, sample_batch, validation_batches
from mutransfer.optim import OPTIMIZERS, schedule_factor, set_group_rates
from mutransfer.parametrization import Parametrized, build_transformer

DIVERGENCE_WINDOW = 20
"""Steps whose mean loss is held against the loss at initialization (one bad batch is no divergence)."""

FETCH_EVERY = 20
"""Steps between looks at the losses, which on a GPU wait for the device."""


@dataclass(frozen=True)
class TrialResult:
    """What one trial measured. Losses are nats per token; None where it diverged before there was one.

    `train_losses` (float32, one per step) is cut after `diverged_step`. `init_loss` is the loss of the first batch
    before any update, `final_loss` the mean of the last `final_window` of the steps, `mean_loss` the mean of all steps,
    `val_loss` the loss of the final model on the fixed held-out batches. `wall_s` is the whole trial, building
    included.
    """

    train_losses: NDArray[np.float32]
    init_loss: float
    final_loss: float | None
    val_loss: float | None
    mean_loss: float | None
    diverged: bool
    diverged_step: int | None
    wall_s: float
    n_params: int
    device: str
    started: str


def train(trials: Sequence[TrialConfig], corpus: Corpus, device: str) -> list[TrialResult]:
    """Train every trial and return their results in order.

    The same trial gives the same bits on the CPU whatever process runs it: it is trained on one thread.

    Args:
        trials: what to train.
        corpus: its training tokens are sampled, its validation tokens evaluated.
        device: a torch device, such as `cpu` or `cuda:0`.
    """
    with _one_thread(device):
        return [_train_one(trial, corpus, device) for trial in trials]


def _train_one(trial: TrialConfig, corpus: Corpus, device: str) -> TrialResult:
    started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    built = build(trial, device)
    optimizer = make_optimizer(built, trial)
    losses = torch.zeros(trial.steps, device=device)
    warmup = trial.schedule.warmup_steps(trial.steps)
    diverged_step, done = None, 0
    for step in range(trial.steps):
        tokens = sample_batch(corpus.train, trial.seed, step, trial.batch_size, trial.model.context)
        losses[step] = train_step(built, optimizer, trial, step, torch.from_numpy(tokens).to(device))
        if (step + 1) % FETCH_EVERY == 0 or step + 1 == trial.steps:
            done = step + 1
            diverged_step = find_divergence(losses[:done].cpu().numpy(), warmup)
            if diverged_step is not None:
                done = diverged_step + 1
                break
    curve = losses[:done].cpu().numpy()
    window = max(1, round(trial.final_window * trial.steps))
    survived = diverged_step is None
    return TrialResult(
        train_losses=curve,
        init_loss=float(curve[0]),
        final_loss=float(curve[-window:].mean(dtype=np.float64)) if survived else None,
        val_loss=evaluate(built.model, trial, corpus, device) if survived else None,
        mean_loss=float(curve.mean(dtype=np.float64)) if survived else None,
        diverged=not survived,
        diverged_step=diverged_step,
        wall_s=time.perf_counter() - clock,
        n_params=sum(parameter.numel() for parameter in built.model.parameters()),
        device=torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
        started=started,
    )


def build(trial: TrialConfig, device: str) -> Parametrized:
    """The trial's model at its initialization, on `device`, in the trial's precision (bfloat16: weights in float32)."""
    return build_transformer(
        trial.model,
        trial.parametrization,
        base_width=trial.base_width,
        init=trial.init,
        seed=trial.seed,
        device=device,
        dtype=torch.float64 if trial.dtype == "float64" else torch.float32,
    )


def make_optimizer(built: Parametrized, trial: TrialConfig) -> torch.optim.Optimizer:
    """The trial's optimizer at its peak rate."""
    return OPTIMIZERS[trial.optimizer.name].make(built.groups_for(trial.lr, trial.optimizer), trial.optimizer)


def train_step(
    built: Parametrized, optimizer: torch.optim.Optimizer, trial: TrialConfig, step: int, tokens_BT1: Tensor
) -> Tensor:
    """One update on sequences of context + 1 tokens; returns the loss before it, detached."""
    loss = token_loss(built.model, tokens_BT1, trial.dtype)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    if trial.optimizer.clip_norm is not None:
        built.clip_grad_norm_(trial.optimizer.clip_norm)
    set_group_rates(optimizer, trial.lr * schedule_factor(trial.schedule, step, trial.steps))
    optimizer.step()
    return loss.detach()


def token_loss(model: nn.Module, tokens_BT1: Tensor, dtype: str) -> Tensor:
    """Mean cross-entropy in nats per token of predicting each token from those before it."""
    with torch.autocast(tokens_BT1.device.type, torch.bfloat16, enabled=dtype == "bfloat16"):
        logits_BTV = model(tokens_BT1[:, :-1])
    wide = logits_BTV if dtype == "float64" else logits_BTV.float()
    return F.cross_entropy(wide.flatten(0, 1), tokens_BT1[:, 1:].flatten())


def evaluate(model: nn.Module, trial: TrialConfig, corpus: Corpus, device: str) -> float | None:
    """Mean loss on the fixed held-out batches; None if it is not finite."""
    batches = validation_batches(corpus.val, trial.eval_batches, trial.batch_size, trial.model.context)
    with torch.no_grad():
        losses = [token_loss(model, torch.from_numpy(tokens).to(device), trial.dtype).item() for tokens in batches]
    loss = sum(losses) / len(losses)
    return loss if math.isfinite(loss) else None


def find_divergence(losses: NDArray[Any], warmup: int) -> int | None:
    """The first step at which a run has diverged, or None.

    Its loss is not finite, or, after `warmup` steps, the mean of the last 20 steps is above the loss at initialization.
    """
    losses = losses.astype(np.float64)
    bad = ~np.isfinite(losses)
    if len(losses) >= DIVERGENCE_WINDOW:
        means = np.lib.stride_tricks.sliding_window_view(losses, DIVERGENCE_WINDOW).mean(axis=1)
        ends = np.arange(DIVERGENCE_WINDOW - 1, len(losses))
        bad[ends] |= (ends >= warmup) & (means > losses[0])
    return int(bad.argmax()) if bad.any() else None


@contextlib.contextmanager
def _one_thread(device: str) -> Iterator[None]:
    """One thread on the CPU: the bits do not depend on the machine, and two trials side by side beat two threads."""
    before = torch.get_num_threads()
    if device == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
