"""Runs that diverge: at once, in the warmup or later; and those whose loss rises without that.

A run has diverged where its loss is not finite to the end, or where the median of 20 logged losses is above the first
one by more than the noise explains, at the end or for a tenth of the run (the sweep's own definition, which knows every
step, needs no margin).
"""

from __future__ import annotations

import numpy as np

from mutransfer.toolbox.doctor import thresholds as at
from mutransfer.toolbox.doctor.finding import PROBLEM, Finding, Judged
from mutransfer.toolbox.doctor.run import Run, levels, part, rolling_median

TOO_SHORT = f"fewer than {at.FEWEST_SHORT} logged losses"


def too_early(run: Run) -> str | None:
    """Why a run is too short for a judgement of its course."""
    if len(run.finite) < at.FEWEST_SHORT:
        return TOO_SHORT
    return f"fewer than {at.EARLY} steps" if run.unit == "step" and run.steps < at.EARLY else None


def onset(run: Run, until: int) -> int:
    """Where the loss was lowest before that."""
    values = run.finite[: max(1, int(np.searchsorted(run.finite.step, until)))]
    return int(values.step[int(rolling_median(values.value).argmin())]) if len(values) else until


def diverged_at_once(run: Run) -> Judged:
    """Gone before training had begun."""
    step = run.diverged_at
    if step is None:
        return TOO_SHORT if len(run.finite) < at.FEWEST_SHORT else None
    if not run.from_start or run.unit != "step" or step > at.AT_ONCE or _warmed_up(run, step):
        return None
    return Finding(
        "diverged_at_once",
        PROBLEM,
        "the loss diverged within the first steps",
        _course(run, step),
        "divide the rate by 10; if it then trains, look for the edge with a learning-rate range test",
        "if it does not: look at the first batch (finite inputs? labels within range?), at the first loss (ln of the "
        "number of classes, where outputs start at zero) and at the precision (float16 overflows at 65504)",
        "Cohen et al. 2103.00065, section 2: above 2/sharpness gradient descent diverges",
        0,
        step,
    )


def diverged_in_warmup(run: Run) -> Judged:
    """Trained, or stood still, while the rate was small, and diverged when it rose."""
    step = run.diverged_at
    known = run.setup.warmup is not None or len(run.lr) > 0
    if step is None or not known or not run.from_start or run.warmup <= 1 or step > at.LATE * run.warmup + at.WINDOW:
        return None
    if step <= at.AT_ONCE and not _warmed_up(run, step):
        return None
    there = f" ({_rate(run, onset(run, step)):.2g} at its lowest loss)" if len(run.lr) else ""
    return Finding(
        "diverged_in_warmup",
        PROBLEM,
        "the loss diverged as the warmup brought the rate up",
        _course(run, step),
        f"set the peak rate below the one at which it turned{there}",
        "keep it and warm up several times longer (which leads to where higher rates are borne), or add what raises "
        "the bearable rate: query and key norms, z-loss, clipping",
        "Gilmer et al. 2110.04369; Wortsman et al. 2309.14322, sections 3.1 and 3.2.1",
        onset(run, step),
        step,
    )


def diverged_later(run: Run) -> Judged:
    """Trained, and then diverged."""
    step = run.diverged_at
    if step is None or diverged_at_once(run) is not None or diverged_in_warmup(run) is not None:
        return None
    return Finding(
        "diverged_later",
        PROBLEM,
        "the loss diverged after it had trained",
        _course(run, step),
        "go back to a checkpoint from before that and halve the rate; look at the batches and the rate there",
        "clip the gradient's norm at 1, or lower Adam's beta2 to 0.95",
        "Chowdhery et al. 2204.02311, section 5.1; Wortsman et al. 2309.14322",
        onset(run, step),
        step,
    )


def loss_rose(run: Run) -> Judged:
    """Went up and stayed up, without diverging."""
    if run.diverged_at is not None or run.dead_from is not None:
        return None
    early = too_early(run)
    if early is not None:
        return early
    values = run.finite.value
    short = len(values) < at.FEWEST
    count = max(3, len(values) // 4) if short else max(at.WINDOW // 2, round(at.TAIL * len(values)))
    level = levels(values, count)
    lowest = int(level.argmin())
    # a median has 1.25 times the error of a mean
    rise, error = float(level[-1] - level[lowest]), 1.25 * run.noise * np.sqrt(2 / count)
    gained = max(run.fall, at.UNLEARNED * abs(float(np.median(values))))
    if rise < max((at.ROSE_SHORT if short else at.ROSE) * gained, at.MARGIN * error):
        return None
    step = int(run.finite.step[lowest + count // 2])
    return Finding(
        "loss_rose",
        PROBLEM,
        "the training loss rose and stayed up",
        f"{level[lowest]:.4g} around step {step}, {level[-1]:.4g} at the end: {part(rise, gained)} of all that was "
        "gained is lost again",
        "go back to before it rose, and look at what changed there: rate, data, a restart",
        "halve the rate, or let it decay earlier",
        "CS231n, neural-networks-3, loss function; Wortsman et al. 2309.14322",
        step,
        int(run.finite.step[-1]),
    )


def _warmed_up(run: Run, step: int) -> bool:
    return run.warmup > 1 and onset(run, step) >= at.WARM * run.warmup


def _rate(run: Run, step: int) -> float:
    return float(run.lr.at(np.array([step]))[0])


def _course(run: Run, step: int) -> str:
    """The first, the lowest and the last loss, and where the rate and the gradient stood."""
    begun = onset(run, step)
    lowest = run.finite.at(np.array([begun]))[0] if len(run.finite) else float("nan")
    lost = run.dead_from is not None and step >= run.loss.step[run.dead_from]
    how = "not finite" if lost or not len(run.finite) else f"{run.finite.at(np.array([step]))[0]:.4g}"
    rate = ""
    if run.peak_lr > 0:
        rate = f"; the rate was {_rate(run, step):.3g} there, {_rate(run, step) / run.peak_lr:.0%} of its peak"
    known = "" if run.warmup <= 1 or not len(run.lr) else f" (warmup ends at step {run.warmup})"
    first = f"{run.loss.value[0]:.4g} at step {run.loss.step[0]}"
    return f"{first}, lowest {lowest:.4g} at {begun}, {how} at {step}{known}{rate}{_norms(run, step)}"


def _norms(run: Run, step: int) -> str:
    """The largest gradient norm before a divergence, where it stood out."""
    before = run.grad_norm[: int(np.searchsorted(run.grad_norm.step, step))]
    known = np.isfinite(before.value)
    if known.sum() < at.FEWEST_NOISE:
        return ""
    usual, largest = float(np.median(before.value[known])), int(np.where(known, before.value, -np.inf).argmax())
    if not before.value[largest] > at.GREW * usual > 0:
        return ""
    spike = f"{before.value[largest] / usual:.3g} times its median, at step {before.step[largest]}"
    return f"; the gradient's norm spiked before, to {spike}"
