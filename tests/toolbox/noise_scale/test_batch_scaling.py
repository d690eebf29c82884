"""The rules are what their sources say, lead there and back, keep what they promise to keep, and end at the critical
batch size."""

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch

from mutransfer.config import OptimizerConfig
from mutransfer.optim import build_optimizer
from mutransfer.toolbox.noise_scale.batch_scaling import ScaledBatch, scale_batch

ADAM = OptimizerConfig("adamw", beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1)
SGD = OptimizerConfig("sgd", momentum=0.9, weight_decay=0.1)


def test_adam_goes_by_the_square_root_rule() -> None:
    found = scale_batch(0.01, ADAM, from_batch=16, to_batch=64)
    assert found.lr == pytest.approx(0.02)
    assert found.optimizer.beta1 == pytest.approx(0.6)
    assert found.optimizer.beta2 == pytest.approx(0.8)
    assert found.optimizer.eps == pytest.approx(0.5e-8)
    assert found.optimizer.weight_decay == pytest.approx(0.2)
    assert (found.growth, found.steps_mult) == (4.0, 0.25)


def test_sgd_goes_by_the_linear_rule_and_keeps_the_rest() -> None:
    found = scale_batch(0.01, SGD, from_batch=16, to_batch=64)
    assert found.lr == pytest.approx(0.04)
    assert found.optimizer == SGD


@pytest.mark.parametrize("optimizer", [ADAM, SGD, OptimizerConfig("adam", beta1=0.0)], ids=lambda each: each.name)
@pytest.mark.parametrize("critical", [None, 50.0])
def test_there_and_back_is_nowhere_and_two_steps_are_one(optimizer: OptimizerConfig, critical: float | None) -> None:
    def scaled(lr: float, config: OptimizerConfig, sizes: tuple[int, int]) -> ScaledBatch:
        return scale_batch(lr, config, from_batch=sizes[0], to_batch=sizes[1], critical=critical)

    def numbers(each: ScaledBatch) -> list[float]:
        return [each.lr, *(value for value in dataclasses.astuple(each.optimizer) if isinstance(value, float))]

    first = scaled(0.01, optimizer, (16, 40))
    back = scaled(first.lr, first.optimizer, (40, 16))
    assert numbers(back)[0] == pytest.approx(0.01)
    assert numbers(back) == pytest.approx(numbers(scaled(0.01, optimizer, (16, 16))))
    direct, second = scaled(0.01, optimizer, (16, 100)), scaled(first.lr, first.optimizer, (40, 100))
    assert numbers(second) == pytest.approx(numbers(direct))


@pytest.mark.parametrize("mode", ["width_independent", "coupled", "lr_independent"])
@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_a_whole_run_decays_weights_as_much_as_before(name: str, mode: str) -> None:
    optimizer = OptimizerConfig(name, weight_decay=0.1, decay_mode=mode)
    found = scale_batch(0.01, optimizer, from_batch=16, to_batch=64, critical=100.0)

    def shrinkage(lr: float, decay: float) -> float:
        return decay if mode == "lr_independent" else lr * decay

    after = shrinkage(found.lr, found.optimizer.weight_decay) * found.steps_mult
    assert after == pytest.approx(shrinkage(0.01, 0.1))


def test_the_best_rate_of_sgd_on_a_noisy_parabola_moves_as_the_rule_says() -> None:
    """Of curvature 1: a step of lr along g leaves ((1 - lr)^2 |G|^2 + lr^2 S/B) / 2, least at 1 / (1 + critical/B)."""
    critical = 30.0
    best = {batch: 1 / (1 + critical / batch) for batch in (2, 20, 200)}
    for batch, lr in best.items():
        after = [(1 - each) ** 2 + each**2 * critical / batch for each in (lr, lr * 1.01, lr / 1.01)]
        assert min(after) == after[0]
        for other, wanted in best.items():
            found = scale_batch(lr, SGD, from_batch=batch, to_batch=other, critical=critical)
            assert found.lr == pytest.approx(wanted)


