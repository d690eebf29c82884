"""The recorded runs of tests/data/doctor, what was done to each, and the sound runs of the committed reference."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path

from mutransfer.toolbox.doctor import Run, Setup, run_of
from mutransfer.toolbox.doctor.recorded import read_trials
from mutransfer.trials.logs import read_log

FOLDER = Path(__file__).parents[2] / "data" / "doctor"
REFERENCE = Path(__file__).parents[3] / "results" / "reference_cpu"

PLANTED: dict[str, set[str]] = {
    "digits_squared_nan_at_once": {"diverged_at_once"},
    "lm_no_warmup": {"diverged_at_once"},
    "digits_squared_nan_in_warmup": {"diverged_in_warmup"},
    "lm_end_of_warmup": {"diverged_in_warmup"},
    "lm_rate_jumps": {"diverged_later"},
    "lm_rate_creeps": {"loss_rose"},
    "digits_squared_growing": {"growing_oscillation", "loss_rose", "update_size"},
    "digits_random_labels": {"never_learned"},
    "lm_slow": {"slow_descent"},
    "lm_shuffled": {"plateau"},
    "lm_bad_batch": {"recovering_spikes"},
    "lm_repeated": {"parting"},
    "lm_one_layer": {"layers_at_different_rates"},
    "lm_schedule_over": {"schedule_over"},
    "lm_clipped": {"clipping_always"},
    "lm_epsilon": {"epsilon_dominates"},
    "lm_decay_follows": {"decay_followed_rate"},
    "digits_squared_edge": {"edge_of_stability", "recovering_spikes"},
    "lm_decay_steady": set(),
    "digits_healthy_adam": set(),
    "digits_healthy_gd": set(),
    "digits_healthy_sgd": set(),
    "digits_healthy_squared": set(),
    "lm_healthy_constant": set(),
    "lm_healthy_cosine_clip_decay": set(),
    "lm_healthy_long": set(),
    "lm_healthy_mup": set(),
    "lm_healthy_sgd": set(),
    "lm_healthy_sp": set(),
    "lm_healthy_wsd": set(),
}
"""By run, all that there is to find."""

SETUPS = {
    "lm_decay_follows": Setup(weight_decay=1.0),
    "lm_decay_steady": Setup(weight_decay=0.5),
    "lm_healthy_cosine_clip_decay": Setup(weight_decay=0.1),
    "digits_squared_edge": Setup(stability_limit=2.0),
    "digits_healthy_gd": Setup(stability_limit=2.0),
}


def set_up(name: str, run: Run) -> Run:
    return dataclasses.replace(run, setup=SETUPS[name]) if name in SETUPS else run


@cache
def recorded(name: str) -> Run:
    return set_up(name, run_of(read_log(FOLDER / f"{name}.csv")))


@cache
def sound_trials() -> tuple[Run, ...]:
    """The trials of the reference that did not diverge: 4 widths, 2 arms, 2 seeds, 7 or 8 rates about the optimum."""
    trials = read_trials(REFERENCE)
    return tuple(trial.run for trial in trials if trial.run is not None and not trial.record.diverged)
