"""A correct model broken in one way at a time, and what a coordinate check should say of it."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import nn

from mutransfer.config import GPT2, LLAMA, ModelConfig
from mutransfer.config.model import ARCHITECTURES
from mutransfer.parametrization import Parametrized, ParamRule, build_model

MODEL = ModelConfig()
TIED = replace(MODEL, tied_embeddings=True, zero_readout=False, output_mult=1.0)
MODELS: Mapping[str, ModelConfig] = {
    "gpt2": GPT2,
    "llama": LLAMA,
    "mlp": ModelConfig(architecture="mlp"),
    "default": MODEL,
    "tied": TIED,
    "growing heads": replace(MODEL, head_dim=None, n_heads=4),
}


@functools.cache
def built_once(model: ModelConfig, parametrization: str, base: int) -> Parametrized:
    return build_model(model, parametrization, base_width=base)


def ours(model: ModelConfig, parametrization: str = "mup", *, base: int) -> Callable[[int, int], Parametrized]:
    """A function of width and seed: what `build_model` builds, traced once for all seeds."""

    def build(width: int, seed: int) -> Parametrized:
        built = copy.deepcopy(built_once(replace(model, width=width), parametrization, base))
        draw = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in built.model.named_parameters():
                if built.rules[name].init_std > 0:
                    parameter.normal_(std=built.rules[name].init_std, generator=draw)
        return built

    return build


Groups = list[dict[str, Any]]
Change = Callable[[nn.Module, Mapping[str, ParamRule], float], None]
Factor = Callable[[str, ParamRule, float], float]


@dataclass(frozen=True)
class Control:
    """What is broken, in a model of `model` under `optimizer`, and the culprit and cause that should be named."""

    culprit: str
    cause: str
    model: ModelConfig = MODEL
    change: Change | None = None
    """Changes the model at its initialization; m is the width over the base width."""
    factor: Factor | None = None
    """What each parameter's rate is multiplied by."""
    rates_for: str | None = None
    """The optimizer for which the parameter groups are made."""
    scheduler: Callable[[torch.optim.Optimizer], Any] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def on(self, name: str) -> Control | None:
        """The same fault in another of `MODELS`; None where that has nothing of the kind to break."""
        changes = {field: value for field, value in asdict(self.model).items() if value != getattr(MODEL, field)}
        if name == "mlp" and (self.culprit == DOWN or not changes.keys().isdisjoint(ARCHITECTURES["transformer"])):
            return None
        culprit = IN_MLP[self.culprit] if name == "mlp" and self.culprit in IN_MLP else self.culprit
        return replace(self, model=replace(MODELS[name], **changes), culprit=culprit)

    def build(self, small: Callable[[ModelConfig], ModelConfig], base: int, optimizer: str) -> Callable[..., Any]:
        """A function of the width, whose model is correct but for this."""

        def build(width: int, seed: int) -> tuple[nn.Module, Groups]:
            built = ours(small(self.model), base=base)(width, seed)
            rules, m = built.rules, width / base
            if self.change is not None:
                with torch.no_grad():
                    self.change(built.model, rules, m)
            return built.model, self._groups(built, m, optimizer)

        return build

    def _groups(self, built: Parametrized, m: float, optimizer: str) -> Groups:
        names = {id(parameter): name for name, parameter in built.model.named_parameters()}
        groups = []
        for group in built.param_groups(1.0, optimizer=self.rates_for or optimizer):
            for parameter in group["params"]:
                name = names[id(parameter)]
                factor = 1.0 if self.factor is None else self.factor(name, built.rules[name], m)
                groups.append({**group, "params": [parameter], "lr": group["lr"] * factor})
        return groups


def no_output_multiplier(model: nn.Module, rules: Mapping[str, ParamRule], m: float) -> None:
    model.readout.forward_mult *= m


def rescaled_table(model: nn.Module, rules: Mapping[str, ParamRule], m: float) -> None:
    """As `mup.MuSharedReadout` does."""
    model.embedding.weight.mul_(m**0.5)


