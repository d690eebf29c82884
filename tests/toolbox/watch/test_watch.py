"""What is watched is what happened, in closed form; and watching changes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mutransfer.config import Arm, ModelConfig, OptimizerConfig, Scale, SweepConfig, TrialConfig
from mutransfer.toolbox.watch.observed import Observation, read_observations
from mutransfer.toolbox.watch.sinks import json_lines, tensorboard
from mutransfer.toolbox.watch.watch import Watch
from mutransfer.training.evaluation import largest_attention_logit
from mutransfer.training.trainer import build, make_optimizer, train_step


class Sign(torch.optim.Optimizer):
    """w <- w - lr sign(gradient)."""

    def __init__(self, parameters: Any, lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.sub_(group["lr"] * parameter.grad.sign())


def watched_once(model: nn.Module, optimizer: Any, loss: Callable[[], Tensor]) -> Observation:
    seen: list[Observation] = []
    optimizer.zero_grad()
    with Watch(model, optimizer, sinks=[seen.append]).step(0) as step:
        step.loss = loss()
        step.loss.backward()
        optimizer.step()
    (observation,) = seen
    return observation


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_update_ratio_of_a_sign_optimizer_on_unit_weights_is_the_rate(dtype: torch.dtype) -> None:
    model = nn.Linear(30, 20, dtype=dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter).sign())
    found = watched_once(model, Sign(model.parameters(), 2**-9), lambda: model(torch.randn(5, 30, dtype=dtype)).sum())
    assert found.update_ratio == pytest.approx({"weight": 2**-9, "bias": 2**-9}, rel=1e-6)


def test_the_update_of_gradient_descent_is_exact() -> None:
    """loss = |w|^2 / 2 + 3 b: gradients w and 3, updates lr w and lr 3."""
    model = nn.Linear(2, 1, dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[3.0, 4.0]]))
        model.bias.fill_(2.0)
    optimizer = torch.optim.SGD([{"params": [model.weight], "lr": 0.01}, {"params": [model.bias], "lr": 0.5}])
    found = watched_once(model, optimizer, lambda: model.weight.square().sum() / 2 + 3 * model.bias.sum())
    assert found.weight_norm == pytest.approx({"weight": 5.0, "bias": 2.0})
    assert found.grad_norm == found.clipped_grad_norm == pytest.approx({"weight": 5.0, "bias": 3.0})
    assert found.update_norm == pytest.approx({"weight": 0.05, "bias": 1.5})
    assert found.update_ratio == pytest.approx({"weight": 0.01, "bias": 0.75})
    assert found.losses == [[0, 18.5]]


def test_an_update_of_bfloat16_weights_is_as_large_as_their_change() -> None:
    model = nn.Linear(40, 40, bias=False, dtype=torch.bfloat16)
    before = model.weight.detach().double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.7)
    found = watched_once(model, optimizer, lambda: model(torch.randn(5, 40, dtype=torch.bfloat16)).sum())
    expected = (model.weight.detach().double() - before).norm().item()
    assert found.update_norm["weight"] == pytest.approx(expected, rel=1e-5)


def test_gradients_are_seen_before_and_after_clipping() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    seen: list[Observation] = []
    with Watch(model, optimizer, sinks=[seen.append]).step(0):
        for _ in range(2):  # two micro-batches: what accumulated is seen
            model(torch.randn(3, 4)).square().sum().backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 0.125).item()
        optimizer.step()
    (found,) = seen
    assert norm > 0.125
    assert math.hypot(*found.grad_norm.values()) == pytest.approx(norm)
    assert math.hypot(*found.clipped_grad_norm.values()) == pytest.approx(0.125, rel=1e-4)
    assert math.hypot(*found.update_norm.values()) == pytest.approx(0.0125, rel=1e-4)


@pytest.mark.parametrize("unscale", [False, True])
def test_under_a_scaler_gradients_are_seen_without_its_scale_and_skipped_steps_counted(unscale: bool) -> None:
    def run(scaler: torch.amp.GradScaler | None) -> tuple[Watch, list[Observation]]:
        torch.manual_seed(0)
        model = nn.Linear(4, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        seen: list[Observation] = []
        watch = Watch(model, optimizer, every=1, sinks=[seen.append], scaler=scaler)
        for step in range(3):
            optimizer.zero_grad()
            with watch.step(step) as told:
                loss = model(torch.full((2, 4), float("inf") if step == 1 and scaler else 0.5)).square().mean()
                told.loss = loss
                if scaler is None:
                    loss.backward()
                    nn.utils.clip_grad_norm_(model.parameters(), 1e9)
                    if step != 1:
                        optimizer.step()
                    continue
                scaler.scale(loss).backward()
                if unscale:
                    scaler.unscale_(optimizer)
                scaler.step(optimizer)
                scaler.update()
        return watch, seen

    plain, expected = run(None)
    scaled, found = run(torch.amp.GradScaler("cpu", init_scale=1024.0))
    assert (plain.skipped, scaled.skipped) == (1, 1)
    assert [each.skipped for each in found] == [False, True, False]
    for at in (0, 2):
        assert found[at].grad_norm == pytest.approx(expected[at].grad_norm, rel=1e-5)
        assert found[at].clipped_grad_norm == pytest.approx(expected[at].clipped_grad_norm, rel=1e-5)


def test_the_scale_of_activations_is_their_root_mean_square_over_all_calls() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map, self.blocks = nn.Linear(2, 2, bias=False), nn.ModuleList([nn.ReLU()])

        def forward(self, x: Tensor) -> Tensor:
            return self.blocks[0](self.map(x)) + self.blocks[0](self.map(-x))

    model = Twice()
    with torch.no_grad():
        model.map.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    x = torch.tensor([[3.0, 4.0]])  # (3, 8) and (-3, -8); after the ReLU (3, 8) and (0, 0)
    found = watched_once(model, torch.optim.SGD(model.parameters(), lr=0.1), lambda: model(x).sum())
    assert found.activation == pytest.approx({"map": math.sqrt(73 / 2), "blocks.0": math.sqrt(73 / 4)})


def test_the_share_in_which_epsilon_dominates_is_exact() -> None:
    """After one step Adam's debiased second moment is the gradient's square, so epsilon dominates where |g| <= eps."""
    model = nn.Linear(8, 1)
    gradient = torch.tensor([[0.0, 1e-9, 5e-9, 0.9e-8, 1.1e-8, 1e-3, -1.0, -5e-9]])
    for amsgrad in (False, True):
        optimizer = torch.optim.AdamW(model.parameters(), eps=1e-8, amsgrad=amsgrad)
        found = watched_once(model, optimizer, lambda: (model.weight * gradient).sum() + model.bias.sum())
        assert found.eps_share == pytest.approx({"weight": 5 / 8, "bias": 0.0})
    assert watched_once(model, torch.optim.SGD(model.parameters()), lambda: model.weight.sum()).eps_share == {}


SMALL = ModelConfig(head_dim=8, context=12, vocab=50, zero_readout=False)


def trial(**changes: Any) -> TrialConfig:
    sweep = SweepConfig(base_width=16, batch_size=3, steps=8, model=SMALL, optimizer=OptimizerConfig(clip_norm=0.5))
    return replace(sweep, **changes).trial(Arm("mup", "mup"), Scale(32), 2**-6, 0)


def batches() -> Iterator[Tensor]:
    draw = torch.Generator().manual_seed(1)
    while True:
        yield torch.randint(0, 50, (3, 13), generator=draw)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("model", [SMALL, replace(SMALL, head_dim=4, n_kv_heads=2)])
def test_attention_logits_are_those_of_the_step(model: ModelConfig, seed: int) -> None:
    config = replace(trial(dtype="float64", model=model), seed=seed)
    built, tokens = build(config, "cpu"), next(batches())
    expected = largest_attention_logit(built.model, tokens, config.dtype)
    optimizer, seen = make_optimizer(built, config), list[Observation]()
    with Watch(built.model, optimizer, sinks=[seen.append]).step(0):
        train_step(built, optimizer, config, 0, tokens)
    found = seen[0].attention_logit
    assert set(found) == {"blocks.0.attention", "blocks.1.attention"}
    assert max(found.values()) == pytest.approx(expected)  # type: ignore[type-var]
    assert len(set(found.values())) == 2


class Exposing(nn.Linear):
    """A map that would be attention with these queries and keys: of one sequence of two tokens, two heads of size 1."""

    attention_scale = 0.5
    queries = ((2.0, 3.0), (-5.0, 1.0))
    keys = ((1.0, 100.0), (4.0, 7.0))

    def queries_and_keys(self, *, scale: float) -> tuple[Tensor, Tensor]:
        return (scale * torch.tensor(each)[None, :, :, None] for each in (self.queries, self.keys))

    def forward(self, x: Tensor) -> Tensor:
        q_BHTD, k_BGTD = self.queries_and_keys(scale=1.0)
        return super().forward(x) + 0 * (q_BHTD * k_BGTD).nan_to_num().sum()


def test_whatever_exposes_its_queries_and_keys_has_its_logits_seen() -> None:
    """The causal pairs: 2 1, 3 1, 3 100 and -5 4, 1 4, 1 7; not 2 100 and -5 7."""
    model = Exposing(1, 1)
    optimizer = torch.optim.SGD(model.parameters())
    assert watched_once(model, optimizer, lambda: model(torch.ones(1)).sum()).attention_logit == {"Exposing": 150.0}
    model.queries = ((2.0, 3.0), (math.nan, 1.0))
    assert watched_once(model, optimizer, lambda: model(torch.ones(1)).sum()).attention_logit == {"Exposing": None}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_watched_run_has_the_bits_of_one_that_is_not(dtype: str) -> None:
    config = trial(dtype=dtype)
    ends = []
    for every in (None, 1, 3):
        built, data = build(config, "cpu"), batches()
        optimizer = make_optimizer(built, config)
        seen: list[Observation] = []
        watch = None if every is None else Watch(built.model, optimizer, every=every, sinks=[seen.append])
        losses = []
        for step in range(config.steps):
            if watch is None:
                losses.append(train_step(built, optimizer, config, step, next(data)))
            else:
                with watch.step(step) as told:
                    told.loss = train_step(built, optimizer, config, step, next(data))
                losses.append(told.loss)
        ends.append((torch.stack(losses), torch.get_rng_state(), *(p.detach() for p in built.model.parameters())))
        if every:
            assert [each.step for each in seen] == list(range(0, config.steps, every))
            until = seen[-1].step + 1
            told_losses = [loss for each in seen for loss in each.losses]
            assert told_losses == [[step, loss.item()] for step, loss in enumerate(losses[:until])]
    for end in ends[1:]:
        assert all(torch.equal(mine, other) for mine, other in zip(end, ends[0], strict=True))


def test_dropout_draws_what_it_would_have_drawn() -> None:
    ends = []
    for every in (1, 10**9):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 5), nn.Dropout(0.5), nn.Linear(5, 1))
        optimizer = torch.optim.Adam(model.parameters())
        watch = Watch(model, optimizer, every=every)
        for step in range(1, 6):
            with watch.step(step) as told:
                optimizer.zero_grad()
                told.loss = model(torch.ones(4, 5)).square().mean()
                told.loss.backward()
                optimizer.step()
        ends.append([p.tolist() for p in model.parameters()])
    assert ends[0] == ends[1]


def hooks(model: nn.Module, *optimizers: torch.optim.Optimizer) -> list[int]:
    """How many hooks of each kind hang on them, and how many attributes their modules have."""
    return [
        *(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()),
        *(len(vars(module)) for module in model.modules()),
        *(len(parameter._post_accumulate_grad_hooks or ()) for parameter in model.parameters()),
        *(len(each._optimizer_step_pre_hooks) + len(each._optimizer_step_post_hooks) for each in optimizers),
    ]


def test_hooks_are_there_in_a_watched_step_alone_and_gone_when_it_fails() -> None:
    config = trial()
    built, tokens = build(config, "cpu"), next(batches())
    optimizer = make_optimizer(built, config)
    train_step(built, optimizer, config, 0, tokens)
    before = hooks(built.model, optimizer)
    watch = Watch(built.model, optimizer, every=2)
    with watch.step(0):
        assert hooks(built.model, optimizer) > before
        train_step(built, optimizer, config, 0, tokens)
    assert hooks(built.model, optimizer) == before
    with watch.step(1):
        assert hooks(built.model, optimizer) == before
    with pytest.raises(ZeroDivisionError), watch.step(2):
        raise ZeroDivisionError
    assert hooks(built.model, optimizer) == before


class Operations(TorchDispatchMode):
    """Every operation that torch carries out."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append(str(operation))
        return operation(*args, **(kwargs or {}))


