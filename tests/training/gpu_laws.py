"""What the host does of a step on a GPU, as far as it can be seen without one: see `test_on_a_gpu.py`, which runs this
in a process of its own."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mutransfer.cli import main
from mutransfer.config import Arm, ModelConfig, OptimizerConfig, Scale, ScheduleConfig, SweepConfig, TrialConfig
from mutransfer.config.model import GPT2, LLAMA
from mutransfer.coordcheck import coord_check
from mutransfer.data import Corpus
from mutransfer.parametrization import build_model
from mutransfer.sweep import executors
from mutransfer.theory.optimizers import OPTIMIZERS
from mutransfer.toolbox.noise_scale.measure import follow_noise
from mutransfer.toolbox.range_test.measure import Ramp, range_test_trial
from mutransfer.toolbox.sharpness.measure import follow_trial
from mutransfer.toolbox.watch.watch import Watch
from mutransfer.training import Checkpoint, Part, train, train_trial
from mutransfer.training.batches import draw_batches
from mutransfer.training.checkpoint import freeze, thaw
from mutransfer.training.cohort import Cohort
from mutransfer.training.evaluation import evaluate
from mutransfer.training.trainer import stackable, start
from training.without_values import GPU, WaitedError, on_a_gpu, on_the_host

PLAIN = ModelConfig(depth=1, head_dim=8, context=12, vocab=64, zero_readout=False, output_mult=1.0)
MODELS = {
    "plain": PLAIN,
    "llama": replace(LLAMA, depth=1, head_dim=8, context=12, vocab=64),
    "gpt2": replace(GPT2, depth=1, head_dim=8, context=12, vocab=64),
    "qk_norm": replace(PLAIN, qk_norm=True, norm_gain=True, zero_query=True),
    "mlp": ModelConfig(architecture="mlp", depth=2, window=2, context=12, vocab=64, zero_readout=False),
}
DRAWN = (np.random.default_rng(0).random(4000) ** 3 * 64).astype(np.uint8)
CORPUS = Corpus("drawn", "0" * 16, 64, DRAWN[:3500], DRAWN[3500:])

WAITS = {
    "dadapt_adam": "the library takes its distance to the host, as a plain number of the param groups",
    "prodigy": "the same",
    "soap": "eigenvectors, which torch waits for",
    "shampoo": "singular values, which torch waits for",
}
"""Optimizers that wait for the device by their nature, and why."""

ON_THE_HOST = {name: set[str]() for name in OPTIMIZERS}
ON_THE_HOST |= {"nadam": {"step", "mu_product"}, "radam": {"step"}, "rmsprop": {"step"}}
"""Numbers that torch keeps on the host, where it needs them."""


def trial(**changes: object) -> TrialConfig:
    sweep = SweepConfig(steps=6, batch_size=3, eval_batches=2, base_width=16, model=PLAIN)
    return replace(sweep.trial(Arm("mup", "mup"), Scale(32), 2**-7, 0), **changes)  # type: ignore[arg-type]


SMALL = trial(model=MODELS["mlp"])


def trials(like: TrialConfig, size: int) -> list[TrialConfig]:
    return [replace(like, lr=like.lr / 2**place, seed=place % 2) for place in range(size)]


def trained_by(name: str, **changes: object) -> TrialConfig:
    schedule = ScheduleConfig("constant" if name.startswith("schedule_free") else "cosine", warmup=0.2)
    optimizer = replace(OptimizerConfig.published(name), **changes)  # type: ignore[arg-type]
    return trial(model=MODELS["mlp"], optimizer=optimizer, schedule=schedule)


def advance(cohort: Cohort, steps: int) -> Tensor:
    block = range(cohort.step, cohort.step + steps)
    for tokens in draw_batches(CORPUS, [each.trial for each in cohort.slices], block, GPU):
        losses = cohort.advance(tokens)
    return losses


def off_the_device(cohort: Cohort) -> set[str]:
    """Names of what does not stand on the GPU."""
    found = set()
    for each in cohort.slices:
        model = each.built.model
        tensors = dict(model.named_parameters()) | dict(model.named_buffers())
        tensors |= {f"{name}.grad": p.grad for name, p in model.named_parameters() if p.grad is not None}
        found |= {name for name, tensor in tensors.items() if tensor.device != torch.device(GPU)}
        for state in each.optimizer.state.values():
            kept = {name: value for name, value in state.items() if isinstance(value, Tensor)}
            found |= {name for name, value in kept.items() if value.device != torch.device(GPU)}
    return found


CHANGES = [
    {"dtype": "float32"},
    *({"model": model, "dtype": "bfloat16", "z_loss": 1e-4} for model in MODELS.values()),
    {"loss": "squared_error"},
    {"schedule": ScheduleConfig("one_cycle", warmup=0.5, momentum_dip=0.1)},
    {"schedule": ScheduleConfig("step"), "largest_batch": 6},
]


def test_what_would_wait_and_what_would_mix_devices_is_seen() -> None:
    with on_a_gpu() as host, host.nothing_waits():
        x = torch.zeros(3, device=GPU)
        waiting: list[Callable[[], object]] = [
            lambda: x.sum().item(),
            lambda: bool(x.sum() > 0),
            lambda: x.tolist(),
            lambda: x.cpu(),
            lambda: torch.zeros(3).to(GPU),
            lambda: torch.zeros(3).pin_memory().to(GPU),
            lambda: torch.tensor([1.0], device=GPU),
            lambda: x[torch.tensor([0, 1])],
            lambda: torch.linalg.eigh(torch.zeros(2, 2, device=GPU)),
        ]
        for each in waiting:
            with pytest.raises(WaitedError):
                each()
        for mixing in (lambda: x + torch.zeros(3), lambda: torch.randn(3, generator=torch.Generator(), device=GPU)):
            with pytest.raises(RuntimeError, match="device"):
                mixing()
        with pytest.raises(RuntimeError):
            x.nonzero()
        torch.zeros(3).pin_memory().to(GPU, non_blocking=True)
        assert (x * 2).view(3, 1).device == torch.device(GPU)
        with torch.autocast("cuda", torch.bfloat16):
            assert (x @ x).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("changes", "size"), [*((each, 3) for each in CHANGES), *((each, 1) for each in CHANGES[:3])], ids=str
)
def test_a_step_waits_for_nothing_and_stays_on_the_device(changes: dict[str, object], size: int) -> None:
    clipped = OptimizerConfig(clip_norm=1.0, weight_decay=0.1)
    with on_a_gpu() as host:
        cohort = start(trials(trial(optimizer=clipped, **changes), size), GPU)
        assert not off_the_device(cohort)
        with host.nothing_waits():
            losses = advance(cohort, 2)  # the first makes the optimizers' state
        assert losses.device == torch.device(GPU)
        assert losses.shape == (size,)
        assert losses.dtype == torch.float32
        assert not off_the_device(cohort)


def test_it_may_be_the_default_device_too() -> None:
    with on_a_gpu() as host, torch.device(GPU):
        cohort = start(trials(SMALL, 2), GPU)
        with host.nothing_waits():
            advance(cohort, 1)
        assert evaluate(cohort.slices[0].built.model, SMALL, CORPUS, GPU).loss == 0.5


def test_what_is_drawn_on_the_host_is_drawn_there_whatever_the_default_device() -> None:
    with on_a_gpu(number=0.0), torch.device(GPU):
        assert list(follow_trial(replace(SMALL, steps=1), CORPUS, GPU, 1))


class Seen(TorchFunctionMode):
    """Keeps what a function is called with."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.calls: list[tuple[tuple[Tensor, ...], dict[str, Any]]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is self.function:
            self.calls.append((args, kwargs))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("dtype", "grouped"), [("bfloat16", True), ("float32", False)])
