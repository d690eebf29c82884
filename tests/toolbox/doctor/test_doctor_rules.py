"""Single judgements on planted curves: where each begins, and what it needs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mutransfer.config import Scale, ScheduleConfig
from mutransfer.optim import schedule_factor
from mutransfer.toolbox.doctor import NOTE, RULES, Curve, Run, Setup, diagnose
from mutransfer.toolbox.doctor.cells import Patient, cells
from mutransfer.toolbox.doctor.run import scatter
from toolbox.doctor.recorded import PLANTED, recorded

STEPS = 400


def falling(noise: float = 0.05, steps: int = STEPS, seed: int = 0) -> np.ndarray:
    """A sound loss: from 5.5 towards 2 as a power of the step, with noise."""
    return 2 + 3.5 * (1 + np.arange(steps) / 8) ** -0.8 + np.random.default_rng(seed).normal(0, noise, steps)


def of(losses: np.ndarray, **curves) -> Run:
    return Run("planted", Curve(np.arange(len(losses)), np.asarray(losses, np.float64)), **curves)


def whole(values) -> Curve:
    return Curve(np.arange(len(values)), np.asarray(values, np.float64))


def found(run: Run) -> set[str]:
    return {finding.rule for finding in diagnose(run).findings}


@pytest.mark.parametrize("seed", range(20))
def test_a_planted_sound_run_gives_no_alarm(seed: int) -> None:
    assert found(of(falling(seed=seed))) == set()


@pytest.mark.parametrize(("at", "rule"), [(3, "diverged_at_once"), (45, "diverged_in_warmup"), (250, "diverged_later")])
def test_where_the_loss_is_lost_decides_which_finding_it_is(at: int, rule: str) -> None:
    losses = falling()
    losses[at:] = np.nan
    assert found(of(losses[: at + 1], setup=Setup(warmup=40))) == {rule}


def test_a_run_lost_early_in_a_long_warmup_was_lost_at_once_and_not_by_its_peak_rate() -> None:
    losses = np.append(falling()[:8], np.inf)
    assert found(of(losses, setup=Setup(warmup=200))) == {"diverged_at_once"}


@pytest.mark.parametrize(
    "losses", [[np.nan], [2.0], [2.0, 1.0], [5.0, np.nan], [np.inf] * 50, [0.0] * 200, [-1.0] * 200]
)
def test_odd_logs_are_judged_without_a_warning(losses: list[float]) -> None:
    rules = found(of(np.array(losses), lr=whole(np.ones(len(losses))), val_loss=whole(losses)))
    assert (rules == {"diverged_at_once"}) == (not np.isfinite(losses).all())


def test_a_run_that_swings_widely_where_it_went_has_diverged() -> None:
    away = 100 + np.random.default_rng(0).normal(0, 40, 300)
    assert "diverged_later" in found(of(np.concatenate([falling()[:100], away])))


def test_the_later_part_of_a_run_is_not_judged_by_what_its_beginning_would_say() -> None:
    """Far out, a sound loss is nearly straight and nearly flat, and its first value is no untrained model's."""
    steps = np.arange(50_000, 50_000 + STEPS)
    losses = 3.0 - 1e-3 * np.arange(STEPS) + np.random.default_rng(0).normal(0, 0.02, STEPS)
    late = Run("resumed", Curve(steps, losses))
    assert not late.from_start
    assert found(late) == set()
    assert found(of(losses)) == {"slow_descent"}


def test_one_bad_batch_is_a_note_and_a_rise_that_stays_is_a_problem() -> None:
    losses = falling()
    losses[200] += 4
    (finding,) = diagnose(of(losses)).findings
    assert (finding.rule, finding.severity, finding.first_step) == ("recovering_spikes", NOTE, 200)
    losses = falling()
    losses[200:] += 1
    assert "loss_rose" in found(of(losses))


