"""Optimizers by name: what each one uses, which of a table's rate columns it takes, and who says so.

An entry here is all that the rest of the package knows of an optimizer: flags, validation, rules and the tests of laws
read it. `mutransfer.optim.makers` has a function of the same name, which makes it.

| family | the table's column | its update of a matrix |
|---|---|---|
| sgd | sgd | is as large as the gradient |
| adam | adam | has entries of about one size, whatever the gradient's size |
| norm | norm | is as large as the matrix itself |
| spectral | muon's for hidden matrices, adam's elsewhere | has singular values of about one size |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

Family = Literal["sgd", "adam", "norm", "spectral"]


class OptimizerSpec(NamedTuple):
    """An optimizer, and what muP needs to know of it."""

    family: Family
    """Which of a table's rate columns it takes."""
    fields: tuple[str, ...]
    """The fields of its config that it uses and that not all optimizers use. One without `weight_decay` cannot shrink
    a weight by a part that the learning rate alone decides."""
    lr: float
    """The learning rate that its implementation starts from."""
    rule: str
    """Where muP's rule for it is from, or what is assumed."""
    defaults: Mapping[str, float] = {}
    """The hyperparameters that its implementation starts from, where they differ from those of an OptimizerConfig."""
    established: bool = True
    """Whether muP's rule for it has been derived. Where not, let an experiment speak before you rely on it."""
    elementwise: bool = True
    """Whether each entry's update depends on that entry's gradients alone, so that stacked trials can be trained as
    one. What is not elementwise works on each tensor by itself, except dadapt_adam and prodigy (one distance for all
    tensors) and sophia (one probe of the curvature for all)."""
    batch_exponent: float | None = None
    """The power of the batch size with which its learning rate goes, where that is known (SGD: Goyal et al. 1706.02677;
    Adam and RMSprop: Malladi et al. 2205.10287)."""
    averages_by: str | None = None
    """The field by which it averages its weights in place of a decaying schedule."""
    decay_follows_lr: bool = False
    """Its weight decay cannot be separated from its learning rate: there is no lr_independent decay."""
    square_root_of_sides: bool = False
    """Its step's norm is the learning rate times sqrt(max(1, rows / columns)) of the tensor as it is stored."""
    curved: bool = False
    """It differentiates twice at some steps: it trains one model at a time, eagerly."""


MOMENTA = ("beta1", "momentum")
"""Fields that one_cycle's momentum_dip lowers."""

_MOMENTS = ("beta1", "beta2", "eps", "scale_eps")
_ADAM = (*_MOMENTS, "weight_decay")

_TPV = "Tensor Programs V, Tables 3 and 8"
_ENTRYWISE = "Tensor Programs IVb (2308.01814), for entrywise updates"
_SPECTRAL = "spectral conditions: Gupta et al. 2602.20937"
_MATRIX = "Qiu et al. 2512.05620"
_DISTANCE = "assumed: one distance in the gauge in which all rates are equal (Tensor Programs V, Lemma J.1)"

OPTIMIZERS: Mapping[str, OptimizerSpec] = {
    "adamw": OptimizerSpec("adam", _ADAM, 1e-3, f"{_TPV}; decay: appendix B.3", {"beta2": 0.999}, batch_exponent=0.5),
    "adam": OptimizerSpec("adam", _MOMENTS, 1e-3, _TPV, {"beta2": 0.999}, batch_exponent=0.5),
    "adam_l2": OptimizerSpec(
        "adam",
        _ADAM,
        1e-3,
        "none for decay within the moments (Tensor Programs V, appendix B.3); width_independent grows it with width as "
        "the mup package's MuAdam does",
        {"beta2": 0.999},
        established=False,
        decay_follows_lr=True,
    ),
    "nadam": OptimizerSpec("adam", _ADAM, 2e-3, _ENTRYWISE, {"beta2": 0.999}),
    "radam": OptimizerSpec(
        "adam",
        _ADAM,
        1e-3,
        "assumed as Adam's; its first five steps or so are SGD's",
        {"beta2": 0.999},
        established=False,
    ),
    "rmsprop": OptimizerSpec(
        "adam", ("beta2", "eps", "scale_eps"), 1e-2, _ENTRYWISE, {"beta2": 0.99}, batch_exponent=0.5
    ),
    "adam_atan2": OptimizerSpec(
        "adam",
        ("beta1", "beta2", "weight_decay"),
        1e-4,
        f"Everett et al. 2407.05872; {_ENTRYWISE}",
        {"beta2": 0.99},
    ),
    "adopt": OptimizerSpec("adam", _ADAM, 1e-3, _SPECTRAL, {"beta2": 0.9999, "eps": 1e-6}),
    "lion": OptimizerSpec(
        "adam",
        ("beta1", "beta2", "weight_decay"),
        1e-4,
        f"{_ENTRYWISE}; Lingle 2404.05728 found no transfer in practice",
        {"beta2": 0.99},
    ),
    "sophia": OptimizerSpec(
        "adam",
        ("beta1", "beta2", "weight_decay", "precondition_every"),
        6e-2,
        _SPECTRAL,
        {"beta1": 0.96, "beta2": 0.99},
        elementwise=False,
        curved=True,
    ),
    "soap": OptimizerSpec(
        "adam", (*_ADAM, "precondition_every"), 3e-3, _MATRIX, {"beta1": 0.95, "beta2": 0.95}, elementwise=False
    ),
    "adafactor": OptimizerSpec(
        "norm",
        ("beta2",),
        1e-3,
        "Everett et al. 2407.05872, Adafactor with full alignment",
        {"beta2": 0.999},
        elementwise=False,
    ),
    "lamb": OptimizerSpec("norm", _ADAM, 1e-3, _SPECTRAL, {"beta2": 0.999, "eps": 1e-6}, elementwise=False),
    "lars": OptimizerSpec(
        "norm",
        ("momentum", "nesterov"),
        1e-3,
        "assumed as Adafactor's, by its update's size",
        established=False,
        elementwise=False,
    ),
    "sgd": OptimizerSpec(
        "sgd", ("momentum", "nesterov", "weight_decay"), 1e-3, _TPV, {"momentum": 0.0}, batch_exponent=1.0
    ),
    "muon": OptimizerSpec(
        "spectral",
        ("momentum", *_ADAM),
        1e-3,
        f"{_MATRIX}; {_SPECTRAL}",
        {"beta2": 0.999, "momentum": 0.95},
        elementwise=False,
        square_root_of_sides=True,
    ),
    "shampoo": OptimizerSpec(
        "spectral",
        (*_ADAM, "precondition_every"),
        1e-3,
        f"{_MATRIX}; {_SPECTRAL}",
        {"beta2": 0.999},
        elementwise=False,
    ),
    "dadapt_adam": OptimizerSpec(
        "adam",
        _ADAM,
        1.0,
        _DISTANCE,
        {"beta2": 0.999},
        established=False,
        elementwise=False,
        decay_follows_lr=True,
    ),
    "prodigy": OptimizerSpec(
        "adam",
        _ADAM,
        1.0,
        _DISTANCE,
        {"beta2": 0.999},
        established=False,
        elementwise=False,
        decay_follows_lr=True,
    ),
    "schedule_free_adamw": OptimizerSpec(
        "adam", _ADAM, 2.5e-3, "assumed as Adam's", {"beta2": 0.999}, established=False, averages_by="beta1"
    ),
    "schedule_free_sgd": OptimizerSpec(
        "sgd", ("momentum", "weight_decay"), 1.0, "assumed as SGD's", established=False, averages_by="momentum"
    ),
}
"""Every optimizer by name."""
