"""The gradient noise scale is what closed forms and gradients of single examples say, its interval holds it, and to
measure it changes nothing."""

import dataclasses
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from mutransfer.cli import main
from mutransfer.config import Arm, ModelConfig, Scale, ScheduleConfig, SweepConfig, TrialConfig
from mutransfer.data import Corpus, load_corpus
from mutransfer.toolbox.noise_scale.measure import GradientNoise, NoiseScale, estimate_noise_scale, follow_noise
from mutransfer.training import train

SIZES = 4, 2
"""Examples of a micro-batch, and micro-batches of a step, where a test does not vary them."""


def squares(gradients_KN: Tensor) -> tuple[list[float], float]:
    """|g|^2 of each gradient, and of their mean."""
    return gradients_KN.square().sum(dim=1).tolist(), gradients_KN.mean(dim=0).square().sum().item()


@pytest.mark.parametrize("ranks", [1, 2])
def test_the_mean_over_all_draws_is_exact(ranks: int) -> None:
    """Three examples, drawn two at a time by each process: all the draws there are, and nothing left to chance."""
    examples_3N = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, -1.0]], dtype=torch.float64)
    mean = examples_3N.mean(dim=0)
    seen = GradientNoise(micro_batch=1, horizon=None)
    for drawn in itertools.product(range(3), repeat=2 * ranks):
        mine, _ = squares(examples_3N[list(drawn[:2])])
        _, total = squares(examples_3N[list(drawn)])
        seen.update(mine, total, ranks)
    found = seen.estimate()
    assert found.signal == pytest.approx(mean.square().sum().item())
    assert found.noise == pytest.approx((examples_3N - mean).square().sum(dim=1).mean().item())


CURVATURE_N = torch.tensor([4.0, 1.0, 0.25], dtype=torch.float64)
SPREAD_N = torch.tensor([0.5, 3.0, 8.0], dtype=torch.float64)


