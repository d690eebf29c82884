"""Sharpness is the largest eigenvalue that other ways find, its limits are where optimizers diverge, and full-batch
training settles at the edge of stability."""

import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from scipy.sparse.linalg import eigsh
from sklearn.datasets import load_digits
from torch import Tensor, nn

from mutransfer.cli import main
from mutransfer.config import Arm, ModelConfig, OptimizerConfig, Scale, ScheduleConfig, SweepConfig, TrialConfig
from mutransfer.data import Corpus, load_corpus, sample_batch
from mutransfer.parametrization import build_model
from mutransfer.toolbox.sharpness.curvature import hessian_product, largest_curvature, largest_eigenvalue
from mutransfer.toolbox.sharpness.measure import (
    Look,
    follow_sharpness,
    follow_trial,
    inverse_preconditioner,
    measure_sharpness,
    momentum_limit,
    stability_limit,
)
from mutransfer.training import train
from mutransfer.training.losses import training_loss
from mutransfer.training.trainer import build, make_optimizer, train_step


@pytest.mark.parametrize("kind", ["indefinite", "positive", "negative", "identity"])
def test_lanczos_finds_the_largest_eigenvalue(kind: str) -> None:
    random = torch.randn(60, 60, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    matrix = {
        "indefinite": random + random.T,
        "positive": random @ random.T,
        "negative": -random @ random.T,
        "identity": torch.eye(60, dtype=torch.float64),
    }[kind]
    wanted = torch.linalg.eigvalsh(matrix)[-1].item()
    assert largest_eigenvalue(matrix.mv, 60) == pytest.approx(wanted, rel=1e-9, abs=1e-9)


def test_lanczos_stops_where_it_is_told_to_and_is_then_as_good_as_that() -> None:
    eigenvalues = torch.cat([torch.linspace(-1, 1, 300, dtype=torch.float64), torch.tensor([2.0, 3.0])])
    products = []

    def multiply(v_N: Tensor) -> Tensor:
        products.append(v_N)
        return eigenvalues * v_N

    for tolerance, most in ((1e-2, 15), (1e-6, 25)):
        products.clear()
        assert largest_eigenvalue(multiply, 302, tolerance=tolerance) == pytest.approx(3.0, rel=tolerance**2 * 2)
        assert len(products) <= most
    products.clear()
    assert largest_eigenvalue(multiply, 302, steps=4) < 3.0
    assert len(products) == 4
    assert math.isnan(largest_eigenvalue(lambda v_N: v_N * math.inf, 5))


def small_mlp(seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8, bias=False), nn.Tanh(), nn.Linear(8, 3)).to(dtype)


def batch(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    return torch.randn(20, 6, dtype=dtype, generator=draw), torch.randint(3, (20,), generator=draw)


def whole_hessian(loss: Callable[[], Tensor], parameters: list[nn.Parameter]) -> Tensor:
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss(), parameters, create_graph=True)])
    rows = [torch.autograd.grad(entry, parameters, retain_graph=True, materialize_grads=True) for entry in gradient]
    return torch.stack([torch.cat([piece.flatten() for piece in row]) for row in rows])


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # where curvlinops is imported
def test_products_and_eigenvalue_are_those_of_curvlinops() -> None:
    from curvlinops import HessianLinearOperator

    model, (x, y) = small_mlp(), batch()
    parameters = list(model.parameters())
    other = HessianLinearOperator(model, nn.CrossEntropyLoss(), parameters, [(x, y)])

    def loss() -> Tensor:
        return nn.functional.cross_entropy(model(x), y)

    multiply, size = hessian_product(loss, parameters), sum(each.numel() for each in parameters)
    for seed in range(3):
        v_N = torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        torch.testing.assert_close(multiply(v_N), other @ v_N)
    top = eigsh(other.to_scipy(), k=1, which="LA", return_eigenvectors=False)[0]
    assert largest_curvature(loss, parameters, tolerance=1e-6) == pytest.approx(top, rel=1e-8)
    assert largest_curvature(loss, parameters) == pytest.approx(top, rel=1e-3)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "amsgrad"])