def test_attention_asks_for_what_a_gpu_has_a_kernel_for(dtype: str, grouped: bool) -> None:
    with on_a_gpu():
        cohort = start([trial(model=MODELS["llama"], dtype=dtype)], GPU)
        with Seen(F.scaled_dot_product_attention) as seen:
            advance(cohort, 1)
    ((query, *keys_and_values), settings), *_ = seen.calls
    assert settings["enable_gqa"] == grouped
    for each in keys_and_values:
        assert (each.shape[-3] < query.shape[-3]) == grouped
        assert each.dtype == query.dtype == (torch.bfloat16 if dtype == "bfloat16" else torch.float32)


def test_keys_that_are_repeated_for_it_attend_as_groups_do(monkeypatch: pytest.MonkeyPatch) -> None:
    llama = replace(MODELS["llama"], width=32, zero_readout=False)
    model = build_model(llama, base_width=16, dtype=torch.float64).model
    found = []
    for on_gpu in (False, True):
        monkeypatch.setattr(Tensor, "is_cuda", on_gpu)
        loss = model(torch.arange(24).view(2, 12)).square().mean()
        found.append((loss, *torch.autograd.grad(loss, list(model.parameters()))))
    for grouped, repeated in zip(*found, strict=True):
        torch.testing.assert_close(repeated, grouped, rtol=1e-10, atol=1e-12)