def unscaled_hidden_init(model: nn.Module, rules: Mapping[str, ParamRule], m: float) -> None:
    for name, parameter in model.named_parameters():
        if rules[name].role == "hidden":
            parameter.mul_(m**0.5)


def times_where(matches: Callable[[str, ParamRule], bool], power: float) -> Factor:
    """A rate factor of m**power where something holds."""
    return lambda name, rule, m: m**power if matches(name, rule) else 1.0


class Flat:
    """The loop that sets one rate for all."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        self.rate = optimizer.param_groups[0]["lr"]
        self.step()

    def step(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate


def hidden(name: str, rule: ParamRule) -> bool:
    return rule.role == "hidden"


def into(name: str, rule: ParamRule) -> bool:
    return rule.role == "input"


def down(name: str, rule: ParamRule) -> bool:
    return name.endswith("mlp.down.weight")


QUERY, DOWN = "blocks.0.attention.query", "blocks.0.mlp.down"
LOGITS = "blocks.0.attention (logits)"
IN_MLP = {QUERY: "hidden.0", "embedding": "embeddings.0"}

ADAM: Mapping[str, Control] = {
    "readout without output multiplier": Control("readout", "no output multiplier", change=no_output_multiplier),
    "random readout without output multiplier": Control(
        "readout",
        "no output multiplier",
        replace(MODEL, zero_readout=False, output_mult=1.0),
        change=no_output_multiplier,
    ),
    "hidden lr not divided": Control(QUERY, "hidden lr is not divided by width", factor=times_where(hidden, 1)),
    "1/sqrt(d) attention": Control(
        LOGITS,
        "1/sqrt(d) attention with growing head_dim",
        replace(MODELS["growing heads"], attention_scale="1/sqrt(d)"),
    ),
    "tied and rescaled": Control("embedding", "embedding tied and rescaled", TIED, change=rescaled_table),
    "flattened by a scheduler": Control(QUERY, "a scheduler flattened the group rates", scheduler=Flat),
    "hidden init not scaled": Control(
        QUERY, "hidden initial std is not divided by sqrt(fan-in)", change=unscaled_hidden_init
    ),
    "input lr divided": Control("embedding", "input (embedding) lr is divided by width", factor=times_where(into, -1)),
    "one module forgotten": Control(
        DOWN, "not in the parameter group of the other hidden weights", factor=times_where(down, 1)
    ),
    "SGD's rates": Control("embedding", "the rates are SGD's", rates_for="sgd"),
}

SGD: Mapping[str, Control] = {
    "readout without output multiplier": ADAM["readout without output multiplier"],
    "hidden lr divided": Control(QUERY, "hidden lr is divided by width", factor=times_where(hidden, -1)),
    "1/sqrt(d) attention": ADAM["1/sqrt(d) attention"],
    "tied and rescaled": ADAM["tied and rescaled"],
    "hidden init not scaled": ADAM["hidden init not scaled"],
    "input lr not multiplied": Control(
        "embedding", "input (embedding) lr is not multiplied by width", factor=times_where(into, -1)
    ),
    "one module forgotten": Control(
        DOWN, "not in the parameter group of the other hidden weights", factor=times_where(down, -1)
    ),
    "Adam's rates": Control("embedding", "the rates are Adam's", rates_for="adamw"),
}

MUON: Mapping[str, Control] = {
    "readout without output multiplier": ADAM["readout without output multiplier"],
    "hidden lr multiplied": Control(QUERY, "hidden lr is multiplied by width", factor=times_where(hidden, 1)),
    "1/sqrt(d) attention": ADAM["1/sqrt(d) attention"],
    "tied and rescaled": ADAM["tied and rescaled"],
    "hidden init not scaled": ADAM["hidden init not scaled"],
    "input lr divided": ADAM["input lr divided"],
    "one module forgotten": ADAM["one module forgotten"],
}

CONTROLS: Mapping[str, Mapping[str, Control]] = {"adamw": ADAM, "sgd": SGD, "muon": MUON}
