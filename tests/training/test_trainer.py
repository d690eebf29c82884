"""The training loop: deterministic, honest about divergence, and it learns."""

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mutransfer.config import Arm, ModelConfig, OptimizerConfig, Scale, ScheduleConfig, SweepConfig, TrialConfig
from mutransfer.data import Corpus, load_corpus, sample_batch
from mutransfer.optim import averaged_weights
from mutransfer.training import TrialResult, train
from mutransfer.training.evaluation import evaluate
from mutransfer.training.trainer import build, make_optimizer, train_step

SWEEP = SweepConfig(steps=40, batch_size=4, eval_batches=2, base_width=32, model=ModelConfig(head_dim=8, context=16))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    file = tmp_path_factory.mktemp("data") / "text"
    file.write_text("the quick brown fox jumps over the lazy dog; " * 500)
    return load_corpus(f"text:{file}")


def trial(lr: float = 2**-7, seed: int = 0, width: int = 32, **changes: object) -> TrialConfig:
    sweep = dataclasses.replace(SWEEP, **changes)  # type: ignore[arg-type]
    return sweep.trial(Arm("mup", "mup"), Scale(width), lr, seed)


def test_it_learns_and_says_what_it_measured(corpus: Corpus) -> None:
    (result,) = train([trial(steps=100)], corpus, "cpu")
    assert result.train_losses.shape == (100,)
    assert result.train_losses.dtype == np.float32
    assert result.init_loss == result.train_losses[0] > 5.0
    assert result.final_loss == pytest.approx(result.train_losses[-10:].mean())
    assert result.mean_loss == pytest.approx(result.train_losses.mean())
    assert result.final_loss < 2.5
    assert result.val_loss == pytest.approx(result.final_loss, abs=0.5)
    assert not result.diverged
    assert result.diverged_step is None
    assert result.n_params == sum(p.numel() for p in build(trial(), "cpu").model.parameters())


SCRIPT = """
import sys, torch
sys.path.insert(0, {folder!r})
from test_trainer import trial
from mutransfer.data import load_corpus
from mutransfer.optim import averaged_weights
from mutransfer.training import TrialResult, train
from mutransfer.training.evaluation import evaluate
torch.set_num_threads(2)
(result,) = train([trial(width=64)], load_corpus({spec!r}), "cpu")
measured = (result.val_loss, result.attention_logit, result.output_log_z)
print(result.train_losses.tobytes().hex(), *(number.hex() for number in measured))
"""


def test_the_same_trial_gives_the_same_bits_in_another_process(corpus: Corpus) -> None:
    (mine,) = train([trial(width=64)], corpus, "cpu")
    script = SCRIPT.format(folder=str(Path(__file__).parent), spec=corpus.name)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    measured = (mine.val_loss, mine.attention_logit, mine.output_log_z)
    assert run.stdout.split() == [mine.train_losses.tobytes().hex(), *(number.hex() for number in measured if number)]


