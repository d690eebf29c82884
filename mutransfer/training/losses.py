"""Losses over tokens: the plain one that is reported, and the one that is differentiated.

B batch, T time, N = B*T predicted tokens, V vocabulary
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from mutransfer.config import TrialConfig


def predict(model: Callable[[Tensor], Tensor], tokens_BT1: Tensor, dtype: str) -> tuple[Tensor, Tensor]:
    """The model's outputs (N, V), in float32 or wider, and the tokens (N) that they predict from those before them."""
    # where it changes nothing it would still take its time, at every step
    narrow = torch.autocast(tokens_BT1.device.type, torch.bfloat16) if dtype == "bfloat16" else contextlib.nullcontext()
    with narrow:
        outputs_BTV = model(tokens_BT1[:, :-1])
    wide_BTV = outputs_BTV if dtype == "float64" else outputs_BTV.float()
    return wide_BTV.flatten(0, 1), tokens_BT1[:, 1:].flatten()


def token_loss(outputs_NV: Tensor, targets_N: Tensor, loss: str) -> Tensor:
    """Mean loss per token.

    `cross_entropy`: in nats. `squared_error`: the squared distance, summed over the vocabulary, of the outputs from
    the one-hot target; 1 where all outputs are 0, whatever the vocabulary. (A mean over the vocabulary, as in torch's
    MSE, would only divide loss and gradients by V, which is the same at every width.)
    """
    if loss == "cross_entropy":
        return F.cross_entropy(outputs_NV, targets_N)
    return (outputs_NV - F.one_hot(targets_N, outputs_NV.shape[1])).square().sum(dim=1).mean()


def log_z(outputs_NV: Tensor) -> Tensor:
    """The log of the sum that normalizes each softmax, shape (N), in nats."""
    return outputs_NV.logsumexp(dim=1)


def training_loss(model: Callable[[Tensor], Tensor], tokens_BT1: Tensor, trial: TrialConfig) -> tuple[Tensor, Tensor]:
    """The loss to differentiate, and the plain loss to report, detached.

    They differ by z_loss times the mean of log(Z)^2, which holds log(Z) near 0 (PaLM, 2204.02311, section 5; Wortsman
    et al., 2309.14322, section 3.1.2).
    """
    outputs_NV, targets_N = predict(model, tokens_BT1, trial.dtype)
    plain = token_loss(outputs_NV, targets_N, trial.loss)
    if trial.z_loss == 0:
        return plain, plain.detach()
    return plain + trial.z_loss * log_z(outputs_NV).square().mean(), plain.detach()
