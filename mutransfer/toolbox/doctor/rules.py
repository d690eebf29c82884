"""All that the doctor looks for, and a run held against it."""

from __future__ import annotations

from collections.abc import Mapping

from mutransfer.toolbox.doctor import divergence, oscillation, progress, steps
from mutransfer.toolbox.doctor.finding import PROBLEM, Diagnosis, Rule
from mutransfer.toolbox.doctor.run import Run

RULES: Mapping[str, Rule] = {
    "diverged_at_once": Rule(divergence.diverged_at_once),
    "diverged_in_warmup": Rule(divergence.diverged_in_warmup),
    "diverged_later": Rule(divergence.diverged_later),
    "loss_rose": Rule(divergence.loss_rose),
    "growing_oscillation": Rule(oscillation.growing_oscillation),
    "never_learned": Rule(progress.never_learned),
    "slow_descent": Rule(progress.slow_descent),
    "plateau": Rule(progress.plateau),
    "parting": Rule(progress.parting, ("val_loss",)),
    "layers_at_different_rates": Rule(steps.layers_at_different_rates, ("update_ratio",)),
    "schedule_over": Rule(steps.schedule_over, ("lr",)),
    "clipping_always": Rule(steps.clipping_always, ("grad_norm", "clipped_grad_norm")),
    "epsilon_dominates": Rule(steps.epsilon_dominates, ("eps_share",)),
    "decay_followed_rate": Rule(steps.decay_followed_rate, ("lr", "weight_norm", "setup.weight_decay")),
    "recovering_spikes": Rule(oscillation.recovering_spikes),
    "edge_of_stability": Rule(oscillation.edge_of_stability, ("lr", "sharpness", "setup.stability_limit")),
}
"""By the name of their finding, the gravest first."""


def diagnose(run: Run) -> Diagnosis:
    """Hold a run against every rule; those that lack data find nothing, and are named with what they lack."""
    missing = {name: tuple(need for need in rule.needs if not _has(run, need)) for name, rule in RULES.items()}
    found = [rule.judge(run) for rule in RULES.values()]
    findings = sorted((each for each in found if each is not None), key=lambda each: each.severity != PROBLEM)
    return Diagnosis(run.name, tuple(findings), {name: needs for name, needs in missing.items() if needs})


def _has(run: Run, need: str) -> bool:
    if need == "clipped_grad_norm" and run.setup.clip_norm is not None:
        return True
    part, _, fact = need.partition(".")
    return getattr(run.setup, fact) is not None if fact else len(getattr(run, part)) > 0
