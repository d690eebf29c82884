"""Stacked models are the models they were, whatever they are made of."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mutransfer.optim import clip_grad_norm_
from mutransfer.optim.composite import Groups
from mutransfer.training.stack import Stack

N, V, C = 5, 7, 4


class Odd(nn.Module):
    """What a user may bring: a tied weight, a scalar, buffers that the forward pass writes, a weight that is frozen and
    one that is not used."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(V, C)
        self.norm = nn.BatchNorm1d(C)
        self.map = nn.Linear(C, C)
        self.fixed = nn.Parameter(torch.randn(C), requires_grad=False)
        self.unused = nn.Parameter(torch.randn(3))
        self.scale = nn.Parameter(torch.randn(()))
        self.readout = nn.Linear(C, V, bias=False)
        self.readout.weight = self.embedding.weight
        self.double()

    def forward(self, tokens_N: Tensor) -> Tensor:
        x_NC = self.norm(self.embedding(tokens_N)) + self.fixed
        return self.scale * self.readout(torch.tanh(self.map(x_NC)))


def groups(model: Odd) -> list[dict[str, object]]:
    matrices = [p for p in model.parameters() if p.dim() == 2]
    return [{"params": matrices, "lr": 0.1}, {"params": [p for p in model.parameters() if p.dim() < 2], "lr": 0.2}]


def loss(logits_NV: Tensor) -> Tensor:
    return logits_NV.square().mean()


def stacked_losses(stack: Stack, model: nn.Module, tokens_KN: Tensor) -> Tensor:
    return torch.vmap(lambda tensors, tokens: loss(functional_call(model, tensors, (tokens,))))(
        stack.tensors, tokens_KN
    )


def check_same(models: Sequence[Odd], others: Sequence[Odd]) -> None:
    for one, other in zip(models, others, strict=True):
        assert one.readout.weight is one.embedding.weight
        for name, value in one.state_dict().items():
            torch.testing.assert_close(value, other.state_dict()[name], rtol=1e-12, atol=1e-12)


MAX_NORMS = [0.05, None, 1e9, 0.02]


def mults(model: nn.Module) -> dict[str, float]:
    """Some gauge."""
    return {name: 2.0 ** (place % 3 - 1) for place, (name, _) in enumerate(model.named_parameters())}


def stacked(models: Sequence[nn.Module], made: Sequence[Groups]) -> Stack:
    return Stack(models, made, mults(models[0]), MAX_NORMS[: len(models)])


def test_stacked_models_train_as_they_would_alone() -> None:
    alone = [Odd(seed) for seed in range(4)]
    models = copy.deepcopy(alone)
    made = [groups(model) for model in models]
    stack, max_norms = stacked(models, made), MAX_NORMS
    check_same(models, alone)
    by_row = [torch.optim.SGD(mine, momentum=0.9) for mine in stack.row_groups(made)]
    singly = [torch.optim.SGD(groups(model), momentum=0.9) for model in alone]
    draw = torch.Generator().manual_seed(0)
    for step in range(6):
        if step == 3:
            left = [3, 0, 2]
            stack.keep(left)
            models, by_row, alone, singly = ([each[i] for i in left] for each in (models, by_row, alone, singly))
            max_norms = [max_norms[i] for i in left]
        tokens_KN = torch.randint(V, (len(models), N), generator=draw)
        losses_K = stacked_losses(stack, models[0], tokens_KN)
        stack.backward(losses_K.sum())
        stack.clip_grad_norms_()
        for place, model in enumerate(alone):
            single = loss(model(tokens_KN[place]))
            torch.testing.assert_close(losses_K[place], single, rtol=1e-12, atol=1e-12)
            model.zero_grad()
            single.backward()
            if max_norms[place] is not None:
                gauge = mults(model)
                norm = clip_grad_norm_(((p, gauge[name]) for name, p in model.named_parameters()), max_norms[place])
                assert (norm > max_norms[place]) == (max_norms[place] < 1), "nothing was to be clipped"
            for mine, other in zip(models[place].parameters(), model.parameters(), strict=True):
                expected = torch.zeros_like(other) if other.grad is None else other.grad
                if other.requires_grad:
                    torch.testing.assert_close(mine.grad, expected, rtol=1e-12, atol=1e-12)
                else:
                    assert mine.grad is None
        for optimizer in (*by_row, *singly):
            optimizer.step()
        check_same(models, alone)


def test_rows_are_as_few_as_the_groups_of_all_slices_allow() -> None:
    models = [Odd(seed) for seed in range(2)]
    coarse = [{"params": [p for p in models[1].parameters() if p.requires_grad]}, {"params": [models[1].fixed]}]
    made, alike = [groups(models[0]), coarse], dict.fromkeys(mults(models[0]), 1.0)
    rows = Stack(models, made, alike, [None, None]).row_groups(made)
    assert [[len(group["params"]) for group in mine] for mine in rows] == [[1, 2], [2, 1]]
    for mine, model in zip(rows, models, strict=True):
        sizes = sum(row.numel() for group in mine for row in group["params"])
        assert sizes == sum(p.numel() for p in model.parameters())
    assert rows[0][0]["lr"] == 0.1


def test_what_a_slice_writes_the_stack_sees_and_no_other_slice() -> None:
    models = [Odd(seed) for seed in range(3)]
    stack = stacked(models, [groups(model) for model in models])
    before = {name: tensor.detach().clone() for name, tensor in stack.tensors.items()}
    with torch.no_grad():
        models[1].map.weight.fill_(2.0)
        models[1].norm.running_mean.fill_(3.0)
    for name, value in (("map.weight", 2.0), ("norm.running_mean", 3.0)):
        assert (stack.tensors[name][1] == value).all()
        assert torch.equal(stack.tensors[name][[0, 2]], before[name][[0, 2]])


def test_gradients_that_are_not_to_be_clipped_stay_as_they_are_even_where_their_norm_overflows() -> None:
    models = [Odd(seed) for seed in range(2)]
    stack = Stack(models, [groups(model) for model in models], mults(models[0]), [1.0, None])
    for model in models:
        assert model.map.weight.grad is not None
        model.map.weight.grad.fill_(1e200)
    stack.clip_grad_norms_()
    assert (models[0].map.weight.grad == 0).all()
    assert (models[1].map.weight.grad == 1e200).all()
