"""The coordinate check for any model: build it at several widths, train each for a few steps on one batch, and look at
what the steps change (Tensor Programs V, appendix D.1)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mutransfer.analysis.curve import Array
from mutransfer.checks import positive, several
from mutransfer.config import OptimizerConfig
from mutransfer.coordcheck.bench import Bench, Build, Loss, Scheduler, next_token_loss, text_batches
from mutransfer.coordcheck.causes import NOUNS, find_causes
from mutransfer.coordcheck.coordinates import COLUMNS, LOGITS, read_coordinates
from mutransfer.coordcheck.result import BLIND, FAIL, PASS, CoordCheck, CoordSettings
from mutransfer.coordcheck.verdict import Judgement, judge
from mutransfer.training.trainer import one_thread

ATTENTION = re.compile("attention|attn", re.IGNORECASE)
"""In the name of a module that computes it."""
NOT_SHOWN: Mapping[str, str] = {
    "radam": "makes its first five updates as SGD does",
    "soap": "from one batch makes an update as large as that batch's rank",
    "sophia": "needs the curvature",
}
"""Why a few updates on one batch do not show an optimizer as it is; all have the rates of Adam."""
UNSTABLE = 2.0
"""A given rate that changes a module by more than this times its initial size has left its initialization behind."""


def coord_check(
    build: Build,
    widths: Sequence[int] = CoordSettings.widths,
    *,
    optimizer: str | OptimizerConfig = OptimizerConfig.name,
    lr: float | None = None,
    steps: int = CoordSettings.steps,
    seeds: int = CoordSettings.seeds,
    batch: Callable[[int], Any] | None = None,
    loss: Loss = next_token_loss,
    scheduler: Scheduler | None = None,
    tolerance: float = CoordSettings.tolerance,
    device: str = "cpu",
) -> CoordCheck:
    """Whether what training changes in a model's modules is independent of width, and if not, which module is at fault
    and why (Tensor Programs V, appendix D.1).

    Args:
        build: from a width to a model: a `Parametrized`, a pair of a module and its parameter groups, or a module
            alone, which gets one rate for all (SP). Torch's generator is seeded before each call, and a parameter named
            `seed` gets the seed; dropout must be off.
        widths: two or more; the narrowest is where the rate is chosen.
        optimizer: a name in `mutransfer.OPTIMIZERS`, or its config.
        lr: the base rate; of a pair, what multiplies the groups' own rates. None: chosen so that changes are plain to
            see and small; see `TARGET`.
        steps: updates to make, all on one batch.
        seeds: initializations and batches at each width, two or more.
        batch: from a seed to what `loss` takes beside the model. None: bytes of Python's standard library.
        loss: of the model and a batch, a scalar. The default takes a batch as (inputs, targets).
        scheduler: from the optimizer to a scheduler whose `step()` follows every update.
        tolerance: powers of width by which a slope may lie outside muP's bounds.
        device: a torch device.

    Raises:
        ValueError: on fewer than two widths or seeds, on what `build` returned, on models that differ in more than
            width, where the data does not flow alike in every pass, and on an optimizer that a few updates on one
            batch do not show as it is.
    """
    config = OptimizerConfig(name=optimizer) if isinstance(optimizer, str) else optimizer
    config.validate()
    check_shown(config, steps)
    several("widths", tuple(widths))
    for name, value in (("steps", steps), ("tolerance", tolerance), *(("width", width) for width in widths)):
        positive(name, value)
    for name, count in (("widths", len(widths)), ("seeds", seeds)):
        if count < 2:
            raise ValueError(f"found {count} {name}; wanted at least 2, to tell a slope and how sure it is")
    widths = tuple(sorted(widths))
    bench = Bench(build, config, text_batches() if batch is None else batch, loss, scheduler, steps, device)
    chosen = lr is None
    with one_thread(device):
        lr = bench.choose_lr(widths[0]) if lr is None else lr
        positive("lr", lr)
        runs = [bench.run(width, seed, lr) for width in widths for seed in range(seeds)]
        powers = bench.gradient_powers(widths[0])
    first = runs[0]
    unit = "the groups' rates times" if first.own_rates else "lr"
    rows = [row for each in runs for row in each.rows]
    rows += [(module, "gradient_power", 0, widths[0], 0, powers[name]) for module, name in first.parameters.items()]
    if not config.spec.elementwise:  # an update of a whole matrix aligns with as many directions as the batch has
        rows = [row for row in rows if row[1] != "pull"]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    if all(len(set(each["value"])) == 1 for _, each in frame[frame["quantity"] == "out_size"].groupby("module")):
        raise ValueError(
            f"expected models that grow with width, got the same sizes at widths {widths[0]} and {widths[-1]}; use the "
            "width in build"
        )
    check_alike(frame)
    judgement = judge(read_coordinates(frame, first.roles, first.final), tolerance)
    findings = find_causes(judgement, first.ties, tolerance, first.advice)
    warnings, blind = look_back(judgement, steps)
    if first.frozen:
        more = f" and {len(first.frozen) - 1} more" if len(first.frozen) > 1 else ""
        warnings = (*warnings, f"{first.frozen[0] or 'the model'}{more} are frozen and not judged")
    return CoordCheck(
        verdict=FAIL if findings else BLIND if blind else PASS,
        findings=findings,
        warnings=warnings,
        judgement=judgement,
        frame=frame,
        widths=widths,
        seeds=seeds,
        steps=steps,
        optimizer=config.name,
        lr=lr,
        rate=f"{unit} {lr:.3g}{' (chosen)' if chosen else ''}",
        tolerance=tolerance,
    )


def check_shown(config: OptimizerConfig, steps: int) -> None:
    """Raises ValueError on an optimizer that a few updates on one batch do not show as it is."""
    if config.name in NOT_SHOWN:
        raise ValueError(f"found {config.name}, which {NOT_SHOWN[config.name]}; wanted adamw, which has its rates")
    if config.name == "shampoo" and config.precondition_every > steps:
        raise ValueError(
            f"found {steps} steps of shampoo, whose matrices stand still before step {config.precondition_every}; "
            "wanted optimizer.precondition_every 1"
        )


def check_alike(frame: pd.DataFrame) -> None:
    """Raises ValueError if a module is there at some widths only."""
    widths = {str(name): set(rows["width"]) for name, rows in frame.groupby("module")}
    for name, found in widths.items():
        if found != set(frame["width"]):
            raise ValueError(
                f"found module {name} at width {min(found)} but not at every width; wanted models that differ in width "
                "alone"
            )


def look_back(judgement: Judgement, steps: int) -> tuple[tuple[str, ...], bool]:
    """What stands in the way of a verdict, in words, and whether the check is blind: whether at the narrowest width
    something that has a rate did not move beyond rounding, or something was not finite."""
    values = judgement.coordinates.values
    rated = [m for m in judgement.coordinates.modules if (m, "rate", 0) in values and (values[m, "rate", 0] > 0).all()]
    if not rated:
        raise ValueError("found no parameter with a rate above 0; wanted a model to train: give parameter groups")
    moved = [module for module in rated if (module, "effective", steps) in judgement.slopes]
    still = [module for module in moved if not judgement.slopes[module, "effective", steps].seen]
    largest = max(
        (largest_ratio(values[module, "change", steps], values[module, "size", 0]))
        for module in judgement.coordinates.modules
        if (module, "change", steps) in values
    )
    peaks = [
        max(
            float((values[module, "rate", step] / values[module, "rate", 0])[:, 0].max())
            for step in range(1, steps + 1)
        )
        for module in rated
    ]
    warnings = []
    if still:
        shown = ", ".join(still[:3]) + (f" and {len(still) - 3} more" if len(still) > 3 else "")
        warnings.append(f"{shown} did not move beyond rounding in {steps} updates: raise lr or steps")
    if not largest <= UNSTABLE:
        warnings.append(f"the rate changes a module by {largest:.3g} times its initial size: lower lr")
    for ratio in sorted({min(peaks), max(peaks)}):
        if not 0.5 <= ratio <= 2.0:
            warnings.append(f"the scheduler ran at no more than {ratio:.3g} times the rate that it was given")
    starts = [values[module, "weight", 0] for module in rated]
    if all((start == start[0]).all() for start in starts):
        warnings.append("every seed starts from the same values: let build use its parameter `seed`")
    unseen = unseen_attention(judgement)
    if unseen:
        more = f" (and {len(unseen) - 1} more)" if len(unseen) > 1 else ""
        warnings.append(
            f"no logits of {unseen[0]}{more} were seen: whether head_dim grows, and their scale, is not judged"
        )
    return tuple(warnings), bool(still) or not math.isfinite(largest)


def unseen_attention(judgement: Judgement) -> list[str]:
    """Modules that hold matrices and are called attention, in whose reach no softmax of logits was seen: what computes
    it otherwise, such as by `exp` or in a kernel of its own."""
    seen = [each.module.removesuffix(LOGITS) for each in judgement.modules if each.module.endswith(LOGITS)]
    named: dict[str, None] = {}
    for module in judgement.modules:
        parts = module.module.split(".")
        called = [at for at, part in enumerate(parts) if ATTENTION.search(part)]
        if called and module.role in NOUNS and module.role != "vector":
            named[".".join(parts[: called[0] + 1])] = None
    near = {name: [each for each in seen if inside(each, name) or inside(name, each)] for name in named}
    return [name for name, found in near.items() if not found]


def inside(path: str, other: str) -> bool:
    """Whether a module stands inside another, or is it."""
    return not other or f"{path}.".startswith(f"{other}.")


def largest_ratio(change: Array, size: Array) -> float:
    """At the narrowest width, a change over the initial size, or as it is where that is 0."""
    start = np.where(size[:, 0] > 0, size[:, 0], 1.0)
    ratio = float((change[:, 0] / start).max())
    return math.inf if math.isnan(ratio) else ratio