class NoisyQuadratic(nn.Module):
    """The mean of (w - x) H (w - x) / 2 over examples x of covariance diag(spread^2) about 0."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.tensor([0.7], dtype=torch.float64))
        self.rest = nn.Parameter(torch.tensor([-2.0, 1.0], dtype=torch.float64))

    def draw(self, count: int) -> Tensor:
        return torch.randn(count, 3, dtype=torch.float64) * SPREAD_N

    def forward(self, x_BN: Tensor) -> Tensor:
        away_BN = torch.cat([self.first, self.rest]) - x_BN
        return (away_BN.square() @ CURVATURE_N).mean() / 2

    @property
    def noise(self) -> float:
        return (CURVATURE_N * SPREAD_N).square().sum().item()

    @property
    def signal(self) -> float:
        return (CURVATURE_N * torch.cat([self.first, self.rest])).square().sum().item()


def watch(model: NoisyQuadratic, steps: int, scale: float = 1.0, mult: float = 1.0) -> NoiseScale:
    size, count = SIZES
    seen = GradientNoise(size, horizon=None)
    for _ in range(steps):
        model.zero_grad()
        with seen.step(model.parameters(), [mult, mult]):
            for _ in range(count):
                (model(model.draw(size)) * scale).backward()
    return seen.estimate()


def test_on_a_quadratic_it_is_the_closed_form() -> None:
    torch.manual_seed(0)
    model = NoisyQuadratic()
    found = watch(model, 3000)
    truth = model.noise / model.signal
    assert found.critical_batch == pytest.approx(truth, rel=0.05)
    assert found.noise == pytest.approx(model.noise, rel=0.05)
    assert found.ci_low < truth < found.ci_high < 1.2 * truth


def test_it_does_not_see_how_losses_are_scaled_or_in_which_unit_gradients_are() -> None:
    found = []
    for scale, mult in ((1.0, 1.0), (1 / SIZES[1], 1.0), (2.0**16, 1.0), (1.0, 3.0)):
        torch.manual_seed(0)
        found.append(watch(NoisyQuadratic(), 30, scale, mult).critical_batch)
    assert found == [pytest.approx(found[0], rel=1e-6)] * 4


@pytest.mark.parametrize("ranks", [1, 2])
def test_norms_from_elsewhere_say_the_same_as_the_watched_backward_passes(ranks: int) -> None:
    """Another process is averaged in as DistributedDataParallel does, after the backward passes of this one."""
    torch.manual_seed(0)
    model, seen, fed = NoisyQuadratic(), GradientNoise(4), GradientNoise(4)
    for _ in range(20):
        parts = [model.draw(4) for _ in range(3 * ranks)]
        all_KN = torch.stack([torch.cat(torch.autograd.grad(model(part), list(model.parameters()))) for part in parts])
        model.zero_grad()
        with seen.step(model.parameters(), ranks=ranks):
            for part in parts[:3]:
                (model(part) / 3).backward()
            averaged_N = all_KN.sum(dim=0) / 3 / ranks
            for parameter, gradient in zip(model.parameters(), averaged_N.split([1, 2]), strict=True):
                assert parameter.grad is not None
                parameter.grad.copy_(gradient)
        fed.update(squares(all_KN[:3] / 3)[0], squares(all_KN / 3)[1], ranks)
    for mine, other in zip(dataclasses.astuple(seen.estimate()), dataclasses.astuple(fed.estimate()), strict=True):
        assert mine == pytest.approx(other, rel=1e-6)


def in_parallel(rank: int, place: str) -> None:
    """One of two processes; the first writes what the averaged gradients and its own backward passes say."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{place}/meet", rank=rank, world_size=2)
    torch.manual_seed(rank)
    model, seen = NoisyQuadratic(), GradientNoise(SIZES[0], horizon=None)
    parallel = nn.parallel.DistributedDataParallel(model)
    for _ in range(1500):
        model.zero_grad()
        with seen.step(model.parameters(), ranks=2):
            with parallel.no_sync():
                parallel(model.draw(SIZES[0])).backward()
            parallel(model.draw(SIZES[0])).backward()
    if rank == 0:
        (Path(place) / "found").write_text(json.dumps(dataclasses.asdict(seen.estimate())))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_under_data_parallelism_each_process_measures_it_without_a_message(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(in_parallel, (str(tmp_path),), nprocs=2)
    found = json.loads((tmp_path / "found").read_text())
    model = NoisyQuadratic()
    assert found["ci_low"] < model.noise / model.signal < found["ci_high"]
    assert found["critical_batch"] == pytest.approx(model.noise / model.signal, rel=0.1)


def test_it_forgets_over_its_horizon_and_weighs_the_first_step_in_full() -> None:
    seen, everything = GradientNoise(1, horizon=10), GradientNoise(1, horizon=None)
    for step in range(100):
        noise = 1.0 if step < 80 else 5.0
        for each in (seen, everything):
            each.update([1.0 + noise] * 2, 1.0 + noise / 2)
        if step == 0:
            assert seen.estimate().critical_batch == pytest.approx(1.0)
    before = sum(0.9**age for age in range(20, 100)) / sum(0.9**age for age in range(100))
    assert seen.estimate().critical_batch == pytest.approx(5.0 - 4.0 * before)
    assert everything.estimate().critical_batch == pytest.approx(1.8)


@pytest.mark.parametrize(("critical", "horizon"), [(10.0, None), (100.0, None), (10.0, 30)])
def test_the_interval_holds_the_truth_as_often_as_it_says(critical: float, horizon: int | None) -> None:
    """600 measurements in 30 dimensions over 100 steps; the binomial standard deviation is 0.009."""
    draw = np.random.default_rng(0)
    held = 0
    for _ in range(600):
        gradients = draw.normal(size=(100, 4, 30)) * math.sqrt(critical / 30 / 2)
        gradients[:, :, 0] += 1
        small = np.square(gradients).sum(axis=2).mean(axis=1)
        big = np.square(gradients.mean(axis=1)).sum(axis=1)
        found = estimate_noise_scale((4 * big - small) / 3, (small - big) * 2 * 4 / 3, horizon)
        held += found.ci_low <= critical <= found.ci_high
    assert 0.92 < held / 600 < 0.98


def test_the_interval_knows_that_neighbouring_steps_are_alike() -> None:
    """The gradient's own size wanders, with a correlation of 0.8 from step to step; steps taken one by one would make
    intervals that hold the truth in two thirds of the cases."""
    draw = np.random.default_rng(0)
    held = 0
    for _ in range(600):
        log_size = np.zeros(200)
        log_size[0] = draw.normal()
        for step in range(1, 200):
            log_size[step] = 0.8 * log_size[step - 1] + 0.6 * draw.normal()
        gradients = draw.normal(size=(200, 4, 30)) * math.sqrt(10.0 / 30 / 2)
        gradients[:, :, 0] += np.exp(0.3 * log_size - 0.3**2)[:, None]  # its mean square is 1
        small = np.square(gradients).sum(axis=2).mean(axis=1)
        big = np.square(gradients.mean(axis=1)).sum(axis=1)
        found = estimate_noise_scale((4 * big - small) / 3, (small - big) * 2 * 4 / 3, None)
        held += found.ci_low <= 10.0 <= found.ci_high
    assert 0.88 < held / 600 < 0.98


def test_without_a_gradient_of_its_own_the_noise_has_no_upper_end() -> None:
    draw = np.random.default_rng(1)
    gradients = draw.normal(size=(50, 4, 30))
    small, big = np.square(gradients).sum(axis=2).mean(axis=1), np.square(gradients.mean(axis=1)).sum(axis=1)
    found = estimate_noise_scale((4 * big - small) / 3, (small - big) * 4 / 3, None)
    assert found.ci_high == math.inf
    assert found.ci_low > 10
    nothing = estimate_noise_scale(np.zeros(20), np.zeros(20), None)
    assert (nothing.critical_batch, nothing.ci_low, nothing.ci_high) == (None, 0.0, math.inf)


def test_on_digits_it_is_that_of_the_gradients_of_single_examples() -> None:
    digits = load_digits()
    pixels_BN, classes_B = torch.tensor(digits.data / 16).float(), torch.tensor(digits.target)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(10):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(pixels_BN), classes_B).backward()
        optimizer.step()
    optimizer.zero_grad()

    def loss(parameters: dict[str, Tensor], x_N: Tensor, y: Tensor) -> Tensor:
        return nn.functional.cross_entropy(functional_call(model, parameters, x_N[None]), y[None])

    pieces = vmap(grad(loss), (None, 0, 0))(dict(model.named_parameters()), pixels_BN, classes_B)
    gradients_BN = torch.cat([piece.flatten(1) for piece in pieces.values()], dim=1)
    mean_N = gradients_BN.mean(dim=0)
    truth = ((gradients_BN - mean_N).square().sum(dim=1).mean() / mean_N.square().sum()).item()

    seen = GradientNoise(micro_batch=16, horizon=None)
    for _ in range(250):
        model.zero_grad()
        with seen.step(model.parameters()):
            for _ in range(8):
                picked = torch.randint(len(pixels_BN), (16,))
                nn.functional.cross_entropy(model(pixels_BN[picked]), classes_B[picked]).backward()
    found = seen.estimate()
    assert found.ci_low < truth < found.ci_high
    assert found.critical_batch == pytest.approx(truth, rel=0.1)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    file = tmp_path_factory.mktemp("data") / "text"
    file.write_text("the quick brown fox jumps over the lazy dog; " * 500)
    return load_corpus(f"text:{file}")