def test_an_unwatched_step_computes_nothing_and_no_step_waits_for_single_numbers() -> None:
    model = nn.Linear(3, 3)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(3)).sum().backward()
    optimizer.step()
    watch, loss = Watch(model, optimizer), torch.tensor(1.0)
    with Operations() as operations:
        for step in range(1, 20):
            with watch.step(step) as told:
                told.loss = loss
    assert set(operations.seen) == {"aten.detach.default", "aten.clone.default"}
    with Operations() as operations, watch.step(20) as told:
        optimizer.step()
        told.loss = loss
    assert any("linalg_vector_norm" in each for each in operations.seen)
    with Operations() as unwatched:
        optimizer.step()
    waits = [sum("_local_scalar_dense" in each for each in mode.seen) for mode in (operations, unwatched)]
    assert waits[0] == waits[1]


def test_several_optimizers_sparse_gradients_and_parameters_that_are_not_trained() -> None:
    model = nn.ModuleDict({"table": nn.Embedding(10, 4, sparse=True), "map": nn.Linear(4, 1), "still": nn.Linear(2, 2)})
    model["still"].requires_grad_(False)
    optimizers = [torch.optim.SGD(model["table"].parameters(), lr=1.0), torch.optim.Adam(model["map"].parameters())]
    seen: list[Observation] = []
    with Watch(model, optimizers, sinks=[seen.append]).step(0):
        model["map"](model["table"](torch.tensor([1, 1, 7]))).sum().backward()
        for optimizer in optimizers:
            optimizer.step()
    (found,) = seen
    assert set(found.update_norm) == set(found.grad_norm) == {"table.weight", "map.weight", "map.bias"}
    assert found.update_norm["table.weight"] == pytest.approx(found.clipped_grad_norm["table.weight"])
    weight = model["map"].weight.detach() + 1e-3 * torch.sign(seen_gradient(model["map"].weight))
    assert found.grad_norm["table.weight"] == pytest.approx(math.sqrt(5) * weight.norm().item(), rel=1e-4)
    assert set(found.eps_share) == {"map.weight", "map.bias"}
    assert not optimizers[0].state


