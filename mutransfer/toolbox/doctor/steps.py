"""What each step does: to the layers, by the decay, the schedule, the clipping and epsilon."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mutransfer.toolbox.doctor import thresholds as at
from mutransfer.toolbox.doctor.finding import NOTE, PROBLEM, Finding, Judged
from mutransfer.toolbox.doctor.run import Run, times
from mutransfer.trials.logs.log import Curve


def layers_at_different_rates(run: Run) -> Judged:
    """A layer that moves far more, or less, than the others."""
    ratios = _late_medians(run, run.update_ratio)
    if len(ratios) < at.FEWEST_LAYERS or run.diverged_at is not None:
        return None
    typical = float(np.median(list(ratios.values())))
    apart = [name for name, ratio in ratios.items() if not typical / at.APART <= ratio <= typical * at.APART]
    if not apart or typical == 0:
        return None
    named = sorted(apart, key=lambda name: abs(np.log(ratios[name] + 1e-300) - np.log(typical)), reverse=True)[:3]
    listed = ", ".join(f"{name} {ratios[name]:.2g}" for name in named)
    return Finding(
        "layers_at_different_rates",
        PROBLEM,
        "layers learn at very different rates",
        f"relative update per step, median of the second half: {typical:.2g} in the median layer, but {listed}",
        "check the rates of the parameter groups, and what is frozen or starts at another scale "
        "(mutransfer explain lists what each should have)",
        "a parametrization that scales them (muP), or an optimizer that does (Adam for SGD)",
        "CS231n, neural-networks-3, ratio of weights to updates: about 1e-3 in every layer",
        run.steps // 2,
        run.steps - 1,
    )


def update_size(run: Run) -> Judged:
    """Updates that are large, or small, beside the weights."""
    ratios = [
        float(np.median(late)) for c in run.update_ratio.values() if len(late := run.working(c).since(run.warmup).value)
    ]
    moving = [ratio for ratio in ratios if ratio > 0 and np.isfinite(ratio)]
    if run.diverged_at is not None or not moving:
        return None
    typical = float(np.median(moving))
    if at.SMALL_UPDATE <= typical < at.LARGE_UPDATE:
        return None
    small = typical < at.SMALL_UPDATE
    away = times(max(typical, at.HEALTHY_UPDATE), min(typical, at.HEALTHY_UPDATE))
    return Finding(
        "update_size",
        PROBLEM if small or typical >= at.HUGE_UPDATE else NOTE,
        f"updates are {'small' if small else 'large'} beside the weights",
        f"relative update per step after warmup, in the median of {len(moving)} layers: {typical:.2g}; about "
        f"{at.HEALTHY_UPDATE:g} is usual, {at.SMALL_UPDATE:g} is small, 0.01 is large",
        f"{'raise' if small else 'lower'} the rate towards that, {away}, as far as a range test allows",
        "check the scale of the weights: a weight that starts small is soon rewritten, one that is large hardly moves",
        "CS231n, neural-networks-3, ratio of weights to updates: about 1e-3",
        int(run.loss.step[0]),
        run.steps - 1,
    )


def decay_followed_rate(run: Run) -> Judged:
    """Weight decay that faded with the rate, as torch's AdamW has it."""
    wd = run.setup.weight_decay
    if not wd or not len(run.lr) or not run.weight_norm or run.diverged_at is not None:
        return None
    steps = np.arange(run.steps // 2, run.steps)
    rates = run.lr.at(steps)
    steady, followed = wd * run.peak_lr * len(steps), wd * float(rates.sum())
    changes = [_log_change(curve.since(run.steps // 2)) for curve in run.weight_norm.values()]
    known = [change for change in changes if change is not None]
    if not known or steady - followed < at.DECAY_MATTERS or np.median(known) < -followed:
        return None
    return Finding(
        "decay_followed_rate",
        NOTE,
        "weight decay faded with the rate",
        f"in the second half it took {1 - np.exp(-followed):.0%} off the weights, where at the peak rate it would have "
        f"taken {1 - np.exp(-steady):.0%}; their norms changed by {np.expm1(np.median(known)):+.0%}",
        "nothing, if that is meant: torch's AdamW multiplies its decay by the rate",
        "decay by the schedule's shape or by a constant instead (independent decay), and compare rates at one product "
        "of rate and decay",
        "Loshchilov & Hutter 1711.05101; Wortsman et al. 2309.14322, section 3.2.2",
        run.steps // 2,
        run.steps - 1,
    )


def schedule_over(run: Run) -> Judged:
    """A rate that reached its end long before the run did."""
    if not run.peak_lr > 0 or run.diverged_at is not None or run.fall <= 0:
        return None
    working = run.lr.step[run.lr.value > at.OVER * run.peak_lr]
    stage = run.lr.value[len(working) - 1 :][:2]
    if len(stage) == 2 and stage[0] >= at.STAGE * stage[1]:
        return None  # a schedule in steps, whose last stage this is
    idle, idle_steps = run.finite.since(int(working[-1]) + 1), int(run.steps - 1 - working[-1])
    if len(idle) < at.FEWEST_IDLE or idle_steps < at.IDLE * run.steps:
        return None
    part = max(1, len(idle) // 4)
    gain = float(idle.value[:part].mean() - idle.value[-part:].mean())
    if gain > max(at.GAINED * run.fall, 2 * run.noise * np.sqrt(2 / part)):
        return None
    return Finding(
        "schedule_over",
        PROBLEM,
        "the schedule ended long before the run",
        f"the rate was above {at.OVER:.0%} of its peak up to step {working[-1]}; in the {idle_steps} steps since then "
        f"({idle_steps / run.steps:.0%} of the run) the loss fell by {gain:.2g}",
        "set the schedule's length to the run's (count optimizer steps, not batches, under gradient accumulation)",
        "stop where it ended; or warmup-stable-decay, whose length can be set late",
        "Hoffmann et al. 2203.15556, appendix B: the cosine's length should match the run's",
        int(working[-1]) + 1,
        run.steps - 1,
    )


def clipping_always(run: Run) -> Judged:
    """Gradients clipped at nearly every step."""
    norms = run.grad_norm.since(run.warmup)
    if run.setup.clip_norm is not None:
        clipped = norms.value > run.setup.clip_norm
    elif len(run.clipped_grad_norm):
        clipped = run.clipped_grad_norm.at(norms.step) < at.SAME * norms.value
    else:
        return None
    if len(clipped) < at.FEWEST_LAYERS or run.diverged_at is not None or clipped.mean() < at.CLIPPED:
        return None
    return Finding(
        "clipping_always",
        PROBLEM,
        "clipping is always at work",
        f"{clipped.mean():.0%} of the gradients after warmup are clipped; their median norm is "
        f"{np.median(norms.value):.3g}",
        "raise the threshold above the usual norm (its 90th percentile, "
        f"{np.quantile(norms.value, 0.9):.2g}), so that it catches the exceptions",
        "if it must stay, tune the rate again: SGD then takes steps of one length, whatever the gradient, and Adam "
        "weighs all batches alike",
        "Pascanu et al. 1211.5063; Zhang et al. 1905.11881",
        int(norms.step[0]),
        int(norms.step[-1]),
    )


def epsilon_dominates(run: Run) -> Judged:
    """Adam's epsilon above the gradients."""
    shares = _late_medians(run, run.eps_share)
    if not shares or run.diverged_at is not None or np.median(list(shares.values())) < at.EPSILON:
        return None
    listed = ", ".join(f"{name} {shares[name]:.0%}" for name in sorted(shares, key=lambda name: -shares[name])[:3])
    return Finding(
        "epsilon_dominates",
        PROBLEM,
        "Adam's epsilon outweighs the gradients",
        f"epsilon is at least sqrt(v), so that it halves the update, in {np.median(list(shares.values())):.0%} of the "
        f"numbers (median layer, second half of the run); most in {listed}",
        "lower epsilon (1e-8, or 1e-15 in large models), or scale it with width as the table says",
        "Adam-atan2, which has no epsilon",
        "Wortsman et al. 2309.14322; Everett et al. 2407.05872; Yang et al. 2203.03466, appendix B.3",
        run.steps // 2,
        run.steps - 1,
    )


def _late_medians(run: Run, curves: Mapping[str, Curve]) -> dict[str, float]:
    """The median of each layer's curve in the second half of the run."""
    late = {name: curve.since(run.steps // 2).value for name, curve in curves.items()}
    return {name: float(np.median(values)) for name, values in late.items() if len(values)}


def _log_change(norms: Curve) -> float | None:
    if len(norms) < 2 or not (norms.value > 0).all():
        return None
    return float(np.log(norms.value[-1] / norms.value[0]))
