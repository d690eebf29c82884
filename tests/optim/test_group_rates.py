"""What changes group rates keeps the table's ratios, and the guard sees what does not."""

import copy
import dataclasses
from collections.abc import Callable

import pytest
import torch

from mutransfer.config import ModelConfig, OptimizerConfig, ScheduleConfig
from mutransfer.optim import (
    build_optimizer,
    check_group_rates,
    lower_momentum,
    reduce_on_plateau,
    schedule_factor,
    scheduler,
    set_group_rates,
)
from mutransfer.parametrization import build_model
from mutransfer.theory.optimizers import MOMENTA, OPTIMIZERS
from mutransfer.theory.schedules import SCHEDULES

SMALL = ModelConfig(width=32, head_dim=8, context=12, vocab=50, zero_readout=False)


def optimizer(lr: float = 0.01) -> torch.optim.Optimizer:
    built = build_model(dataclasses.replace(SMALL, width=64), "mup", base_width=16)
    return torch.optim.AdamW(built.param_groups(lr))


def test_rates_keep_the_tables_ratios_through_a_schedule() -> None:
    adamw = optimizer()
    for factor in (0.1, 1.0, 0.37):
        set_group_rates(adamw, 0.01 * factor)
        check_group_rates(adamw)
        rates = {group["lr_mult"]: group["lr"] for group in adamw.param_groups}
        assert rates[1.0] == pytest.approx(4 * rates[0.25])


@pytest.mark.filterwarnings("ignore:Detected call of")
@pytest.mark.parametrize(
    "flatten",
    [
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, max_lr=0.1, total_steps=10),
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=10, eta_min=0.005),
    ],
    ids=["OneCycleLR", "CosineAnnealingLR"],
)
def test_the_guard_catches_schedulers_that_set_absolute_rates(
    flatten: Callable[[torch.optim.Optimizer], torch.optim.lr_scheduler.LRScheduler],
) -> None:
    adamw = optimizer()
    scheduler = flatten(adamw)
    scheduler.step()
    with pytest.raises(RuntimeError, match="keep the table's ratio"):
        check_group_rates(adamw)


def test_the_guard_lets_schedulers_by_one_factor_pass() -> None:
    adamw = optimizer()
    scheduler = torch.optim.lr_scheduler.LambdaLR(adamw, lambda step: 0.5**step)
    for _ in range(5):
        adamw.step()
        scheduler.step()
        check_group_rates(adamw)


@pytest.mark.parametrize("name", [name for name in SCHEDULES if name != "plateau"])
def test_every_schedule_serves_a_torch_loop_and_keeps_the_ratios(name: str) -> None:
    adamw = optimizer()
    config = ScheduleConfig(name, floor=0.01 if "floor" in SCHEDULES[name].fields else None)
    schedule = scheduler(adamw, config, 20)
    for step in range(20):
        check_group_rates(adamw)
        for group in adamw.param_groups:
            assert group["lr"] == pytest.approx(0.01 * group["lr_mult"] * schedule_factor(config, step, 20))
        adamw.step()
        schedule.step()
    last = [group["lr"] for group in adamw.param_groups]
    adamw.step()
    schedule.step()
    assert [group["lr"] for group in adamw.param_groups] == last
    assert last[0] == pytest.approx(0.01 * adamw.param_groups[0]["lr_mult"] * schedule_factor(config, 19, 20))


def test_a_scheduler_refuses_what_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="expected a known schedule"):
        scheduler(optimizer(), ScheduleConfig("lineer"), 20)
    with pytest.raises(ValueError, match="got schedule plateau, which needs the losses; use reduce_on_plateau"):
        scheduler(optimizer(), ScheduleConfig("plateau"), 20)
    with pytest.raises(ValueError, match=r"momentum_dip 0\.95, got a param group with 0\.9; lower"):
        scheduler(optimizer(), ScheduleConfig("one_cycle", momentum_dip=0.95), 20)
    with pytest.raises(ValueError, match="shorter than the run"):
        scheduler(optimizer(), ScheduleConfig(warmup=20.0), 20)
    flattened = optimizer()
    for group in flattened.param_groups:
        group["lr"] = 0.01
    with pytest.raises(RuntimeError, match="keep the table's ratio"):
        scheduler(flattened, ScheduleConfig(), 20)


PLATEAU = [3.0, 2.0, 1.5, 1.5, 1.5, 1.5, 1.4, 1.4, 1.4, 1.4, 1.4, 1.4, 1.4, 1.4]