def test_a_parameter_that_is_not_updated_has_no_update() -> None:
    model = nn.Linear(3, 1)
    model.bias.requires_grad_(False)
    optimizer = torch.optim.Adam(model.parameters())
    found = watched_once(model, optimizer, lambda: model(torch.ones(3)).sum())
    assert set(found.update_norm) == {"weight"}
    assert set(optimizer.state) == {model.weight}


def test_an_optimizer_that_takes_a_closure_is_watched_too() -> None:
    model = nn.Linear(2, 1, bias=False, dtype=torch.float64)
    before, seen = model.weight.detach().clone(), list[Observation]()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (model.weight - 1).square().sum()
        loss.backward()
        return loss

    with Watch(model, optimizer, sinks=[seen.append]).step(0):
        optimizer.step(closure)
    assert seen[0].update_norm == pytest.approx({"weight": (model.weight.detach() - before).norm().item()})


def seen_gradient(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def test_a_step_that_the_optimizer_skips_has_no_update() -> None:
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    seen: list[Observation] = []
    with Watch(model, optimizer, sinks=[seen.append]).step(0):
        model(torch.ones(3)).sum().backward()
    assert seen[0].update_norm == seen[0].clipped_grad_norm == {}
    assert set(seen[0].grad_norm) == {"weight", "bias"}


def test_spikes_are_found_in_the_losses_told_whether_tensors_or_numbers() -> None:
    model = nn.Linear(1, 1)
    seen: list[Observation] = []
    watch = Watch(model, torch.optim.SGD(model.parameters()), every=10, sinks=[seen.append])
    losses = [3.0, 5.0] * 15 + [90.0, 80.0] + [math.nan] + [4.0] * 8
    for step, loss in enumerate(losses):
        with watch.step(step) as told:
            if step not in (4, 5):
                told.loss = torch.tensor(loss) if step % 2 else loss
    assert [each.unrecovered for each in seen] == [None, None, None, 30, None]
    (spike,) = watch.spikes.spikes
    assert (spike.step, spike.recovered) == (30, 33)
    assert seen[-1].spike_score == pytest.approx(
        100 * 2 / 39
    )  # 90 and nan; beside 90 in its window 80 does not stand out
    assert seen[1].losses == [[step, losses[step]] for step in (1, 2, 3, 6, 7, 8, 9, 10)]
    assert seen[-1].losses[1] == [32, None]


def test_what_is_not_finite_is_none() -> None:
    model = nn.Linear(3, 1)
    found = watched_once(model, torch.optim.SGD(model.parameters()), lambda: model(torch.full((3,), math.inf)).sum())
    assert found.losses == [[0, None]]
    assert found.grad_norm["weight"] is None
    assert found.update_norm["weight"] is None
    assert found.flagged["weight"] == "not finite"


def test_lines_of_json_are_read_back(tmp_path: Path) -> None:
    config, seen = trial(), list[Observation]()
    built, data = build(config, "cpu"), batches()
    optimizer, file = make_optimizer(built, config), tmp_path / "watch.jsonl"
    for begin in (0, 2):  # the second from step 2 on, as after a restart
        watch = Watch(built.model, optimizer, every=2, sinks=[json_lines(file), seen.append])
        for step in range(begin, 6):
            with watch.step(step) as told:
                told.loss = train_step(built, optimizer, config, step, next(data))
    assert [each.step for each in seen] == [0, 2, 4, 2, 4]
    assert read_observations(file) == [seen[0], *seen[3:]]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # tensorboard's own
def test_tensorboard_has_every_number(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    seen: list[Observation] = []
    watch = Watch(model, optimizer, every=2, sinks=[tensorboard(tmp_path), seen.append])
    for step in range(3):
        with watch.step(step) as told:
            told.loss = model(torch.ones(3)).square().sum()
            told.loss.backward()
            optimizer.step()
    read = EventAccumulator(str(tmp_path)).Reload()
    for quantity in ("update_ratio", "grad_norm", "activation"):
        for name, value in getattr(seen[1], quantity).items():
            last = read.Scalars(f"{quantity}/{name}")[-1]
            assert (last.step, last.value) == (2, pytest.approx(value))
    losses = [[step, np.float32(loss)] for each in seen for step, loss in each.losses]
    assert [[each.step, each.value] for each in read.Scalars("loss")] == losses


def test_a_watch_that_never_looks_is_refused() -> None:
    model = nn.Linear(1, 1)
    with pytest.raises(ValueError, match="expected every above 0, got 0"):
        Watch(model, torch.optim.SGD(model.parameters()), every=0)
