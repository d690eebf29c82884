"""What each family of optimizers gets: its column, in closed form, and by what its steps do at four widths."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mutransfer.config import ModelConfig, OptimizerConfig
from mutransfer.optim import build_optimizer
from mutransfer.parametrization import Parametrized, ParamRule, build_model, parametrize
from mutransfer.parametrization.rules import FAMILIES, compute_rules, param_groups
from mutransfer.theory.optimizers import OPTIMIZERS
from mutransfer.theory.parametrizations import TABLES

from .curves import BASE, RICH, SMALL
from .test_tables import DERIVED
from .zoo import MoE, batch, loss

WIDE = replace(RICH, width=4 * BASE)


def rules(built: Parametrized, family: str) -> dict[str, ParamRule]:
    return compute_rules(built.shapes, built.table, built.base_std, family, OptimizerConfig())


@pytest.mark.parametrize("parametrization", DERIVED)
def test_a_step_as_large_as_the_weight_or_of_singular_values_one_is_an_adam_step_in_size(parametrization: str) -> None:
    """Adam's entries are 1, so its step has norm sqrt(m_in m_out); the weight's entries are its initial std."""
    for role, row in TABLES[parametrization].rows.items():
        assert [n + s for n, s in zip(row.norm_lr, row.init_std, strict=True)] == list(row.adam_lr), role
        if role in ("hidden", "bottleneck"):
            assert [s - 0.5 for s in row.spectral_lr] == list(row.adam_lr), role


@pytest.mark.parametrize(
    "parametrization", sorted(name for name in TABLES if name not in DERIVED and not TABLES[name].ablation)
)
def test_elsewhere_all_but_adam_is_sps(parametrization: str) -> None:
    for role, row in TABLES[parametrization].rows.items():
        assert (row.norm_lr, row.sgd_lr) == ((0.0, 0.0), (0.0, 0.0))
        assert row.spectral_lr == ((0.5, 0) if role in ("hidden", "bottleneck") else (0.0, 0.0))


# Powers of n for embedding, hidden, readout and fixed key/value heads.
NORM = {  # Everett et al. 2407.05872 Table 1, Adafactor with full alignment; TPV B.3: hidden 1/sqrt(fan_in)
    "mup": (0, -0.5, 0, 0),
    "mup_table3": (0, -0.5, 0, 0),
    "mup_table9": (0, -0.5, 0, 0),
    "sp_full_align": (0, -0.5, -0.5, -0.5),
    "ntk": (0, -0.5, -0.5, -0.5),
    "mean_field": (0, -0.5, 0, 0),
    "sp": (0, 0, 0, 0),
}
SPECTRAL = {  # Yang et al. 2310.17813: sqrt(n_out/n_in), over what the multiplier does; SP: Moonlight 2502.16982
    "mup": (0, 0, 0, -0.5),
    "mup_table3": (0, 0, -1, -0.5),
    "mup_table9": (-0.5, 0, -0.5, -0.5),
    "sp_full_align": (0, 0, -1, -0.5),
    "ntk": (0, 0.5, -0.5, -0.5),
    "mean_field": (0, 0.5, 0, -0.5),
    "sp": (0, 0.5, 0, 0.5),
}
NAMES = ("embedding.weight", "blocks.0.mlp.up.weight", "readout.weight", "blocks.1.attention.value.weight")


@pytest.mark.parametrize("parametrization", NORM)
@pytest.mark.parametrize(("family", "printed"), [("norm", NORM), ("spectral", SPECTRAL)])
def test_every_exponent_is_the_printed_one(
    parametrization: str, family: str, printed: dict[str, tuple[float, ...]]
) -> None:
    found = rules(build_model(WIDE, parametrization, base_width=BASE), family)
    expected = [4.0**power for power in printed[parametrization]]
    assert [found[name].lr_mult for name in NAMES] == pytest.approx(expected, rel=1e-12)


def test_matrices_inside_go_to_muon_and_all_else_to_adamw() -> None:
    """torch's Muon takes matrices only, so a stack of experts is AdamW's."""
    found = rules(build_model(WIDE, "mup", base_width=BASE), "spectral")
    adam = rules(build_model(WIDE, "mup", base_width=BASE), "adam")
    for name, rule in found.items():
        inside = name.startswith("blocks.") and rule.role in ("hidden", "bottleneck")
        assert rule.optimizer == ("muon" if inside else "adamw"), name
        if not inside:
            assert rule._replace(optimizer=None) == adam[name]
        else:
            assert (rule.eps_mult, rule.wd_mult) == (1.0, 1.0 / rule.lr_mult)
    experts = rules(parametrize(MoE, width=64, base_width=16), "spectral")
    assert (experts["router.weight"].optimizer, experts["up"].optimizer) == ("muon", "adamw")
    assert all(rule.optimizer is None for rule in adam.values())


def test_groups_name_their_optimizer_and_hold_epsilon_where_adams_applies() -> None:
    built = build_model(WIDE, "mup", base_width=BASE)
    config = OptimizerConfig()
    groups = {
        family: param_groups(built.model, rules(built, family), 0.1, family, config)
        for family in ("adam", "sgd", "norm", "spectral")
    }
    assert {group["optimizer"] for group in groups["spectral"]} == {"muon", "adamw"}
    assert all(("eps" in group) == (group["optimizer"] == "adamw") for group in groups["spectral"])
    assert all("eps" in group and "optimizer" not in group for group in groups["adam"] + groups["norm"])
    assert not any("eps" in group or "optimizer" in group for group in groups["sgd"])
    for each in groups.values():
        held = [id(parameter) for group in each for parameter in group["params"]]
        assert sorted(held) == sorted(id(parameter) for parameter in built.model.parameters())


def test_every_optimizer_is_of_a_family_that_has_rules() -> None:
    assert {spec.family for spec in OPTIMIZERS.values()} == set(FAMILIES)
    built = parametrize(MoE, width=64, base_width=16)
    optimizer = build_optimizer(built.param_groups(0.1, optimizer="muon"), OptimizerConfig(name="muon"))
    before = {name: parameter.detach().clone() for name, parameter in built.model.named_parameters()}
    loss(built.model, *batch("moe")).backward()
    optimizer.step()
    assert not any(torch.equal(before[name], parameter) for name, parameter in built.model.named_parameters())


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(ValueError, match="did you mean 'spectral'"):
        rules(build_model(SMALL, "mup", base_width=BASE), "spectrum")


WIDTHS = (64, 128, 256)
MODEL = ModelConfig(width=64, head_dim=16, context=16, vocab=64, n_kv_heads=1, output_mult=1.0)


def muon(built: Parametrized) -> Callable[[], None]:
    """torch's Muon and AdamW, by the groups."""
    groups = param_groups(built.model, rules(built, "spectral"), 2**-8, "spectral", OptimizerConfig())
    matrices = [group | {"lr": 16 * group["lr"]} for group in groups if group["optimizer"] == "muon"]
    rest = [group for group in groups if group["optimizer"] == "adamw"]
    parts = (
        torch.optim.Muon(matrices, momentum=0.9, weight_decay=0.0, adjust_lr_fn="original"),
        torch.optim.AdamW(rest, betas=(0.9, 0.95), weight_decay=0.0),
    )

    def step() -> None:
        for part in parts:
            part.step()

    return step


