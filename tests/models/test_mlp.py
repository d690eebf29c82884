"""The token MLP: each position sees the last tokens and nothing else, and computes what it says."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from mutransfer.config import ModelConfig
from mutransfer.models import TokenMLP

SMALL = ModelConfig(architecture="mlp", window=3, width=16, depth=3, context=10, vocab=11)
TOKENS = torch.randint(0, 11, (2, 10), generator=torch.Generator().manual_seed(1))


def make(config: ModelConfig) -> TokenMLP:
    """A float64 model with normal weights, whose multipliers all differ."""
    model, generator = TokenMLP(config).double(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(generator=generator)
    for number, layer in enumerate([*model.embeddings, *model.hidden, model.readout]):
        layer.forward_mult = 0.5 + 0.1 * number  # type: ignore[assignment]
    return model


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("window", [1, 3])
def test_it_is_a_relu_network_over_concatenated_one_hots(window: int, depth: int) -> None:
    model = make(replace(SMALL, window=window, depth=depth))
    first = torch.cat([table.weight * table.forward_mult for table in model.embeddings])
    logits = model(TOKENS)
    for row in range(2):
        for at in range(10):
            x = torch.zeros(window * 11, dtype=torch.float64)
            for back in range(min(window, at + 1)):
                x[back * 11 + TOKENS[row, at - back]] = 1
            h = F.relu(x @ first)
            for layer in model.hidden:
                h = F.relu(layer.forward_mult * layer.weight @ h)
            torch.testing.assert_close(logits[row, at], model.readout.forward_mult * model.readout.weight @ h)


def test_a_position_sees_each_of_the_last_tokens_through_its_own_table_and_no_other_token() -> None:
    """Gradients with respect to what each table gave for each token: exactly zero where nothing is seen."""
    model = make(SMALL)
    given: list[torch.Tensor] = []

    def keep(_module: object, _inputs: object, output: torch.Tensor) -> None:
        output.retain_grad()
        given.append(output)

    for table in model.embeddings:
        table.register_forward_hook(keep)
    at = 6
    model(TOKENS)[0, at].square().sum().backward()
    for back, output in enumerate(given):
        assert output.grad is not None
        seen = (output.grad != 0).any(dim=2)
        assert seen.nonzero().tolist() == [[0, at - back]]


def test_the_window_is_as_long_as_it_says() -> None:
    changed = TOKENS.clone()
    changed[:, 4] = (changed[:, 4] + 1) % 11
    for window in (1, 2, 4):
        model = make(replace(SMALL, window=window))
        moved = (model(TOKENS) != model(changed)).any(dim=2)
        assert moved.all(dim=0).nonzero().flatten().tolist() == list(range(4, 4 + window))
        assert (moved == moved.all(dim=0)).all()


def test_a_sequence_shorter_than_the_window_is_the_start_of_a_longer_one() -> None:
    model = make(replace(SMALL, window=4))
    whole = model(TOKENS)
    for length in range(1, 10):
        torch.testing.assert_close(model(TOKENS[:, :length]), whole[:, :length])


def test_it_has_the_layers_it_says() -> None:
    model = TokenMLP(SMALL)
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    tables = {f"embeddings.{back}.weight": (11, 16) for back in range(3)}
    assert shapes == tables | {"hidden.0.weight": (16, 16), "hidden.1.weight": (16, 16), "readout.weight": (11, 16)}
