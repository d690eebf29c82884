"""A function for each optimizer of `mutransfer.theory.optimizers`, of the same name, which makes it.

They take param groups, each with lr, lr_mult and weight_decay (and eps where the optimizer has one), and an
OptimizerConfig. A param group's learning rate and decay mean what they mean for torch's AdamW: a step shrinks a weight
by lr * weight_decay, apart from its gradient. Where an implementation's own defaults would not, the docstring says what
was set. What torch does not have is of the library pytorch_optimizer, which the extra `optim` installs and which loads
when it is first needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import torch
from torch.optim import Optimizer

from mutransfer.config import OptimizerConfig
from mutransfer.optim.adam_atan2 import AdamAtan2
from mutransfer.optim.composite import Around, Composite, Groups, Maker, diverging, one_gauge
from mutransfer.optim.curvature import Looking
from mutransfer.theory.optimizers import OPTIMIZERS


def _library() -> Any:
    """pytorch_optimizer. Raises ValueError, naming the extra, where it is not installed."""
    try:
        return import_module("pytorch_optimizer")
    except ModuleNotFoundError as error:
        if error.name != "pytorch_optimizer":
            raise
        raise ValueError(
            "expected pytorch_optimizer, the library of this optimizer, got none; pip install 'mutransfer[optim]'"
        ) from None


def _betas(config: OptimizerConfig) -> tuple[float, float]:
    return config.beta1, config.beta2


def _fused(groups: Groups) -> bool:
    """Fused kernels take real numbers only."""
    return all(parameter.is_floating_point() for group in groups for parameter in group["params"])


def _adamw(config: OptimizerConfig) -> Maker:
    """AdamW for the groups that an optimizer for matrices leaves to it, whose decay is their own."""
    return lambda groups: torch.optim.AdamW(
        groups, betas=_betas(config), eps=config.eps, weight_decay=0.0, fused=_fused(groups)
    )


def _without_eps(groups: Groups) -> Groups:
    """For optimizers whose `eps` is another thing than Adam's."""
    return [{name: value for name, value in group.items() if name != "eps"} for group in groups]


def adamw(groups: Groups, config: OptimizerConfig) -> Optimizer:
    """Loshchilov & Hutter 1711.05101."""
    return torch.optim.AdamW(groups, betas=_betas(config), fused=_fused(groups))


def adam(groups: Groups, config: OptimizerConfig) -> Optimizer:
    """Kingma & Ba 1412.6980."""
    return torch.optim.Adam(groups, betas=_betas(config), fused=_fused(groups))


def adam_l2(groups: Groups, config: OptimizerConfig) -> Optimizer:
    """Adam whose decay is added to the gradient and passes through the moments."""
    return adam(groups, config)


def nadam(groups: Groups, config: OptimizerConfig) -> Optimizer:
    """Dozat 2016. Decay: decoupled."""
    return torch.optim.NAdam(groups, betas=_betas(config), decoupled_weight_decay=True)


def radam(groups: Groups, config: OptimizerConfig) -> Optimizer:
    """Liu et al. 1908.03265. Decay: decoupled."""
    return torch.optim.RAdam(groups, betas=_betas(config), decoupled_weight_decay=True)


def rmsprop(groups: Groups, config: OptimizerConfig) -> Optimizer:
    """Tieleman & Hinton 2012, without momentum."""
    return torch.optim.RMSprop(groups, alpha=config.beta2)


def adam_atan2(groups: Groups, config: OptimizerConfig) -> Optimizer:
    """Everett et al. 2407.05872."""
    return AdamAtan2(groups, betas=_betas(config))


def sgd(groups: Groups, config: OptimizerConfig) -> Optimizer:
    """With momentum."""
    return torch.optim.SGD(groups, momentum=config.momentum, nesterov=config.nesterov, fused=True)


def muon(groups: Groups, config: OptimizerConfig) -> Optimizer:
    """Jordan et al., kellerjordan.github.io/posts/muon, for the groups named muon, AdamW for the rest.

    Its step has spectral norm lr * sqrt(max(1, rows/columns)): the same at every width for a matrix whose sides grow
    alike, and lr for one with fewer rows than columns. (Torch's `match_rms_adamw` would grow as sqrt(width).)
    """
    plain = [group if group.get("optimizer") == "adamw" else _without_eps([group])[0] for group in groups]

    def matrices(groups: Groups) -> Optimizer:
        return torch.optim.Muon(groups, momentum=config.momentum, weight_decay=0.0, adjust_lr_fn="original")

    return Composite(plain, {"muon": matrices, "adamw": _adamw(config)})


def lion(groups: Groups, config: OptimizerConfig) -> Optimizer:
    """Chen et al. 2302.06675."""
    return _made(_library().Lion(groups, betas=_betas(config)))


def adopt(groups: Groups, config: OptimizerConfig) -> Optimizer:
    """Taniguchi et al. 2411.02853, with clipping; its first step only looks. Decay: decoupled."""
    return _made(_library().ADOPT(groups, betas=_betas(config), eps=config.eps, weight_decouple=True))


