"""First updates in closed form."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import pytorch_optimizer
import torch
from torch import Tensor, nn

from mutransfer.config import OptimizerConfig
from mutransfer.optim import backward_twice, build_optimizer

from .quadratic import Problem, config_for, values

LR = 1e-2


def gradient(problem: Problem) -> Tensor:
    (found,) = torch.autograd.grad(problem.loss(), problem.weights)
    return found


def first_step(name: str, start: Tensor, step: int = 1, **config: Any) -> tuple[Tensor, Tensor]:
    """What the step changed over -LR, and the gradient before it."""
    problem = Problem(config_for(name, **config), [start.clone()], lr=LR)
    for _ in range(step - 1):
        problem.step()
    before, force = problem.weights[0].detach().clone(), gradient(problem)
    return (problem.step()[0] - before) / -LR, force


def spread(matrix: Tensor) -> tuple[float, float]:
    """The smallest and the largest singular value."""
    found = torch.linalg.svdvals(matrix.double())
    return found.min().item(), found.max().item()


ROOT, SIGN = torch.sqrt, torch.sign
CLOSED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "adamw": lambda w, g: SIGN(g),
    "adam": lambda w, g: SIGN(g),
    "adam_atan2": lambda w, g: SIGN(g),
    "lion": lambda w, g: SIGN(g),
    "schedule_free_adamw": lambda w, g: SIGN(g),
    "rmsprop": lambda w, g: SIGN(g) / math.sqrt(1 - 0.99),
    "radam": lambda w, g: g,
    "sgd": lambda w, g: g,
    "schedule_free_sgd": lambda w, g: g,
    "lamb": lambda w, g: w.norm() * SIGN(g) / math.sqrt(g.numel()),
    "lars": lambda w, g: 1e-3 * w.norm() * g / g.norm(),
}


@pytest.mark.parametrize("name", CLOSED)
def test_the_first_update(name: str) -> None:
    start = 3 * values(40, 40)  # a norm of 120, above what the library would let lamb see
    update, g = first_step(name, start, **({"eps": 1e-15} if "eps" in OptimizerConfig(name).spec.fields else {}))
    torch.testing.assert_close(update, CLOSED[name](start, g), rtol=1e-6, atol=1e-9)


def test_l2_goes_through_adams_moments() -> None:
    start = values(6, 6)
    problem = Problem(config_for("adam_l2"), [start.clone()], lr=LR, decay=5.0)
    expected = torch.sign(gradient(problem) + 5.0 * start)
    assert not torch.equal(expected, torch.sign(gradient(problem)))
    torch.testing.assert_close((problem.step()[0] - start) / -LR, expected, rtol=1e-4, atol=1e-6)


def test_nadam_looks_ahead() -> None:
    """Dozat 2016: mu_2 m_1 / (1 - mu_1 mu_2) + (1 - mu_1) g / (1 - mu_1), over the root of g^2."""
    update, g = first_step("nadam", values(6, 6))
    mu1, mu2 = (0.9 * (1 - 0.5 * 0.96 ** (t * 4e-3)) for t in (1, 2))
    expected = torch.sign(g) * (mu2 * (1 - 0.9) / (1 - mu1 * mu2) + 1.0)
    torch.testing.assert_close(update, expected, rtol=1e-5, atol=1e-8)


def test_nesterov_looks_ahead_too() -> None:
    problem = Problem(config_for("sgd", momentum=0.9, nesterov=True), [values(6, 6)], lr=LR)
    g1 = gradient(problem)
    (one,) = problem.step()
    g2 = gradient(problem)
    (two,) = problem.step()
    torch.testing.assert_close((two - one) / -LR, g2 + 0.9 * (0.9 * g1 + g2))


def test_adopt_divides_by_the_gradient_before_and_clips() -> None:
    update, g = first_step("adopt", values(6, 6), step=2)  # the first only looks
    torch.testing.assert_close(update, (1 - 0.9) * torch.sign(g), rtol=1e-5, atol=1e-8)
    problem = Problem(config_for("adopt"), [values(6, 6)], lr=LR)
    problem.step()
    problem.weights[0].grad = 100 * gradient(problem)
    before = problem.weights[0].detach().clone()
    problem.optimizer.step()
    expected = (1 - 0.9) * 2**0.25 * torch.sign(g)
    torch.testing.assert_close((problem.weights[0].detach() - before) / -LR, expected, rtol=1e-5, atol=1e-8)


def test_adam_atan2_is_its_formula_and_knows_no_scale() -> None:
    config = OptimizerConfig("adam_atan2", beta1=0.8, beta2=0.9)
    forces = [values(5, 5, seed=seed) for seed in range(4)]
    paths = []
    for scale in (1.0, 2.0**-60):
        weight = nn.Parameter(torch.zeros(5, 5, dtype=torch.float64))
        group = {"params": [weight], "lr": LR, "lr_mult": 1.0, "weight_decay": 0.5}
        optimizer, expected = build_optimizer([group], config), torch.zeros(5, 5, dtype=torch.float64)
        first, second = torch.zeros_like(expected), torch.zeros_like(expected)
        for t, force in enumerate(forces, start=1):
            weight.grad = force * scale
            optimizer.step()
            first, second = 0.8 * first + 0.2 * force, 0.9 * second + 0.1 * force**2
            angle = torch.atan2(first / (1 - 0.8**t), (second / (1 - 0.9**t)).sqrt())
            expected = expected * (1 - LR * 0.5) - LR * 4 / math.pi * angle
            torch.testing.assert_close(weight.detach(), expected)
        paths.append(weight.detach().clone())
    assert torch.equal(*paths)


def test_adafactors_step_is_a_part_of_the_weights_size() -> None:
    """A gradient of rank one in its squares is factored without loss, so that each entry moves alike."""
    start = 5 * values(8, 12)
    problem = Problem(config_for("adafactor"), [start.clone()], lr=LR)
    force = torch.outer(values(8, seed=3), values(12, seed=4))
    problem.weights[0].grad = force.clone()
    problem.optimizer.step()
    update = (problem.weights[0].detach() - start) / -LR
    torch.testing.assert_close(update, start.square().mean().sqrt() * torch.sign(force), rtol=1e-3, atol=1e-6)


def test_adafactors_rate_has_no_bound_that_would_flatten_ratios() -> None:
    """As torch's has, 1/sqrt(step)."""
    start = values(6, 6)
    large, larger = (Problem(config_for("adafactor"), [start.clone()], lr=lr).step()[0] - start for lr in (2.0, 4.0))
    torch.testing.assert_close(larger, 2 * large)