def test_preconditioned_sharpness_is_that_of_the_whole_hessian(optimizer: str) -> None:
    """After some updates with two groups; P written down by hand from the gradients that there were."""
    model, (x, y) = small_mlp(), batch()
    first, rest = list(model[0].parameters()), [*model[2].parameters(), *model[4].parameters()]
    groups = [{"params": first}, {"params": rest, "lr": 0.02}]
    made = (
        torch.optim.SGD(groups, 0.01)
        if optimizer == "sgd"
        else torch.optim.Adam(groups, 0.01, (0.8, 0.9), eps=1e-3, amsgrad=optimizer == "amsgrad")
    )

    def loss() -> Tensor:
        return nn.functional.cross_entropy(model(x), y)

    second = largest = torch.zeros(sum(each.numel() for each in (*first, *rest)), dtype=torch.float64)
    for _ in range(3):
        made.zero_grad()
        loss().backward()
        gradient = torch.cat([each.grad.flatten() for each in (*first, *rest)])
        second = 0.9 * second + 0.1 * gradient.square()
        largest = torch.maximum(largest, second)
        made.step()
    kept = largest if optimizer == "amsgrad" else second
    diagonal = torch.ones_like(second) if optimizer == "sgd" else ((kept / (1 - 0.9**3)).sqrt() + 1e-3) * (1 - 0.8**3)
    mults = torch.cat([torch.full((each.numel(),), 1.0 if each in set(first) else 2.0) for each in (*first, *rest)])
    torch.testing.assert_close(inverse_preconditioner(made, 0.01), mults / diagonal)
    hessian = whole_hessian(loss, [*first, *rest])
    wanted = torch.linalg.eigvals(torch.diag(mults / diagonal) @ hessian).real.max().item()
    found = measure_sharpness(loss, made, tolerance=1e-6)
    assert found.preconditioned == pytest.approx(wanted, rel=1e-8)
    assert found.hessian == pytest.approx(torch.linalg.eigvalsh(hessian)[-1].item(), rel=1e-8)
    assert found.edge == pytest.approx((2 if optimizer == "sgd" else 2 * 1.8 / 0.2) / 0.01)
    # in units of twice the rate, half the sharpness at half the edge
    doubled = measure_sharpness(loss, made, lr=0.02, tolerance=1e-6)
    assert doubled.preconditioned / doubled.edge == pytest.approx(found.preconditioned / found.edge)


def test_attention_is_differentiated_twice() -> None:
    """H v of our transformer against gradients a little apart."""
    model = build_model(ModelConfig(width=16, head_dim=8, depth=1, context=6, vocab=11), dtype=torch.float64).model
    tokens = torch.randint(11, (3, 7), generator=torch.Generator().manual_seed(0))
    parameters = list(model.parameters())
    with torch.no_grad():
        for each in parameters:
            each.add_(0.1 * torch.randn(each.shape, generator=torch.Generator().manual_seed(1)))

    def loss() -> Tensor:
        return nn.functional.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())

    def gradient_at(along: list[Tensor], far: float) -> Tensor:
        with torch.no_grad():
            for each, step in zip(parameters, along, strict=True):
                each.add_(far * step)
        found = torch.cat([g.flatten() for g in torch.autograd.grad(loss(), parameters)])
        with torch.no_grad():
            for each, step in zip(parameters, along, strict=True):
                each.sub_(far * step)
        return found

    along = [0.02 * torch.randn(each.shape, generator=torch.Generator().manual_seed(2)).double() for each in parameters]
    v_N = torch.cat([each.flatten() for each in along])
    apart = (gradient_at(along, 1e-4) - gradient_at(along, -1e-4)) / 2e-4
    torch.testing.assert_close(hessian_product(loss, parameters)(v_N), apart, rtol=1e-5, atol=1e-7)


def test_a_loss_that_is_a_plane_along_some_parameters_or_all_has_no_curvature_there() -> None:
    bent, flat = (nn.Parameter(torch.ones(2, dtype=torch.float64)) for _ in range(2))
    assert largest_curvature(lambda: bent.square().sum() * 3 + flat.sum(), [bent, flat]) == pytest.approx(6.0)
    assert largest_curvature(lambda: flat.sum(), [bent, flat]) == 0.0