def test_norms_are_of_float32_or_wider_whatever_is_normalized() -> None:
    with on_a_gpu():
        cohort = start([trial(model=replace(PLAIN, qk_norm=True), dtype="bfloat16")], GPU)
        with Seen(F.rms_norm) as seen:
            advance(cohort, 1)
    assert {x.dtype for (x, *_), _ in seen.calls} == {torch.float32}


@pytest.mark.parametrize("name", ["sp", "mup_table3", "umup", "completep"])
def test_whatever_the_parametrization(name: str) -> None:
    with on_a_gpu() as host:
        cohort = start([trial(parametrization=name)], GPU)
        with host.nothing_waits():
            advance(cohort, 1)
        assert not off_the_device(cohort)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_waits_for_nothing_unless_that_is_its_nature(name: str) -> None:
    like = trained_by(name, clip_norm=1.0)
    if name in ("soap", "shampoo", "sophia"):
        like = trained_by(name, precondition_every=1)
    with on_a_gpu() as host:
        cohort = start(trials(like, 2 if OPTIMIZERS[name].elementwise else 1), GPU)
        host.waits.clear()
        advance(cohort, 2)
        assert bool(host.waits) == (name in WAITS), host.waits
        assert off_the_device(cohort) == ON_THE_HOST[name]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_goes_on_from_a_frozen_state_is_as_it_was(name: str) -> None:
    like = trained_by(name)
    with on_a_gpu() as host:
        cohort = start([like], GPU, rows=False)
        advance(cohort, 1)
        state = freeze(cohort.slices[0], cohort.step, CORPUS.fingerprint)
        host.waits.clear()
        advance(cohort, 1)
        waits, stands = Counter(host.waits), off_the_device(cohort)
        again = start([like], GPU, rows=False)
        thaw(again, [state], CORPUS.fingerprint)
        host.waits.clear()
        advance(again, 1)
        assert Counter(host.waits) == waits
        assert off_the_device(again) == stands


def test_who_stays_after_others_have_diverged_stays_on_the_device() -> None:
    with on_a_gpu() as host:
        cohort = start(trials(SMALL, 3), GPU)
        advance(cohort, 2)
        cohort.keep([0, 2])
        with host.nothing_waits():
            advance(cohort, 2)
        assert not off_the_device(cohort)
        assert cohort.stack is not None
        for bundle in cohort.stack._bundles.values():
            assert {row.grad.untyped_storage()._cdata for row in bundle.rows if row.grad is not None} == {
                grads.untyped_storage()._cdata for grads in bundle.grads
            }


@pytest.mark.parametrize("model", [MODELS["llama"], MODELS["mlp"]], ids=["llama", "mlp"])
def test_an_evaluation_fetches_what_it_returns_and_no_more(model: ModelConfig) -> None:
    with on_a_gpu() as host:
        (only,) = start([trial(model=model, dtype="bfloat16")], GPU).slices
        host.waits.clear()
        found = evaluate(only.built.model, only.trial, CORPUS, GPU)
        fetched = Counter(host.waits)["a number is fetched"]
        assert fetched == 2 * only.trial.eval_batches + (found.attention_logit is not None)


def test_a_watched_run_waits_at_its_looks_alone() -> None:
    with on_a_gpu() as host:
        cohort = start([trial(optimizer=OptimizerConfig(clip_norm=1.0))], GPU)
        (only,) = cohort.slices
        seen: list[object] = []
        cohort.around = Watch(only.built.model, only.optimizer, 3, [seen.append]).step
        advance(cohort, 1)
        with host.nothing_waits():
            advance(cohort, 2)
        advance(cohort, 1)
        assert len(seen) == 2


def kernels(like: TrialConfig, size: int) -> Counter[str]:
    with on_a_gpu() as host:
        cohort = start(trials(like, size), GPU)
        advance(cohort, 2)
        host.kernels.clear()
        advance(cohort, 1)
        return host.kernels


@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_the_kernels_of_a_step_grow_with_the_cohort_by_those_of_an_update_alone(clip_norm: float | None) -> None:
    """Of two groups: two fused updates, and two counters of steps."""
    like = replace(SMALL, optimizer=OptimizerConfig(clip_norm=clip_norm))
    four, six = kernels(like, 4), kernels(like, 6)
    assert not four - six
    grown = six - four
    assert grown["aten._fused_adamw_.default"] == 4
    assert grown.total() == 2 * 4