@pytest.mark.parametrize("shape", [(32, 32), (128, 128), (128, 32), (32, 128)])
def test_muons_step_has_one_spectral_norm_at_every_width(shape: tuple[int, int]) -> None:
    """sqrt(max(1, rows/columns)), within what five Newton-Schulz steps leave of it."""
    update, _ = first_step("muon", values(*shape))
    size = math.sqrt(max(1.0, shape[0] / shape[1]))
    assert 0.7 * size < spread(update)[1] < 1.3 * size


def test_muons_groups_are_torchs_muons_and_the_rest_adamws() -> None:
    start, config = [values(6, 6), values(6)], config_for("muon")
    weights = [nn.Parameter(weight.clone()) for weight in start]
    common = {"lr": LR, "lr_mult": 1.0, "weight_decay": 0.3}
    muon = build_optimizer(
        [
            {"params": weights[:1], "optimizer": "adamw", "eps": 1e-3, **common},
            {"params": weights[1:], "optimizer": "adamw", "eps": 1e-5, **common},
            {"params": [nn.Parameter(values(6, 6))], "optimizer": "muon", "eps": 1e3, **common},
        ],
        config,
    )
    alone, matrix = [nn.Parameter(weight.clone()) for weight in start], nn.Parameter(values(6, 6))
    torchs = torch.optim.Muon([matrix], lr=LR, weight_decay=0.3, momentum=0.95)  # an epsilon of Adam's is not Muon's
    adamw = torch.optim.AdamW(
        [{"params": alone[:1], "eps": 1e-3}, {"params": alone[1:], "eps": 1e-5}],
        lr=LR,
        weight_decay=0.3,
        betas=(0.9, 0.999),
        fused=True,
    )
    for seed in range(5):
        for group in muon.param_groups:
            for weight in group["params"]:
                weight.grad = values(*weight.shape, seed=seed)
        for weight in (*alone, matrix):
            weight.grad = values(*weight.shape, seed=seed)
        for optimizer in (muon, adamw, torchs):
            optimizer.step()
    assert all(torch.equal(one, other) for one, other in zip(weights, alone, strict=True))
    assert torch.equal(muon.param_groups[2]["params"][0], matrix)
    assert len(muon.state) == 3