def test_a_trial_on_the_cpu_has_one_thread_and_gives_the_others_back(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def spy(*arguments: object) -> object:
        seen.append(torch.get_num_threads())
        return sample_batch(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("mutransfer.training.batches.sample_batch", spy)
    torch.set_num_threads(2)
    try:
        train([trial(steps=3)], corpus, "cpu")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert seen == [1, 1, 1]


def test_a_seed_fixes_data_and_initialization_and_another_changes_both(corpus: Corpus) -> None:
    model = ModelConfig(head_dim=8, context=16, zero_readout=False)
    trials = [trial(model=model), trial(2**-5, model=model), trial(seed=1, model=model)]
    base, other_rate, other_seed = train(trials, corpus, "cpu")
    assert base.init_loss == other_rate.init_loss
    assert base.init_loss != other_seed.init_loss


def test_divergence_is_a_result_with_its_step_and_no_losses_after_it(corpus: Corpus) -> None:
    (result,) = train([trial(lr=1e6)], corpus, "cpu")
    assert result.diverged
    assert result.diverged_step is not None
    assert len(result.train_losses) == result.diverged_step + 1
    assert result.final_loss is result.val_loss is result.mean_loss is None
    assert result.attention_logit is result.output_log_z is None


def test_the_z_loss_moves_the_run_and_not_what_is_reported_of_its_start(corpus: Corpus) -> None:
    plain, held = train([trial(), trial(z_loss=0.1)], corpus, "cpu")
    assert held.init_loss == plain.init_loss
    assert held.train_losses[1] != plain.train_losses[1]
    assert plain.output_log_z is not None
    assert held.output_log_z is not None
    assert abs(held.output_log_z) < abs(plain.output_log_z)


def test_squared_error_starts_at_one_under_a_zero_readout_and_falls(corpus: Corpus) -> None:
    (result,) = train([trial(loss="squared_error", steps=100)], corpus, "cpu")
    assert result.init_loss == 1.0
    assert result.final_loss is not None
    assert 0 < result.final_loss < 0.8
    assert result.val_loss == pytest.approx(result.final_loss, abs=0.1)
    assert result.output_log_z is None
    assert result.attention_logit is not None


def test_squared_error_diverges_where_it_rises_above_its_start(corpus: Corpus) -> None:
    sgd = OptimizerConfig(name="sgd")
    (result,) = train([trial(1e3, loss="squared_error", optimizer=sgd)], corpus, "cpu")
    assert result.diverged
    assert result.val_loss is result.attention_logit is result.output_log_z is None


def test_weights_that_an_optimizer_averages_are_averaged_where_they_are_measured(corpus: Corpus) -> None:
    free = OptimizerConfig(name="schedule_free_adamw")
    config = trial(2**-5, optimizer=free, schedule=ScheduleConfig(name="constant"))
    (result,) = train([config], corpus, "cpu")
    built = build(config, "cpu")
    optimizer = make_optimizer(built, config)
    for step in range(config.steps):
        tokens = torch.from_numpy(sample_batch(corpus.train, 0, step, 4, 16))
        train_step(built, optimizer, config, step, tokens)
    trained = evaluate(built.model, config, corpus, "cpu").loss
    with averaged_weights(optimizer):
        averaged = evaluate(built.model, config, corpus, "cpu").loss
    assert result.val_loss == averaged != trained


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
def test_the_mlp_learns(corpus: Corpus, loss: str) -> None:
    model = ModelConfig(architecture="mlp", context=16)
    (result,) = train([trial(2**-6, model=model, loss=loss, steps=100)], corpus, "cpu")
    assert result.final_loss is not None
    assert result.final_loss < 0.8 * result.init_loss
    assert result.attention_logit is None
    assert (result.output_log_z is None) == (loss == "squared_error")


def test_final_loss_is_over_the_last_part_of_the_steps(corpus: Corpus) -> None:
    (result,) = train([trial(final_window=0.5)], corpus, "cpu")
    assert result.final_loss == pytest.approx(result.train_losses[-20:].mean())


RICH = ModelConfig(head_dim=8, context=16, norm_gain=True)


@pytest.fixture(scope="module")
def plain(corpus: Corpus) -> TrialResult:
    (result,) = train([trial(width=64, model=RICH)], corpus, "cpu")
    return result


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": OptimizerConfig(name="sgd")},
        {"optimizer": OptimizerConfig(beta1=0.8)},
        {"optimizer": OptimizerConfig(beta2=0.999)},
        {"optimizer": OptimizerConfig(eps=1e-2)},
        {"optimizer": OptimizerConfig(weight_decay=1.0)},
        {"optimizer": OptimizerConfig(weight_decay=1.0, decay_mode="coupled")},
        {"optimizer": OptimizerConfig(weight_decay=0.1, decay_mode="lr_independent")},
        {"optimizer": OptimizerConfig(weight_decay=1.0, decay_vectors=True)},
        {"optimizer": OptimizerConfig(clip_norm=0.1)},
        {"optimizer": OptimizerConfig(name="sgd", momentum=0.5)},
        {"schedule": ScheduleConfig(name="constant")},
        {"schedule": ScheduleConfig(name="cosine")},
        {"schedule": ScheduleConfig(name="wsd")},
        {"schedule": ScheduleConfig(name="wsd", decay_fraction=0.5)},
        {"schedule": ScheduleConfig(warmup=0.5)},
        {"schedule": ScheduleConfig(floor=0.5)},
        {"dtype": "bfloat16"},
        {"dtype": "float64"},
        {"batch_size": 5},
        {"steps": 41},
        {"base_width": 16},
        {"loss": "squared_error"},
        {"z_loss": 1e-2},
    ],
    ids=str,
)
def test_every_choice_changes_the_run(corpus: Corpus, plain: TrialResult, change: dict[str, object]) -> None:
    (changed,) = train([trial(width=64, model=RICH, **change)], corpus, "cpu")
    assert changed.final_loss is not None
    assert changed.final_loss != plain.final_loss