@pytest.mark.parametrize("lr", [0.01, 1e-7])
def test_on_a_plateau_rates_fall_as_torchs_and_in_step(lr: float) -> None:
    """At 1e-7 torch's own would pass over the groups whose rate changes by less than 1e-8."""
    ours, alone = optimizer(lr), torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    plateau = reduce_on_plateau(ours, patience=2, cooldown=1, floor=1e-3)
    torchs = torch.optim.lr_scheduler.ReduceLROnPlateau(alone, patience=2, cooldown=1, min_lr=1e-3 * lr, eps=0.0)
    seen = set()
    for loss in PLATEAU * 3:
        plateau.step(loss)
        torchs.step(loss)
        check_group_rates(ours)
        group = ours.param_groups[0]
        assert group["lr"] / group["lr_mult"] == pytest.approx(alone.param_groups[0]["lr"])
        seen.add(round(alone.param_groups[0]["lr"] / lr, 6))
    assert seen == {1.0, 0.1, 0.01, 0.001}


def test_torchs_own_plateau_flattens_the_ratios_in_the_end() -> None:
    adamw = optimizer()
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(adamw, patience=2, min_lr=1e-3)
    for loss in PLATEAU * 3:
        plateau.step(loss)
    with pytest.raises(RuntimeError, match="keep the table's ratio"):
        check_group_rates(adamw)


def held(made: torch.optim.Optimizer) -> set[float]:
    """The momenta of its groups."""
    groups = made.param_groups
    return {group["betas"][0] if "betas" in group else group["momentum"] for group in groups}


def test_one_cycles_momentum_dips_in_a_torch_loop_and_goes_on_from_its_state() -> None:
    """As torch's own does for one group at one rate."""
    config = ScheduleConfig("one_cycle", warmup=0.3, start=0.04, floor=4e-6, momentum_dip=0.1)
    made = {name: torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.95) for name in "abc"}
    for one in made.values():
        one.param_groups[0]["lr_mult"] = 1.0
    ours, torchs = scheduler(made["a"], config, 20), torch.optim.lr_scheduler.OneCycleLR(made["b"], 1.0, 20)
    for step in range(20):
        first, second = (made[name].param_groups[0] for name in "ab")
        assert first["momentum"] == pytest.approx(second["momentum"])
        assert first["lr"] == pytest.approx(second["lr"])
        if step == 12:
            made["c"].load_state_dict(copy.deepcopy(made["a"].state_dict()))
            kept = copy.deepcopy(ours.state_dict())
            ours = scheduler(made["c"], config, 20)
            ours.load_state_dict(kept)
            made["a"] = made["c"]
        if step < 19:
            for one, schedule in ((made["a"], ours), (made["b"], torchs)):
                one.step()
                schedule.step()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_momentum_is_lowered_where_it_stands_and_nowhere_else(name: str) -> None:
    built = build_model(SMALL, "mup", base_width=16)
    config = OptimizerConfig(name, momentum=0.8 if "momentum" in OPTIMIZERS[name].fields else OptimizerConfig.momentum)
    made = build_optimizer(built.groups_for(0.01, config), config)
    own = {getattr(config, field) for field in MOMENTA if field in OPTIMIZERS[name].fields}
    before = [dict(group) for group in made.param_groups]
    lower_momentum(made, config, 0.0)
    assert [dict(group) for group in made.param_groups] == before
    lower_momentum(made, config, 0.25)
    if own:
        assert {each for each in held(made) if each} == {each - 0.25 for each in own}
    else:
        assert [dict(group) for group in made.param_groups] == before
    schedule = ScheduleConfig("one_cycle", momentum_dip=0.1)
    if not name.startswith("schedule_free"):
        if own:
            config.validate_schedule(schedule)
        else:
            with pytest.raises(ValueError, match=f"momentum_dip 0.1, got {name} with no momentum"):
                config.validate_schedule(schedule)


def test_schedules_work_on_any_optimizers_groups() -> None:
    model = torch.nn.Linear(3, 3)
    sgd = torch.optim.SGD([{"params": [model.weight], "lr": 0.1}, {"params": [model.bias], "lr": 0.3}])
    falling = scheduler(sgd, ScheduleConfig("linear", warmup=0), 10)
    for step in range(10):
        assert [group["lr"] for group in sgd.param_groups] == pytest.approx(
            [0.1 * (1 - step / 10), 0.3 * (1 - step / 10)]
        )
        sgd.step()
        falling.step()
    adam = torch.optim.Adam(model.parameters(), lr=0.2)
    plateau = reduce_on_plateau(adam, factor=0.5, patience=0)
    for loss in (1.0, 1.0, 1.0):
        plateau.step(loss)
    assert adam.param_groups[0]["lr"] == pytest.approx(0.05)
