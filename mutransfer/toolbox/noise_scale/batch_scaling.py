"""Hyperparameters for another batch size, over as many examples: data in, data out.

With the batch k times as large and 1/k of the steps, multiply by

| | lr | 1 - beta1, 1 - beta2 | eps | weight decay | source |
|---|---|---|---|---|---|
| SGD | k | | | | the linear rule: Goyal et al. 2017, arXiv 1706.02677 |
| Adam, RMSprop | sqrt(k) | k | 1/sqrt(k) | sqrt(k) | the square-root rule: Malladi et al. 2022, arXiv 2205.10287 |

SGD keeps its momentum. Weight decay changes so that the whole run shrinks a weight as much as before, as in
Complete(d)P (arXiv 2512.22382, table 1).

Both rules hold while noise rules the gradients. Where a critical batch size C is known, k is not the growth of the
batch, but

    k = (1 + C / from_batch) / (1 + C / to_batch)

by which McCandlish et al. (2018, arXiv 1812.06162, sections 2.2 and 2.3) let SGD's best rate grow, lr_max / (1 + C/B),
and the steps fall, S_min (1 + C/B): the growth of the batch far below C, and nothing beyond it. E |g|^2 falls by it
too, as |G|^2 (1 + C/B), and Adam's second moment with that. That the square-root rule takes this k is derived here; it
is not in Malladi et al.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from mutransfer.checks import positive
from mutransfer.config import OptimizerConfig
from mutransfer.theory.optimizers import OPTIMIZERS


class BatchRule(NamedTuple):
    """How the rate follows the growth of the batch, who says so, and the decays that change with it."""

    name: str
    lr: Callable[[float], float]
    source: str
    betas: tuple[str, ...]


_BY_EXPONENT: Mapping[float | None, BatchRule] = {
    1.0: BatchRule("linear", lambda growth: growth, "Goyal et al. 1706.02677", ()),
    0.5: BatchRule("square root", math.sqrt, "Malladi et al. 2205.10287", ("beta1", "beta2")),
}

BATCH_RULES: Mapping[str, BatchRule] = {
    name: rule._replace(betas=tuple(beta for beta in rule.betas if beta in spec.fields))
    for name, spec in OPTIMIZERS.items()
    if (rule := _BY_EXPONENT.get(spec.batch_exponent)) is not None
}
"""By optimizer: those that the sources are about."""


@dataclass(frozen=True)
class ScaledBatch:
    """What to train with at another batch size. `growth` is the k of the rule; `steps_mult` times as many steps make as
    much progress; `notes` say where the rule goes beyond what is known of it."""

    batch_size: int
    lr: float
    optimizer: OptimizerConfig
    growth: float
    steps_mult: float
    rule: str
    notes: tuple[str, ...]


def scale_batch(
    lr: float, optimizer: OptimizerConfig, *, from_batch: int, to_batch: int, critical: float | None = None
) -> ScaledBatch:
    """Rate, betas, epsilon and weight decay for `to_batch`, of those that were tuned at `from_batch`.

    Args:
        lr: the peak rate at `from_batch`.
        optimizer: the optimizer at `from_batch`.
        from_batch, to_batch: batch sizes, in examples or tokens.
        critical: the critical batch size in the same unit, such as B_simple; None: not known, and the rule is taken to
            hold all the way.

    Raises:
        ValueError: on an optimizer for which there is no rule, on what is not above 0, and where a beta would
            fall to 0 or below.
    """
    optimizer.validate()
    for name, value in (("lr", lr), ("from_batch", from_batch), ("to_batch", to_batch)):
        positive(name, value)
    if critical is not None:
        positive("critical", critical)
    if optimizer.name not in BATCH_RULES:
        raise ValueError(
            f"found optimizer {optimizer.name}; wanted one of {', '.join(BATCH_RULES)}, for which there is a rule: "
            "tune its rate at the new batch size"
        )
    rule = BATCH_RULES[optimizer.name]
    growth = to_batch / from_batch if critical is None else (1 + critical / from_batch) / (1 + critical / to_batch)
    scaled_lr = lr * rule.lr(growth)
    by_rate = 1.0 if optimizer.decay_mode == "lr_independent" else lr / scaled_lr
    changes: dict[str, Any] = {name: _shorter(name, getattr(optimizer, name), growth) for name in rule.betas}
    changes["weight_decay"] = optimizer.weight_decay * growth * by_rate
    if rule.betas:
        changes["eps"] = optimizer.eps / math.sqrt(growth)
    return ScaledBatch(
        batch_size=to_batch,
        lr=scaled_lr,
        optimizer=replace(optimizer, **changes),
        growth=growth,
        steps_mult=1 / growth,
        rule=f"{rule.name} ({rule.source})",
        notes=_notes(from_batch, to_batch, critical),
    )


def _shorter(name: str, beta: float, growth: float) -> float:
    """A moment's decay with a memory of as many examples; a moment without memory stays so."""
    scaled = 1 - growth * (1 - beta)
    if beta > 0 and scaled <= 0:
        raise ValueError(
            f"found {name} {beta:g} and a growth of {growth:.3g}, which makes it {scaled:.3g}; wanted a growth below "
            f"{1 / (1 - beta):.3g}: scale to a smaller batch, or tune at a {name} nearer to 1"
        )
    return scaled if beta > 0 else 0.0


def _notes(from_batch: int, to_batch: int, critical: float | None) -> tuple[str, ...]:
    if critical is None:
        return (
            "no critical batch size is given: the rule holds only while the batch stays well below it "
            "(`mutransfer noise-scale` measures it)",
        )
    if to_batch > max(from_batch, critical):
        fewest = 1 + critical / to_batch
        return (
            f"batch {to_batch} is beyond the critical batch size {critical:.3g}: a run takes {fewest:.2f} times the "
            f"fewest steps, and {1 + to_batch / critical:.2f} times the fewest examples",
        )
    return ()
