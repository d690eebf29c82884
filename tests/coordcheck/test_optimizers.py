"""By what its updates change in a model: under muP the same at every width with each optimizer, under SP with none."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from mutransfer import coord_check
from mutransfer.config import ModelConfig, OptimizerConfig
from mutransfer.coordcheck.bench import next_token_loss, text_batches
from mutransfer.coordcheck.check import NOT_SHOWN
from mutransfer.optim import build_optimizer
from mutransfer.theory.optimizers import OPTIMIZERS

from .broken import ours

BASE, WIDTHS = 32, (32, 64, 128)
# what moves in proportion to its size does not leave zero
MODEL = ModelConfig(architecture="mlp", context=16, zero_readout=False, output_mult=1.0)
BATCH = text_batches(8, 16)
CHECKED = sorted({*OPTIMIZERS} - {*NOT_SHOWN})
KINDS = ("nadam", "adopt", "lion", "shampoo", "lars", "lamb", "adafactor")
"""What differs most from AdamW, SGD and Muon, which other tests check."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in KINDS else [pytest.mark.slow]) for name in CHECKED]
)
def test_each_passes_under_mup_and_fails_under_sp(name) -> None:
    config = OptimizerConfig.published(name)
    config = replace(config, precondition_every=1) if name == "shampoo" else config
    for parametrization, verdict in (("mup", "pass"), ("sp", "fail")):
        check = coord_check(
            ours(MODEL, parametrization, base=BASE), WIDTHS, optimizer=config, batch=BATCH, seeds=3, steps=3
        )
        assert check.verdict == verdict, check.report()
        assert not check.warnings


@pytest.mark.parametrize(("parametrization", "low", "high"), [("mup", -0.1, 0.1), ("sp", 0.9, 1.2)])
def test_radam_does_once_it_is_adam(parametrization, low, high) -> None:
    """From its sixth update on; those before are SGD's, which at Adam's rates vanish with width."""
    widths, changed = (64, 128, 256), []
    for width in widths:
        built = ours(MODEL, parametrization, base=64)(width, seed=0)
        config = OptimizerConfig("radam", beta2=0.999)
        optimizer = build_optimizer(built.groups_for(2.0**-10, config), config)
        seen = []
        built.model.readout.register_forward_hook(
            lambda _module, inputs, output, seen=seen: seen.append((*inputs, output))
        )
        for _ in range(10):
            optimizer.zero_grad()
            next_token_loss(built.model, BATCH(0)).backward()
            optimizer.step()
        pairs = zip(seen[5], seen[9], strict=True)
        changed.append([(after - before).detach().square().mean().sqrt().item() for before, after in pairs])
    slopes = np.polyfit(np.log2(widths), np.log2(changed), 1)[0]
    assert all(low < slope < high for slope in slopes), slopes


def test_soaps_update_from_one_batch_is_as_large_as_its_rank() -> None:
    """sqrt(rank) in all, and not as its family's, of entries of one size."""
    draw = torch.Generator().manual_seed(0)
    for rank in (2, 8, 32):
        left, right, start = (
            torch.randn(shape, generator=draw, dtype=torch.float64) for shape in ((48, rank), (rank, 32), (48, 32))
        )
        weight = nn.Parameter(start.clone())
        groups = [{"params": [weight], "lr": 1.0, "lr_mult": 1.0, "weight_decay": 0.0, "eps": 1e-8}]
        optimizer = build_optimizer(groups, OptimizerConfig.published("soap"))
        for _ in range(2):  # the first only looks
            weight.grad = left @ right
            optimizer.step()
        assert (weight.detach() - start).norm().item() == pytest.approx(rank**0.5, rel=1e-2)


@pytest.mark.parametrize(("name", "why"), [*NOT_SHOWN.items(), ("shampoo", "stand still before step 10")])
def test_what_a_few_updates_on_one_batch_do_not_show_is_refused(name, why) -> None:
    assert OPTIMIZERS[name].family == ("spectral" if name == "shampoo" else "adam")
    with pytest.raises(ValueError, match=why) as caught:
        coord_check(ours(MODEL, base=BASE), WIDTHS, optimizer=name, batch=BATCH)
    assert "\n" not in str(caught.value)
