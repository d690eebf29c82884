"""Losses that swing: with growing amplitude, in single spikes, or at the edge of stability."""

from __future__ import annotations

import numpy as np

from mutransfer.toolbox.doctor.divergence import divergence, onset
from mutransfer.toolbox.doctor.finding import NOTE, PROBLEM, Finding
from mutransfer.toolbox.doctor.run import Run, scatter
from mutransfer.toolbox.watch.spikes import find_spikes

BLOCKS = 8
FEWEST_IN_BLOCK = 15
"""Logged losses in each of the blocks whose swings are compared: of 15 the scatter is known to a third."""
GREW = 5.0
"""Times the scatter of an earlier block, by itself and over what had been gained: the scatter of a fixed batch size is
constant or falls with the loss, and where outputs start alike for all inputs it grows as they are learned."""
SWINGS = 1 / 3
"""Noise changes direction at two of three points, a period of two at all, a loss that only rises at none."""
SEEN = 0.01
"""A swing below this part of what was gained is too small to matter."""

AT_EDGE = 0.9
"""Of the stability limit: gradient descent hovers from just below to a little above it (Cohen et al., figure 1)."""


def growing_oscillation(run: Run) -> Finding | None:
    """Swings that grow, in a run that has not diverged yet."""
    losses = run.finite
    size = len(losses) // BLOCKS
    if size < FEWEST_IN_BLOCK or divergence(run) is not None:
        return None
    blocks = [losses.value[len(losses) - (BLOCKS - i) * size :][:size] for i in range(BLOCKS)]
    scatters = np.array([scatter(block) for block in blocks])
    gains = np.array([max(run.loss.value[0] - block.mean(), SEEN * abs(run.fall)) for block in blocks])
    relative = scatters / np.maximum(gains, 1e-300)
    calm = int(relative[:-2].argmin())
    turns = np.diff(np.sign(np.diff(np.concatenate(blocks[-2:]))))
    grew = all(
        each[-1] >= GREW * each[calm] and each[-2] >= np.sqrt(GREW) * each[calm] for each in (scatters, relative)
    )
    if not grew or (turns != 0).mean() < SWINGS or scatters[-1] < SEEN * abs(run.fall):
        return None
    step = int(losses.step[len(losses) - (BLOCKS - calm) * size])
    return Finding(
        "growing_oscillation",
        PROBLEM,
        "the loss swings wider and wider",
        f"its step-to-step scatter was {scatters[calm]:.3g} from step {step} and is {scatters[-1]:.3g} in the last "
        f"eighth, {scatters[-1] / max(scatters[calm], 1e-300):.1f} times as much",
        "halve the rate (or end the warmup lower): it is at the edge of what is stable",
        "less momentum (0.9 for 0.99), a smaller Adam beta2, a larger batch, or clipping",
        "Cohen et al. 2103.00065, section 2: above 2/sharpness a direction oscillates and grows",
        step,
        int(losses.step[-1]),
    )


def recovering_spikes(run: Run) -> Finding | None:
    """Spikes after which the loss is where it was."""
    lost = divergence(run)
    losses = run.finite if lost is None else run.finite[: int(np.searchsorted(run.finite.step, onset(run, lost)))]
    score = find_spikes((int(step), float(loss)) for step, loss in zip(*losses.since(run.warmup), strict=True))
    found = [spike for spike in score.spikes if spike.recovered is not None]
    if not found:
        return None
    highest = max(found, key=lambda spike: spike.loss - spike.before)
    steps = ", ".join(str(spike.step) for spike in found[:5]) + (", ..." if len(found) > 5 else "")
    return Finding(
        "recovering_spikes",
        NOTE,
        "the loss spiked and recovered",
        f"at step {steps}; the highest from {highest.before:.4g} to {highest.loss:.4g}, and back at step "
        f"{highest.recovered}; the spike score is {score.percent:.2g}%",
        "nothing, where they are few: look at the batches of these steps",
        "clip the gradient's norm at 1; if they return, lower Adam's beta2 to 0.95, or skip the batches",
        "OLMo 2, 2501.00656, section 3.2 (spike score); Chowdhery et al. 2204.02311, section 5.1",
        found[0].step,
        found[-1].step,
    )


def edge_of_stability(run: Run) -> Finding | None:
    """Sharpness times rate at the stability limit."""
    limit = run.setup.stability_limit
    if limit is None or not len(run.sharpness) or not len(run.lr) or divergence(run) is not None:
        return None
    late = run.sharpness.since(run.steps // 2)
    ratio = late.value * run.lr.at(late.step) / limit
    if not len(ratio) or np.median(ratio) < AT_EDGE:
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
