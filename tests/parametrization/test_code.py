"""What a model's own code does is counted and followed: numbers that go with width, sums however they are spelled, maps
that a norm follows, values that are no noise, what is frozen, and what a checkpoint does not carry."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mutransfer import OptimizerConfig, Parametrized, build_optimizer, coord_check, parametrize

VOCAB, BASE = 48, 32


class Net(nn.Module):
    """A residual block between a table and a readout; what varies is handed in."""

    def __init__(self, width: int, *, tied: bool = False, power: float = 0.0, root: float = 0.0, hidden: float = 0.0):
        super().__init__()
        self.table, self.up, self.down = (
            nn.Embedding(VOCAB, width),
            nn.Linear(width, 2 * width),
            nn.Linear(2 * width, width),
        )
        self.norm, self.last, self.head = nn.LayerNorm(width), nn.LayerNorm(width), nn.Linear(width, VOCAB, bias=False)
        self.m, self.power, self.root, self.hidden = width / BASE, power, root, hidden
        if tied:
            self.head.weight = self.table.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.table(tokens) * self.m**self.root
        x = x + self.down(F.gelu(self.up(self.norm(x))))
        return self.head(self.last(x) * self.m**self.hidden) * self.m**self.power  # type: ignore[no-any-return]


def batch(seed: int) -> tuple[Tensor, Tensor]:
    tokens = torch.randint(0, VOCAB, (8, 16), generator=torch.Generator().manual_seed(seed))
    return tokens, (tokens * 5 + 1) % VOCAB


def at(width: int = 4 * BASE, **settings: object) -> Parametrized:
    return parametrize(lambda w: Net(w, **settings), width=width, base_width=BASE)  # type: ignore[arg-type]


@pytest.mark.parametrize("settings", [{"power": -1.0}, {"power": -3.0}, {"power": 0.5}, {"hidden": -1.0}])
@pytest.mark.parametrize("table", ["mup_table3", "mup"])
def test_a_number_at_the_readout_is_counted_to_it(settings: dict[str, float], table: str) -> None:
    """Lemma J.1: with a multiplier c, initial values and Adam's rate over c are the same readout."""
    (power,) = settings.values()
    plain, built = (
        parametrize(lambda w, each=each: Net(w, **each), width=4 * BASE, base_width=BASE, parametrization=table).rules[
            "head.weight"
        ]
        for each in ({}, settings)
    )
    in_all = built.forward_mult * 4.0**power
    assert built.lr_mult * in_all == pytest.approx(plain.lr_mult * plain.forward_mult)
    assert built.init_std * in_all == pytest.approx(plain.init_std * plain.forward_mult, rel=0.1)


def test_a_number_at_the_table_is_counted_to_it_tied_or_not() -> None:
    for tied in (False, True):
        rules = at(root=0.5, tied=tied).rules
        assert rules["table.weight"].lr_mult == pytest.approx(0.5)
        assert rules["head.weight"].lr_mult * rules["head.weight"].forward_mult == pytest.approx(0.25)
    assert any("multiplies at table.weight by width^+0.5 (2 here)" in note for note in at(root=0.5).notes)


def test_at_the_base_nothing_is_counted() -> None:
    rules = at(BASE, power=-1.0, root=0.5).rules
    assert {(rule.lr_mult, rule.forward_mult) for rule in rules.values()} == {(1.0, 1.0)}


@pytest.mark.parametrize("power", [-1.0, -0.5, 0.5])
def test_what_the_loss_gets_is_judged_absolutely(power: float) -> None:
    """Half a power of width after the readout that no rule counts is seen, though no module is off by itself."""

    def build(width: int, seed: int) -> tuple[nn.Module, list[dict[str, object]]]:
        built = parametrize(Net, width=width, base_width=BASE, seed=seed)
        built.model.power = power
        return built.model, built.param_groups(1.0)

    assert coord_check(build, (32, 64, 128), batch=batch, seeds=2, steps=2).verdict == "fail"
    counted = coord_check(
        lambda width, seed: parametrize(lambda w: Net(w, power=power), width=width, base_width=BASE, seed=seed),
        (32, 64, 128),
        batch=batch,
        seeds=2,
        steps=2,
    )
    assert counted.passed, counted.report()


def test_a_build_that_ignores_its_width_is_an_error() -> None:
    with pytest.raises(ValueError, match="expected a model that grows with width"):
        parametrize(lambda w: Net(64), width=128, base_width=64)
    with pytest.raises(ValueError, match="expected models that grow with width"):
        coord_check(lambda width: Net(64), (32, 64), batch=batch, seeds=2, steps=1)


