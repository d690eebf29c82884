"""What cannot be: values that are not finite, a loss of 0, a rate of 0, a loss that was summed."""

from __future__ import annotations

import numpy as np

from mutransfer.toolbox.doctor import thresholds as at
from mutransfer.toolbox.doctor.finding import NOTE, PROBLEM, Finding, Judged
from mutransfer.toolbox.doctor.run import Run
from mutransfer.trials.logs.log import Curve

LAST = 3
"""Values at the end that must all be lost; of fewer, all."""


def not_finite(run: Run) -> Judged:
    """A dead run, as its trainer prints it: a loss of 0, gradients, updates or a held-out loss that are not finite."""
    if run.diverged_at is not None:
        return None
    lost = {
        "gradient norm": _lost_since(run.grad_norm, LAST),
        "held-out loss": _lost_since(run.val_loss, 1),
        "rate": _lost_since(run.lr, 1),
    }
    lost |= {f"update of {layer}": _lost_since(curve, LAST) for layer, curve in run.update_ratio.items()}
    found = {name: step for name, step in lost.items() if step is not None}
    if run.dead_from is not None:
        found = {"loss, exactly 0,": int(run.loss.step[run.dead_from]), **found}
    if not found:
        return _skipped(run)
    since = min(found.values())
    listed = ", ".join(f"{name} since step {step}" for name, step in list(found.items())[:4])
    before = run.finite.value[-1] if len(run.finite) else np.nan
    return Finding(
        "not_finite",
        PROBLEM,
        "the run is dead: what it computes is no longer finite",
        f"lost to the end of the log: {listed}; the last loss before was {before:.4g}",
        "go back to a checkpoint from before that; in float16 (which overflows at 65504) train in bfloat16, or lower "
        "the rate and look at the loss scale",
        "look at the first batch that was lost: empty rows (a mean over no tokens), labels out of range, a division or "
        "a logarithm of 0",
        "Micikevicius et al. 1710.03740, section 3.2 (loss scaling); CS231n, neural-networks-3",
        since,
        int(run.loss.step[-1]),
    )


def rate_zero(run: Run) -> Judged:
    """A rate that is 0 from the first step to the last."""
    if run.peak_lr > 0:
        return None
    return Finding(
        "rate_zero",
        PROBLEM,
        "the learning rate is 0 throughout",
        f"{len(run.lr)} rates from step {run.lr.step[0]} to {run.lr.step[-1]}, all 0",
        "look at the schedule: its length, whether it is stepped, and what it multiplies",
        "print the optimizer's groups after the first step",
        "by definition",
        int(run.lr.step[0]),
        int(run.lr.step[-1]),
    )


def loss_summed(run: Run) -> Judged:
    """A training loss that is several times the held-out one from first to last."""
    val = run.val_loss
    known = np.isfinite(val.value) & (val.value > 0) & (val.step >= run.loss.step[0])
    if known.sum() < at.FEWEST_VAL or not len(run.finite) or (run.finite.value <= 0).any():
        return f"fewer than {at.FEWEST_VAL} held-out losses"
    steps = val.step[known]
    ratios = np.interp(steps, *run.finite) / val.value[known]
    if ratios.min() < at.SUMMED or ratios.max() > at.ALIKE * ratios.min():
        return None
    return Finding(
        "loss_summed",
        PROBLEM,
        "the training loss is not measured as the held-out one is",
        f"it is {ratios.min():.3g} to {ratios.max():.3g} times as large at every one of {len(ratios)} looks",
        "divide by the micro-batches over which it is accumulated, and check what the backward pass sees: gradients "
        "that many times as large are clipped, or ask for a smaller rate",
        "check that both are means over the same tokens, in the same unit",
        "CS231n, neural-networks-3, train/val accuracy",
        int(steps[0]),
        int(steps[-1]),
    )


def _lost_since(curve: Curve, fewest: int) -> int | None:
    """The step from which on a curve is not finite, with at least so many values, or all that there are."""
    well = np.flatnonzero(np.isfinite(curve.value))
    first = int(well[-1]) + 1 if len(well) else 0
    lost = len(curve) - first
    return int(curve.step[first]) if lost and (lost >= fewest or not len(well)) else None


def _skipped(run: Run) -> Finding | None:
    """Losses or gradients that were not finite, and the run went on."""
    steps = sorted({int(s) for curve in (run.loss, run.grad_norm) for s in curve.step[~np.isfinite(curve.value)]})
    if not steps:
        return None
    return Finding(
        "not_finite",
        NOTE,
        "some steps were not finite, and the run went on",
        f"loss or gradient at {len(steps)} of {len(run.loss)} logged steps, the first {steps[0]}, the last {steps[-1]}",
        "nothing, where a loss scaler skips these steps (the first few of a run in float16 are usual)",
        "where they go on: train in bfloat16, or lower the rate",
        "Micikevicius et al. 1710.03740, section 3.2 (loss scaling)",
        steps[0],
        steps[-1],
    )
