"""Rates that differ by layer or by role on top of what the table says: a change of param groups, which composes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import nn

from mutransfer.optim.composite import Groups

ULMFIT = 2.6
"""Each layer's rate over that of the layer below (Howard & Ruder 1801.06146, section 3.2)."""


def scale_rates(groups: Groups, model: nn.Module, mults: Mapping[str, float]) -> Groups:
    """New groups in which each named parameter's rate, and so its `lr_mult`, is multiplied; the others stay.

    Decay coefficients stay as they are, so that what learns more slowly also decays more slowly.

    Args:
        groups: from `param_groups` of a parametrized model, from an earlier `scale_rates` (the multipliers multiply),
            or any optimizer's own (`optimizer.param_groups`), each with its `lr`.
        model: the model whose parameters they hold.
        mults: by parameter name, above 0.

    Raises ValueError on a name that the model does not have, or that is in no group, on a parameter that is not the
    model's, on a group without a rate, and on a multiplier of 0 or less.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    if any("lr" not in group for group in groups):
        raise ValueError("expected groups with an lr each, got one without; give each group its lr")
    members = [parameter for group in groups for parameter in group["params"]]
    if not all(id(parameter) in names for parameter in members):
        raise ValueError("expected groups of this model's parameters, got others too; give the model that they are of")
    held = {names[id(parameter)] for parameter in members}
    if not set(mults) <= held:
        odd = sorted(set(mults) - held)[0]
        raise ValueError(f"expected names of parameters in the groups, got {odd}; leave it out")
    if any(mult <= 0 for mult in mults.values()):
        odd = min(mults, key=lambda name: mults[name])
        raise ValueError(
            f"expected a multiplier above 0 for {odd}, got {mults[odd]:g}; to freeze it, set its requires_grad to False"
        )
    scaled = []
    for group in groups:
        parts: dict[float, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            name = names[id(parameter)]
            parts.setdefault(mults.get(name, 1.0), []).append(parameter)
        for mult, parameters in parts.items():
            rates = {name: group[name] * mult for name in ("lr", "lr_mult") if name in group}
            scaled.append(group | rates | {"params": parameters})
    return scaled


def layer_decay(
    names: Iterable[str], layers: Sequence[str | tuple[str, ...]], factor: float = ULMFIT
) -> dict[str, float]:
    """Discriminative rates: the last layer's is 1, each layer below has 1/factor of the one above it.

    Args:
        names: of the model's parameters.
        layers: prefixes of their names from the input to the output, such as ("embedding", "blocks.0", "blocks.1",
            "readout"), or tuples of prefixes.
        factor: ULMFiT's 2.6 unless given.

    Raises ValueError on a parameter that is in no layer or in several, and on a layer that holds none.
    """
    prefixes = [(layer,) if isinstance(layer, str) else layer for layer in layers]
    found: dict[str, int] = {}
    for name in names:
        places = [i for i, layer in enumerate(prefixes) if any(_within(name, prefix) for prefix in layer)]
        if len(places) != 1:
            where = "no layer" if not places else f"the layers {' and '.join(prefixes[i][0] for i in places)}"
            raise ValueError(f"expected {name} in one layer, got it in {where}; change the layers' prefixes")
        found[name] = places[0]
    empty = sorted(set(range(len(layers))) - set(found.values()))
    if empty:
        raise ValueError(f"expected a parameter in layer {prefixes[empty[0]][0]}, got none; leave the layer out")
    return {name: float(factor ** (place - len(layers) + 1)) for name, place in found.items()}


def role_mults(roles: Mapping[str, str], mults: Mapping[str, float]) -> dict[str, float]:
    """A multiplier for each parameter of the named roles.

    Args:
        roles: each parameter's role, as {name: rule.role for name, rule in parametrized.rules.items()}.
        mults: by role.

    Raises ValueError on a role that no parameter has.
    """
    odd = sorted(set(mults) - set(roles.values()))
    if odd:
        raise ValueError(f"expected roles among {', '.join(sorted(set(roles.values())))}, got {odd[0]}; change it")
    return {name: mults[role] for name, role in roles.items() if role in mults}


def _within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")