def trial(parametrization: str = "mup", **changes: object) -> TrialConfig:
    sweep = SweepConfig(
        widths=(32,),
        base_width=16,
        steps=12,
        batch_size=8,
        dtype="float64",
        model=ModelConfig(depth=1, head_dim=8, context=16),
        schedule=ScheduleConfig("linear", warmup=0.25),
    )
    sweep = dataclasses.replace(sweep, **changes)  # type: ignore[arg-type]
    return sweep.trial(Arm(parametrization, parametrization), Scale(32), 2**-6, 0)


def test_a_measured_run_is_the_run(corpus: Corpus) -> None:
    found = list(follow_noise(trial(), 4, corpus, "cpu"))
    (plain,) = train([trial()], corpus, "cpu")
    assert [step for step, _, _ in found] == list(range(1, 13))
    assert [loss for _, loss, _ in found] == pytest.approx(plain.train_losses.tolist(), rel=1e-5)


def test_three_tables_of_one_parametrization_have_one_noise_scale(corpus: Corpus) -> None:
    """Their gradients differ by powers of width; their noise scales do not, since norms are taken in one gauge."""
    found = []
    for table in ("mup", "mup_table3", "mup_table9"):
        *_, (_, _, last) = follow_noise(trial(table), 4, corpus, "cpu")
        found.append(last.critical_batch)
    assert found == [pytest.approx(found[0], rel=1e-9)] * 3


def test_it_says_what_is_wrong(corpus: Corpus) -> None:
    model, seen = NoisyQuadratic(), GradientNoise(4)
    with pytest.raises(ValueError, match="found no step"):
        seen.estimate()
    with pytest.raises(ValueError, match="found 1 micro-batches"), seen.step(model.parameters()):
        model(model.draw(4)).backward()
    with pytest.raises(ValueError, match="found gradients before"), seen.step(model.parameters()):
        pass
    model.zero_grad()
    with pytest.raises(ValueError, match="found 1 mults for 2 parameters"), seen.step(model.parameters(), [1.0]):
        pass
    with pytest.raises(ValueError, match="found horizon 1"):
        GradientNoise(4, horizon=1)
    with pytest.raises(ValueError, match="found batch_size 8 in 3 micro-batches"):
        next(follow_noise(trial(), 3, corpus, "cpu"))
    assert not any(parameter._backward_hooks for parameter in model.parameters())


def test_the_command_measures_records_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--width", "32", "--model.context", "16", "--model.depth", "1", "--steps", "6", "--batch-size", "8"]
    words += ["--micro-batches", "4", "--to-batch", "12", "--out", str(tmp_path), "--device", "cpu"]
    assert main(["noise-scale", *words]) == 0
    told = capsys.readouterr().out
    assert "noise scale after 6 steps" in told
    assert "at batch 12: lr" in told
    rows = [json.loads(line) for line in (tmp_path / "noise_scale.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[0]["ci_high"] is None
    assert rows[-1]["critical_batch"] == pytest.approx(rows[-1]["noise"] / rows[-1]["signal"])
    assert json.loads((tmp_path / "trial.json").read_text())["steps"] == 6
    assert (tmp_path / "noise_scale.png").read_bytes().startswith(b"\x89PNG")
    assert main(["noise-scale", *words, "--micro-batches", "3"]) == 2
    assert capsys.readouterr().err.startswith("mutransfer: found batch_size 8 in 3 micro-batches")
