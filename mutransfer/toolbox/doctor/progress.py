"""Runs that learn too slowly, no longer, not at all, or by heart."""

from __future__ import annotations

import numpy as np

from mutransfer.toolbox.doctor import thresholds as at
from mutransfer.toolbox.doctor.divergence import loss_rose, too_early
from mutransfer.toolbox.doctor.finding import PROBLEM, Finding, Judged
from mutransfer.toolbox.doctor.run import Run, levels, part, rolling_median, scatter
from mutransfer.trials.logs.log import Curve

TOO_FEW = f"fewer than {at.FEWEST} logged losses"
LATER = "the log begins late in the run"


def slow_descent(run: Run) -> Judged:
    """A straight line where a curve should be."""
    curve = run.finite
    if run.diverged_at is not None or run.dead_from is not None or run.warmup > run.steps // 4:
        return None
    if not run.from_start:
        return LATER
    if len(curve) < at.FEWEST:
        return TOO_FEW
    if run.unit == "step" and run.steps < at.SOON:
        return f"fewer than {at.SOON} steps"
    count = max(5, len(curve) // 20)
    start, middle, end = (_level_at(curve, run.steps * share, count) for share in (0.0, 0.5, 1.0))
    error = 1.25 * run.noise * np.sqrt(2 / count)
    first, second = start - middle, middle - end
    little = (curve.value > 0).all() and start - end < at.LITTLE * start
    straight = second >= max(at.STRAIGHT * first, at.MARGIN * error) and _evenly(curve, run.noise)
    if not little or not straight or _on_stairs(run, start - end):
        return None
    return Finding(
        "slow_descent",
        PROBLEM,
        "the loss falls in a nearly straight line",
        f"{start:.4g} to {middle:.4g} in the first half, to {end:.4g} in the second: {part(second, first)} as much "
        "again, where a sound rate gains most of all early",
        "raise the rate 3 to 10 times (a learning-rate range test shows how far)",
        "shorten the warmup; where the rate is high, look for what holds it back: clipping, epsilon, frozen layers",
        "CS231n, neural-networks-3, loss function: at low rates the improvement is linear",
        int(curve.step[0]),
        int(curve.step[-1]),
    )


def never_learned(run: Run) -> Judged:
    """A loss that never left its start."""
    curve = run.finite
    if run.diverged_at is not None or run.dead_from is not None:
        return None
    if not run.from_start:
        return LATER
    early = too_early(run)
    if early is not None:
        return early
    count = max(2, len(curve) // 4)
    start, end = float(np.median(curve.value[:5])), float(np.median(curve.value[-count:]))
    lowest = float(rolling_median(curve.value).min())
    size = max(abs(start), abs(end))
    if start - min(end, lowest) > at.UNLEARNED * size + at.SURE * run.noise or abs(start - end) > at.UNLEARNED * size:
        return None
    return Finding(
        "never_learned",
        PROBLEM,
        "the loss never left its start",
        f"{start:.4g} at first, {end:.4g} in the last quarter{_gradients(run)}",
        "train on one batch alone: if its loss does not fall to nearly 0, the labels, the loss or the way of the "
        "gradient to the weights is broken (shuffled targets, a detached tensor, frozen layers)",
        "if it does: raise the rate tenfold, and check that inputs and labels still belong together after loading",
        "CS231n, neural-networks-3, sanity checks: overfit a tiny subset of data",
        int(curve.step[0]),
        int(curve.step[-1]),
    )


def plateau(run: Run) -> Judged:
    """A loss that fell and then stopped, at a rate that could still move it."""
    curve = run.working(run.finite)
    if run.diverged_at is not None or run.dead_from is not None or isinstance(never_learned(run), Finding):
        return None
    if len(curve) < at.FEWEST:
        return TOO_FEW
    flat = _flat_since(run, curve)
    if flat is None:
        return None
    since, late, drop, error = flat
    decayed = run.finite.value[len(curve) :][-at.WINDOW :]
    fell = max(at.ROSE * run.fall, at.SURE * 1.25 * run.noise / np.sqrt(max(1, len(decayed))))
    if len(decayed) >= at.FEWEST_SHORT and np.median(decayed) < np.median(late.value) - fell:
        return None  # the rate decayed, and the loss fell with it
    return Finding(
        "plateau",
        PROBLEM,
        "the loss has stopped falling",
        f"{np.median(late.value):.4g} since about step {since}; from step {late.step[0]} on it changed by {-drop:+.2g} "
        f"+- {at.SURE * error:.2g}{_gradients(run)}",
        "if the data could say more (is that the loss of guessing by frequency?), check that inputs and targets belong "
        "together, and raise the rate where the gradient is sound",
        "let the rate decay: at a constant rate the loss ends where noise and rate balance",
        "Smith & Le 1710.06451; Haegele et al. 2405.18392: a decay buys what a constant rate cannot",
        since,
        int(curve.step[-1]),
    )


def _flat_since(run: Run, curve: Curve) -> tuple[int, Curve, float, float] | None:
    """Since when a curve is flat, the part by which that is judged, its drop and the standard error of that."""
    for share, most in at.FLAT:
        late = curve[round(share * len(curve)) :]
        early = late[: round(3 / 8 * len(late))]
        rest = late[len(early) :]
        drop = float(early.value.mean() - rest.value.mean())
        error = float(run.noise * np.sqrt(1 / len(early) + 1 / len(rest)))
        level = float(np.median(rest.value))
        nothing = at.LEARNED * run.finite.value[0]
        if run.from_start and level < nothing and (run.finite.value > -nothing).all():
            continue  # nothing is left to gain
        still = abs(drop) < max(at.SURE * error, most / 5 * run.fall)
        barely = (
            len(curve) >= at.FEWEST_BARELY
            and abs(float(np.median(run.finite.value[:10])) - level) < at.BARELY * abs(level)
            and at.SURE * error < at.BARELY_SEEN * abs(level)
            and share == at.FLAT[0][0]
        )
        if run.fall > 0 and still and (error <= most * run.fall or barely):
            window = max(5, len(early) // 4)
            reached = levels(curve.value, window) <= level + at.SURE * 1.25 * run.noise / np.sqrt(window)
            return int(curve.step[int(reached.argmax())]), late, drop, error
    return None


def parting(run: Run) -> Judged:
    """Held-out loss that rises, or never followed, while the training loss falls."""
    if run.diverged_at is not None or run.dead_from is not None or isinstance(loss_rose(run), Finding):
        return None
    if run.from_start and run.fall <= at.UNLEARNED * abs(run.loss.value[0]):
        return None
    rising = _rising(run)
    return rising if isinstance(rising, Finding) else _gap(run) or rising


def _rising(run: Run) -> Judged:
    val = run.val_loss
    if len(val) < at.FEWEST_VAL:
        return f"fewer than {at.FEWEST_VAL} held-out losses"
    if not np.isfinite(val.value).all() or not len(run.finite):
        return None
    lowest = int(val.value.argmin())
    least, step = float(val.value[lowest]), int(val.step[lowest])
    after = val.value[lowest + 1 :]
    count = max(3, len(run.finite) // 20)
    then, now = _level_at(run.finite, step, count), _level_at(run.finite, run.steps, count)
    gained = max(float(val.value[0]) - least, run.fall)
    # the last look alone may be noise: the lowest of the last two, both after the minimum
    if (
        len(after) < 2
        or after[-2:].min() - least < max(at.PARTED * gained, at.SURE * scatter(val.value))
        or now >= then
    ):
        return None
    return _parted(
        f"held-out loss {least:.4g} at its lowest, step {step}, {val.value[-1]:.4g} at the end, while the training "
        f"loss fell from {then:.4g} to {now:.4g}",
        step,
        int(val.step[-1]),
    )


def _gap(run: Run) -> Finding | None:
    """The last held-out loss against the training loss of the same time."""
    if not run.from_start or not len(run.finite) or not np.isfinite(run.val_loss.value[-1]):
        return None
    step, val = int(run.val_loss.step[-1]), float(run.val_loss.value[-1])
    start, then = float(run.finite.value[0]), _level_at(run.finite, step, max(3, len(run.finite) // 10))
    gained = start - then
    if gained < at.LITTLE * abs(start) or start - val >= at.LOST * gained:
        return None
    return _parted(
        f"training loss {start:.4g} to {then:.4g} at step {step}, held-out loss {val:.4g}: "
        f"{max(0.0, (start - val) / gained):.0%} of what was gained holds on data not trained on",
        int(run.finite.step[0]),
        step,
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


def _gradients(run: Run) -> str:
    """What the gradients say of a loss that does not fall."""
    norms = run.grad_norm.value[np.isfinite(run.grad_norm.value)]
    if len(norms) < at.FEWEST_SHORT:
        return ""
    early, late = float(np.median(norms[: max(3, len(norms) // 10)])), float(np.median(norms[-len(norms) // 4 :]))
    if late < at.VANISHED * early or late == 0:
        return f"; the gradient's norm went from {early:.2g} to {late:.2g}: it vanishes, and the run is stuck"
    return f"; the gradient's norm is {late:.2g}, and was {early:.2g} at first: the steps may be too small"


def _evenly(curve: Curve, noise: float) -> bool:
    """Whether every eighth of a curve gains its part, as on a line, not on stairs."""
    count = max(5, len(curve) // 20)
    places = np.linspace(curve.step[0], curve.step[-1], 9)
    gains, error = -np.diff([_level_at(curve, place, count) for place in places]), 1.25 * noise * np.sqrt(2 / count)
    return bool((gains >= at.EVENLY * gains.mean() - at.SURE * error).all())


def _on_stairs(run: Run, fall: float) -> bool:
    """Whether a loss falls at the ends of epochs, as data are seen again, more than within them."""
    epochs = np.floor(run.epoch.at(run.finite.step)) if len(run.epoch) else np.zeros(0)
    passes = [run.finite.value[epochs == epoch] for epoch in np.unique(epochs)]
    whole = [losses for losses in passes if len(losses) >= at.FEWEST_SHORT]
    if len(whole) < 2:
        return False
    ends = [max(3, len(losses) // 4) for losses in whole]
    within = sum(float(np.median(x[:k]) - np.median(x[-k:])) for x, k in zip(whole, ends, strict=True))
    return within < at.WITHIN * fall


def _level_at(curve: Curve, step: float, count: int) -> float:
    """The median of so many losses about a step."""
    count = min(count, len(curve))
    middle = int(np.searchsorted(curve.step, step))
    first = min(max(0, middle - count // 2), len(curve) - count)
    return float(np.median(curve.value[first : first + count]))
