"""Runs that learn too slowly, no longer, not at all, or by heart."""

from __future__ import annotations

import numpy as np

from mutransfer.toolbox.doctor.divergence import MARGIN, divergence, loss_rose
from mutransfer.toolbox.doctor.finding import PROBLEM, Finding
from mutransfer.toolbox.doctor.run import Run
from mutransfer.trials.logs.log import Curve

FEWEST = 40
"""Logged losses below which a trend cannot be told from noise."""
STRAIGHT = 0.5
"""Gain of the second half over that of the first: 1 on a straight line, below 0.2 on the curves of sound rates."""
SURE = 2.0
"""Standard errors that a change must exceed to be one."""
FLAT = ((0.2, 0.015), (0.5, 0.003))
"""Flat since which part of the run, and the standard error of the change since then, over all that was gained, that is
needed to say so: from a fifth of it on sound runs here gain 7% of all that they gain, in their second half 1.5%."""
LEARNED = 0.05
"""A loss below this part of the first one has nothing left to gain."""
UNLEARNED = 0.02
"""A gain below this part of the first loss is none."""
DECAYED = 0.1
"""Below this part of its peak a rate has decayed, and a flat loss is to be expected."""
PARTED = 0.05
"""A rise of the held-out loss, over what it had gained, that noise and a last wiggle do not make."""
LOST = 0.5
"""Less than this part of what was gained in training holds on held-out data."""
FEWEST_VAL = 5


