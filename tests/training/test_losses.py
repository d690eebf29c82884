"""Losses against their formulas; the z-loss against its closed-form gradient."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from mutransfer.config import Scale, SweepConfig, TrialConfig
from mutransfer.training.losses import log_z, token_loss, training_loss

N, V = 6, 5
OUTPUTS = 3 * torch.randn(N, V, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([0, 3, 4, 4, 1, 2])
TOKENS = torch.cat((torch.zeros(1, 1, dtype=torch.long), TARGETS[None]), dim=1)


class Outputs(nn.Module):
    """A model whose outputs are its parameters, whatever it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.outputs = nn.Parameter(OUTPUTS[None].clone())

    def forward(self, _tokens: torch.Tensor) -> torch.Tensor:
        return self.outputs


def trial(**changes: object) -> TrialConfig:
    sweep = SweepConfig(dtype="float64")
    return dataclasses.replace(sweep.trial(sweep.arms[0], Scale(32), 0.1, 0), **changes)  # type: ignore[arg-type]


def gradient(config: TrialConfig) -> torch.Tensor:
    model = Outputs()
    training_loss(model, TOKENS, config)[0].backward()
    assert model.outputs.grad is not None
    return model.outputs.grad[0]


def test_cross_entropy_is_the_mean_log_probability_of_the_target() -> None:
    by_hand = 0.0
    for row, target in zip(OUTPUTS.tolist(), TARGETS.tolist(), strict=True):
        by_hand -= math.log(math.exp(row[target]) / sum(math.exp(output) for output in row)) / N
    assert token_loss(OUTPUTS, TARGETS, "cross_entropy").item() == pytest.approx(by_hand, rel=1e-12)


def test_squared_error_is_the_mean_squared_distance_from_the_one_hot_target() -> None:
    by_hand = 0.0
    for row, target in zip(OUTPUTS.tolist(), TARGETS.tolist(), strict=True):
        by_hand += sum((output - (place == target)) ** 2 for place, output in enumerate(row)) / N
    assert token_loss(OUTPUTS, TARGETS, "squared_error").item() == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize("vocab", [5, 50])
def test_squared_error_of_outputs_that_are_zero_is_one(vocab: int) -> None:
    assert token_loss(torch.zeros(N, vocab), TARGETS, "squared_error").item() == 1.0


def test_the_gradient_of_squared_error_is_twice_the_distance() -> None:
    expected = OUTPUTS.clone()
    expected[torch.arange(N), TARGETS] -= 1
    torch.testing.assert_close(gradient(trial(loss="squared_error")), 2 * expected / N)


def test_log_z_shifts_with_the_outputs_while_cross_entropy_stays() -> None:
    torch.testing.assert_close(log_z(OUTPUTS + 7), log_z(OUTPUTS) + 7)
    torch.testing.assert_close(
        token_loss(OUTPUTS + 7, TARGETS, "cross_entropy"), token_loss(OUTPUTS, TARGETS, "cross_entropy")
    )
    assert log_z(torch.zeros(N, V)).tolist() == pytest.approx([math.log(V)] * N)


def test_the_z_loss_adds_twice_log_z_times_the_softmax_to_the_gradient() -> None:
    """d log(Z)^2 / d output = 2 log(Z) p."""
    added = gradient(trial(z_loss=0.3)) - gradient(trial())
    expected = 0.3 * 2 * OUTPUTS.logsumexp(dim=1, keepdim=True) * OUTPUTS.softmax(dim=1) / N
    torch.testing.assert_close(added, expected)


@pytest.mark.parametrize("changes", [{}, {"z_loss": 0.3}, {"loss": "squared_error"}], ids=str)
def test_the_reported_loss_is_the_plain_one(changes: dict[str, object]) -> None:
    config = trial(**changes)
    trained_on, reported = training_loss(Outputs(), TOKENS, config)
    assert reported.item() == token_loss(OUTPUTS, TARGETS, config.loss).item()
    assert not reported.requires_grad
    extra = config.z_loss * log_z(OUTPUTS).square().mean().item()
    assert trained_on.item() == pytest.approx(reported.item() + extra)
