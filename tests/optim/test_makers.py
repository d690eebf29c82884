"""What holds of every optimizer: it trains, its groups' rates and decays are what they say, it can be stopped and gone
on with, and be built over views."""

import argparse
import contextlib
import importlib
import inspect
import io
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mutransfer.config import ModelConfig, OptimizerConfig, ScheduleConfig
from mutransfer.optim import (
    averaged_weights,
    backward_twice,
    build_optimizer,
    check_group_rates,
    makers,
    needs_curvature,
    schedule_factor,
    set_group_rates,
    twice_differentiable,
)
from mutransfer.parametrization import build_model
from mutransfer.theory.optimizers import OPTIMIZERS

from .quadratic import Problem, config_for, values

DECAYING = [name for name, spec in OPTIMIZERS.items() if "weight_decay" in spec.fields]
LOG2_RATES = {
    "radam": -3,
    "rmsprop": -8,
    "sophia": 0,
    "adafactor": -3,
    "lamb": -5,
    "lars": 4,
    "sgd": -3,
    "schedule_free_sgd": -2,
    "dadapt_adam": -2,
    "prodigy": 0,
}
"""Rates at which each trains the proxy; 2^-6 where none stands."""
BY_NORM = {"zero_readout": False, "output_mult": 1.0}
"""A step in proportion to the weight's size does not leave zero."""
UNTRAINED, TRAINED = math.log(256), 3.4
"""Loss of a uniform guess over bytes, and what each must come below in 40 steps."""

TEXT = torch.from_numpy(np.frombuffer(Path(argparse.__file__).read_bytes(), dtype=np.uint8).astype(np.int64))


def batch(step: int) -> Tensor:
    starts = torch.randint(len(TEXT) - 33, (8,), generator=torch.Generator().manual_seed(step))
    return torch.stack([TEXT[start : start + 33] for start in starts.tolist()])