def slow_descent(run: Run) -> Finding | None:
    """A straight line where a curve should be."""
    curve = run.finite
    if divergence(run) is not None or not run.from_start or len(curve) < FEWEST or run.warmup > run.steps // 4:
        return None
    count = max(5, len(curve) // 20)
    start, middle, end = (_mean_at(curve, run.steps * part, count) for part in (0.0, 0.5, 1.0))
    error = run.noise * np.sqrt(2 / count)
    first, second = start - middle, middle - end
    if second < max(STRAIGHT * first, MARGIN * error):
        return None
    return Finding(
        "slow_descent",
        PROBLEM,
        "the loss falls in a nearly straight line",
        f"{start:.4g} to {middle:.4g} in the first half, to {end:.4g} in the second: {second / max(first, 1e-300):.0%} "
        "as much again, where a sound rate gains most of all early",
        "raise the rate 3 to 10 times (a learning-rate range test shows how far)",
        "shorten the warmup; where the rate is high, look for what holds it back: clipping, epsilon, frozen layers",
        "CS231n, neural-networks-3, loss function: at low rates the improvement is linear",
        int(curve.step[0]),
        int(curve.step[-1]),
    )


def never_learned(run: Run) -> Finding | None:
    """A loss that never left its start."""
    curve = run.finite
    if divergence(run) is not None or not run.from_start or len(curve) < FEWEST:
        return None
    count = len(curve) // 4
    start, end = float(curve.value[:5].mean()), float(curve.value[-count:].mean())
    if abs(start - end) > UNLEARNED * abs(start):
        return None
    return Finding(
        "never_learned",
        PROBLEM,
        "the loss never left its start",
        f"{start:.4g} at first, {end:.4g} in the last quarter",
        "train on one batch alone: if its loss does not fall to nearly 0, the labels, the loss or the way of the "
        "gradient to the weights is broken (shuffled targets, a detached tensor, frozen layers)",
        "if it does: raise the rate tenfold, and check that inputs and labels still belong together after loading",
        "CS231n, neural-networks-3, sanity checks: overfit a tiny subset of data",
        int(curve.step[0]),
        int(curve.step[-1]),
    )


def plateau(run: Run) -> Finding | None:
    """A loss that fell and then stopped, at a rate that could still move it."""
    curve = _at_work(run)
    if divergence(run) is not None or never_learned(run) is not None or len(curve) < FEWEST or run.fall <= 0:
        return None
    for part, most in FLAT:
        late = curve[round(part * len(curve)) :]
        early = late[: round(3 / 8 * len(late))]
        rest = late[len(early) :]
        drop = float(early.value.mean() - rest.value.mean())
        error = float(run.noise * np.sqrt(1 / len(early) + 1 / len(rest)))
        learned = run.from_start and rest.value.mean() < LEARNED * run.finite.value[0]
        if not learned and error <= most * run.fall and abs(drop) < max(SURE * error, most / 5 * run.fall):
            break
    else:
        return None
    level = float(late.value.mean())
    window = max(5, len(early) // 4)
    means = np.convolve(curve.value, np.full(window, 1 / window), "valid")
    since = int(curve.step[int((means <= level + SURE * run.noise / np.sqrt(window)).argmax())])
    return Finding(
        "plateau",
        PROBLEM,
        "the loss has stopped falling",
        f"{level:.4g} since about step {since}; from step {late.step[0]} on it changed by {-drop:+.2g} +- "
        f"{SURE * error:.2g}",
        "if the data could say more (is that the loss of guessing by frequency?), check that inputs and targets belong "
        "together",
        "let the rate decay: at a constant rate the loss ends where noise and rate balance",
        "Smith & Le 1710.06451; Haegele et al. 2405.18392: a decay buys what a constant rate cannot",
        since,
        int(curve.step[-1]),
    )


def parting(run: Run) -> Finding | None:
    """Held-out loss that rises, or never followed, while the training loss falls."""
    learned = run.fall > UNLEARNED * abs(run.loss.value[0])
    if divergence(run) is not None or loss_rose(run) is not None or not run.from_start or not learned:
        return None
    return _rising(run) or _gap(run)


def _rising(run: Run) -> Finding | None:
    val = run.val_loss
    if len(val) < FEWEST_VAL or not np.isfinite(val.value).all():
        return None
    lowest, end = int(val.value.argmin()), float(np.median(val.value[-3:]))
    least, step = float(val.value[lowest]), int(val.step[lowest])
    count = max(5, len(run.finite) // 20)
    if end - least < PARTED * (val.value[0] - least) or _mean_end(run.finite) >= _mean_at(run.finite, step, count):
        return None
    return _parted(
        f"held-out loss {least:.4g} at step {step}, {end:.4g} at the end, while the training loss fell to "
        f"{_mean_end(run.finite):.4g}",
        step,
        int(val.step[-1]),
    )


def _gap(run: Run) -> Finding | None:
    if not len(run.val_loss) or not np.isfinite(run.val_loss.value[-1]):
        return None
    start, end, val = float(run.finite.value[0]), _mean_end(run.finite), float(run.val_loss.value[-1])
    if start - val >= LOST * (start - end):
        return None
    return _parted(
        f"training loss {start:.4g} to {end:.4g}, held-out loss {val:.4g}: "
        f"{max(0.0, (start - val) / (start - end)):.0%} of what was gained holds on data not trained on",
        int(run.finite.step[0]),
        int(run.finite.step[-1]),
    )


def _parted(evidence: str, first_step: int, last_step: int) -> Finding:
    return Finding(
        "parting",
        PROBLEM,
        "the held-out loss parts from the training loss",
        evidence,
        "stop where the held-out loss was lowest, and get more data or fewer passes over it",
        "regularize: weight decay, dropout, augmentation; and check that both losses are measured alike",
        "CS231n, neural-networks-3, train/val accuracy; Prechelt 1998, early stopping",
        first_step,
        last_step,
    )


def _at_work(run: Run) -> Curve:
    """The loss up to where the rate has decayed."""
    if not len(run.lr):
        return run.finite
    working = run.lr.step[run.lr.value >= DECAYED * run.lr.value.max()]
    return run.finite[: int(np.searchsorted(run.finite.step, working[-1], side="right"))]


def _mean_at(curve: Curve, step: float, count: int) -> float:
    """The mean of so many losses about a step."""
    middle = int(np.searchsorted(curve.step, step))
    first = min(max(0, middle - count // 2), len(curve) - count)
    return float(curve.value[first : first + count].mean())


def _mean_end(curve: Curve) -> float:
    """The mean of the last tenth."""
    return float(curve.value[-max(1, len(curve) // 10) :].mean())