@pytest.mark.parametrize("depth", [1, 3])
def test_to_clip_takes_as_many_kernels_however_many_the_parameters(depth: int) -> None:
    like = trial(model=replace(MODELS["mlp"], depth=depth))
    plain, clipped = (kernels(replace(like, optimizer=OptimizerConfig(clip_norm=norm)), 1) for norm in (None, 1.0))
    assert (clipped - plain).total() == 9


@pytest.mark.parametrize("name", ["adamw", "adam", "adam_l2", "sgd"])
def test_fused_updates_are_asked_for_and_got(name: str) -> None:
    found = kernels(trained_by(name), 1)
    assert [each for each in found if "_fused_" in each]
    assert not [each for each in found if each.startswith("aten._foreach") and "add_" not in each]


def test_trials_are_trained_from_the_first_step_to_the_last() -> None:
    with on_a_gpu():
        found = train(trials(SMALL, 2), CORPUS, GPU)
    assert [each.device for each in found] == ["none"] * 2
    assert [(len(each.train_losses), each.val_loss) for each in found] == [(6, 0.5)] * 2


def test_and_in_parts() -> None:
    like = trials(SMALL, 2)
    with on_a_gpu():
        first = train(like, CORPUS, GPU, Part(3, (None, None)))
        last = train(like, CORPUS, GPU, Part(6, tuple(each.state for each in first)))
    assert [(len(each.train_losses), each.val_loss) for each in last] == [(6, 0.5)] * 2


def test_and_with_checkpoints(tmp_path: Path) -> None:
    checkpoint, steady = (
        Checkpoint(tmp_path / "run.pt", 10),
        replace(SMALL, schedule=ScheduleConfig("constant", warmup=2)),
    )
    with on_a_gpu():
        train_trial(replace(steady, steps=4), CORPUS, GPU, checkpoint)
        longer = train_trial(steady, CORPUS, GPU, checkpoint)
    assert (len(longer.train_losses), longer.val_loss) == (6, 0.5)


class Own(nn.Module):
    """A model of a user's, with a buffer, and dropout unless it is to be stacked."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.embed, self.read = nn.Embedding(64, width), nn.Linear(width, 64)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.register_buffer("scale", torch.ones(width))

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.read(self.dropout(self.embed(tokens) * self.scale))
        return logits


def build_plain(width: int) -> nn.Module:
    return Own(width, 0.0)


def build_with_dropout(width: int) -> nn.Module:
    return Own(width, 0.1)


@pytest.mark.parametrize(("build", "size"), [("build_plain", 1), ("build_plain", 2), ("build_with_dropout", 1)])
def test_a_model_of_ones_own_waits_for_nothing(build: str, size: int) -> None:
    like = trial(build=f"{__name__}:{build}", model=ModelConfig(width=32, context=12, vocab=64))
    assert stackable(like) == (build == "build_plain")
    with on_a_gpu() as host:
        cohort = start(trials(like, size), GPU)
        with host.nothing_waits():
            advance(cohort, 2)
        assert not off_the_device(cohort)


def on_host(build: Callable[..., Any]) -> Callable[..., Any]:
    def call(width: int) -> Any:
        with on_the_host():
            return build(width)

    return call


def test_the_diagnostics_mix_no_devices() -> None:
    """They wait for each of their numbers."""
    like, ours = trial(batch_size=4, steps=1), on_host(lambda width: build_model(replace(PLAIN, width=width)))
    tokens = torch.arange(26).view(2, 13)

    def batch(seed: int) -> tuple[Tensor, Tensor]:
        return tokens[:, :-1], tokens[:, 1:]

    with on_a_gpu():
        assert list(follow_noise(like, 2, CORPUS, GPU))
        assert range_test_trial(like, CORPUS, GPU, ramp=Ramp(steps=2), seeds=1).losses.size
        check = coord_check(ours, (8, 16), lr=0.01, steps=1, seeds=2, batch=batch, device="cuda")
        assert check.frame.size
    with on_a_gpu(number=0.0):  # of which Lanczos finds the eigenvalue at once
        assert list(follow_trial(like, CORPUS, GPU, 1))


def test_the_command_trains_on_cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text").write_bytes(bytes(range(256)) * 20)
    model = ["--width=32", "--base-width=16", "--model.head-dim=8", "--model.context=12", "--model.depth=1"]
    words = ["train", *model, "--batch-size=4", "--steps=3", "--lr=0.01", f"--data=text:{tmp_path / 'text'}"]
    monkeypatch.setattr(executors, "local_gpus", lambda: 1)
    with on_a_gpu():
        code = main([*words, "--device=cuda", "--execution=eager", f"--out={tmp_path}"])
    assert not code
    assert len(np.load(tmp_path / "curve.npy")) == 3