@pytest.mark.parametrize(("factor", "there"), [(1.0, False), (3.0, False), (12.0, True)])
def test_swings_must_grow_beyond_chance(factor: float, there: bool) -> None:
    growth = np.geomspace(1, factor, STEPS) if factor > 1 else np.ones(STEPS)
    losses = falling(noise=0) + growth * np.random.default_rng(1).normal(0, 0.02, STEPS)
    assert ("growing_oscillation" in found(of(losses))) == there


@pytest.mark.parametrize("seed", range(10))
def test_swings_that_grow_with_what_is_gained_are_no_alarm(seed: int) -> None:
    """Where outputs start alike for all inputs, batches differ only as far as something is learned."""
    gain = np.linspace(0.01, 1, STEPS)
    losses = 5.5 - gain * (1 + 0.1 * np.random.default_rng(seed).normal(size=STEPS))
    assert "growing_oscillation" not in found(of(losses))


def test_a_flat_loss_is_no_plateau_where_the_rate_has_decayed_or_nothing_is_left_to_gain() -> None:
    flat = np.concatenate([falling(noise=0.02)[:80], 2.5 + np.random.default_rng(0).normal(0, 0.02, 320)])
    rate = np.where(np.arange(STEPS) < 80, 1.0, 0.01)
    assert found(of(flat)) == {"plateau"}
    assert "plateau" not in found(of(flat, lr=whole(rate)))
    assert "plateau" not in found(of((flat - 2.45) / 3))


def test_held_out_loss_that_rises_with_the_training_loss_has_not_parted_from_it() -> None:
    losses = falling(noise=0.01)
    val = falling(noise=0.01, seed=1)
    assert found(of(losses, val_loss=whole(val))) == set()
    parted = val + np.linspace(0, 2, STEPS)
    assert found(of(losses, val_loss=whole(parted))) == {"parting"}
    both = losses + np.linspace(0, 2, STEPS)
    assert "parting" not in found(of(both, val_loss=whole(parted)))


def test_half_of_what_was_gained_must_hold_on_other_data() -> None:
    losses = falling(noise=0.01)
    for val, there in ((2.2, False), (3.6, False), (4.6, True)):
        run = of(losses, val_loss=Curve(np.array([STEPS - 1]), np.array([val])))
        assert (found(run) == {"parting"}) == there


@pytest.mark.parametrize(("part", "there"), [(0.95, False), (0.5, True)])
def test_a_schedule_may_end_shortly_before_the_run(part: float, there: bool) -> None:
    ends = round(part * STEPS)
    schedule = ScheduleConfig("cosine", floor=0.0)
    rate = [schedule_factor(schedule, min(step, ends), ends) for step in range(STEPS)]
    losses = falling(noise=0.01)
    losses[ends:] = losses[ends] + np.random.default_rng(0).normal(0, 0.01, STEPS - ends)
    assert ("schedule_over" in found(of(losses, lr=whole(rate)))) == there


@pytest.mark.parametrize(("part", "there"), [(0.5, False), (0.97, True)])
def test_clipping_is_a_problem_where_it_is_the_rule(part: float, there: bool) -> None:
    norms = np.where(np.random.default_rng(0).random(STEPS) < part, 2.0, 0.5)
    clipped = of(falling(), grad_norm=whole(norms), clipped_grad_norm=whole(np.minimum(norms, 1.0)))
    assert ("clipping_always" in found(clipped)) == there
    known = of(falling(), grad_norm=whole(norms), setup=Setup(clip_norm=1.0))
    assert ("clipping_always" in found(known)) == there


@pytest.mark.parametrize(
    ("factor", "there"), [(20.0, False), (1 / 20, False), (300.0, True), (1 / 300, True), (0, True)]
)
def test_a_layer_must_be_far_from_the_others(factor: float, there: bool) -> None:
    ratios = {name: whole(np.full(STEPS, 1e-3)) for name in ("embedding", "up", "down", "out")}
    ratios["out"] = whole(np.full(STEPS, 1e-3 * factor))
    assert ("layers_at_different_rates" in found(of(falling(), update_ratio=ratios))) == there