OPTIMIZERS: dict[str, Callable[[nn.Parameter, float], torch.optim.Optimizer]] = {
    "gradient descent": lambda w, lr: torch.optim.SGD([w], lr),
    "heavy ball": lambda w, lr: torch.optim.SGD([w], lr, momentum=0.9),
    "dampened": lambda w, lr: torch.optim.SGD([w], lr, momentum=0.9, dampening=0.9),
    "half dampened": lambda w, lr: torch.optim.SGD([w], lr, momentum=0.6, dampening=0.3),
    "nesterov": lambda w, lr: torch.optim.SGD([w], lr, momentum=0.9, nesterov=True),
    # an epsilon that dwarfs the gradients holds the preconditioner still
    "adam": lambda w, lr: torch.optim.Adam([w], lr, eps=1e30),
    "adam, beta1 0.5": lambda w, lr: torch.optim.Adam([w], lr, (0.5, 0.999), eps=1e30),
    "adamw": lambda w, lr: torch.optim.AdamW([w], lr, weight_decay=0.0, eps=1e30),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_parabola_diverges_if_and_only_if_it_is_sharper_than_the_edge(name: str) -> None:
    w = nn.Parameter(torch.ones(1, dtype=torch.float64))

    def loss() -> Tensor:
        return 3.0 * w.square().sum() / 2

    def update(optimizer: torch.optim.Optimizer, times: int) -> None:
        for _ in range(times):
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()

    for part, stays in ((0.99, True), (1.01, False)):
        with torch.no_grad():
            w.fill_(1.0)
        optimizer = OPTIMIZERS[name](w, 1e-9)
        update(optimizer, 400)  # until Adam's bias has gone
        curvature = measure_sharpness(loss, optimizer).preconditioned
        optimizer.param_groups[0]["lr"] = part * stability_limit(optimizer) / curvature
        update(optimizer, 100)
        before = abs(w.item())
        update(optimizer, 100)
        seen = measure_sharpness(loss, optimizer)
        assert seen.preconditioned / seen.edge == pytest.approx(part, rel=1e-6)
        assert (abs(w.item()) < before) == stays


def test_the_limits_are_those_of_the_papers() -> None:
    assert momentum_limit(0.0) == 2
    assert momentum_limit(0.9) == pytest.approx(38)
    w = nn.Parameter(torch.ones(1))
    assert stability_limit(torch.optim.SGD([w], 0.1, momentum=0.9)) == pytest.approx(3.8)
    assert stability_limit(torch.optim.AdamW([w], 0.1)) == pytest.approx(38)


def digits_run(make: Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer], steps: int, every: int) -> list[Look]:
    """Full-batch training of a small MLP on 500 digits under squared error."""
    digits = load_digits()
    x = torch.tensor(digits.data[:500] / 16)
    x = x - x.mean(dim=0)
    y = nn.functional.one_hot(torch.tensor(digits.target[:500]), 10).double()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 10)).double()
    optimizer = make(model.parameters())

    def loss() -> Tensor:
        return (model(x) - y).square().sum(dim=1).mean() / 2

    def update(step: int) -> float:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        return value.item()

    return list(follow_sharpness(update, loss, optimizer, steps, every))


@pytest.mark.parametrize(
    ("make", "steps"),
    [
        (lambda parameters: torch.optim.SGD(parameters, 0.5), 1200),
        (lambda parameters: torch.optim.Adam(parameters, 0.01), 500),
    ],
    ids=["gradient descent", "adam"],
)
def test_training_sharpens_up_to_the_edge_of_stability_and_hovers_there(
    make: Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer], steps: int
) -> None:
    """Cohen et al. 2103.00065 and 2207.14484: within 15% of 2/lr, and of 38/lr."""
    looks = digits_run(make, steps, steps // 20)
    parts = [look.sharpness.preconditioned / look.sharpness.edge for look in looks]
    assert parts[0] < 0.85
    rise = parts[: next(index for index, part in enumerate(parts) if part > 0.95)]
    assert rise == sorted(rise)
    late = parts[-6:]
    assert sum(late) / len(late) == pytest.approx(1, abs=0.15)
    assert looks[-1].loss < looks[0].loss / 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        lambda parameters: torch.optim.SGD(parameters, 0.35),
        lambda parameters: torch.optim.SGD(parameters, 0.6, momentum=0.9),
        lambda parameters: torch.optim.SGD(parameters, 0.5, momentum=0.9),
        lambda parameters: torch.optim.Adam(parameters, 0.005),
    ],
    ids=["gradient descent", "momentum at 0.6", "momentum at 0.5", "adam"],
)
def test_the_edge_moves_with_the_rate_and_the_momentum(
    make: Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer],
) -> None:
    late = digits_run(make, 2000, 50)[-13:]
    parts = [look.sharpness.preconditioned / look.sharpness.edge for look in late]
    assert sum(parts) / len(parts) == pytest.approx(1, abs=0.15)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    file = tmp_path_factory.mktemp("data") / "text"
    file.write_text("the quick brown fox jumps over the lazy dog; " * 500)
    return load_corpus(f"text:{file}")


