"""Rates by layer and by role, on top of the table's."""

import dataclasses

import pytest
import torch

from mutransfer.config import ModelConfig
from mutransfer.optim import check_group_rates, layer_decay, role_mults, scale_rates
from mutransfer.optim.composite import Groups
from mutransfer.parametrization import Parametrized, build_model

LAYERS = (("embedding", "position"), "blocks.0", "blocks.1", ("final_norm", "readout"))


@pytest.fixture(scope="module")
def built() -> Parametrized:
    model = ModelConfig(width=64, head_dim=8, context=12, vocab=50, norm_gain=True)
    return build_model(dataclasses.replace(model, depth=2), "mup", base_width=16)


def rates(built: Parametrized, groups: Groups) -> dict[str, tuple[float, float, float]]:
    names = {id(parameter): name for name, parameter in built.model.named_parameters()}
    found = {
        names[id(parameter)]: (group["lr"], group["lr_mult"], group["weight_decay"])
        for group in groups
        for parameter in group["params"]
    }
    assert sum(len(group["params"]) for group in groups) == len(names) == len(found)
    return found


def test_each_layer_has_a_part_of_the_rate_above_it_on_top_of_mups(built: Parametrized) -> None:
    """ULMFiT: eta_(l-1) = eta_l / 2.6."""
    plain = built.param_groups(0.01, weight_decay=0.1)
    names = [name for name, _ in built.model.named_parameters()]
    mults = layer_decay(names, LAYERS)
    found, before = rates(built, scale_rates(plain, built.model, mults)), rates(built, plain)
    below = {"embedding": 3, "position": 3, "blocks.0": 2, "blocks.1": 1, "final_norm": 0, "readout": 0}
    for name in names:
        (part,) = [2.6**-steps for prefix, steps in below.items() if name.startswith(prefix)]
        lr, mult, decay = before[name]
        assert found[name] == pytest.approx((lr * part, mult * part, decay))


def test_scaling_composes_commutes_and_keeps_the_ratios(built: Parametrized) -> None:
    plain = built.param_groups(0.01, weight_decay=0.1)
    by_layer = layer_decay([name for name, _ in built.model.named_parameters()], LAYERS)
    by_role = role_mults({name: rule.role for name, rule in built.rules.items()}, {"hidden": 0.5, "output": 3.0})
    assert scale_rates(plain, built.model, {}) == plain
    one = rates(built, scale_rates(scale_rates(plain, built.model, by_layer), built.model, by_role))
    other = rates(built, scale_rates(scale_rates(plain, built.model, by_role), built.model, by_layer))
    both = {name: by_layer[name] * by_role.get(name, 1.0) for name in by_layer}
    at_once = rates(built, scale_rates(plain, built.model, both))
    for name, found in one.items():
        assert found == pytest.approx(other[name])
        assert found == pytest.approx(at_once[name])
    adamw = torch.optim.AdamW(scale_rates(plain, built.model, both))
    check_group_rates(adamw)
    assert rates(built, plain) == rates(built, built.param_groups(0.01, weight_decay=0.1))


def test_a_role_is_scaled_alone(built: Parametrized) -> None:
    roles = {name: rule.role for name, rule in built.rules.items()}
    before = rates(built, built.param_groups(0.01))
    after = rates(built, scale_rates(built.param_groups(0.01), built.model, role_mults(roles, {"hidden": 0.1})))
    for name, role in roles.items():
        assert after[name][0] == pytest.approx(before[name][0] * (0.1 if role == "hidden" else 1.0))


def test_what_does_not_fit_is_refused(built: Parametrized) -> None:
    names = [name for name, _ in built.model.named_parameters()]
    groups = built.param_groups(0.01)
    with pytest.raises(ValueError, match=r"expected blocks\.1\..* in one layer, got it in no layer"):
        layer_decay(names, (LAYERS[0], "blocks.0", LAYERS[3]))
    with pytest.raises(ValueError, match=r"in the layers blocks and blocks\.0"):
        layer_decay(names, (LAYERS[0], "blocks", "blocks.0", LAYERS[3]))
    with pytest.raises(ValueError, match=r"expected a parameter in layer blocks\.2"):
        layer_decay(names, (*LAYERS, "blocks.2"))
    with pytest.raises(ValueError, match="got hiden"):
        role_mults({name: rule.role for name, rule in built.rules.items()}, {"hiden": 0.5})
    with pytest.raises(ValueError, match="got nobody"):
        scale_rates(groups, built.model, {"nobody": 0.5})
    with pytest.raises(ValueError, match="expected a multiplier above 0 for"):
        scale_rates(groups, built.model, {names[0]: 0.0})


def test_rates_of_layers_on_any_optimizers_groups() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
    sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    mults = layer_decay([name for name, _ in model.named_parameters()], ["0", "1"], 4.0)
    groups = scale_rates(sgd.param_groups, model, mults)
    assert sorted((group["lr"], len(group["params"])) for group in groups) == [(0.025, 2), (0.1, 2)]
    torch.optim.SGD(groups).step()
    with pytest.raises(ValueError, match="expected groups with an lr each"):
        scale_rates([{"params": list(model.parameters())}], model, mults)
    with pytest.raises(ValueError, match="expected groups of this model's parameters"):
        scale_rates(sgd.param_groups, model[0], {})