def test_depth_is_counted_from_the_base_depth(corpus: Corpus) -> None:
    by_depth = dataclasses.replace(trial(base_depth=2), parametrization="depth_mup")
    trials = [trial(), by_depth, dataclasses.replace(by_depth, base_depth=1)]
    plain, at_base, above_it = train(trials, corpus, "cpu")
    assert (plain.train_losses == at_base.train_losses).all()
    assert above_it.final_loss != at_base.final_loss


def test_epsilon_may_be_left_as_it_is_at_every_width(corpus: Corpus) -> None:
    choices = [OptimizerConfig(eps=1e-2, scale_eps=scale) for scale in (True, False)]
    scaled, constant = train([trial(width=64, optimizer=choice) for choice in choices], corpus, "cpu")
    assert scaled.final_loss != constant.final_loss
    at_base = train([trial(width=32, optimizer=choice) for choice in choices], corpus, "cpu")
    assert at_base[0].final_loss == at_base[1].final_loss


def test_adam_without_decay_is_adamw_and_with_decay_is_refused(corpus: Corpus) -> None:
    adam, adamw = train([trial(optimizer=OptimizerConfig(name=name)) for name in ("adam", "adamw")], corpus, "cpu")
    assert adam.final_loss == adamw.final_loss
    with pytest.raises(ValueError, match="use adamw"):
        OptimizerConfig(name="adam", weight_decay=0.1).validate()


WIDTHS = (64, 128, 256, 512)


def keep(seen: dict[str, torch.Tensor], name: str) -> Callable[[object, object, torch.Tensor], None]:
    def hook(_module: object, _inputs: object, output: torch.Tensor) -> None:
        seen[name] = output.detach()

    return hook


def growth(parametrization: str, steps: int) -> dict[str, float]:
    """Slope over log2 width of the root mean square change, after some AdamW steps on one batch of real text, of the
    output of each module and of the logits."""
    corpus = load_corpus("stdlib")
    changes: dict[str, list[float]] = {}
    for width in WIDTHS:
        sweep = SweepConfig(base_width=WIDTHS[0], schedule=ScheduleConfig(name="constant", warmup=0.0))
        config = sweep.trial(Arm("x", parametrization), Scale(width), 2**-7, 0)
        built = build(config, "cpu")
        tokens = torch.from_numpy(sample_batch(corpus.train, 0, 0, 4, 64))
        seen: dict[str, torch.Tensor] = {}
        for name, module in built.model.named_modules():
            if name.endswith(("attention", "mlp", "readout")) or name.rpartition(".")[0] == "blocks":
                module.register_forward_hook(keep(seen, name))
        built.model(tokens[:, :-1])
        before = dict(seen)
        optimizer = make_optimizer(built, config)
        for step in range(steps):
            train_step(built, optimizer, config, step, tokens)
        built.model(tokens[:, :-1])
        for name in before:
            changes.setdefault(name, []).append((seen[name] - before[name]).square().mean().sqrt().item())
    return {name: float(np.polyfit(np.log2(WIDTHS), np.log2(c), 1)[0]) for name, c in changes.items()}


def test_activations_move_alike_at_every_width_under_mup_and_grow_under_sp() -> None:
    mup, sp = growth("mup", steps=5), growth("sp", steps=5)
    assert all(abs(slope) < 0.15 for slope in mup.values()), mup
    assert max(sp.values()) > 0.4, sp
