"""Optimizers by name: how each is made, which of a table's rate columns it takes, and where that is from.

| family | the table's column | whose update of a matrix |
|---|---|---|
| sgd | sgd | is as large as its gradient |
| adam | adam | has entries of about one size, whatever the gradient's |
| norm | norm | is as large as the matrix itself |
| spectral | muon's for hidden matrices, adam elsewhere | has singular values of about one size |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch.optim import Optimizer

from mutransfer.config import OptimizerConfig
from mutransfer.optim import library
from mutransfer.optim.adam_atan2 import AdamAtan2
from mutransfer.optim.composite import Composite, Groups, Maker


class OptimizerSpec(NamedTuple):
    """An optimizer, and what muP needs to know of it."""

    family: str
    """Which of the table's rate columns it takes."""
    elementwise: bool
    """Each entry's update depends on that entry's gradients alone, so that stacked trials can be trained as one. What
    is not elementwise works on each tensor by itself, but for dadapt_adam and prodigy, which estimate one distance for
    all tensors that they are given, and for sophia, whose probe of the curvature is one for all."""
    make: Callable[[Groups, OptimizerConfig], Optimizer]
    """From param groups, each with lr, lr_mult and weight_decay, and eps where the optimizer has one."""
    established: bool
    """Whether muP's rule for it has been derived; where not, let an experiment speak before you rely on it."""
    rule: str
    """Where that rule is from, or what is assumed."""
    defaults: OptimizerConfig
    """The hyperparameters that its implementation (and for the most part its paper) starts from, but for decay."""
    lr: float
    """The learning rate that its implementation starts from."""


def _betas(config: OptimizerConfig) -> tuple[float, float]:
    return config.beta1, config.beta2


def _adamw(config: OptimizerConfig) -> Maker:
    return lambda groups: torch.optim.AdamW(groups, betas=_betas(config), eps=config.eps, weight_decay=0.0, fused=True)


def _adam(groups: Groups, config: OptimizerConfig) -> Optimizer:
    return torch.optim.Adam(groups, betas=_betas(config), fused=True)


def _muon(groups: Groups, config: OptimizerConfig) -> Optimizer:
    """Jordan et al., kellerjordan.github.io/posts/muon, for the groups named muon, AdamW for the rest.

    Its step has spectral norm lr * sqrt(max(1, rows/columns)): the same at every width for a matrix whose sides grow
    alike, and lr for one with fewer rows than columns. (Torch's `match_rms_adamw` would grow as sqrt(width).)
    """
    plain = [group if group.get("optimizer") == "adamw" else library.without_eps([group])[0] for group in groups]

    def matrices(groups: Groups) -> Optimizer:
        return torch.optim.Muon(groups, momentum=config.momentum, weight_decay=0.0, adjust_lr_fn="original")

    return Composite(plain, {"muon": matrices, "adamw": _adamw(config)})


_TPV = "Tensor Programs V, Tables 3 and 8"
_ENTRYWISE = "Tensor Programs IVb (2308.01814), for entrywise updates"
_SPECTRAL = "spectral conditions: Gupta et al. 2602.20937"
_MATRIX = "Qiu et al. 2512.05620"

