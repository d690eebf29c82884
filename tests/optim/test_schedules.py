"""Every schedule against torch's, or its paper's closed form, step by step."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from mutransfer.config import Arm, OptimizerConfig, Scale, ScheduleConfig, SweepConfig
from mutransfer.optim import growth_at, momentum_fall, schedule_factor, shared_steps
from mutransfer.theory.schedules import COOLDOWNS, SCHEDULES, grow_batch, power_knee

FLAT = {"warmup": 0.0}
STUCK = np.ones(2000)
"""Losses that do not fall, for plateau."""
NEEDED = {"exponential": {"floor": 0.01}}
"""What a schedule cannot do without."""


def factors(steps: int = 100, **config: object) -> list[float]:
    schedule = ScheduleConfig(**config)  # type: ignore[arg-type]
    schedule.validate()
    return [schedule_factor(schedule, step, steps, STUCK) for step in range(steps)]


Maker = Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler]


def torchs(make: Maker, steps: int, key: str = "lr") -> list[float]:
    """What a torch scheduler makes of the rate 1, step by step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
    scheduler, found = make(optimizer), []
    for _ in range(steps):
        found.append(optimizer.param_groups[0][key])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize(
    ("steps", "config", "make"),
    [
        (50, {"name": "linear"}, lambda o: lr_scheduler.LinearLR(o, 1.0, 0.0, total_iters=50)),
        (50, {"name": "linear", "floor": 0.2}, lambda o: lr_scheduler.LinearLR(o, 1.0, 0.2, total_iters=50)),
        (50, {"name": "cosine", "floor": 0.0}, lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=50)),
        (50, {"name": "cosine"}, lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=50, eta_min=0.1)),
        (50, {"name": "polynomial"}, lambda o: lr_scheduler.PolynomialLR(o, total_iters=50, power=2.0)),
        (50, {"name": "polynomial", "power": 0.5}, lambda o: lr_scheduler.PolynomialLR(o, total_iters=50, power=0.5)),
        (50, {"name": "exponential", "floor": 0.03}, lambda o: lr_scheduler.ExponentialLR(o, 0.03 ** (1 / 50))),
        (50, {"name": "step"}, lambda o: lr_scheduler.MultiStepLR(o, [40, 45])),
        (
            90,
            {"name": "step", "decay_fraction": 2 / 3, "gamma": 0.5},
            lambda o: lr_scheduler.StepLR(o, step_size=30, gamma=0.5),
        ),
        (80, {"name": "cosine_restarts"}, lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=20)),
        (
            70,
            {"name": "cosine_restarts", "cycles": 3, "cycle_mult": 2.0, "floor": 0.1},
            lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=10, T_mult=2, eta_min=0.1),
        ),
        (
            80,
            {"name": "triangular", "floor": 0.1},
            lambda o: lr_scheduler.CyclicLR(o, 0.1, 1.0, step_size_up=10, cycle_momentum=False),
        ),
        (
            60,
            {"name": "triangular2", "cycles": 3},
            lambda o: lr_scheduler.CyclicLR(o, 0.0, 1.0, step_size_up=10, mode="triangular2", cycle_momentum=False),
        ),
    ],
    ids=lambda value: " ".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_after_the_warmup_it_is_torchs(steps: int, config: dict[str, object], make: Maker) -> None:
    expected = torchs(make, steps)
    assert factors(steps, **FLAT, **config) == pytest.approx(expected, abs=1e-12)
    warmed = factors(steps + 10, **config, warmup=10.0)
    assert warmed[10:] == pytest.approx(expected, abs=1e-12)


def test_one_cycle_is_torchs_with_its_momentum() -> None:
    def make(optimizer: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
        return lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=100, pct_start=0.3, final_div_factor=4.0)

    config = ScheduleConfig("one_cycle", warmup=0.3, floor=0.01)
    assert [schedule_factor(config, step, 100) for step in range(100)] == pytest.approx(torchs(make, 100), abs=1e-12)
    at_once = ScheduleConfig("one_cycle", warmup=0.01, floor=0.01)
    assert [schedule_factor(at_once, step, 100) for step in (0, 99)] == pytest.approx([1.0, 0.01])
    dipping = ScheduleConfig("one_cycle", warmup=0.3, momentum_dip=0.1)  # torch's bounds: 0.95 and 0.85
    momenta = [0.95 - momentum_fall(dipping, step, 100) for step in range(100)]
    assert momenta == pytest.approx(torchs(make, 100, "momentum"), abs=1e-12)
    assert {momentum_fall(config, step, 100) for step in range(100)} == {0.0}


