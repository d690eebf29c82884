"""A coordinate check passes what is muP, fails what is not, and says which module is at fault and why."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mutransfer import coord_check, parametrize
from mutransfer.config import ModelConfig, OptimizerConfig
from mutransfer.coordcheck.bench import TARGET, text_batches
from mutransfer.coordcheck.check import unseen_attention
from mutransfer.coordcheck.coordinates import Coordinates
from mutransfer.coordcheck.verdict import Judgement, ModuleVerdict
from mutransfer.parametrization import build_model
from mutransfer.theory.optimizers import OPTIMIZERS

from .broken import CONTROLS, MODELS, Control, ours

BASE = 16
QUICK = {"widths": (16, 32, 64), "seeds": 3, "steps": 3}
# SGD's updates scatter as the gradients do
SETTINGS = {
    "adamw": QUICK | {"lr": 2.0**-10},
    "sgd": QUICK | {"lr": 2.0**-7, "widths": (16, 32, 64, 128), "seeds": 4},
    "muon": QUICK | {"lr": 2.0**-10},
}
ALL = [(optimizer, name) for optimizer, controls in CONTROLS.items() for name in controls]
SLOW = {
    "sgd": ("1/sqrt(d) attention", "tied and rescaled", "hidden init not scaled", "one module forgotten"),
    "muon": ("readout without output multiplier", "1/sqrt(d) attention", "hidden init not scaled", "input lr divided"),
}
"""What is broken there as under Adam, and looks the same."""


@pytest.fixture(scope="module")
def batch():
    return text_batches(8, 16)


def small(model: ModelConfig) -> ModelConfig:
    """One block of small heads."""
    if model.architecture == "mlp":
        return replace(model, context=16)
    heads = {} if model.head_dim is None else {"head_dim": 8}
    return replace(model, depth=1, context=16, mlp_ratio=2.0, **heads)


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [
        *((name, optimizer) for name in ("gpt2", "llama", "mlp") for optimizer in ("adamw", "sgd", "muon")),
        ("tied", "adamw"),
        ("growing heads", "adamw"),
        ("growing heads", "sgd"),
    ],
)
def test_mup_passes(name, optimizer, batch) -> None:
    assert optimizer in OPTIMIZERS
    check = coord_check(ours(small(MODELS[name]), base=BASE), optimizer=optimizer, batch=batch, **SETTINGS[optimizer])
    assert check.verdict == "pass", check.report()
    assert not check.warnings
    assert check.culprit is check.cause is None


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "muon"])
@pytest.mark.parametrize("name", ["gpt2", "llama", "mlp"])
def test_sp_fails(name, optimizer, batch) -> None:
    check = coord_check(
        ours(small(MODELS[name]), "sp", base=BASE), optimizer=optimizer, batch=batch, **SETTINGS[optimizer]
    )
    assert check.verdict == "fail"
    assert check.culprit in check.sentence
    assert check.cause in check.sentence


@pytest.mark.parametrize(
    ("optimizer", "name"),
    [
        pytest.param(optimizer, name, marks=[pytest.mark.slow] if optimizer in SLOW and name in SLOW[optimizer] else [])
        for optimizer, name in ALL
    ],
)
def test_each_way_to_break_a_model_is_named(optimizer, name, batch) -> None:
    control = CONTROLS[optimizer][name]
    check = coord_check(
        control.build(small, BASE, optimizer),
        optimizer=optimizer,
        scheduler=control.scheduler,
        batch=batch,
        **SETTINGS[optimizer],
    )
    assert check.verdict == "fail"
    assert check.culprit == control.culprit, check.report()
    assert control.cause in check.cause, check.report()


def test_what_the_controls_break_is_correct(batch) -> None:
    assert coord_check(Control("", "").build(small, BASE, "adamw"), batch=batch, **SETTINGS["adamw"]).passed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "optimizer", "name"),
    [
        (model, optimizer, name)
        for model in ("default", "gpt2", "llama", "mlp")
        for optimizer, name in ALL
        if CONTROLS[optimizer][name].on(model) is not None
    ],
)
def test_each_way_to_break_a_model_is_named_by_the_default_check(model, optimizer, name) -> None:
    control = CONTROLS[optimizer][name].on(model)
    check = coord_check(
        control.build(lambda model: model, 32, optimizer), optimizer=optimizer, scheduler=control.scheduler
    )
    # of queries and keys either
    assert check.culprit.replace("attention.key", "attention.query") == control.culprit, check.report()
    assert control.cause in check.cause, check.report()


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "muon"])
@pytest.mark.parametrize("name", MODELS)
def test_the_default_check_passes_mup_and_fails_sp(name, optimizer) -> None:
    check = coord_check(ours(MODELS[name], base=32), optimizer=optimizer)
    assert check.verdict == "pass", check.report()
    assert coord_check(ours(MODELS[name], "sp", base=32), optimizer=optimizer).verdict == "fail"


def test_the_chosen_rate_moves_modules_by_a_part_of_their_size(batch) -> None:
    check = coord_check(ours(small(ModelConfig()), base=BASE), batch=batch, **QUICK)
    assert math.log2(check.lr) == round(math.log2(check.lr))
    assert f"{check.lr:.3g} (chosen)" in check.sentence
    frame = check.frame[(check.frame["width"] == 16) & (check.frame["seed"] == 0)].set_index(
        ["module", "quantity", "step"]
    )
    last = frame["value"][:, "change", check.steps]
    ratio = (last / frame["value"][:, "size", 0].replace(0.0, 1.0)).max()
    assert TARGET / 3 < ratio <= TARGET


def test_a_rate_too_small_to_see_is_no_pass_and_one_too_large_is_said(batch) -> None:
    blind = coord_check(ours(small(ModelConfig()), base=BASE), lr=1e-12, batch=batch, **QUICK)
    assert blind.verdict == "blind"
    assert not blind.passed
    assert "did not move beyond rounding" in blind.sentence
    wild = coord_check(ours(small(ModelConfig()), base=BASE), lr=1.0, batch=batch, **QUICK)
    assert any("lower lr" in warning for warning in wild.warnings)


def test_too_few_updates_for_what_starts_at_zero_are_said(batch) -> None:
    check = coord_check(ours(small(ModelConfig()), base=BASE), lr=2.0**-10, batch=batch, **(QUICK | {"steps": 1}))
    assert check.verdict == "blind"
    assert "raise lr or steps" in check.sentence


def test_seeds_that_start_alike_are_said(batch) -> None:
    model = small(ModelConfig())

    def build(width):
        return build_model(replace(model, width=width), "mup", base_width=BASE)

    assert any("seed" in warning for warning in coord_check(build, lr=2.0**-10, batch=batch, **QUICK).warnings)


def test_a_scheduler_that_runs_at_another_rate_is_said(batch) -> None:
    def quarter(optimizer):
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.25)

    check = coord_check(ours(small(ModelConfig()), base=BASE), lr=2.0**-9, scheduler=quarter, batch=batch, **QUICK)
    assert check.passed
    assert any("0.25 times the rate" in warning for warning in check.warnings)

    def still(optimizer):
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.0)

    assert (
        coord_check(ours(small(ModelConfig()), base=BASE), lr=2.0**-9, scheduler=still, batch=batch, **QUICK).verdict
        == "blind"
    )


def test_the_callers_random_numbers_stay_as_they_were(batch) -> None:
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    coord_check(ours(small(MODELS["mlp"]), base=BASE), lr=2.0**-10, batch=batch, **QUICK)
    assert torch.equal(torch.rand(3), expected)


class Handwritten(nn.Module):
    """Embedding, attention by hand (its queries scaled, a mask, a softmax), and a readout in Table 8 whose multiplier
    stands outside it; modules return tuples."""

    def __init__(
        self,
        width: int,
        base: int = BASE,
        heads: int = 2,
        scale_by: float = 1.0,
        output: bool = True,
        softmax=torch.softmax,
    ) -> None:
        super().__init__()
        self.heads, self.m = heads, width / base
        self.scale = (width // heads) ** -scale_by
        self.output = output
        self.table = nn.Embedding(256, width)
        self.attention = Attention(width, heads, self.scale, softmax)
        self.head = nn.Linear(width, 256, bias=False)
        nn.init.normal_(self.head.weight, std=base**-0.5)

    def forward(self, tokens):
        x = self.table(tokens)
        mixed, _ = self.attention(F.layer_norm(x, x.shape[-1:]))
        logits = self.head(F.layer_norm(x + mixed, x.shape[-1:]))
        return {"logits": logits / self.m if self.output else logits}

    def groups(self):
        hidden = list(self.attention.parameters())
        rest = [*self.table.parameters(), *self.head.parameters()]
        return [{"params": hidden, "lr": 1 / self.m}, {"params": rest, "lr": 1.0}]


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, scale: float, softmax) -> None:
        super().__init__()
        self.heads, self.scale, self.softmax = heads, scale, softmax
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        for map_ in (self.qkv, self.out):
            nn.init.normal_(map_.weight, std=width**-0.5)

    def forward(self, x):
        q, k, v = (each.unflatten(-1, (self.heads, -1)).transpose(1, 2) for each in self.qkv(x).chunk(3, dim=-1))
        logits = q @ k.transpose(-1, -2) * self.scale
        mask = torch.ones(logits.shape[-2:], dtype=torch.bool).triu(1)
        weights = self.softmax(logits.masked_fill(mask, -math.inf), dim=-1)
        return self.out((weights @ v).transpose(1, 2).flatten(2)), weights


def by_hand(**changes):
    def build(width):
        model = Handwritten(width, **changes)
        return model, model.groups()

    return build


def test_a_model_by_hand_with_a_multiplier_outside_its_readout_passes(batch) -> None:
    check = coord_check(by_hand(), lr=2.0**-10, batch=batch, **QUICK)
    assert check.passed, check.report()
    raw = check.judgement.coordinates.slope("head", "effective", 1)
    judged = check.judgement.slopes["head", "effective", 1]
    assert raw > 0.7
    assert abs(judged.power.estimate) < 0.3
    assert judged.outer == pytest.approx(-1)


def test_attention_by_hand_is_seen_through_its_softmax(batch) -> None:
    check = coord_check(by_hand(scale_by=0.5), lr=2.0**-10, batch=batch, **QUICK)
    assert check.culprit == "attention (logits)"
    assert "1/sqrt(d) attention" in check.cause
    without = coord_check(by_hand(output=False), lr=2.0**-10, batch=batch, **QUICK)
    assert (without.culprit, without.cause) == ("head", "readout has no output multiplier")


def by_exp(logits, dim):
    powers = (logits - logits.amax(dim, keepdim=True)).exp()
    return powers / powers.sum(dim, keepdim=True)


def test_attention_whose_logits_are_not_seen_is_said(batch) -> None:
    """Without a softmax nothing tells logits from other products, and a pass is none of their scale."""
    check = coord_check(by_hand(softmax=by_exp), lr=2.0**-10, batch=batch, **QUICK)
    assert check.passed, check.report()
    assert "no logits of attention were seen" in check.sentence
    assert not coord_check(by_hand(), lr=2.0**-10, batch=batch, **QUICK).warnings


@pytest.mark.parametrize(
    ("modules", "unseen"),
    [
        ({"attention.qkv": "hidden", "attention.out": "hidden"}, ["attention"]),
        ({"attention.qkv": "hidden", "attention (logits)": "logits"}, []),
        ({"attention.self.query": "hidden", "attention.self (logits)": "logits"}, []),
        ({"h.0.attn_qkv": "hidden", "h.0 (logits)": "logits"}, []),
        ({"self_attn": "hidden", " (logits)": "logits"}, []),
        ({"h.0.self_attn": "hidden", "h.1.attn.q": "bottleneck", "h.1.attn (logits)": "logits"}, ["h.0.self_attn"]),
        ({"attn.q": "hidden", "attn2 (logits)": "logits"}, ["attn"]),
        ({"post_attention_layernorm": "vector", "mlp.up": "hidden"}, []),
    ],
)
def test_attention_is_unseen_where_no_logits_are_in_it_or_around_it(modules, unseen) -> None:
    verdicts = tuple(ModuleVerdict(name, role, "ok", None) for name, role in modules.items())
    assert unseen_attention(Judgement(Coordinates((), {}, {}), {}, verdicts)) == unseen


@pytest.mark.filterwarnings("ignore:attention in")  # parametrize says it too
def test_torchs_own_attention_with_heads_that_grow_is_named(batch) -> None:
    def layers(width):
        layer = nn.TransformerEncoderLayer(width, 2, width, dropout=0.0, batch_first=True)
        return nn.Sequential(nn.Embedding(256, width), layer, nn.Linear(width, 256))

    def mup(width, seed):
        return parametrize(layers, width=width, base_width=BASE, seed=seed)

    check = coord_check(mup, lr=2.0**-9, batch=batch, **QUICK)
    assert check.culprit == "1.self_attn (logits)", check.report()
    assert "1/sqrt(d) attention" in check.cause


def test_your_own_model_under_parametrize_passes_and_alone_it_is_sp(batch) -> None:
    def plain(width):
        return nn.Sequential(nn.Embedding(256, width), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 256))

    def mup(width, seed):
        return parametrize(plain, width=width, base_width=BASE, seed=seed)

    settings = QUICK | {"lr": 2.0**-8, "batch": batch}
    assert coord_check(mup, **settings).passed
    check = coord_check(plain, **settings)
    assert check.culprit == "1"


class Unused(nn.Module):
    """A module whose width is another at every size, in the way that `extra` says."""

    def __init__(self, width: int, extra: bool) -> None:
        super().__init__()
        self.table = nn.Embedding(256, width)
        self.head = nn.Linear(width, 256)
        self.extra = nn.Linear(width, width) if extra else None

    def forward(self, tokens):
        x = self.table(tokens)
        return self.head(x if self.extra is None else self.extra(x))


class Positions(nn.Module):
    """A parameter of the model itself, which hands on what its readout gives."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(0.1 * torch.randn(16, width))
        self.table, self.head = nn.Embedding(256, width), nn.Linear(width, 256, bias=False)
        nn.init.normal_(self.head.weight, std=1 / width)

    def forward(self, tokens):
        return self.head(F.layer_norm(self.table(tokens) + self.positions, self.positions.shape[-1:]))


