"""The one training loop: trials in, results out.

B batch, T time
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mutransfer.config import TrialConfig
from mutransfer.data import Corpus, sample_batch
from mutransfer.optim import OPTIMIZERS, schedule_factor, set_group_rates
from mutransfer.parametrization import Parametrized, build_model
from mutransfer.training.divergence import find_divergence
from mutransfer.training.evaluation import evaluate
from mutransfer.training.losses import training_loss

FETCH_EVERY = 20
"""Steps between looks at the losses, which on a GPU wait for the device."""


@dataclass(frozen=True)
class TrialResult:
    """What one trial measured. Losses are nats per token, or squared units where the trial's loss is squared_error, and
    never hold the z-loss; None where it diverged before there was one.

    `train_losses` (float32, one per step) is cut after `diverged_step`. `init_loss` is the loss of the first batch
    before any update, `final_loss` the mean of the last `final_window` of the steps, `mean_loss` the mean of all steps,
    `val_loss` the loss of the final model on the fixed held-out batches. There, too, are measured `attention_logit`,
    the largest attention logit in absolute value (on the first batch), and `output_log_z`, the mean log of the sum that
    normalizes the outputs' softmax; None also for a model without attention, and for a loss without softmax. `wall_s`
    is the whole trial, building included.
    """

    train_losses: NDArray[np.float32]
    init_loss: float
    final_loss: float | None
    val_loss: float | None
    mean_loss: float | None
    attention_logit: float | None
    output_log_z: float | None
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
            diverged_step = find_divergence(losses[:done].cpu().numpy(), warmup, trial.steps)
            if diverged_step is not None:
                done = diverged_step + 1
                break
    curve = losses[:done].cpu().numpy()
    window = max(1, round(trial.final_window * trial.steps))
    survived = diverged_step is None
    held_out = evaluate(built.model, trial, corpus, device) if survived else None
    return TrialResult(
        train_losses=curve,
        init_loss=float(curve[0]),
        final_loss=float(curve[-window:].mean(dtype=np.float64)) if survived else None,
        val_loss=held_out.loss if held_out else None,
        mean_loss=float(curve.mean(dtype=np.float64)) if survived else None,
        attention_logit=held_out.attention_logit if held_out else None,
        output_log_z=held_out.output_log_z if held_out else None,
        diverged=not survived,
        diverged_step=diverged_step,
        wall_s=time.perf_counter() - clock,
        n_params=sum(parameter.numel() for parameter in built.model.parameters()),
        device=torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
        started=started,
    )


def build(trial: TrialConfig, device: str) -> Parametrized:
    """The trial's model at its initialization, on `device`, in the trial's precision (bfloat16: weights in float32)."""
    return build_model(
        trial.model,
        trial.parametrization,
        base_width=trial.base_width,
        base_depth=trial.base_depth,
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
    """One update on sequences of context + 1 tokens; returns the plain loss before it, detached."""
    loss, plain_loss = training_loss(built.model, tokens_BT1, trial)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    if trial.optimizer.clip_norm is not None:
        built.clip_grad_norm_(trial.optimizer.clip_norm)
    set_group_rates(optimizer, trial.lr * schedule_factor(trial.schedule, step, trial.steps))
    optimizer.step()
    return plain_loss


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
