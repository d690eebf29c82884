"""A model of one's own in our training loop: trained as a plain loop trains it, in a cohort as alone."""

from __future__ import annotations

import dataclasses
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mutransfer.config import Arm, ModelConfig, OptimizerConfig, Scale, ScheduleConfig, SweepConfig, TrialConfig
from mutransfer.data import Corpus, sample_batch
from mutransfer.parametrization import parametrize
from mutransfer.training import Checkpoint, Part, own_model, train, train_trial
from mutransfer.training.cohort import Cohort
from mutransfer.training.trainer import stackable

VOCAB, CONTEXT = 24, 8
DRAWN = (np.random.default_rng(0).random(4000) ** 3 * VOCAB).astype(np.uint8)
CORPUS = Corpus("drawn", "0" * 16, VOCAB, DRAWN[:3500], DRAWN[3500:])


class Net(nn.Module):
    """From the last byte alone; a buffer that counts, and dropout where it is wanted."""

    def __init__(self, width: int, dropout: float = 0.0, wrap: Any = None) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, width)
        self.hidden = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.readout = nn.Linear(width, VOCAB)
        self.wrap = wrap

    def forward(self, tokens: Tensor) -> Any:
        logits = self.readout(self.dropout(F.relu(self.hidden(self.embedding(tokens)))))
        return logits if self.wrap is None else self.wrap(logits)


def build(width: int) -> nn.Module:
    return Net(width)


def wrapped(width: int) -> nn.Module:
    return Net(width, wrap=lambda logits: types.SimpleNamespace(logits=logits, loss=None))


def dropping(width: int) -> nn.Module:
    return Net(width, dropout=0.5)


def pooled(width: int) -> nn.Module:
    return Net(width, wrap=lambda logits: logits.mean(1))


def nothing(width: int) -> nn.Module:
    return Net(width, wrap=lambda logits: {"scores": logits})


def trial(name: str = "build", lr: float = 2.0**-5, seed: int = 0, **changes: Any) -> TrialConfig:
    sweep = SweepConfig(
        build=f"{__name__}:{name}",
        steps=24,
        batch_size=3,
        eval_batches=2,
        base_width=16,
        dtype="float64",
        model=ModelConfig(context=CONTEXT, vocab=VOCAB),
        optimizer=OptimizerConfig(weight_decay=0.1, clip_norm=0.5),
        schedule=ScheduleConfig(name="constant", warmup=0.0),
    )
    return dataclasses.replace(sweep.trial(Arm("mup", "mup_table3"), Scale(32), lr, seed), **changes)


def curve(found: TrialConfig) -> list[float]:
    (result,) = train([found], CORPUS, "cpu")
    return result.train_losses.tolist()  # type: ignore[no-any-return]


def test_it_trains_as_a_plain_loop_over_its_groups_does() -> None:
    mine = trial()
    built = parametrize(
        build, width=32, base_width=16, parametrization="mup_table3", sample=torch.zeros(1, 8, dtype=torch.long)
    )
    built.model.double()
    optimizer = torch.optim.AdamW(built.param_groups(mine.lr, weight_decay=0.1), betas=(0.9, 0.95))
    losses = []
    for step in range(mine.steps):
        tokens = torch.from_numpy(sample_batch(CORPUS.train, 0, step, 3, CONTEXT))
        loss = F.cross_entropy(built.model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        built.clip_grad_norm_(0.5)
        optimizer.step()
        losses.append(loss.item())
    assert curve(mine) == pytest.approx(losses, rel=1e-6)
    assert losses[-1] < losses[0] - 0.1


def test_logits_may_be_an_attribute() -> None:
    assert curve(trial("wrapped")) == curve(trial())


def test_a_seed_and_a_parametrization_make_a_difference() -> None:
    first = curve(trial())
    assert curve(trial()) == first
    assert curve(trial(seed=1)) != first
    assert curve(trial(parametrization="sp")) != first
    one, other = (own_model.build_own(trial(seed=seed), "cpu").model.state_dict() for seed in (0, 1))
    assert not torch.equal(one["hidden.weight"], other["hidden.weight"])


def test_a_cohort_trains_what_single_trials_train() -> None:
    trials = [trial(), trial(lr=2.0**-6), trial(seed=1)]
    together = train(trials, CORPUS, "cpu")
    assert [result.cohort_size for result in together] == [3, 3, 3]
    for one, other in zip(together, trials, strict=True):
        assert one.train_losses == pytest.approx(curve(other), rel=1e-6)
    assert len({result.val_loss for result in together}) == 3


def test_what_vmap_cannot_run_is_trained_alone_and_dropout_follows_the_seed() -> None:
    """And is off where the model is evaluated."""
    trials = [trial("dropping"), trial("dropping", lr=2.0**-6)]
    assert stackable(trial())
    assert not stackable(trials[0])
    one, other = train(trials, CORPUS, "cpu")
    assert (one.cohort_size, other.cohort_size) == (1, 1)
    torch.rand(5)
    again = train(trials[:1], CORPUS, "cpu")[0]
    assert again.train_losses.tolist() == one.train_losses.tolist() != curve(trial())
    still = dataclasses.replace(trials[0], lr=1e-12, steps=1)
    (dropped,) = train([still], CORPUS, "cpu")
    (plain,) = train([dataclasses.replace(trial(), lr=1e-12, steps=1)], CORPUS, "cpu")
    assert dropped.init_loss != plain.init_loss
    assert dropped.val_loss == pytest.approx(plain.val_loss, rel=1e-9)


def test_dropout_follows_the_step_so_that_a_run_goes_on_as_it_would_have(tmp_path: Path) -> None:
    """In parts, from a checkpoint, and without touching what else draws random numbers."""
    config, checkpoint = trial("dropping"), Checkpoint(tmp_path / "run.pt", every=5)
    generator = torch.get_rng_state()
    (whole,) = train([config], CORPUS, "cpu")
    (half,) = train([config], CORPUS, "cpu", Part(7, (None,)))
    (last,) = train([config], CORPUS, "cpu", Part(24, (half.state,)))
    assert torch.equal(torch.get_rng_state(), generator)

    def stop(cohort: Cohort) -> None:
        if cohort.step == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_trial(config, CORPUS, "cpu", checkpoint, stop)
    resumed = train_trial(config, CORPUS, "cpu", checkpoint)
    for each in (last, resumed):
        assert each.train_losses.tobytes() == whole.train_losses.tobytes()
        assert each.val_loss == whole.val_loss
    same = np.zeros(100, np.uint8)  # every batch is the same, and the masks are not
    (drawn,) = train([trial("dropping", lr=1e-12, steps=10)], Corpus("same", "1" * 16, VOCAB, same, same), "cpu")
    assert len(set(drawn.train_losses.tolist())) == 10


@pytest.mark.parametrize(("name", "found"), [("pooled", r"shape \(3, 24\)"), ("nothing", "dict")])
def test_a_model_without_logits_is_told_what_is_wanted(name: str, found: str) -> None:
    with pytest.raises(ValueError, match=rf"found {found} from Net .*wanted logits"):
        train([trial(name)], CORPUS, "cpu")