@pytest.mark.parametrize(("power", "culprit"), [(0.0, None), (1.0, "")])
def test_a_parameter_of_the_model_itself_is_judged_too(power, culprit, batch) -> None:
    def build(width):
        model, m = Positions(width), width / BASE
        groups = [([model.positions], m**power), ([model.table.weight], 1.0), ([model.head.weight], 1 / m)]
        return model, [{"params": params, "lr": rate} for params, rate in groups]

    check = coord_check(build, lr=2.0**-10, batch=batch, **QUICK)
    assert check.culprit == culprit, check.report()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"widths": (16,)}, "found 1 widths"),
        ({"seeds": 1}, "found 1 seeds"),
        ({"steps": 0}, "expected steps above 0, got 0"),
        ({"optimizer": "adamx"}, "adamx"),
        ({"build": lambda width: "model"}, "found build(16) to return str"),
        ({"build": lambda width: Unused(width, extra=width > 16)}, "but not at every width"),
        (
            {"build": lambda width: Unused(width, extra=False).requires_grad_(True), "lr": -1.0},
            "expected lr above 0, got -1",
        ),
        ({"build": lambda width: (Unused(width, False), [{"params": [nn.Parameter(torch.ones(2))]}])}, "no parameter"),
    ],
)
def test_bad_input_is_named_in_one_line(settings, message, batch) -> None:
    build = settings.pop("build", lambda width: Unused(width, extra=False))
    with pytest.raises(ValueError, match=r"found|expected") as caught:
        coord_check(build, **({"batch": batch, "lr": 2.0**-8} | QUICK | settings))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_epsilon_that_outweighs_the_gradient_is_named(batch) -> None:
    build, optimizer = ours(small(ModelConfig()), base=BASE), OptimizerConfig(eps=1e-2, scale_eps=False)
    check = coord_check(build, optimizer=optimizer, batch=batch, **QUICK)
    assert check.culprit == "embedding"
    assert "epsilon" in check.cause
    assert coord_check(build, optimizer=replace(optimizer, scale_eps=True), batch=batch, **QUICK).passed
