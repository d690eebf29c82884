"""All that the doctor looks for, and a run held against it."""

from __future__ import annotations

from collections.abc import Mapping

from mutransfer.toolbox.doctor import divergence, oscillation, progress, steps, values
from mutransfer.toolbox.doctor.finding import PROBLEM, Diagnosis, Finding, Rule
from mutransfer.toolbox.doctor.run import Run

RULES: Mapping[str, Rule] = {
    "not_finite": Rule(values.not_finite, advice="lower"),
    "diverged_at_once": Rule(divergence.diverged_at_once, advice="lower", core=True),
    "diverged_in_warmup": Rule(divergence.diverged_in_warmup, advice="lower"),
    "diverged_later": Rule(divergence.diverged_later, advice="lower"),
    "loss_rose": Rule(divergence.loss_rose, advice="lower", core=True),
    "growing_oscillation": Rule(oscillation.growing_oscillation, advice="lower"),
    "unstable": Rule(oscillation.unstable, advice="lower"),
    "gradient_grows": Rule(oscillation.gradient_grows, ("grad_norm",), advice="lower"),
    "rate_zero": Rule(values.rate_zero, ("lr",)),
    "loss_summed": Rule(values.loss_summed, ("val_loss",)),
    "never_learned": Rule(progress.never_learned, core=True),
    "slow_descent": Rule(progress.slow_descent, advice="raise"),
    "plateau": Rule(progress.plateau, advice="raise"),
    "parting": Rule(progress.parting, ("val_loss",)),
    "layers_at_different_rates": Rule(steps.layers_at_different_rates, ("update_ratio",)),
    "update_size": Rule(steps.update_size, ("update_ratio",)),
    "schedule_over": Rule(steps.schedule_over, ("lr",)),
    "clipping_always": Rule(steps.clipping_always, ("grad_norm", "clipped_grad_norm")),
    "epsilon_dominates": Rule(steps.epsilon_dominates, ("eps_share",)),
    "decay_followed_rate": Rule(steps.decay_followed_rate, ("lr", "weight_norm", "setup.weight_decay")),
    "recovering_spikes": Rule(oscillation.recovering_spikes),
    "edge_of_stability": Rule(oscillation.edge_of_stability, ("lr", "sharpness", "setup.stability_limit")),
}
"""By the name of their finding, the gravest first."""


def diagnose(run: Run) -> Diagnosis:
    """Hold a run against every rule; those that cannot be judged are named with what they lack."""
    found: list[Finding] = []
    missing: dict[str, str] = {}
    for name, rule in RULES.items():
        lacking = [need for need in rule.needs if not _has(run, need)]
        judged = f"no {', '.join(lacking)}" if lacking else rule.judge(run)
        if isinstance(judged, Finding):
            found.append(judged)
        elif judged is not None:
            missing[name] = judged
    problems = [finding for finding in found if finding.severity == PROBLEM]
    if any(RULES[finding.rule].advice == "lower" for finding in problems):
        # what made the run go wrong explains why it does not get on
        found = [finding for finding in found if RULES[finding.rule].advice != "raise"]
    unknown = any(rule.core and name in missing for name, rule in RULES.items())
    healthy = False if problems else None if unknown else True
    return Diagnosis(run.name, tuple(sorted(found, key=lambda each: each.severity != PROBLEM)), missing, healthy)


def _has(run: Run, need: str) -> bool:
    if need == "clipped_grad_norm" and run.setup.clip_norm is not None:
        return True
    curve, _, fact = need.partition(".")
    return getattr(run.setup, fact) is not None if fact else len(getattr(run, curve)) > 0
