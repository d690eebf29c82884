"""Losses that swing: with growing amplitude, in single spikes, or at the edge of stability."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mutransfer.toolbox.doctor import thresholds as at
from mutransfer.toolbox.doctor.divergence import TOO_SHORT, loss_rose, onset
from mutransfer.toolbox.doctor.finding import NOTE, PROBLEM, Finding, Judged
from mutransfer.toolbox.doctor.run import Run, part, rolling_median, scatter, times
from mutransfer.trials.logs.log import Curve


def growing_oscillation(run: Run) -> Judged:
    """Swings that grow, in a run that has not diverged yet."""
    losses = run.finite
    size = len(losses) // at.BLOCKS
    if run.diverged_at is not None:
        return None
    if size < at.FEWEST_IN_BLOCK:
        return f"fewer than {at.BLOCKS * at.FEWEST_IN_BLOCK} logged losses"
    blocks = [losses.value[len(losses) - (at.BLOCKS - i) * size :][:size] for i in range(at.BLOCKS)]
    scatters = np.array([scatter(block) for block in blocks])
    gains = np.array([max(run.loss.value[0] - block.mean(), at.SEEN * abs(run.fall)) for block in blocks])
    relative = scatters / np.maximum(gains, 1e-300)
    calm = int(relative[:-2].argmin())
    turns = np.diff(np.sign(np.diff(np.concatenate(blocks[-2:]))))
    grew = all(
        each[-1] >= at.GREW * each[calm] and each[-2] >= np.sqrt(at.GREW) * each[calm] for each in (scatters, relative)
    )
    if not grew or (turns != 0).mean() < at.SWINGS or scatters[-1] < at.SEEN * abs(run.fall):
        return None
    step = int(losses.step[len(losses) - (at.BLOCKS - calm) * size])
    return Finding(
        "growing_oscillation",
        PROBLEM,
        "the loss swings wider and wider",
        f"its step-to-step scatter was {scatters[calm]:.3g} from step {step} and is {scatters[-1]:.3g} in the last "
        f"eighth, {times(scatters[-1], scatters[calm])} as much",
        "halve the rate (or end the warmup lower): it is at the edge of what is stable",
        "less momentum (0.9 for 0.99), a smaller Adam beta2, a larger batch, or clipping",
        "Cohen et al. 2103.00065, section 2: above 2/sharpness a direction oscillates and grows",
        step,
        int(losses.step[-1]),
    )


def unstable(run: Run) -> Judged:
    """A loss that leaves its course again and again, and comes back."""
    if run.diverged_at is not None or isinstance(loss_rose(run), Finding) or run.fall <= 0:
        return None
    if len(run.finite) < at.FEWEST:
        return f"fewer than {at.FEWEST} logged losses"
    course = run.finite.since(run.warmup)
    if len(course) < at.FEWEST // 2:
        return None
    level = rolling_median(course.value)
    off = level - np.minimum.accumulate(level)
    away = off > max(at.OFF_COURSE * run.fall, at.MARGIN * run.noise)
    if away.mean() < at.OFF_COURSE:
        return None
    steps, worst = course.step[away], int(off.argmax())
    return Finding(
        "unstable",
        PROBLEM,
        "the loss leaves its course again and again",
        f"at {away.mean():.0%} of the logged steps after warmup it is above its lowest so far by "
        f"{part(at.OFF_COURSE, 1)} of all that was gained or more, most at step {course.step[worst]}: "
        f"{level[worst]:.4g}, from {level[worst] - off[worst]:.4g}",
        "halve the rate",
        "clip the gradient's norm at 1, warm up longer, or lower Adam's beta2 to 0.95",
        "Wortsman et al. 2309.14322, section 3; OLMo 2, 2501.00656, section 3",
        int(steps[0]),
        int(steps[-1]),
    )


def gradient_grows(run: Run) -> Judged:
    """A gradient that grows and grows, while the loss still falls."""
    norms = run.grad_norm
    norms = norms.since(run.warmup)
    known = np.isfinite(norms.value)
    values, steps = norms.value[known], norms.step[known]
    if run.diverged_at is not None or run.dead_from is not None:
        return None
    size = len(values) // at.BLOCKS
    if size < 3:
        return f"fewer than {3 * at.BLOCKS} gradient norms after warmup"
    levels = np.array([np.median(values[len(values) - (at.BLOCKS - i) * size :][:size]) for i in range(at.BLOCKS)])
    calm = int(levels.argmin())
    still = calm < at.BLOCKS - 3 and bool((np.diff(levels[-3:]) > 0).all())
    if not still or levels[-1] < at.NORM_GREW * levels[calm] or _nothing_left(run):
        return None
    step = int(steps[len(steps) - (at.BLOCKS - calm) * size])
    return Finding(
        "gradient_grows",
        PROBLEM,
        "the gradient grows while the loss falls: the run nears instability",
        f"the norm's median was {levels[calm]:.3g} about step {step} and is {levels[-1]:.3g} in the last eighth, "
        f"{times(levels[-1], levels[calm])} as much",
        "halve the rate before it diverges, and clip the gradient's norm at its usual size",
        "look at what grows with it: output logits (z-loss), attention logits (query and key norms), a layer's weights "
        "(weight decay)",
        "Wortsman et al. 2309.14322, section 3; Molybog et al. 2304.09871",
        step,
        int(steps[-1]),
    )


def recovering_spikes(run: Run) -> Judged:
    """Spikes after which the loss is where it was."""
    lost = run.diverged_at
    losses = run.finite if lost is None else run.finite[: int(np.searchsorted(run.finite.step, onset(run, lost)))]
    if len(losses) < at.FEWEST_SHORT:
        return TOO_SHORT
    found = find_spikes(losses.since(run.warmup))
    if not found:
        return None
    highest = max(found, key=lambda spike: spike.height - spike.level)
    steps = ", ".join(str(spike.step) for spike in found[:5]) + (", ..." if len(found) > 5 else "")
    return Finding(
        "recovering_spikes",
        NOTE,
        "the loss spiked and recovered",
        f"at step {steps}; the highest from {highest.level:.4g} to {highest.height:.4g}, and back at step "
        f"{highest.back}",
        "nothing, where they are few: look at the batches of these steps",
        "clip the gradient's norm at 1; if they return, lower Adam's beta2 to 0.95, or skip the batches",
        "OLMo 2, 2501.00656, section 3.2 (spike score); Chowdhery et al. 2204.02311, section 5.1",
        found[0].step,
        found[-1].step,
    )


class Excursion(NamedTuple):
    """A spike that came back: its first step, the level before it, its height, and the step at which it was back."""

    step: int
    level: float
    height: float
    back: int


def find_spikes(losses: Curve) -> list[Excursion]:
    """Where the loss stands far above the median of the values before it, by their scatter, and comes back to it. Both
    are robust, so that one spike does not hide the next."""
    found: list[Excursion] = []
    start = at.FEWEST_NOISE
    while start < len(losses):
        before = losses.value[max(0, start - at.SPIKE_WINDOW) : start]
        level, noise = float(np.median(before)), scatter(before)
        if not losses.value[start] > level + at.SPIKE * max(noise, 1e-12 * abs(level)):
            start += 1
            continue
        back = np.flatnonzero(losses.value[start:] <= level)
        if not len(back):
            break
        end = start + int(back[0])
        height = float(losses.value[start:end].max())
        found.append(Excursion(int(losses.step[start]), level, height, int(losses.step[end])))
        start = end + 1
    return found


def _nothing_left(run: Run) -> bool:
    """Whether the loss is so near 0 that the gradient may be anything."""
    values = run.finite.value
    return bool(len(values) and (values > 0).all() and np.median(values[-at.WINDOW :]) < at.LEARNED * values[0])


def edge_of_stability(run: Run) -> Judged:
    """Sharpness times rate at the stability limit."""
    limit = run.setup.stability_limit
    if limit is None or not len(run.sharpness) or not len(run.lr) or run.diverged_at is not None:
        return None
    late = run.sharpness.since(run.steps // 2)
    ratio = late.value * run.lr.at(late.step) / limit
    if not len(ratio) or np.median(ratio) < at.AT_EDGE:
        return None
    return Finding(
        "edge_of_stability",
        NOTE,
        "the run is at the edge of stability",
        f"rate times sharpness is {np.median(ratio) * limit:.3g} in the second half, {np.median(ratio):.2f} of the "
        f"limit {limit:.3g}; the loss falls, though not at every step",
        "nothing: training at the edge is the rule with full batches, and the loss still falls over many steps",
        "a lower rate, or one that decays, where the swings matter at the end",
        "Cohen et al. 2103.00065, section 3; for Adam Cohen et al. 2207.14484",
        int(late.step[0]),
        int(late.step[-1]),
    )