class Score(nn.Module):
    def __init__(self, width: int, how: str) -> None:
        super().__init__()
        self.table, self.q, self.how = nn.Embedding(VOCAB, width), nn.Parameter(torch.randn(width) / width**0.5), how

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.table(tokens)
        if self.how == "product":
            return x @ self.q
        if self.how == "sum":
            return (x * self.q).sum(-1)
        if self.how == "masked":
            return ((x * self.q).float() * 2.0).sum(-1)
        if self.how == "cosine":
            return F.cosine_similarity(x, self.q, dim=-1)
        if self.how == "spectrum":
            return torch.fft.irfft(torch.fft.rfft(x) * torch.fft.rfft(self.q), n=x.shape[-1]).square().mean(-1)
        return F.relu(x * self.q).sum(-1)


@pytest.mark.parametrize("how", ["product", "sum", "masked", "cosine"])
def test_one_function_has_one_rule_however_it_is_spelled(how: str) -> None:
    rule = parametrize(lambda w: Score(w, how), width=4 * BASE, base_width=BASE).rules["q"]
    assert (rule.role, rule.lr_mult) == ("output", 0.25)


def test_a_gain_is_a_gain_and_what_a_transform_mixes_is_refused() -> None:
    assert parametrize(lambda w: Score(w, "gain"), width=4 * BASE, base_width=BASE).rules["q"].role == "vector"
    with pytest.raises(ValueError, match="found q of shape"):
        parametrize(lambda w: Score(w, "spectrum"), width=4 * BASE, base_width=BASE)


class Middle(nn.Module):
    """A map to 16 numbers inside, which a norm may follow."""

    def __init__(self, width: int, norm: str) -> None:
        super().__init__()
        self.table, self.narrow, self.wide = nn.Embedding(VOCAB, width), nn.Linear(width, 16), nn.Linear(16, width)
        self.norm, self.how = nn.LayerNorm(16), norm
        self.head = nn.Linear(width, VOCAB)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.table(tokens)
        z = self.narrow(x)
        if self.how == "layer":
            z = self.norm(z)
        elif self.how == "by hand":
            z = z * torch.rsqrt(z.square().mean(-1, keepdim=True) + 1e-6)
        elif self.how == "length":
            z = 4 * F.normalize(z, dim=-1)
        return self.head(x + F.gelu(self.wide(z)))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("norm", "role"), [("none", "bottleneck"), ("layer", "hidden"), ("by hand", "hidden"), ("length", "hidden")]
)
def test_a_norm_next_makes_a_map_to_a_fixed_space_hidden(norm: str, role: str) -> None:
    rules = parametrize(lambda w: Middle(w, norm), width=4 * BASE, base_width=BASE).rules
    assert (rules["narrow.weight"].role, rules["narrow.weight"].lr_mult) == (role, 0.25)


