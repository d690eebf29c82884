"""What the quantities of a log are called, and a log put together from them.

| name | what |
|---|---|
| step | optimizer steps, rising (CSV only: events carry their own) |
| loss | training loss of the step's batch |
| val_loss | held-out loss |
| lr | learning rate, of the first group where there are several |
| grad_norm, clipped_grad_norm | global norm of the gradient before and after clipping |
| sharpness | largest eigenvalue of the Hessian (for Adam, of the preconditioned one) |
| update_ratio:LAYER | norm of a layer's update over the norm of its weight |
| weight_norm:LAYER | norm of a layer's weight |
| eps_share:LAYER | part of a layer's numbers in which Adam's epsilon is at least the root of its second moment |

(a name for LAYER may be left out where there is one of them for the whole model.)

Other spellings below are read too, and the reader says so; whatever is not read is named.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from mutransfer.trials.logs.log import LAYERED, Curve, Log

NAMES: Mapping[str, tuple[str, ...]] = {
    "step": ("global_step", "steps", "iteration", "iter", "trainer_global_step", "train_global_step"),
    "loss": ("train_loss", "training_loss", "loss_train", "loss_training", "train_loss_step"),
    "val_loss": ("eval_loss", "valid_loss", "validation_loss", "loss_val", "loss_eval", "loss_validation", "dev_loss"),
    "lr": ("learning_rate", "train_learning_rate", "train_lr", "lr_adamw", "lr_adam", "lr_sgd"),
    "grad_norm": ("gradient_norm", "gradnorm", "train_grad_norm", "total_grad_norm"),
    "clipped_grad_norm": ("grad_norm_clipped", "total_clipped_grad_norm"),
    "sharpness": (),
}
"""By name, its other spellings; case, and which of / . - space and _ divides the words, do not matter."""

WHOLE = "all"
"""What stands for the layer where none is named."""

_MEANT = {spelling: name for name, others in NAMES.items() for spelling in (name, *others)}


def meaning(column: str) -> str | None:
    """The name (`loss`, `update_ratio:LAYER`) of a column, or None where it has none."""
    head, divider, layer = re.sub(r"^train[/.]", "", column.strip()).partition(":" if ":" in column else "/")
    if _plain(head) in LAYERED:
        return f"{_plain(head)}:{layer if divider else WHOLE}"
    return _MEANT.get(_plain(column))


def assign(columns: Iterable[str], where: Path) -> dict[str, str]:
    """Names by column, of those that have one. Raises ValueError where two columns have the same."""
    names: dict[str, str] = {}
    for column in columns:
        name = meaning(column)
        if name is None:
            continue
        twin = next((other for other, known in names.items() if known == name), None)
        if twin is not None:
            raise ValueError(
                f"found {twin!r} and {column!r} in {where}, both of which could be {name}; wanted one: rename the other"
            )
        names[column] = name
    return names


def put_together(
    where: Path, points: Mapping[str, Sequence[tuple[int, float]]], names: Mapping[str, str], not_read: Sequence[str]
) -> Log:
    """A log of (step, value) pairs by column. Raises ValueError without a loss, and where the steps do not rise."""
    curves = {name: Curve() for name in NAMES if name != "step"}
    curves |= {names[column]: _curve(where, column, pairs) for column, pairs in points.items() if pairs}
    if not len(curves["loss"]):
        raise ValueError(
            f"found no training loss in {where} (it has {listed([*points, *not_read])}); wanted a column or tag named "
            f"loss, or {', '.join(NAMES['loss'])}: rename it"
        )
    read_as = {column: name for column, name in names.items() if name not in (column, f"{column}:{WHOLE}")}
    return Log(str(where), curves, read_as, tuple(not_read))


def listed(columns: Sequence[str]) -> str:
    """The first columns, in one line."""
    return ", ".join(reprlib.repr(column) for column in columns[:8]) or "none"


def _curve(where: Path, column: str, pairs: Sequence[tuple[int, float]]) -> Curve:
    step = np.array([step for step, _ in pairs], np.int64)
    falls = np.flatnonzero(np.diff(step) <= 0)
    if len(falls):
        raise ValueError(
            f"found step {step[falls[0] + 1]} after step {step[falls[0]]} in {column} of {where}; wanted steps that "
            "rise: keep one run, and of a restart the part that counts"
        )
    return Curve(step, np.array([value for _, value in pairs], np.float64))


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