def trial(parametrization: str = "mup", **changes: object) -> TrialConfig:
    sweep = SweepConfig(
        widths=(32,),
        base_width=16,
        steps=6,
        batch_size=4,
        dtype="float64",
        model=ModelConfig(depth=1, head_dim=8, context=8, zero_readout=False),
        schedule=ScheduleConfig("linear", warmup=0.0),
    )
    sweep = dataclasses.replace(sweep, **changes)  # type: ignore[arg-type]
    return sweep.trial(Arm(parametrization, parametrization), Scale(32), 2**-6, 0)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_three_tables_of_one_parametrization_are_as_near_to_the_edge(corpus: Corpus, name: str) -> None:
    """Their weights and rates differ by powers of width, and their Hessians with them; what is left is the same."""
    optimizer = OptimizerConfig(name) if name == "adamw" else OptimizerConfig(name, momentum=0.9)
    found = []
    for table in ("mup", "mup_table3", "mup_table9"):
        *_, last = follow_trial(trial(table, optimizer=optimizer), corpus, "cpu", 2)
        found.append(last.sharpness.preconditioned / last.sharpness.edge)
    assert found == [pytest.approx(found[0], rel=1e-3)] * 3


def test_looking_changes_nothing_and_sees_the_rate_of_the_schedule(corpus: Corpus) -> None:
    run = trial("mup_table9")  # whose first parameters have a rate of their own
    looks = list(follow_trial(run, corpus, "cpu", 1, fresh=True))
    (plain,) = train([run], corpus, "cpu")
    assert [look.loss for look in looks] == pytest.approx(plain.train_losses.tolist(), rel=1e-6)
    assert [look.sharpness.lr for look in looks] == pytest.approx([2**-6 * (1 - step / 6) for step in range(6)])
    full = list(follow_trial(run, corpus, "cpu", 4))
    assert [look.step for look in full] == [4]
    assert full[0].loss != looks[3].loss


def test_what_is_measured_is_the_first_batch_after_the_update(corpus: Corpus) -> None:
    run = trial()
    *_, last = follow_trial(run, corpus, "cpu", 6)
    built = build(run, "cpu")
    optimizer = make_optimizer(built, run)
    tokens = torch.from_numpy(sample_batch(corpus.train, 0, 0, 4, 8))
    for step in range(6):
        train_step(built, optimizer, run, step, tokens)
    again = measure_sharpness(lambda: training_loss(built.model, tokens, run)[0], optimizer, last.sharpness.lr)
    assert last.sharpness == again


def test_a_run_that_diverges_ends_in_a_look() -> None:
    looks = digits_run(lambda parameters: torch.optim.SGD(parameters, 1e9), 60, 10)
    assert looks[-1].step < 60
    assert not math.isfinite(looks[-1].loss + looks[-1].sharpness.preconditioned)


def test_it_says_what_is_wrong() -> None:
    w = nn.Parameter(torch.ones(1))

    def loss() -> Tensor:
        return w.square().sum()

    with pytest.raises(ValueError, match="found RMSprop; wanted SGD, Adam or AdamW"):
        measure_sharpness(loss, torch.optim.RMSprop([w]))
    with pytest.raises(ValueError, match="found an Adam without second moments"):
        measure_sharpness(loss, torch.optim.Adam([w]))
    with pytest.raises(ValueError, match="found lr 0; wanted a rate above 0"):
        measure_sharpness(loss, torch.optim.SGD([w], 0.0))
    groups = [{"params": [w], "momentum": 0.5}, {"params": [nn.Parameter(torch.ones(1))]}]
    with pytest.raises(ValueError, match="found parameter groups with the limits 2 and 3; wanted one"):
        measure_sharpness(loss, torch.optim.SGD(groups, 0.1))


def test_the_command_measures_records_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--width", "32", "--model.context", "16", "--model.depth", "1", "--steps", "6", "--batch-size", "2"]
    words += ["--every", "2", "--out", str(tmp_path), "--device", "cpu"]
    assert main(["sharpness", *words]) == 0
    assert "edge of stability" in capsys.readouterr().out
    rows = [json.loads(line) for line in (tmp_path / "sharpness.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4, 6]
    assert all(row["edge"] == pytest.approx(38 / row["lr"]) for row in rows)
    assert (tmp_path / "sharpness.png").read_bytes().startswith(b"\x89PNG")
    assert main(["sharpness", *words, "--every", "7"]) == 2
    assert capsys.readouterr().err.startswith("mutransfer: found every 7 in a run of 6 steps")