def normalized(built: Parametrized) -> Callable[[], None]:
    """Gradient descent with each step as large as its matrix (LARS without momentum)."""
    found = rules(built, "norm")

    def step() -> None:
        with torch.no_grad():
            for name, weight in built.model.named_parameters():
                weight -= 2**-5 * found[name].lr_mult * weight.norm() * weight.grad / weight.grad.norm()

    return step


STEPS: dict[str, tuple[Callable[[Parametrized], Callable[[], None]], ModelConfig]] = {
    "spectral": (muon, MODEL),
    # what is zero stays zero
    "norm": (normalized, replace(MODEL, zero_readout=False)),
}


def changes(parametrization: str, family: str, width: int) -> list[float]:
    """Root mean square of what four steps change in the readout's input and in the logits."""
    make, model = STEPS[family]
    built = build_model(replace(model, width=width), parametrization, base_width=32)
    step = make(built)
    stream: list[torch.Tensor] = []
    built.model.final_norm.register_forward_pre_hook(lambda _module, inputs: stream.append(inputs[0].detach()))
    tokens = (torch.rand((8, 17), generator=torch.Generator().manual_seed(7)) ** 3 * MODEL.vocab).long()
    logits = []
    for _ in range(5):
        logits.append(built.model(tokens[:, :-1]))
        built.model.zero_grad()
        F.cross_entropy(logits[-1].flatten(0, 1), tokens[:, 1:].flatten()).backward()
        step()
    pairs = ((stream[0], stream[-1]), (logits[0].detach(), logits[-1].detach()))
    return [(after - before).square().mean().sqrt().item() for before, after in pairs]


def slopes(parametrization: str, family: str) -> list[float]:
    measured = np.log2([changes(parametrization, family, width) for width in WIDTHS])
    return [float(slope) for slope in np.polyfit(np.log2(WIDTHS), measured, 1)[0]]


@pytest.mark.parametrize("family", STEPS)
def test_steps_change_the_same_at_every_width(family: str) -> None:
    assert all(abs(slope) < 0.1 for slope in slopes("mup", family))


@pytest.mark.parametrize("family", STEPS)
def test_under_sp_they_do_not(family: str) -> None:
    assert min(slopes("sp", family)) > 0.2


def test_one_rate_for_all_under_sp_is_adamws_root_mean_square() -> None:
    """An orthogonal matrix has entries of n^-1/2, so that Muon's rate must grow as the root of the width."""
    for name in NAMES[1::2]:
        sizes = []
        for width in (64, 1024):
            built = build_model(replace(WIDE, width=width), "sp", base_width=BASE)
            shape = built.shapes[name].shape
            rate = rules(built, "spectral")[name].lr_mult
            sizes.append(rate * math.sqrt(min(shape) / math.prod(shape)))
        assert sizes[0] == pytest.approx(sizes[1], rel=1e-12)
