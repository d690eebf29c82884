"""Runs that diverge: at once, in the warmup or later; and those whose loss rises without that.

A run has diverged where its loss is not finite, or where the mean of 20 logged losses is above the first one by more
than the noise explains (the sweep's own definition, which knows every step and needs no margin).
"""

from __future__ import annotations

import numpy as np

from mutransfer.toolbox.doctor.finding import PROBLEM, Finding
from mutransfer.toolbox.doctor.run import Run, rolling_median, scatter

WINDOW = 20
"""Logged losses whose mean is held against the first one: one bad batch is no divergence."""
MARGIN = 5.0
"""Standard deviations by which that mean must lie above: a loss that never moved stays within one or two of it."""
AT_ONCE = 20
"""Steps within which a rate that is much too high shows: an unstable direction grows by a factor each step."""
WARM = 0.5
"""A run that is still well at this part of its warmup was not lost from the start."""
LATE = 1.5
"""After this many times its length the warmup no longer explains what happens."""
TAIL = 0.1
"""The last part of a run, by which its end is judged."""
ROSE = 0.05
"""A rise of this part of all that was gained, and beyond the noise, is a loss, not a fluctuation."""


def divergence(run: Run) -> int | None:
    """The step at which a run diverged, or None."""
    if run.diverged_step is not None:
        return run.diverged_step
    values = run.finite.value
    if len(values) > WINDOW:
        means = np.lib.stride_tricks.sliding_window_view(values, WINDOW).mean(axis=1)
        margin = MARGIN * scatter(values[: 2 * WINDOW])  # of its beginning: once diverged it swings widely
        above = (means > values[0] + margin) & (run.finite.step[WINDOW - 1 :] >= run.warmup)
        if above.any():
            return int(run.finite.step[int(above.argmax()) + WINDOW - 1])
    return None if len(values) == len(run.loss) else int(run.loss.step[len(values)])


def onset(run: Run, until: int) -> int:
    """Where the loss was lowest before that."""
    values = run.finite[: max(1, int(np.searchsorted(run.finite.step, until)))]
    return int(values.step[int(rolling_median(values.value).argmin())]) if len(values) else until


def diverged_at_once(run: Run) -> Finding | None:
    """Gone before training had begun."""
    step = divergence(run)
    if step is None or not run.from_start or step > AT_ONCE or _warmed_up(run, step):
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


def diverged_in_warmup(run: Run) -> Finding | None:
    """Trained, or stood still, while the rate was small, and diverged when it rose."""
    step = divergence(run)
    if step is None or not run.from_start or run.warmup <= 1 or step > LATE * run.warmup + WINDOW:
        return None
    if step <= AT_ONCE and not _warmed_up(run, step):
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


def diverged_later(run: Run) -> Finding | None:
    """Trained, and then diverged."""
    step = divergence(run)
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


def loss_rose(run: Run) -> Finding | None:
    """Went up and stayed up, without diverging."""
    if divergence(run) is not None or run.fall <= 0 or len(run.finite) < 2 * WINDOW:
        return None
    values = run.finite.value
    count = max(WINDOW // 2, round(TAIL * len(values)))
    means = np.convolve(values, np.full(count, 1 / count), "valid")
    lowest = int(means.argmin())
    rise, error = float(means[-1] - means[lowest]), run.noise * np.sqrt(2 / count)
    if rise < max(ROSE * run.fall, MARGIN * error):
        return None
    step = int(run.finite.step[lowest + count // 2])
    return Finding(
        "loss_rose",
        PROBLEM,
        "the training loss rose and stayed up",
        f"{means[lowest]:.4g} around step {step}, {means[-1]:.4g} at the end: {rise / run.fall:.0%} of all that was "
        "gained is lost again",
        "go back to before it rose, and look at what changed there: rate, data, a restart",
        "halve the rate, or let it decay earlier",
        "CS231n, neural-networks-3, loss function; Wortsman et al. 2309.14322",
        step,
        int(run.finite.step[-1]),
    )


def _warmed_up(run: Run, step: int) -> bool:
    return run.warmup > 1 and onset(run, step) >= WARM * run.warmup


def _rate(run: Run, step: int) -> float:
    return float(run.lr.at(np.array([step]))[0])


def _course(run: Run, step: int) -> str:
    """The first, the lowest and the last loss, and where the rate stood."""
    begun = onset(run, step)
    lowest = run.finite.at(np.array([begun]))[0] if len(run.finite) else float("nan")
    there = float(run.finite.at(np.array([step]))[0]) if len(run.finite) else float("nan")
    lost = len(run.finite) < len(run.loss) and step >= run.loss.step[len(run.finite)]
    how = "not finite" if lost else f"{there:.4g}"
    rate = ""
    if len(run.lr):
        rate = f"; the rate was {_rate(run, step):.3g} there, {_rate(run, step) / run.lr.value.max():.0%} of its peak"
    known = "" if run.warmup <= 1 else f" (warmup ends at step {run.warmup})"
    first = f"{run.loss.value[0]:.4g} at step {run.loss.step[0]}"
    return f"{first}, lowest {lowest:.4g} at {begun}, {how} at {step}{known}{rate}"