@pytest.mark.parametrize(("name", "step"), [("shampoo", 1), ("soap", 2)])
def test_a_preconditioner_makes_the_first_update_orthogonal(name: str, step: int) -> None:
    """Shampoo: (G G')^-1/4 G (G' G)^-1/4; SOAP: Adam in the eigenbasis of the same gradient, where it is diagonal."""
    update, g = first_step(name, values(12, 12), step=step)
    assert spread(update) == pytest.approx((1.0, 1.0), rel=2e-2)
    left, _, right = torch.linalg.svd(g)
    torch.testing.assert_close(update, left @ right, rtol=2e-2, atol=2e-2)


def test_shampoo_stands_still_until_it_has_a_preconditioner() -> None:
    problem = Problem(config_for("shampoo", precondition_every=3), [values(6, 6)], lr=LR)
    start, *found = problem.weights[0].detach().clone(), problem.step()[0], problem.step()[0], problem.step()[0]
    assert [torch.equal(weight, start) for weight in found] == [True, True, False]


def test_sophias_step_is_momentum_over_curvature_clipped() -> None:
    """The Hessian of a sum over entries is diagonal, so that the probe finds z^2 times it."""
    target = values(36, seed=1).view(6, 6)
    start = target + 2e-3 * values(6, 6)
    problem = Problem(config_for("sophia"), [start.clone()], lr=LR)
    g = gradient(problem)
    force = values(36, seed=101).view(6, 6).square() + 0.1
    curvature = force * torch.cosh(start - target)
    probe = torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    state = torch.get_rng_state()
    update = (problem.step()[0] - start) / -LR
    assert torch.equal(torch.get_rng_state(), state)
    wanted = (1 - 0.96) * g / ((1 - 0.99) * probe.square() * curvature)
    assert wanted.abs().min() < 0.01 < wanted.abs().max()
    torch.testing.assert_close(update, wanted.clamp(-0.01, 0.01), rtol=1e-6, atol=1e-9)


def test_sophia_looks_only_when_it_is_due() -> None:
    problem = Problem(config_for("sophia", precondition_every=2), [values(6, 6)], lr=LR)
    seen = []
    for _ in range(4):
        problem.step()
        seen.append(problem.optimizer.state[problem.weights[0]]["hessian_moment"].clone())
    assert [torch.equal(one, other) for one, other in pairwise(seen)] == [True, False, True]
    with pytest.raises(ValueError, match="expected an optimizer that uses the curvature"):
        backward_twice(problem.loss(), torch.optim.SGD(problem.weights))


@pytest.mark.parametrize(("name", "cls"), [("dadapt_adam", "DAdaptAdam"), ("prodigy", "Prodigy")])
def test_one_distance_is_found_in_the_gauge_in_which_all_rates_are_equal(name: str, cls: str) -> None:
    """Weights W = m V at rates m lr go as V do at the rate lr under the library's own, with epsilon and decay."""
    mults, config = (1.0, 0.25, 3.0), config_for(name, eps=1e-3)
    start = [values(4, 4, seed=seed) for seed in range(3)]
    weights = [nn.Parameter(weight.clone()) for weight in start]
    groups = [
        {"params": [w], "lr": 0.5 * m, "lr_mult": m, "weight_decay": 0.2 / m, "eps": 1e-3 / m}
        for w, m in zip(weights, mults, strict=True)
    ]
    ours = build_optimizer(groups, config)
    scaled = [nn.Parameter(weight / m) for weight, m in zip(start, mults, strict=True)]
    own = {"safeguard_warmup": True} if name == "prodigy" else {}
    library = getattr(pytorch_optimizer, cls)(
        scaled, lr=0.5, weight_decay=0.2, weight_decouple=True, betas=(0.9, 0.999), eps=1e-3, d0=1e-2, **own
    )
    for group in ours.param_groups:
        group |= {"d": 1e-2, "d0": 1e-2, "d_max": 1e-2}
    for _ in range(15):
        for optimizer, at in ((ours, weights), (library, [v * m for v, m in zip(scaled, mults, strict=True)])):
            optimizer.zero_grad(set_to_none=True)
            sum((torch.cosh(w - 3.0)).sum() for w in at).backward()  # type: ignore[union-attr]
            optimizer.step()
    for weight, v, m in zip(weights, scaled, mults, strict=True):
        torch.testing.assert_close(weight, v * m, rtol=1e-9, atol=1e-12)
    assert ours.param_groups[0]["d"] > 1e-2
    assert [group["lr"] for group in ours.param_groups] == [0.5, 0.125, 1.5]