def trained(name: str, lr: float, steps: int = 40) -> list[float]:
    """Training losses of the proxy."""
    config, schedule = config_for(name), ScheduleConfig("constant" if name.startswith("schedule_free") else "linear")
    config.validate_schedule(schedule)
    by_norm = OPTIMIZERS[name].family == "norm"
    built = build_model(ModelConfig(width=32, context=32, **(BY_NORM if by_norm else {})), "mup", base_width=32)
    optimizer = build_optimizer(built.groups_for(lr, config), config)
    losses = []
    for step in range(steps):
        tokens = batch(step)
        optimizer.zero_grad(set_to_none=True)
        twice = needs_curvature(config, step)
        with twice_differentiable() if twice else contextlib.nullcontext():
            loss = functional.cross_entropy(built.model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        if twice:
            backward_twice(loss, optimizer)
        else:
            loss.backward()
        built.clip_grad_norm_(1e3)
        set_group_rates(optimizer, lr * schedule_factor(schedule, step, steps))
        check_group_rates(optimizer)
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_trains_the_proxy(name: str) -> None:
    losses = trained(name, 2.0 ** LOG2_RATES.get(name, -6))
    assert losses[0] == pytest.approx(UNTRAINED, abs=0.5)
    assert np.mean(losses[-5:]) < TRAINED


def test_without_a_rate_nothing_trains() -> None:
    assert min(trained("sgd", 0.0)) > UNTRAINED - 1e-4


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_groups_rate_is_its_part_of_the_step(name: str) -> None:
    """Two weights with the same values and gradients, the second at a quarter of the rate: not what the groups say, but
    what becomes of the weights."""
    start = values(6, 6)
    problem = Problem(config_for(name), [start.clone(), start.clone()], mults=[1.0, 0.25], seeds=[1, 1])
    for _ in range(3):
        whole, part = (weight - start for weight in problem.step())
        if whole.abs().max() > 0:
            break
    assert whole.abs().max() > 0
    torch.testing.assert_close(part, 0.25 * whole, rtol=1e-3, atol=0.0)


@pytest.mark.parametrize("name", [name for name in DECAYING if name != "adam_l2"])
def test_decay_shrinks_a_weight_by_the_rate_times_the_decay_and_nothing_else(name: str) -> None:
    """In the first step of two weights, the second at a quarter of the rate and four times the decay."""
    start, lr, decay = values(6, 6), 1e-4, 0.1
    plain, decayed = (
        Problem(config_for(name), [start.clone(), start.clone()], lr=lr, mults=[1.0, 0.25], decay=wd, seeds=[1, 1])
        for wd in (0.0, decay)
    )
    first = 2 if name == "soap" else 1  # its first step only looks
    found = 1e-6 if name in ("dadapt_adam", "prodigy") else 1.0  # the distance that they start from
    for one, other in zip(plain.step(first), decayed.step(first), strict=True):
        torch.testing.assert_close(other - one, -found * lr * decay * start, rtol=1e-2, atol=2e-3 * found * lr * decay)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_elementwise_is_what_does_not_depend_on_other_entries(name: str) -> None:
    """Two matrices in one row train as they do alone, if and only if the optimizer is said to be elementwise."""
    one, other = values(6, 6), values(6, 6, seed=50)
    lr, steps = (1.0, 20) if name in ("dadapt_adam", "prodigy") else (1e-2, 5)
    alone = Problem(config_for(name), [one.clone()], lr=lr).step(steps)[0] - one
    if name == "muon":  # takes matrices only
        assert not OPTIMIZERS[name].elementwise
        return
    both = Problem(config_for(name), [torch.cat([one.flatten(), other.flatten()])], lr=lr, seeds=[(1, 2)])
    row = both.step(steps)[0][:36].view(6, 6) - one
    assert torch.allclose(row, alone, rtol=1e-6, atol=1e-14) == OPTIMIZERS[name].elementwise


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_stopped_and_gone_on_with_it_is_undisturbed(name: str) -> None:
    start = [values(6, 6, dtype=torch.float32), values(4, 6, seed=9, dtype=torch.float32)]
    undisturbed = Problem(config_for(name), [w.clone() for w in start], mults=[1.0, 0.25], decay=decay_of(name)).step(7)
    stopped = Problem(config_for(name), [w.clone() for w in start], mults=[1.0, 0.25], decay=decay_of(name))
    weights, file = stopped.step(4), io.BytesIO()
    torch.save(stopped.optimizer.state_dict(), file)
    file.seek(0)
    going_on = Problem(config_for(name), weights, mults=[1.0, 0.25], decay=decay_of(name))
    going_on.done = stopped.done
    going_on.optimizer.load_state_dict(torch.load(file, weights_only=True))
    assert all(torch.equal(one, other) for one, other in zip(going_on.step(3), undisturbed, strict=True))


def decay_of(name: str) -> float:
    return 0.1 if name in DECAYING else 0.0


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_may_be_built_over_views(name: str) -> None:
    storage = torch.stack([values(6, 6), values(6, 6, seed=50)])
    before, plain = storage.clone(), Problem(config_for(name), [storage[1].clone()], seeds=[1]).step(5)[0]
    view = Problem(config_for(name), [storage[1]], seeds=[1])
    gradients = torch.zeros_like(storage)
    for _ in range(5):
        gradients.zero_()
        view.weights[0].grad = gradients[1]  # as a cohort keeps them: backward adds to them where they are
        view.differentiate()
        view.optimizer.step()
        view.done += 1
    torch.testing.assert_close(storage[1], plain)
    assert torch.equal(storage[0], before[0])
    assert not torch.equal(storage[1], before[1])


IMPLEMENTATIONS = {
    "adamw": "torch.optim.AdamW",
    "adam": "torch.optim.Adam",
    "adam_l2": "torch.optim.Adam",
    "nadam": "torch.optim.NAdam",
    "radam": "torch.optim.RAdam",
    "rmsprop": "torch.optim.RMSprop",
    "adopt": "pytorch_optimizer.ADOPT",
    "lion": "pytorch_optimizer.Lion",
    "sophia": "pytorch_optimizer.SophiaH",
    "soap": "pytorch_optimizer.SOAP",
    "adafactor": "pytorch_optimizer.AdaFactor",
    "lamb": "pytorch_optimizer.Lamb",
    "lars": "pytorch_optimizer.LARS",
    "sgd": "torch.optim.SGD",
    "muon": "torch.optim.Muon",
    "dadapt_adam": "pytorch_optimizer.DAdaptAdam",
    "prodigy": "pytorch_optimizer.Prodigy",
    "schedule_free_adamw": "pytorch_optimizer.ScheduleFreeAdamW",
    "schedule_free_sgd": "pytorch_optimizer.ScheduleFreeSGD",
}


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_its_defaults_are_its_implementations(name: str) -> None:
    module, _, cls = IMPLEMENTATIONS[name].rpartition(".")
    stated = {
        field: parameter.default
        for field, parameter in inspect.signature(getattr(importlib.import_module(module), cls)).parameters.items()
    }
    published, fields = OptimizerConfig.published(name), OPTIMIZERS[name].fields
    assert published.name == name
    assert OPTIMIZERS[name].lr == stated["lr"]
    if "beta1" in fields and "betas" in stated:
        assert (published.beta1, published.beta2) == stated["betas"]
    if name in ("rmsprop", "adafactor"):
        assert published.beta2 == (stated["alpha"] if name == "rmsprop" else stated["betas"][1])
    if "eps" in fields and name != "muon":
        assert published.eps == stated["eps"]
    if "momentum" in fields:
        assert published.momentum == stated["momentum"]
    for theirs in ("precondition_frequency", "update_period"):
        assert stated.get(theirs, 10) == OptimizerConfig.precondition_every


def test_each_has_a_function_that_makes_it_and_there_are_no_others() -> None:
    functions = {
        name
        for name, value in vars(makers).items()
        if inspect.isfunction(value) and value.__module__ == makers.__name__ and not name.startswith("_")
    }
    assert functions - {"build_optimizer"} == set(OPTIMIZERS)
    assert all(makers.MAKERS[name].__name__ == name for name in OPTIMIZERS)


def test_every_optimizer_says_what_its_rule_rests_on() -> None:
    for name, spec in OPTIMIZERS.items():
        OptimizerConfig.published(name).validate()
        assert spec.family in ("adam", "sgd", "norm", "spectral"), name
        assert spec.rule, name
        assert spec.established != spec.rule.startswith(("assumed", "none")), name


def test_evaluation_is_at_the_average_and_training_goes_on_from_where_it_was() -> None:
    """Schedule-free SGD at a constant rate: the average of all its iterates z (2405.15682, equation 5)."""
    config = config_for("schedule_free_sgd")
    start = values(6, 6)
    problem = Problem(config, [start.clone()])
    visited = []
    for _ in range(4):
        problem.step()
        visited.append(problem.optimizer.state[problem.weights[0]]["z"].clone())
    at = problem.weights[0].detach().clone()
    with averaged_weights(problem.optimizer):
        torch.testing.assert_close(problem.weights[0].detach(), torch.stack(visited).mean(0))
    torch.testing.assert_close(problem.weights[0].detach(), at)
    sgd = Problem(config_for("sgd"), [start.clone()])
    with averaged_weights(sgd.optimizer):
        assert torch.equal(sgd.weights[0], start)


@pytest.mark.parametrize("name", ["soap", "shampoo"])
def test_a_divergence_is_no_crash_where_a_preconditioner_cannot_be_decomposed(name: str) -> None:
    problem = Problem(config_for(name), [values(6, 6, dtype=torch.float32)])
    problem.step(2)
    for _ in range(2):
        problem.weights[0].grad = torch.full((6, 6), math.inf)
        problem.optimizer.step()
    assert problem.weights[0].isnan().all()


def test_without_the_library_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)
    with pytest.raises(ValueError, match=r"pip install 'mutransfer\[optim\]'"):
        Problem(config_for("lion"), [values(2, 2)])
    Problem(config_for("muon"), [values(2, 2)]).step()


def test_what_a_group_lacks_is_named() -> None:
    parameter = torch.nn.Parameter(values(2, 2))
    group: dict[str, Any] = {"params": [parameter], "lr": 0.1, "weight_decay": 0.0, "eps": 1e-8}
    for name in ("muon", "shampoo"):
        with pytest.raises(ValueError, match="expected one of muon, adamw under 'optimizer' in param group 0"):
            build_optimizer([dict(group)], config_for(name))
    prodigy = build_optimizer([dict(group)], config_for("prodigy"))
    with pytest.raises(ValueError, match="expected lr_mult in param group 0"):
        prodigy.step()
    sophia = build_optimizer([dict(group)], config_for("sophia"))
    parameter.grad = torch.ones(2, 2, dtype=torch.float64)
    with pytest.raises(ValueError, match="expected an estimate of the curvature at step 0"):
        sophia.step()
