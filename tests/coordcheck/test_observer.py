"""What an observer keeps of a pass is what happened in it, and the pass stays as it was."""

import math

import pytest
import torch
import torch.nn.functional as F
from mup import MuReadout, set_base_shapes
from torch import nn

from mutransfer.coordcheck.observer import Observer


def calls(model, *inputs, initial=None):
    with Observer(model, {} if initial is None else initial) as observer:
        output = model(*inputs)
    return observer.calls, output


def initial_of(model):
    return {
        path: {name: parameter.detach().clone() for name, parameter in module.named_parameters(recurse=False)}
        for path, module in model.named_modules()
        if list(module.parameters(recurse=False))
    }


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 4)
        self.up = nn.Linear(4, 6)
        self.same = nn.Identity()
        self.act = nn.ReLU(inplace=True)
        self.pair = Pair()

    def forward(self, tokens):
        first, _ = self.pair(self.act(self.same(self.up(self.table(tokens)))))
        return {"loss": first.sum(), "logits": first * 0.5}


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(6, 3)

    def forward(self, x):
        return self.map(x), x.sum()


TOKENS = torch.tensor([[1, 2, 3], [4, 5, 6]])


def test_modules_are_kept_in_the_order_of_their_outputs_and_those_that_hand_on_are_passed_over() -> None:
    found, _ = calls(Net(), TOKENS)
    # the pair gives what the map gave; what works in place gives its own input; the model gives half of the map's
    assert [call.module for call in found] == ["table", "up", "pair.map", ""]
    assert [call.outer for call in found] == [1, 1, 0.5, 1]


def test_the_effective_update_is_the_change_of_parameters_on_the_present_input() -> None:
    torch.manual_seed(0)
    net = Net()
    initial = initial_of(net)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter))
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    found, _ = calls(net, TOKENS, initial=initial)
    x = net.table(TOKENS)
    change = F.linear(x, net.up.weight - initial["up"]["weight"], net.up.bias - initial["up"]["bias"])
    torch.testing.assert_close(found[1].effective, change.detach())
    torch.testing.assert_close(found[0].effective, (net.table.weight - initial["table"]["weight"])[TOKENS].detach())
    for name, parameter in net.named_parameters():
        assert torch.equal(parameter, before[name])


def test_watching_changes_neither_outputs_nor_gradients_and_leaves_no_hook() -> None:
    torch.manual_seed(0)
    net = Net()
    initial = initial_of(net)
    with torch.no_grad():
        net.up.weight.mul_(1.5)
    plain = net(TOKENS)["logits"]
    plain.square().sum().backward()
    expected = [parameter.grad.clone() for parameter in net.parameters()]
    net.zero_grad()
    found, output = calls(net, TOKENS, initial=initial)
    assert torch.equal(output["logits"], plain)
    output["logits"].square().sum().backward()
    for parameter, gradient in zip(net.parameters(), expected, strict=True):
        assert torch.equal(parameter.grad, gradient)
    # the loss is the square of half of what the map gives
    torch.testing.assert_close(found[2].gradient, 0.5 * found[2].output)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


@pytest.mark.parametrize(
    ("multiply", "factor"),
    [
        (lambda y: y * 0.25, 0.25),
        (lambda y: 0.25 * y, 0.25),
        (lambda y: y / 4, 0.25),
        (lambda y: torch.mul(y, 0.25), 0.25),
        (lambda y: torch.div(y, 4.0), 0.25),
        (lambda y: y * torch.tensor(0.25), 0.25),
        (lambda y: y.mul_(0.25), 0.25),
        (lambda y: (y.view(-1) * 0.5) * 0.5, 0.25),
        (lambda y: y * y, 1.0),
        (lambda y: y + 0.25, 1.0),
        (lambda y: 4 / y, 1.0),
    ],
)
def test_a_plain_number_outside_a_module_is_counted(multiply, factor) -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map = nn.Linear(3, 3)

        def forward(self, x):
            return multiply(self.map(x))

    found, _ = calls(Outer(), torch.randn(2, 3))
    assert found[0].module == "map"
    assert found[0].outer == factor


def test_what_others_hooks_multiply_is_the_modules_own() -> None:
    net = nn.Sequential(nn.Linear(3, 3, bias=False))
    initial = initial_of(net)
    net[0].register_forward_pre_hook(lambda module, inputs: (inputs[0] / 4,))
    net[0].register_forward_hook(lambda module, inputs, output: output * 3)
    with torch.no_grad():
        net[0].weight.add_(1.0)
    x = torch.randn(2, 3)
    found, _ = calls(net, x, initial=initial)
    torch.testing.assert_close(found[0].source, x)
    torch.testing.assert_close(found[0].output, (F.linear(x, net[0].weight) * 0.75).detach())
    torch.testing.assert_close(found[0].effective, F.linear(x, torch.ones(3, 3)) * 0.75)