class Heads(nn.Module):
    """A map for each head of 8, kept flat."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.table, self.maps = nn.Embedding(VOCAB, width), nn.Parameter(torch.randn(width, 8) / 8**0.5)
        self.head = nn.Linear(width, VOCAB)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.table(tokens)
        return self.head(torch.einsum("bthi,hij->bthj", x.unflatten(-1, (-1, 8)), self.maps.view(-1, 8, 8)).flatten(2))


def test_a_sum_of_as_many_terms_at_every_width_reads_nothing_wide() -> None:
    rule = parametrize(Heads, width=4 * BASE, base_width=BASE).rules["maps"]
    assert (rule.role, rule.lr_mult) == ("input", 1.0)


class Towers(nn.Module):
    def __init__(self, width: int, power: float) -> None:
        super().__init__()
        self.one, self.other, self.m, self.power = (
            nn.Embedding(VOCAB, width),
            nn.Embedding(VOCAB, width),
            width / BASE,
            power,
        )

    def forward(self, tokens: Tensor) -> Tensor:
        return (self.one(tokens) * self.other(tokens.flip(1))).sum(-1) * self.m**self.power


@pytest.mark.parametrize(("power", "factor"), [(0.0, "0.25 here"), (-0.5, "0.5 here"), (-1.0, None)])
def test_where_two_wide_activations_meet_the_number_is_advised(power: float, factor: str | None) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        parametrize(lambda w: Towers(w, power), width=4 * BASE, base_width=BASE)
    told = [str(each.message) for each in caught if "two activations meet" in str(each.message)]
    assert len(told) == (factor is not None)
    assert factor is None or factor in told[0]


class Computed(Net):
    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.decay = nn.Parameter(torch.arange(1, width + 1).float().log())

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.last(self.table(tokens) * torch.exp(-self.decay)))  # type: ignore[no-any-return]


def test_values_that_the_code_computes_and_values_with_a_mean_stay() -> None:
    torch.testing.assert_close(parametrize(Computed, width=128, base_width=BASE).model.decay, Computed(128).decay)

    def weighted(width: int) -> nn.Module:
        net = Net(width)
        net.up = nn.utils.parametrizations.weight_norm(net.up)
        return net

    gain = parametrize(weighted, width=512, base_width=BASE).model.up.parametrizations.weight.original0
    assert float(gain.detach().mean()) == pytest.approx(
        float(weighted(512).up.parametrizations.weight.original0.detach().mean()), rel=0.02
    )


def test_a_readout_under_a_norm_of_its_weight_is_refused() -> None:
    for norm in (nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm):

        def build(width: int, norm=norm) -> nn.Module:
            net = Net(width)
            net.head = norm(net.head)
            return net

        with pytest.raises(ValueError, match="expected a readout whose weight is a parameter"):
            parametrize(build, width=128, base_width=BASE)


def test_frozen_parameters_take_no_part() -> None:
    def build(width: int) -> nn.Module:
        net = Net(width, tied=True)
        net.table.weight.requires_grad_(False)
        return net

    built = parametrize(build, width=128, base_width=BASE, parametrization="mup")
    held = {id(parameter) for group in built.param_groups(1.0) for parameter in group["params"]}
    assert id(built.model.table.weight) not in held
    check = coord_check(
        lambda width, seed: parametrize(build, width=width, base_width=BASE, seed=seed, parametrization="mup"),
        (32, 64),
        batch=batch,
        seeds=2,
        steps=2,
    )
    assert any("are frozen and not judged" in warning for warning in check.warnings)


@pytest.mark.parametrize("tied", [True, False])
def test_what_a_checkpoint_does_not_carry_is_said_and_folded(tied: bool) -> None:
    built = parametrize(lambda w: Net(w, tied=tied), width=128, base_width=BASE, parametrization="mup")
    tokens, plain = batch(0)[0], Net(128, tied=tied)
    expected = built.model(tokens)
    with pytest.warns(UserWarning, match="no checkpoint carries"):
        built.model.state_dict()
    plain.load_state_dict(built.export_().state_dict())
    plain.m = built.model.m
    torch.testing.assert_close(plain(tokens), expected)


def test_what_cannot_be_folded_is_refused_and_left_as_it_was() -> None:
    class Bare(Net):
        def forward(self, tokens: Tensor) -> Tensor:
            return self.head(F.gelu(self.up(self.table(tokens)))[..., : self.table.weight.shape[1]])  # type: ignore[no-any-return]

    built = parametrize(lambda w: Bare(w, tied=True), width=128, base_width=BASE, parametrization="mup")
    before = built.model(batch(0)[0])
    with pytest.raises(ValueError, match="expected a norm with a gain of its own right before head"):
        built.export_()
    torch.testing.assert_close(built.model(batch(0)[0]), before)


class Turned(nn.Module):
    """A map to a fixed space, kept as (out, in) or (in, out)."""

    def __init__(self, width: int, turned: bool) -> None:
        super().__init__()
        self.table, self.back, self.head = nn.Embedding(VOCAB, width), nn.Linear(8, width), nn.Linear(width, VOCAB)
        self.k, self.turned = nn.Parameter(torch.randn(*((width, 8) if turned else (8, width))) / width**0.5), turned

    def forward(self, tokens: Tensor) -> Tensor:
        k = self.table(tokens) @ (self.k if self.turned else self.k.T)
        return self.head(F.gelu(self.back(k)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("turned", [False, True])
def test_muons_step_does_not_depend_on_how_a_weight_is_stored(turned: bool) -> None:
    norms = []
    for width in (BASE, 4 * BASE):
        built = parametrize(lambda w: Turned(w, turned), width=width, base_width=BASE)
        config = OptimizerConfig(name="muon")
        optimizer, before = build_optimizer(built.groups_for(0.01, config), config), built.model.k.detach().clone()
        tokens, targets = batch(0)
        F.cross_entropy(built.model(tokens).flatten(0, 1), targets.flatten()).backward()
        optimizer.step()
        norms.append(float(torch.linalg.matrix_norm(built.model.k.detach() - before, 2)))
    assert norms[1] / norms[0] == pytest.approx(0.5, rel=0.1)


def test_complex_weights_are_checked() -> None:
    class Filter(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(VOCAB, width), nn.Linear(width, VOCAB)
            self.maps = nn.Parameter(torch.randn(5, width, width, dtype=torch.cfloat) / width**0.5)

        def forward(self, tokens: Tensor) -> Tensor:
            spectrum = torch.fft.rfft(self.table(tokens), dim=1)[:, :5]
            mixed = torch.fft.irfft(torch.einsum("bfi,fio->bfo", spectrum, self.maps), n=tokens.shape[1], dim=1)
            return self.head(F.gelu(mixed))  # type: ignore[no-any-return]

    check = coord_check(
        lambda width, seed: parametrize(Filter, width=width, base_width=BASE, seed=seed),
        (32, 64),
        batch=batch,
        seeds=2,
        steps=2,
    )
    assert check.verdict in ("pass", "fail")