def test_plateau_is_torchs_of_the_mean_losses_of_its_windows() -> None:
    losses = np.random.default_rng(0).normal(2.0, 0.02, 1003).astype(np.float64)
    losses[:300] += np.linspace(1.0, 0.0, 300)
    for rest, patience, warmup in ((0, 3, 0.0), (2, 1, 25.0)):
        losses[: int(warmup)] = 0.5  # a window that begins within the warmup is no look
        config = ScheduleConfig("plateau", warmup, 0.02, gamma=0.5, window=10, patience=patience, rest=rest)
        config.validate()
        alone = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        torchs = lr_scheduler.ReduceLROnPlateau(alone, factor=0.5, patience=patience, cooldown=rest, min_lr=0.02)
        expected = []
        for step in range(len(losses)):
            if step % 10 == 0 and step - 10 >= warmup:
                torchs.step(losses[step - 10 : step].mean())
            expected.append(min(1.0, (step + 1) / warmup if warmup else 1.0) * alone.param_groups[0]["lr"])
        found = [schedule_factor(config, step, 5000, losses[: step // 10 * 10]) for step in range(len(losses))]
        assert found == pytest.approx(expected)
        assert len(set(found)) > 5
        assert min(found[30:]) == 0.02


def test_plateau_without_its_losses_is_refused() -> None:
    config = ScheduleConfig("plateau", window=10, warmup=0.0)
    with pytest.raises(ValueError, match=r"expected 0 losses at step 0 .*, got none; .* reduce_on_plateau"):
        schedule_factor(config, 0, 100)
    with pytest.raises(ValueError, match="expected 20 losses at step 25 under schedule plateau, got 19"):
        schedule_factor(config, 25, 100, STUCK[:19])
    assert schedule_factor(config, 25, 100, STUCK[:20]) == 1.0


@pytest.mark.parametrize("name", SCHEDULES)
def test_no_factor_leaves_its_bounds_and_the_warmup_is_linear(name: str) -> None:
    config = {"name": name, **NEEDED.get(name, {})}
    curve = factors(**config, warmup=0.1)
    assert curve == factors(**config, warmup=10.0)
    assert max(curve) <= 1.0
    assert min(curve) >= 0.0
    if name != "one_cycle":
        assert curve[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    if not name.startswith("triangular"):
        assert curve[9] == 1.0
        assert curve[10] > 0.95


def test_what_falls_ends_at_its_floor() -> None:
    for name, spec in SCHEDULES.items():
        config = ScheduleConfig(name, floor=0.05 if "floor" in spec.fields else None)
        expected = {"constant": 1.0, "step": 0.01, "inverse_sqrt": 0.1**0.5, "power": 0.05 * 0.1**0.51}
        if name != "one_cycle":
            reached = schedule_factor(config, 1000, 1000, STUCK)
            assert reached == pytest.approx(expected.get(name, 0.05), rel=2e-3), name


@pytest.mark.parametrize("name", COOLDOWNS)
def test_wsd_stands_and_then_cools_down_as_published(name: str) -> None:
    """Haegele et al. 2405.18392: 1 - sqrt((n - (N - N_d))/N_d); the others by their names."""
    done = [n / 20 for n in range(20)]
    floor = 0.1 if name == "exponential" else 0.0
    expected = {
        "linear": [1 - x for x in done],
        "cosine": [(1 + math.cos(math.pi * x)) / 2 for x in done],
        "sqrt": [1 - math.sqrt(x) for x in done],
        "exponential": [0.1**x for x in done],
    }
    curve = factors(**FLAT, name="wsd", cooldown=name, floor=floor)
    assert curve[:80] == [1.0] * 80
    assert curve[80:] == pytest.approx(expected[name], abs=1e-12 if name != "sqrt" else 1e-6)


def test_inverse_sqrt_is_noams_and_t5s() -> None:
    """Vaswani et al. 1706.03762, eq. 3, over its largest value; Raffel et al. 1910.10683: 1/sqrt(max(n, k))."""
    noam = [512**-0.5 * min(s**-0.5, s * 40**-1.5) for s in range(1, 401)]
    assert factors(400, name="inverse_sqrt", warmup=40.0) == pytest.approx([rate / max(noam) for rate in noam])
    t5 = [1 / math.sqrt(max(s, 100)) for s in range(1, 401)]
    assert factors(400, **FLAT, name="inverse_sqrt", knee=100.0) == pytest.approx([10 * rate for rate in t5])
    assert factors(400, **FLAT, name="inverse_sqrt", knee=0.25) == pytest.approx([10 * rate for rate in t5])


def test_power_is_the_power_scheduler() -> None:
    """Shen et al. 2408.13359: min(lr, batch * a * n^b) after n tokens, whatever the length of the run."""
    lr, batch, context = 0.02, 8, 128
    knee = power_knee(lr, batch, batch * context)
    expected = [min(lr, batch * 4.0 * ((step + 1) * batch * context) ** -0.51) for step in range(2000)]
    assert 1 < knee < 2000
    assert min(expected) < lr
    for steps in (2000, 5000):
        curve = factors(steps, **FLAT, name="power", knee=knee, decay_fraction=1e-9)
        assert [lr * factor for factor in curve[:1999]] == pytest.approx(expected[:1999])
    with pytest.raises(ValueError, match="expected a peak of at most"):
        power_knee(1.0, batch, batch * context)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_longer_run_shares_exactly_the_first_steps(name: str) -> None:
    config = ScheduleConfig(name, warmup=7.0, **NEEDED.get(name, {}))
    for steps, longer in ((50, 80), (83, 1000), (10, 11)):
        shared = shared_steps(config, steps)
        short = [schedule_factor(config, step, steps, STUCK) for step in range(steps)]
        long = [schedule_factor(config, step, longer, STUCK) for step in range(steps)]
        assert short[:shared] == long[:shared]
        after = short[shared : shared + 3], long[shared : shared + 3]  # the first steps of a decay may still be alike
        assert shared == steps or after[0] != after[1]
    assert shared_steps(ScheduleConfig(name, warmup=0.1, **NEEDED.get(name, {})), 50) == 0


def test_the_stable_phase_of_wsd_is_all_before_its_cooldown() -> None:
    assert shared_steps(ScheduleConfig("wsd", warmup=10.0), 110) == 90
    assert shared_steps(ScheduleConfig("wsd", warmup=0.0, decay_fraction=0.1), 95) == 86
    assert shared_steps(ScheduleConfig("constant", warmup=10.0), 110) == 110
    assert shared_steps(ScheduleConfig("linear", warmup=10.0), 110) == 10


@pytest.mark.parametrize("exponent", [1.0, 0.5])
def test_a_grown_batch_takes_over_the_decay(exponent: float) -> None:
    for factor in (1.0, 0.5, 0.25, 0.1, 0.01, 0.0):
        growth = grow_batch(factor, 16, 512, exponent)
        assert 16 <= growth.batch_size <= 512
        assert growth.factor * (16 / growth.batch_size) ** exponent == pytest.approx(factor)
    assert grow_batch(0.25, 16, 10**6, 1.0) == (64, 1.0)
    assert grow_batch(0.25, 16, 10**6, 0.5) == (256, 1.0)
    assert grow_batch(0.01, 16, 32, 1.0) == (32, 0.02)


def test_the_batch_of_a_trial_grows_where_its_schedule_falls() -> None:
    schedule = ScheduleConfig("step", warmup=10.0, decay_fraction=0.5, gamma=0.5)
    for name, sizes in (("sgd", (16, 32, 64)), ("adamw", (16, 64, 100))):
        sweep = SweepConfig(steps=50, schedule=schedule, optimizer=OptimizerConfig(name))
        trial = dataclasses.replace(sweep.trial(Arm("mup", "mup"), Scale(32), 0.1, 0), largest_batch=100)
        trial.validate_growth()
        grown = [growth_at(trial, step) for step in range(50)]
        assert [each.batch_size for each in grown] == [16] * 30 + [sizes[1]] * 10 + [sizes[2]] * 10
        assert [each.factor for each in grown[:10]] == [(step + 1) / 10 for step in range(10)]
        left = 1.0 if name == "sgd" else 0.25 * (100 / 16) ** 0.5  # what the largest batch does not reach
        assert [each.factor for each in grown[10:]] == pytest.approx([1.0] * 30 + [left] * 10)
        as_it_is = dataclasses.replace(trial, largest_batch=None)
        assert [growth_at(as_it_is, step) for step in range(50)] == [
            (16, schedule_factor(schedule, step, 50)) for step in range(50)
        ]


def test_a_schedules_fields_are_those_of_its_config() -> None:
    assert {field for spec in SCHEDULES.values() for field in spec.fields} == {
        field.name for field in dataclasses.fields(ScheduleConfig)
    } - {"name", "warmup"}


@pytest.mark.parametrize("milestones", [(30.0, 60.0, 80.0), (1 / 3, 2 / 3, 8 / 9)])
def test_milestones_are_counted_from_the_first_step(milestones: tuple[float, ...]) -> None:
    expected = torchs(lambda o: lr_scheduler.MultiStepLR(o, [30, 60, 80]), 90)
    assert factors(90, name="step", milestones=milestones, **FLAT) == pytest.approx(expected, abs=1e-12)
    warmed = factors(90, name="step", milestones=milestones, warmup=5.0)
    assert warmed == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, *expected[5:]], abs=1e-12)
    schedule = ScheduleConfig("step", milestones=milestones, warmup=5.0)
    assert shared_steps(schedule, 90) == (30 if milestones[0] >= 1 else 0)


@pytest.mark.parametrize("milestones", [(60.0, 30.0), (0.5, 30.0), (0.0,), (-1.0,)])
def test_milestones_that_do_not_rise_are_refused(milestones: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected schedule.milestones that rise.* got"):
        factors(90, name="step", milestones=milestones)