def test_a_module_that_hangs_its_rule_on_its_parameter_is_called_with_it() -> None:
    make = lambda width: nn.Sequential(nn.Linear(3, width), MuReadout(width, 2))  # noqa: E731
    net = set_base_shapes(make(8), make(4), delta=make(6))
    initial = initial_of(net)
    with torch.no_grad():
        net[1].weight.add_(1.0)
    found, _ = calls(net, torch.randn(2, 3), initial=initial)
    hidden = found[0].output
    torch.testing.assert_close(found[1].effective, F.linear(hidden, torch.ones(2, 8)) / 2)


class Attention(nn.Module):
    """The same attention in the way that `how` names; keys have `groups` heads."""

    def __init__(self, how: str, groups: int = 2) -> None:
        super().__init__()
        self.how, self.groups = how, groups

    def forward(self, q, k, v):
        scale = 0.3
        if self.how == "sdpa":
            return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=self.groups != 4)
        k, v = (each.repeat_interleave(4 // self.groups, dim=1) for each in (k, v))
        if self.how == "query":
            logits = (q * scale) @ k.transpose(-1, -2)
        elif self.how == "after":
            logits = torch.matmul(q, k.permute(0, 1, 3, 2)) * scale
        elif self.how == "einsum":
            logits = torch.einsum("bhqd, bhkd -> bhqk", q, k) * scale
        elif self.how == "time first":
            logits = torch.einsum("bqhd,bkhd->bhqk", q.transpose(1, 2), k.transpose(1, 2)) * scale
        else:
            logits = torch.bmm(q.flatten(0, 1), k.flatten(0, 1).transpose(1, 2)).view(2, 4, 5, 5) / (1 / scale)
        mask = torch.ones(5, 5, dtype=torch.bool).triu(1)
        return F.softmax(logits.masked_fill(mask, -math.inf), dim=-1) @ v


@pytest.mark.parametrize("how", ["sdpa", "query", "after", "bmm", "einsum", "time first"])
def test_attention_logits_are_seen_however_attention_is_written(how) -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 4, 5, 8), torch.randn(2, 2, 5, 8), torch.randn(2, 2, 5, 8)
    found, _ = calls(Attention(how), q, k, v)
    logits = next(call for call in found if call.module == " (logits)")
    assert logits.head_dim == 8
    rms = [each.square().mean().sqrt().item() for each in (q, k)]
    assert logits.aligned == pytest.approx(0.3 * 8 * rms[0] * rms[1], rel=1e-5)
    expected = (q @ k.repeat_interleave(2, dim=1).transpose(-1, -2) * 0.3).detach()
    seen = torch.ones(5, 5, dtype=torch.bool).tril()
    torch.testing.assert_close(logits.output[..., seen], expected[..., seen])
    if how != "query":  # there the scale has gone into the queries before it could be told from them
        assert logits.logit_scale == pytest.approx(0.3)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("time_first", [False, True])
def test_torchs_own_layer_has_the_logits_of_its_queries_and_keys(own, time_first) -> None:
    """Packed maps of queries, keys and values, or, where keys are of another size, apart."""
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(8, 2, kdim=6 if own else None, batch_first=not time_first)
    x, y = torch.randn(3, 5, 8), torch.randn(3, 4, 6 if own else 8)
    value = torch.randn(3, 4, 8)
    maps = (layer.q_proj_weight, layer.k_proj_weight) if own else layer.in_proj_weight.chunk(3)[:2]
    nn.init.normal_(layer.in_proj_bias)
    biases = layer.in_proj_bias.chunk(3)[:2]
    q, k = (
        F.linear(each, weight, bias).unflatten(-1, (2, 4)).transpose(1, 2)
        for each, weight, bias in zip((x, y), maps, biases, strict=True)
    )
    inputs = [each.transpose(0, 1) if time_first else each for each in (x, y, value)]
    found, _ = calls(layer, *inputs)
    logits = next(call for call in found if call.module == " (logits)")
    torch.testing.assert_close(logits.output, (q @ k.transpose(-1, -2) / 2).detach())
    assert (logits.head_dim, logits.logit_scale) == (4, 0.5)


def test_queries_scaled_after_their_map_count_with_the_scale() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query = nn.Linear(8, 8)

        def forward(self, x):
            q = self.query(x).view(2, 5, 2, 4).transpose(1, 2) * 0.5
            k = x.view(2, 5, 2, 4).transpose(1, 2)
            return torch.softmax(q @ k.transpose(-1, -2), dim=-1)

    found, _ = calls(Scaled(), torch.randn(2, 5, 8))
    logits = next(call for call in found if call.module.endswith("(logits)"))
    assert logits.logit_scale == pytest.approx(0.5)


def test_parameters_are_back_even_where_a_module_fails() -> None:
    class Fails(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))
            self.times = 0

        def forward(self, x):
            self.times += 1
            if self.times > 1:
                raise RuntimeError("not twice")
            return x * self.weight

    net = nn.Sequential(Fails())
    initial = initial_of(net)
    with torch.no_grad():
        net[0].weight.add_(1.0)
    with pytest.raises(RuntimeError, match="not twice"):
        calls(net, torch.ones(2, 3), initial=initial)
    assert torch.equal(net[0].weight, torch.full((3,), 2.0))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