OPTIMIZERS: Mapping[str, OptimizerSpec] = {
    "adamw": OptimizerSpec(
        "adam",
        True,
        lambda groups, config: torch.optim.AdamW(groups, betas=_betas(config), fused=True),
        True,
        f"{_TPV}; decay: appendix B.3",
        OptimizerConfig("adamw", beta2=0.999),
        1e-3,
    ),
    "adam": OptimizerSpec("adam", True, _adam, True, _TPV, OptimizerConfig("adam", beta2=0.999), 1e-3),
    "adam_l2": OptimizerSpec(
        "adam",
        True,
        _adam,
        False,
        "none for decay within the moments (Tensor Programs V, appendix B.3); width_independent grows it with width as "
        "the mup package's MuAdam does",
        OptimizerConfig("adam_l2", beta2=0.999),
        1e-3,
    ),
    "nadam": OptimizerSpec(
        "adam",
        True,
        lambda groups, config: torch.optim.NAdam(groups, betas=_betas(config), decoupled_weight_decay=True),
        True,
        _ENTRYWISE,
        OptimizerConfig("nadam", beta2=0.999),
        2e-3,
    ),
    "radam": OptimizerSpec(
        "adam",
        True,
        lambda groups, config: torch.optim.RAdam(groups, betas=_betas(config), decoupled_weight_decay=True),
        False,
        "assumed as Adam's; its first five steps or so are SGD's",
        OptimizerConfig("radam", beta2=0.999),
        1e-3,
    ),
    "rmsprop": OptimizerSpec(
        "adam",
        True,
        lambda groups, config: torch.optim.RMSprop(groups, alpha=config.beta2),
        True,
        _ENTRYWISE,
        OptimizerConfig("rmsprop", beta2=0.99),
        1e-2,
    ),
    "adam_atan2": OptimizerSpec(
        "adam",
        True,
        lambda groups, config: AdamAtan2(groups, betas=_betas(config)),
        True,
        f"Everett et al. 2407.05872; {_ENTRYWISE}",
        OptimizerConfig("adam_atan2", beta2=0.99),
        1e-4,
    ),
    "adopt": OptimizerSpec(
        "adam", True, library.adopt, True, _SPECTRAL, OptimizerConfig("adopt", beta2=0.9999, eps=1e-6), 1e-3
    ),
    "lion": OptimizerSpec(
        "adam",
        True,
        library.lion,
        True,
        f"{_ENTRYWISE}; Lingle 2404.05728 found no transfer in practice",
        OptimizerConfig("lion", beta2=0.99),
        1e-4,
    ),
    "sophia": OptimizerSpec(
        "adam", False, library.sophia, True, _SPECTRAL, OptimizerConfig("sophia", beta1=0.96, beta2=0.99), 6e-2
    ),
    "soap": OptimizerSpec(
        "adam", False, library.soap, True, _MATRIX, OptimizerConfig("soap", beta1=0.95, beta2=0.95), 3e-3
    ),
    "adafactor": OptimizerSpec(
        "norm",
        False,
        library.adafactor,
        True,
        "Everett et al. 2407.05872, Adafactor with full alignment",
        OptimizerConfig("adafactor", beta2=0.999),
        1e-3,
    ),
    "lamb": OptimizerSpec(
        "norm", False, library.lamb, True, _SPECTRAL, OptimizerConfig("lamb", beta2=0.999, eps=1e-6), 1e-3
    ),
    "lars": OptimizerSpec(
        "norm",
        False,
        library.lars,
        False,
        "assumed as Adafactor's, by its update's size",
        OptimizerConfig("lars"),
        1e-3,
    ),
    "sgd": OptimizerSpec(
        "sgd",
        True,
        lambda groups, config: torch.optim.SGD(groups, momentum=config.momentum, nesterov=config.nesterov, fused=True),
        True,
        _TPV,
        OptimizerConfig("sgd", momentum=0.0),
        1e-3,
    ),
    "muon": OptimizerSpec(
        "spectral",
        False,
        _muon,
        True,
        f"{_MATRIX}; {_SPECTRAL}",
        OptimizerConfig("muon", momentum=0.95, beta2=0.999),
        1e-3,
    ),
    "shampoo": OptimizerSpec(
        "spectral",
        False,
        lambda groups, config: library.shampoo(groups, config, _adamw(config)),
        True,
        f"{_MATRIX}; {_SPECTRAL}",
        OptimizerConfig("shampoo", beta2=0.999),
        1e-3,
    ),
    "dadapt_adam": OptimizerSpec(
        "adam",
        False,
        library.dadapt_adam,
        False,
        "assumed: one distance in the gauge in which all rates are equal (Tensor Programs V, Lemma J.1)",
        OptimizerConfig("dadapt_adam", beta2=0.999),
        1.0,
    ),
    "prodigy": OptimizerSpec(
        "adam",
        False,
        library.prodigy,
        False,
        "assumed: one distance in the gauge in which all rates are equal (Tensor Programs V, Lemma J.1)",
        OptimizerConfig("prodigy", beta2=0.999),
        1.0,
    ),
    "schedule_free_adamw": OptimizerSpec(
        "adam",
        True,
        library.schedule_free_adamw,
        False,
        "assumed as Adam's",
        OptimizerConfig("schedule_free_adamw", beta2=0.999),
        2.5e-3,
    ),
    "schedule_free_sgd": OptimizerSpec(
        "sgd",
        True,
        library.schedule_free_sgd,
        False,
        "assumed as SGD's",
        OptimizerConfig("schedule_free_sgd"),
        1.0,
    ),
}
"""Every optimizer by name."""