def sophia(groups: Groups, config: OptimizerConfig) -> Optimizer:
    """Sophia-H (Liu et al. 2305.14342); see `mutransfer.optim.curvature`. A step is at most 0.01 lr: the library clips
    where the paper divides. Its epsilon is one of a Hessian and stays the library's."""
    every = config.precondition_every

    def make(groups: Groups) -> Optimizer:
        return _made(_library().SophiaH(groups, betas=_betas(config), update_period=every))

    return Looking(_without_eps(groups), make, every)


def soap(groups: Groups, config: OptimizerConfig) -> Optimizer:
    """Vyas et al. 2409.11321; its first step only looks."""
    own = {"precondition_frequency": config.precondition_every, "weight_decay": 0.0}

    def make(groups: Groups) -> Optimizer:
        return _made(_library().SOAP(groups, betas=_betas(config), eps=config.eps, **own))

    return Around(groups, make, diverging)


def adafactor(groups: Groups, config: OptimizerConfig) -> Optimizer:
    """Shazeer & Stern 1804.04235, without momentum, at the rates of its groups: torch's takes at most 1/sqrt(step),
    which flattens the ratios of rates above it. beta2 is the largest decay of the second moment, which the
    paper does not bound. Its weight decay would be relative to the weight's size and is refused."""
    return _made(_library().AdaFactor(groups, betas=(None, config.beta2), relative_step=False))


def lamb(groups: Groups, config: OptimizerConfig) -> Optimizer:
    """You et al. 1904.00962: a step is lr times the weight's norm. Without the library's cap of 10 on that norm, which
    wide matrices reach and narrow ones do not, and without its debiasing of the first moment after the norm is taken
    (`adam_debias` turns it off), which would make the first step 1/(1 - beta1) as large."""
    optimizer = _library().Lamb(groups, betas=_betas(config), eps=config.eps, adam_debias=True)
    optimizer.clamp = math.inf
    return _made(optimizer)


def lars(groups: Groups, config: OptimizerConfig) -> Optimizer:
    """You et al. 1708.03888, with trust coefficient 0.001; vectors train by SGD at the group's rate. Its
    decay is part of the normalized gradient and is refused."""
    return _made(_library().LARS(groups, momentum=config.momentum, nesterov=config.nesterov))


def shampoo(groups: Groups, config: OptimizerConfig) -> Optimizer:
    """Gupta et al. 1802.09568, for the groups named muon, AdamW for the rest. Without momentum: the
    library's would average preconditioned gradients with plain ones. Until the preconditioner is first computed, at
    step `precondition_every`, the matrices stand still."""
    every = config.precondition_every

    def matrices(groups: Groups) -> Optimizer:
        return _made(_library().Shampoo(groups, weight_decouple=True, preconditioning_compute_steps=every))

    return Around(groups, lambda groups: Composite(groups, {"muon": matrices, "adamw": _adamw(config)}), diverging)


def dadapt_adam(groups: Groups, config: OptimizerConfig) -> Optimizer:
    """Defazio & Mishchenko 2301.07733: one distance for all groups, in the gauge that gives all one rate
    (the library would take the first group's for all). Decay: decoupled."""

    def make(groups: Groups) -> Optimizer:
        return _made(_library().DAdaptAdam(groups, betas=_betas(config), eps=config.eps, weight_decouple=True))

    return Around(groups, make, one_gauge)


def prodigy(groups: Groups, config: OptimizerConfig) -> Optimizer:
    """Mishchenko & Defazio 2306.06101, with its guard for a warmup: one distance for all groups, in the
    gauge that gives all one rate (the library would take the first group's for all)."""

    def make(groups: Groups) -> Optimizer:
        return _made(_library().Prodigy(groups, betas=_betas(config), eps=config.eps, safeguard_warmup=True))

    return Around(groups, make, one_gauge)


def schedule_free_adamw(groups: Groups, config: OptimizerConfig) -> Optimizer:
    """Defazio et al. 2405.15682. Evaluate within `averaged_weights`."""
    return _made(_library().ScheduleFreeAdamW(groups, betas=_betas(config), eps=config.eps))


def schedule_free_sgd(groups: Groups, config: OptimizerConfig) -> Optimizer:
    """Defazio et al. 2405.15682. Evaluate within `averaged_weights`."""
    return _made(_library().ScheduleFreeSGD(groups, momentum=config.momentum))


def _made(optimizer: Any) -> Optimizer:
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"expected a torch optimizer, got {type(optimizer).__name__}")
    return optimizer


MAKERS: Mapping[str, Callable[[Groups, OptimizerConfig], Optimizer]] = {name: globals()[name] for name in OPTIMIZERS}
"""By the optimizer's name; an optimizer without a function here fails when this module loads."""


def build_optimizer(groups: Groups, config: OptimizerConfig) -> Optimizer:
    """The optimizer that a config names.

    Args:
        groups: param groups from `param_groups` of a parametrized model: each has lr, lr_mult and weight_decay.
        config: the optimizer with its hyperparameters; what is of a group (weight_decay, eps) is read from the groups.

    Raises ValueError on groups that lack what the optimizer needs, and where its library is not installed.
    """
    return MAKERS[config.name](groups, config)
