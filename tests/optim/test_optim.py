"""Schedules, their guard, and clipping in one gauge."""

import dataclasses
import math

import pytest
import torch

from mutransfer.config import ModelConfig, ScheduleConfig
from mutransfer.optim import check_group_rates, schedule_factor, set_group_rates
from mutransfer.parametrization import build_model

SMALL = ModelConfig(width=32, head_dim=8, context=12, vocab=50, zero_readout=False)


def factors(steps: int = 100, **config: object) -> list[float]:
    return [schedule_factor(ScheduleConfig(**config), step, steps) for step in range(steps)]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["constant", "linear", "cosine", "wsd"])
def test_warmup_rises_linearly_to_the_peak_and_nothing_exceeds_it(name: str) -> None:
    curve = factors(name=name, warmup=0.1)
    assert curve[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert curve == factors(name=name, warmup=10.0)
    assert max(curve) == 1.0
    assert min(curve) > 0.0
    assert factors(name=name, warmup=0.0)[0] == 1.0


def test_shapes_in_closed_form() -> None:
    assert factors(name="constant", warmup=0.0) == [1.0] * 100
    assert factors(name="linear", warmup=0.0) == pytest.approx([1 - t / 100 for t in range(100)])
    floored = factors(name="cosine", warmup=0.0, floor=0.1)
    assert floored == pytest.approx([0.1 + 0.45 * (1 + math.cos(math.pi * t / 100)) for t in range(100)])
    wsd = factors(name="wsd", warmup=0.0, decay_fraction=0.2)
    assert wsd == pytest.approx([1.0] * 80 + [1 - t / 20 for t in range(20)])


def test_linear_and_cosine_agree_with_torch() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    for name, make in (
        ("linear", lambda o: torch.optim.lr_scheduler.LinearLR(o, 1.0, 0.0, total_iters=50)),
        ("cosine", lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=50)),
    ):
        optimizer = torch.optim.SGD([parameter], lr=1.0)
        scheduler = make(optimizer)
        rates = []
        for _ in range(50):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        assert factors(50, name=name, warmup=0.0) == pytest.approx(rates, abs=1e-12)


def optimizer() -> torch.optim.Optimizer:
    built = build_model(dataclasses.replace(SMALL, width=64), "mup", base_width=16)
    return torch.optim.AdamW(built.param_groups(0.01))


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
def test_the_guard_catches_schedulers_that_set_absolute_rates(flatten: object) -> None:
    adamw = optimizer()
    scheduler = flatten(adamw)  # type: ignore[operator]
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


@pytest.mark.parametrize("max_norm", [1e-3, 1e9])
def test_clipping_at_base_width_is_torchs(max_norm: float) -> None:
    gradients = []
    for ours in (True, False):
        built = build_model(SMALL, "mup", base_width=32)
        built.model(torch.arange(12)[None]).square().sum().backward()
        if ours:
            norm = built.clip_grad_norm_(max_norm)
        else:
            assert norm.item() == pytest.approx(
                torch.nn.utils.clip_grad_norm_(built.model.parameters(), max_norm).item(), rel=1e-5
            )
        gradients.append([parameter.grad for parameter in built.model.parameters()])
    for mine, torchs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, torchs)


def test_the_norm_is_one_number_in_all_three_gauges() -> None:
    norms, raw = [], []
    for table in ("mup", "mup_table3", "mup_table9"):
        built = build_model(dataclasses.replace(SMALL, width=96), table, base_width=16, dtype=torch.float64)
        built.model(torch.arange(12)[None]).square().sum().backward()
        raw.append(sum(p.grad.square().sum().item() for p in built.model.parameters()) ** 0.5)
        norms.append(built.clip_grad_norm_(1.0).item())
    assert norms == pytest.approx([norms[0]] * 3, rel=1e-10)
    assert raw[1] > 1.2 * raw[0]