def test_beyond_the_critical_batch_size_nothing_grows() -> None:
    below = scale_batch(0.01, ADAM, from_batch=10, to_batch=20, critical=1e6)
    assert below.growth == pytest.approx(2, rel=1e-4)
    assert below.notes == ()
    beyond = scale_batch(0.01, ADAM, from_batch=1000, to_batch=2000, critical=10.0)
    assert beyond.growth == pytest.approx(1, abs=0.01)
    assert "beyond the critical batch size 10" in beyond.notes[0]
    unknown = scale_batch(0.01, ADAM, from_batch=10, to_batch=20)
    assert "no critical batch size is given" in unknown.notes[0]
    # steps and examples in units of the fewest: (S - 1)(E - 1) = 1 (McCandlish et al. 2018, section 2.3)
    at = scale_batch(0.01, ADAM, from_batch=1000, to_batch=1001, critical=100.0).notes[0]
    steps, examples = (
        float(at.split(word)[0].split()[-1]) for word in (" times the fewest steps", " times the fewest ex")
    )
    assert (steps - 1) * (examples - 1) == pytest.approx(1, rel=0.01)


COORDINATES = 20_000
CURVATURE, START = 0.05, 1.0


def run(lr: float, config: OptimizerConfig, batch: int, steps: int) -> tuple[float, float]:
    """Mean and variance over as many coordinates of a parabola, each with gradient noise of variance 1/batch."""
    torch.manual_seed(0)
    weights = torch.full((COORDINATES,), START, requires_grad=True)
    groups = [{"params": [weights], "lr": lr, "eps": config.eps, "lr_mult": 1.0}]
    optimizer = build_optimizer(groups, config)
    for _ in range(steps):
        weights.grad = CURVATURE * weights.detach() + torch.randn(COORDINATES) / math.sqrt(batch)
        optimizer.step()
    return weights.mean().item(), weights.var().item()


def nearly(found: tuple[float, float], wanted: tuple[float, float], within: float) -> bool:
    return all(math.isclose(mine, other, rel_tol=within) for mine, other in zip(found, wanted, strict=True))


@pytest.mark.parametrize(
    ("lr", "config", "wrong"),
    [
        # epsilon is as large as the gradients, so that it matters
        (0.02, OptimizerConfig("adam", beta1=0.98, beta2=0.98, eps=0.5), lambda k: k),
        (0.0025, OptimizerConfig("sgd", momentum=0.9), math.sqrt),
    ],
    ids=["adam", "sgd"],
)
def test_under_noise_a_scaled_run_ends_where_the_first_one_does(
    lr: float, config: OptimizerConfig, wrong: Callable[[float], float]
) -> None:
    """In distribution, over as many examples, four times the batch; which no other rule for the rate does."""
    steps = 1000 if config.name == "adam" else 1600
    first = run(lr, config, 1, steps)
    scaled = scale_batch(lr, config, from_batch=1, to_batch=4)
    assert nearly(run(scaled.lr, scaled.optimizer, 4, steps // 4), first, 0.06)
    assert not nearly(run(lr * wrong(4), scaled.optimizer, 4, steps // 4), first, 0.3)
    if config.name == "adam":
        same_eps = dataclasses.replace(scaled.optimizer, eps=config.eps)
        assert not nearly(run(scaled.lr, same_eps, 4, steps // 4), first, 0.1)


def test_it_says_what_is_wrong() -> None:
    with pytest.raises(
        ValueError, match=r"found beta1 0\.9 and a growth of 16, which makes it -0\.6; wanted .* below 10"
    ):
        scale_batch(0.01, ADAM, from_batch=4, to_batch=64)
    assert scale_batch(0.01, ADAM, from_batch=4, to_batch=64, critical=20.0).growth < 10
    for name in ("lr", "from_batch", "to_batch", "critical"):
        asked = {"lr": 0.01, "from_batch": 4, "to_batch": 8, "critical": 10.0} | {name: 0}
        with pytest.raises(ValueError, match=f"expected {name} above 0, got 0"):
            scale_batch(asked["lr"], ADAM, **{key: asked[key] for key in asked if key != "lr"})  # type: ignore[arg-type]


def test_an_optimizer_without_a_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="found optimizer lion; wanted one of adamw, adam, rmsprop, sgd"):
        scale_batch(0.01, OptimizerConfig("lion"), from_batch=4, to_batch=8)


def test_rmsprop_has_one_decay() -> None:
    found = scale_batch(0.01, OptimizerConfig("rmsprop", beta2=0.9), from_batch=4, to_batch=8).optimizer
    assert (found.beta1, found.beta2) == (OptimizerConfig.beta1, pytest.approx(0.8))
