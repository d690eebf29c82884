"""A model of the user's own at a trial's initialization."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mutransfer.config import SweepConfig, TrialConfig
from mutransfer.parametrization import Parametrized, load_build, parametrize
from mutransfer.parametrization.sources import seeded
from mutransfer.training.attention import FoldedAttention


def build_own(trial: TrialConfig, device: str) -> Parametrized:
    """The model that `trial.build` names, under the trial's parametrization, returning its logits alone.

    It is built on the CPU, so that a seed gives the same values on every device, and moved.

    Raises:
        ValueError: as `load_build` and `parametrize` do; and, when it is called, on an output without logits.
    """
    context, vocab = trial.model.context, trial.model.vocab
    built = parametrize(
        load_build(trial.build),
        width=trial.model.width,
        base_width=trial.base_width,
        parametrization=trial.parametrization,
        sample=torch.arange(2 * context).view(2, context) % vocab,
        seed=trial.seed,
    )
    built.model.register_forward_hook(_logits)
    built.model.to(device, torch.float64 if trial.dtype == "float64" else torch.float32)
    return built


def check_own(config: SweepConfig) -> None:
    """Build and call the smallest model of every arm. Raises ValueError on what cannot be trained."""
    for arm in config.arms:
        trial = config.trial(arm, min(config.scales), config.lrs[0], 0)
        built = build_own(trial, "cpu")
        built.groups_for(trial.lr, trial.optimizer)
        with torch.no_grad():
            built.model(torch.zeros((1, trial.model.context), dtype=torch.long))


def own_stacks(trial: TrialConfig) -> bool:
    """Whether `vmap` can run the model, and without calling anything in a loop: tried once, at the base width.

    It cannot where a model draws random numbers (dropout), branches on values, or writes what is not stacked.
    """
    return _stacks(trial.build, trial.base_width, trial.model.context, trial.model.vocab)


@cache
def _stacks(name: str, width: int, context: int, vocab: int) -> bool:
    with seeded(0):
        model = load_build(name)(width)
    tensors = {n: tensor.detach() for n, tensor in (*model.named_parameters(), *model.named_buffers())}
    pair = {n: torch.stack([tensor, tensor]) for n, tensor in tensors.items()}
    tokens_KBT = (torch.arange(2 * context) % vocab).view(2, 1, context)
    try:
        with warnings.catch_warnings(), FoldedAttention():
            warnings.simplefilter("error")  # torch warns where it loops
            torch.vmap(lambda own, tokens: _tensor(functional_call(model, own, (tokens,))))(pair, tokens_KBT)
    except Exception:  # whatever a user's own model may raise: alone it may not, and if it does, it says so there
        return False
    return True


def _tensor(output: Any) -> Any:
    return getattr(output, "logits", output)


def _logits(model: nn.Module, inputs: tuple[Any, ...], output: Any) -> Tensor:
    found = _tensor(output)
    if not (isinstance(found, Tensor) and found.shape[:-1] == inputs[0].shape):
        what = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(
            f"found {what} from {type(model).__name__} for tokens of shape {tuple(inputs[0].shape)}; wanted logits "
            "(B, T, V), or an object with them as .logits: wrap your model"
        )
    return found