@pytest.mark.parametrize(("sharpness", "limit", "there"), [(19.9, 2.0, True), (15.0, 2.0, False), (19.9, 38.0, False)])
def test_the_edge_is_where_rate_times_sharpness_meets_the_limit(sharpness: float, limit: float, there: bool) -> None:
    run = of(falling(), lr=whole(np.full(STEPS, 0.1)), sharpness=whole(np.full(STEPS, sharpness)))
    assert ("edge_of_stability" in found(dataclasses.replace(run, setup=Setup(stability_limit=limit)))) == there


def test_what_cannot_be_judged_is_said_and_by_what_it_lacks() -> None:
    diagnosis = diagnose(of(falling()))
    assert diagnosis.healthy
    assert diagnosis.not_judged == {n: f"no {', '.join(rule.needs)}" for n, rule in RULES.items() if rule.needs}
    whole_log = recorded("lm_healthy_mup")
    lacking = diagnose(whole_log).not_judged
    assert set(lacking) == {"decay_followed_rate", "edge_of_stability"}


def test_a_rule_is_not_asked_without_what_it_needs() -> None:
    """Each planted run, without the curves that its rule needs, is not found to have it."""
    for name, planted in PLANTED.items():
        for rule in planted:
            for need in RULES[rule].needs:
                bare = without(recorded(name), need)
                assert rule not in found(bare), (name, need)
                assert need in diagnose(bare).not_judged[rule]


@pytest.mark.parametrize("noise", [0.01, 0.3])
def test_the_scatter_is_that_of_the_noise_whatever_the_trend_and_the_spikes(noise: float) -> None:
    rng = np.random.default_rng(0)
    values = np.linspace(9, 3, 4000) + rng.normal(0, noise, 4000)
    values[::100] += 50
    assert scatter(values) == pytest.approx(noise, rel=0.06)


@pytest.mark.parametrize("name", ["linear", "cosine", "wsd", "constant", "inverse_sqrt"])
@pytest.mark.parametrize("warmup", [0, 30])
def test_the_warmup_is_read_off_the_rate(name: str, warmup: int) -> None:
    schedule = ScheduleConfig(name, warmup=warmup)
    rate = [schedule_factor(schedule, step, STEPS) for step in range(STEPS)]
    assert of(falling(), lr=whole(rate)).warmup == max(0, warmup - 1)


def test_a_sweep_is_as_well_as_its_trials_at_the_best_rate() -> None:
    sick, well = diagnose(recorded("lm_slow")), diagnose(recorded("lm_healthy_mup"))
    patients = [
        Patient("sp", Scale(64), 0.1, 0, None, sick),
        Patient("sp", Scale(64), 0.1, 1, 1.0, well),  # the best of all, at a rate where the other seed diverged
        Patient("sp", Scale(64), 0.01, 0, 2.0, well),
        Patient("sp", Scale(64), 0.01, 1, 2.2, well),
        Patient("sp", Scale(64), 0.001, 0, 2.2, sick),
        Patient("sp", Scale(64), 0.001, 1, 2.1, None),
        Patient("mup", Scale(128), 0.01, 0, None, sick),  # the wide ones often end first in a sweep
        Patient("mup", Scale(64), 0.01, 0, 2.0, sick),
    ]
    first, second, third = cells(patients)
    assert (first.arm, first.scale, first.trials, first.unseen, first.best_lr) == ("sp", Scale(64), 6, 1, 0.01)
    assert first.healthy
    assert first.found == {"slow_descent": {0.001: 1, 0.1: 1}}
    assert (second.best_lr, second.healthy) == (0.01, False)
    assert (third.best_lr, third.healthy) == (None, False)


def without(run: Run, need: str) -> Run:
    part, _, fact = need.partition(".")
    if fact:
        return dataclasses.replace(run, setup=dataclasses.replace(run.setup, **{fact: None}))
    return dataclasses.replace(run, **{part: {} if isinstance(getattr(run, part), dict) else Curve()})
