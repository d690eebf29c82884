"""`parametrize`: at the base the plain model, elsewhere what `build_model` is, and its own initialization's form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mutransfer.config import OptimizerConfig
from mutransfer.parametrization import Parametrized, build_model, parametrize

from .curves import BASE, RICH, SMALL
from .zoo import GPT2, MLP, ZOO, Encoder, batch, draw, loss

# a state is compared here, not stored for the plain model
pytestmark = pytest.mark.filterwarnings("ignore:the multiplier of")

STEPS = 4


def trained(model: nn.Module, groups: object, kind: str, dtype: torch.dtype = torch.float32) -> list[float]:
    optimizer = torch.optim.AdamW(groups, lr=2**-7, betas=(0.9, 0.95), weight_decay=0.1)  # type: ignore[arg-type]
    losses = []
    for _ in range(STEPS):
        value = loss(model, *batch(kind, dtype))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return losses


@pytest.mark.parametrize("parametrization", ["mup", "mup_table3", "mean_field"])
@pytest.mark.parametrize("kind", ZOO)
def test_at_the_base_it_is_the_plain_model_value_for_value_and_loss_for_loss(kind: str, parametrization: str) -> None:
    build, sample, _ = ZOO[kind]
    if kind == "gpt2" and parametrization == "mup_table3":
        return  # a tied weight has no one rate there
    with torch.random.fork_rng():
        torch.manual_seed(4)
        plain = build(32)
    built = parametrize(build, width=32, base_width=32, sample=sample(), parametrization=parametrization, seed=4)
    state = plain.state_dict()
    assert state.keys() == built.model.state_dict().keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in built.model.state_dict().items())
    assert built.notes == ()
    groups = built.param_groups(2**-7, weight_decay=0.1, decay_vectors=True)
    assert trained(built.model, groups, kind) == trained(plain, plain.parameters(), kind)


def plainly(width: int, zero: bool) -> nn.Module:
    """Our transformer as anyone would have it: fan-in initialization at every width, no multipliers."""
    config = replace(RICH, width=width, zero_readout=zero, zero_query=zero)
    return build_model(config, "sp", base_width=BASE, seed=2, dtype=torch.float64).model


@pytest.mark.parametrize("zero", [True, False])
@pytest.mark.parametrize("parametrization", ["mup_table3", "mup", "ntk", "sp"])
def test_our_own_transformer_built_plainly_trains_as_build_model_makes_it(parametrization: str, zero: bool) -> None:
    """Fixed key/value heads, gains, biases, clipping and all, in float64; the tables' gauges differ by rounding."""
    config = replace(RICH, width=4 * BASE, zero_readout=zero, zero_query=zero)
    ours = build_model(config, parametrization, base_width=BASE, seed=2, dtype=torch.float64)
    theirs = parametrize(
        lambda width: plainly(width, zero),
        width=4 * BASE,
        base_width=BASE,
        parametrization=parametrization,
    )
    for name, rule in ours.rules.items():
        other = theirs.rules[name]
        assert rule._replace(init_std=0.0) == other._replace(init_std=0.0), name
        assert other.init_std == pytest.approx(rule.init_std, rel=0.2), name
    tokens = torch.randint(0, RICH.vocab, (4, RICH.context + 1), generator=torch.Generator().manual_seed(0))
    curves = []
    for built in (ours, theirs):
        optimizer = torch.optim.AdamW(built.groups_for(2**-6, OptimizerConfig(weight_decay=0.1, eps=1e-4)))
        curves.append([])
        for _ in range(STEPS):
            value = F.cross_entropy(built.model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
            optimizer.zero_grad()
            value.backward()
            built.clip_grad_norm_(0.3)
            optimizer.step()
            curves[-1].append(value.item())
    assert curves[1] == pytest.approx(curves[0], rel=1e-10)
    assert curves[0][-1] < curves[0][0]


class Schemes(nn.Module):
    """One layer for each way in which people initialize."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Linear(6, width)
        for name in ("orthogonal", "truncated", "he", "xavier", "small", "fixed", "mean_field", "zeros"):
            setattr(self, name, nn.Linear(width, width, bias=False))
        nn.init.orthogonal_(self.orthogonal.weight)
        nn.init.trunc_normal_(self.truncated.weight, std=width**-0.5, a=-2 * width**-0.5, b=2 * width**-0.5)
        nn.init.kaiming_normal_(self.he.weight, mode="fan_out")
        nn.init.xavier_uniform_(self.xavier.weight)
        nn.init.normal_(self.small.weight, std=0.02 * width**-0.5)
        nn.init.normal_(self.fixed.weight, std=0.02)
        nn.init.normal_(self.mean_field.weight, std=3 / width)
        nn.init.zeros_(self.zeros.weight)
        self.outer = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)
        for layer in self.children():
            if layer not in (self.inner, self.outer):
                y = y + layer(y)
        return self.outer(y)  # type: ignore[no-any-return]


def as_built(build: Callable[[int], nn.Module], width: int, seed: int) -> dict[str, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return dict(build(width).named_parameters())


@pytest.mark.parametrize(
    ("parametrization", "hidden", "outer"),
    [("mup_table3", -0.5, -1.0), ("mup", -0.5, 0.0), ("sp", -0.5, -0.5), ("sp_fixed_std", 0.0, 0.0)],
)
def test_a_scheme_keeps_its_form_and_gets_the_tables_power(parametrization: str, hidden: float, outer: float) -> None:
    """What the code draws at a width, times one exact number: the table's power of m over the code's own."""
    m = 8.0
    built = parametrize(Schemes, width=256, base_width=32, sample=draw(4, 6), parametrization=parametrization, seed=3)
    drawn = as_built(Schemes, 256, 3)
    own = dict.fromkeys(("orthogonal", "truncated", "he", "xavier", "small"), -0.5)
    own |= {"fixed": 0.0, "mean_field": -1.0, "zeros": 0.0}
    for name, power in own.items():
        values = built.model.get_parameter(f"{name}.weight")
        torch.testing.assert_close(values, drawn[f"{name}.weight"] * m ** (hidden - power), rtol=1e-5, atol=0)
    orthogonal = built.model.orthogonal.weight / m ** (hidden + 0.5)
    torch.testing.assert_close(orthogonal @ orthogonal.T, torch.eye(256), atol=1e-5, rtol=0)
    assert not built.model.zeros.weight.any()
    torch.testing.assert_close(built.model.inner.weight, drawn["inner.weight"])
    torch.testing.assert_close(built.model.inner.bias, drawn["inner.bias"])
    torch.testing.assert_close(built.model.outer.weight, drawn["outer.weight"] * m ** (outer + 0.5))
    # torch draws a bias by its weight's fan-in; a bias's own is 1 (Tensor Programs V, B.1)
    torch.testing.assert_close(built.model.outer.bias, drawn["outer.bias"] * m**0.5)
    for name, rule in built.rules.items():
        std = built.model.get_parameter(name).std().item()
        assert std == pytest.approx(rule.init_std, rel=0.1 if name != "outer.bias" else 1.0), name


def test_a_biass_power_is_of_its_weights_fan_in() -> None:
    """Where what it is added to grows otherwise: torch draws it within 1/sqrt(fan_in) of the weight."""

    def build(width: int) -> nn.Module:
        inner = {64: 64, 128: 96, 1024: 160}[width]
        return nn.Sequential(nn.Linear(6, width), nn.Linear(width, inner), nn.Linear(inner, 3))

    built, drawn = parametrize(build, width=1024, base_width=64, sample=draw(4, 6)), as_built(build, 1024, 0)
    for name, factor in (("0.bias", 1.0), ("1.bias", 16**0.5), ("2.bias", 2.5**0.5)):
        torch.testing.assert_close(built.model.get_parameter(name), drawn[name] * factor)


class Odd(nn.Module):
    def __init__(self, width: int, make: Callable[[nn.Linear, int], object]) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(6, width), nn.Linear(width, 3)
        with torch.no_grad():
            make(self.outer, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(self.inner(x))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda layer, width: nn.init.normal_(layer.weight, std=width**-0.25), "a power of -0.2"),
        (lambda layer, width: nn.init.normal_(layer.weight, std=width**0.5), "a power of 0.5"),
        (lambda layer, width: layer.weight.mul_(0 if width == 32 else 1), "wanted it random at both"),
    ],
)
def test_a_scheme_without_a_clear_power_is_an_error_that_names_the_parameter(
    make: Callable[[nn.Linear, int], object], why: str
) -> None:
    def build(width: int) -> nn.Module:
        return Odd(width, make)

    with pytest.raises(ValueError, match=r"found outer\.weight") as error:
        parametrize(build, width=256, base_width=32, sample=draw(4, 6))
    assert why in str(error.value)
    assert "leave its values as they are: init_powers={'outer.weight': -1}" in str(error.value)
    built = parametrize(build, width=256, base_width=32, sample=draw(4, 6), init_powers={"outer.weight": -0.25})
    if "random" not in why:
        torch.testing.assert_close(built.model.outer.weight, as_built(build, 256, 0)["outer.weight"] * 8**-0.75)


def test_too_few_values_to_tell_are_an_error_where_no_more_can_be_drawn() -> None:
    models = {name: MLP(width) for name, width in (("base", 32), ("delta", 64), ("target", 256))}
    with pytest.raises(ValueError, match=r"found up\.bias .* too few values to tell"):
        parametrize(**models, sample=draw(4, 20))  # type: ignore[arg-type]
    powers = {"up.bias": 0.0, "hidden.bias": -0.5, "more.bias": -0.5, "head.*": -0.5}
    given = parametrize(**models, sample=draw(4, 20), init_powers=powers)  # type: ignore[arg-type]
    measured = parametrize(MLP, width=256, base_width=32, sample=draw(4, 20))
    assert {n: r._replace(init_std=0) for n, r in given.rules.items()} == {
        n: r._replace(init_std=0) for n, r in measured.rules.items()
    }
    assert given.model is models["target"]


def test_a_seed_decides_the_values_and_nobody_elses() -> None:
    def values(seed: int) -> dict[str, Tensor]:
        return parametrize(GPT2, width=64, base_width=32, seed=seed).model.state_dict()

    torch.manual_seed(1)
    one = values(0)
    after = torch.rand(1)
    torch.rand(7)
    again, other = values(0), values(1)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["wte.weight"], other["wte.weight"])
    torch.manual_seed(1)
    assert torch.equal(after, torch.rand(1))


def test_a_tied_readout_is_multiplied_by_one_visible_hook() -> None:
    """`mup.MuSharedReadout` rescales the shared table itself."""
    plain, built = as_built(GPT2, 128, 0), parametrize(GPT2, width=128, base_width=32)
    assert built.table.name == "mup"
    torch.testing.assert_close(built.model.wte.weight, plain["wte.weight"])
    hooks = [
        (path, hook) for path, module in built.model.named_modules() for hook in module._forward_pre_hooks.values()
    ]
    assert [path for path, _ in hooks] == ["lm_head"]
    assert [note for note in built.notes if note.startswith("lm_head")] == [
        "lm_head has a forward hook that multiplies its input by 0.25"
    ]
    x = draw(2, 128)
    torch.testing.assert_close(built.model.lm_head(x), F.linear(x, built.model.wte.weight) / 4)
    torch.testing.assert_close(built.model.lm_head(input=x), built.model.lm_head(x))
    rows = built.explain().set_index("parameter")
    assert (rows.loc["lm_head.weight", "forward_mult"], rows.loc["wte.weight", "forward_mult"]) == (0.25, 1.0)
    with pytest.raises(ValueError, match="use mup"):
        parametrize(GPT2, width=128, base_width=32, parametrization="mup_table3")


def test_a_multiplier_that_no_module_can_take_is_refused() -> None:
    """An embedding's is on its output; a fused attention layer has two weights for one input."""
    table9 = parametrize(MLP, width=128, base_width=32, sample=draw(4, 20), parametrization="mup_table9")
    x = draw(2, 20)
    torch.testing.assert_close(table9.model.up(x), F.linear(x * 2, table9.model.up.weight, table9.model.up.bias))
    looked = parametrize(GPT2, width=128, base_width=32, parametrization="mup_table9")
    tokens = torch.arange(3)
    torch.testing.assert_close(looked.model.wpe(tokens), looked.model.wpe.weight[:3] * 2)
    for kind, name in (("encoder", "in_proj_weight"), ("moe", "up")):
        with pytest.raises(ValueError, match=f"found .*{name} .* use mup_table3"):
            parametrize(
                ZOO[kind].build, width=64, base_width=32, sample=ZOO[kind].sample(), parametrization="mean_field"
            )


def heads(width: int) -> nn.Module:
    """head_dim grows."""
    return Encoder(width, heads=2)


def test_attention_with_a_growing_head_dim_is_told_which_scale_to_pass() -> None:
    with pytest.warns(UserWarning, match="wants 1/head_dim") as told:
        built = parametrize(heads, width=128, base_width=32, sample=draw(2, 12, 20))
    d0, d = 16, 64
    text = str(told[0].message)
    assert built.notes[-1] == text
    assert f"pass scale={d0**-0.5:g} * ({d0} / head_dim), {d0**0.5 / d:g} at head_dim {d}" in text
    assert "encoder.layers.0.self_attn (and 1 more)" in text
    ours = build_model(replace(SMALL, width=128, head_dim=None, n_heads=2), "mup", base_width=32)
    assert set(ours.logit_scale.values()) == {d0**0.5 / d}
    parametrize(heads, width=128, base_width=32, sample=draw(2, 12, 20), parametrization="sp")  # wants 1/sqrt


@pytest.mark.parametrize(("power", "warned"), [(-0.5, True), (-1.0, False), (0.0, True)])
def test_an_attention_scale_of_ones_own_is_seen(power: float, warned: bool) -> None:
    class Attention(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.inner, self.outer = nn.Linear(6, width), nn.Linear(width, 3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.inner(x)
            y = F.scaled_dot_product_attention(y, y, y, scale=2.0 * y.shape[-1] ** power)
            return self.outer(y)  # type: ignore[no-any-return]

    def make() -> Parametrized:
        return parametrize(Attention, width=128, base_width=32, sample=draw(2, 5, 6))

    if warned:
        with pytest.warns(UserWarning, match=f"at head_dim 32, by {2.0 * 64**power:g} at 64"):
            make()
    else:
        assert not any("head_dim" in note for note in make().notes)


def by_matmul(q: Tensor, k: Tensor) -> Tensor:
    logits = (q / q.shape[-1] ** 0.5) @ k.transpose(-1, -2)
    return logits.masked_fill(torch.ones(logits.shape[-2:], dtype=torch.bool, device=q.device).triu(1), -torch.inf)


def by_einsum(q: Tensor, k: Tensor) -> Tensor:
    return torch.einsum("bhqd,bhkd->bhqk", q, k).float() * q.shape[-1] ** -1.0 + torch.arange(5, device=q.device)


@pytest.mark.parametrize("product", [by_matmul, by_einsum])
@pytest.mark.parametrize(
    ("heads", "parametrization", "told"), [(2, "mup_table3", True), (None, "mup_table3", False), (2, "sp", False)]
)
def test_attention_by_hand_whose_head_dim_grows_is_noted(
    product: Callable[[Tensor, Tensor], Tensor], heads: int | None, parametrization: str, told: bool
) -> None:
    """Its scale may stand anywhere, so there is no more to say than where to look; a router's softmax is none."""

    class ByHand(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.heads = width // 8 if heads is None else heads
            self.inner, self.outer = nn.Linear(6, width), nn.Linear(width, 3)
            self.experts = nn.Parameter(torch.randn(4, width, 2) * width**-0.5)

        def forward(self, x: Tensor) -> Tensor:
            x = self.inner(x)
            y = x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            y = (product(y, y).softmax(-1) @ y).transpose(1, 2).flatten(2)
            routed = torch.einsum("btc,ecf->betf", x, self.experts).softmax(-1).sum((1, 3), keepdim=True)[:, 0]
            return self.outer(y * routed)  # type: ignore[no-any-return]

    for device in (None, "meta"):
        built = parametrize(
            ByHand,
            width=128,
            base_width=32,
            sample=draw(2, 5, 6),
            parametrization=parametrization,
            device=device,
        )
        notes = [note for note in built.notes if note.startswith("attention by hand")]
        assert len(notes) == told, built.notes
        assert not told or "(16 at the base, 32 at the delta)" in notes[0]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({}, "found no model"),
        ({"build": MLP, "width": 64}, "found build, width; wanted"),
        ({"build": MLP, "width": 64, "base_width": 32, "target": MLP(8)}, "found base_width, build, target, width"),
        ({"target": MLP(8)}, "without base shapes"),
        ({"base": MLP(8), "target": MLP(8)}, "found base, target; wanted"),
        ({"build": MLP, "width": 64, "base_width": -32}, "base_width above 0, got -32"),
        ({"build": lambda width: None, "width": 64, "base_width": 32}, "found NoneType from build"),
        ({"build": MLP, "width": 64, "base_width": 32}, "no embedding in MLP"),
        ({"build": MLP, "width": 64, "base_width": 32, "sample": draw(2, 20), "parametrization": "umup"}, "constants"),
        (
            {"build": MLP, "width": 64, "base_width": 32, "sample": draw(2, 20), "parametrization": "completep"},
            "branch",
        ),
        ({"build": MLP, "width": 64, "base_width": 32, "sample": draw(2, 20), "parametrization": "mpu"}, "'mup'"),
        (
            {"build": MLP, "width": 64, "base_width": 32, "sample": draw(2, 20), "init_powers": {"x": 0.0}},
            "parameter 'x'",
        ),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(arguments: dict[str, object], found: str) -> None:
    with pytest.raises(ValueError, match=found) as error:
        parametrize(**arguments)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_a_model_that_takes_no_tokens_says_what_it_said() -> None:
    class Two(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.embedding, self.head = nn.Embedding(9, width), nn.Linear(width, 9)

        def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
            return self.head(self.embedding(tokens) * mask)  # type: ignore[no-any-return]

    with pytest.raises(ValueError, match=r"takes no tokens of shape \(2, 9\) \(TypeError: .*mask.*give sample"):
        parametrize(Two, width=64, base_width=32)
    tokens, mask = torch.arange(4)[None], torch.ones(1, 4, 1)
    for sample in ((tokens, mask), {"tokens": tokens, "mask": mask}):
        built = parametrize(Two, width=64, base_width=32, sample=sample)
        assert {rule.role for rule in built.rules.values()} == {"input", "output", "scalar"}


def test_a_model_on_meta_has_the_rules_of_one_with_weights() -> None:
    for kind, (build, sample, _) in ZOO.items():
        real, meta = (
            parametrize(build, width=64, base_width=32, sample=sample(), device=device) for device in (None, "meta")
        )
        assert meta.rules == real.rules, kind
        assert all(parameter.is_meta for parameter in meta.model.parameters())


def test_gradients_are_clipped_by_a_norm_of_one_gauge() -> None:
    """Of Table 3's raw gradients the readout's does not shrink with width, which a norm by torch would see."""
    norms, raw = [], []
    for parametrization in ("mup", "mup_table3"):
        built = parametrize(ZOO["llama"].build, width=256, base_width=32, parametrization=parametrization, seed=1)
        loss(built.model, *batch("llama")).backward()
        raw.append(torch.nn.utils.get_total_norm([p.grad for p in built.model.parameters()]).item())  # type: ignore[misc]
        norms.append(built.clip_grad_norm_(1e-3).item())
        assert built.clip_grad_norm_(1.0).item() == pytest.approx(1e-3, rel=1e-2)
    assert norms[1] == pytest.approx(norms[0], rel=1e-5)
    assert raw[1] > 1.2 * raw[0]


def test_the_example_in_its_own_words() -> None:
    """param_groups for any torch optimizer, rules, clipping, explain."""
    import mutransfer as mt

    mup = mt.parametrize(lambda width: MLP(width), width=128, base_width=32, sample=draw(2, 20))
    optimizer = torch.optim.AdamW(mup.param_groups(lr=2**-8, weight_decay=0.1, optimizer="adamw"))
    assert {group["lr"] for group in optimizer.param_groups} == {2**-8, 2**-10}
    inputs, targets = batch("mlp")
    F.cross_entropy(mup.model(inputs), targets).backward()
    assert mup.clip_grad_norm_(1e-3) > 1e-3
    assert mup.rules["head.weight"].role == "output"
    assert set(mup.explain()["parameter"]) == {name for name, _ in mup.model.named_parameters()}
