"""Every parameter's rule."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, get_args

import tyro

from mutransfer.arguments import LearningRate, parse, refuse_given, refuse_model_width
from mutransfer.checks import one_of
from mutransfer.config import InitConfig, ModelConfig, OptimizerConfig, SweepConfig

if TYPE_CHECKING:
    import pandas as pd

    from mutransfer.parametrization import Parametrized


@dataclass(frozen=True)
class ExplainArguments:
    """Arguments of explain."""

    width: int
    """The width of the model."""
    parametrization: str | None = None
    """A table by name. sp, sp_fixed_std: one rate for all. mup (Table 8), mup_table3 (the same without multipliers),
    mup_table9: the best rate stands still as width grows. depth_mup, completep: as depth grows too. umup: mup at unit
    scale. mup_simple, sp_full_align, ntk, mean_field: relatives. None: mup; for a model of your own mup_table3, or mup
    where a weight is tied."""
    base_width: int = SweepConfig.base_width
    """The width at which every parametrization is the same model: one where your settings are good already, or the
    narrowest that you tune; one for all that you compare."""
    base_depth: int = SweepConfig.base_depth
    """The depth at which tables with rules for depth are the same model as those without."""
    lr: LearningRate = 1.0
    """The base rate, such as 0.003 or 2^-8."""
    diff: tuple[str, str] | None = None
    """Two tables, such as sp mup: only what they do not do alike, side by side."""
    own: Annotated[str | None, tyro.conf.arg(name="model")] = None
    """A model of your own: module:function, which takes a width and returns a torch.nn.Module."""
    sample: str | None = None
    """With --model, module:function, which returns what the model is called with. None: tokens."""
    roles: tuple[str, ...] = ()
    """With --model, roles that are not found: *.router.weight=hidden"""
    init_powers: tuple[str, ...] = ()
    """With --model, powers of width of initial values, where they cannot be measured: head.bias=-0.5"""
    device: str = "meta"
    """With --model, where it is built at --width: meta takes no memory, cpu any model."""
    format: str = "table"
    """table, json or csv."""
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    init: InitConfig = dataclasses.field(default_factory=InitConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)


def run(words: list[str]) -> None:
    """Print every parameter's role, initialization, multipliers, learning rate and weight decay."""
    from mutransfer.parametrization import explanation

    arguments = parse("explain", ExplainArguments, words)
    one_of("format", arguments.format, ("table", "json", "csv"))
    lr = arguments.lr
    if arguments.diff is not None:
        if arguments.parametrization is not None:
            raise ValueError(
                f"found --diff {' '.join(arguments.diff)} and --parametrization {arguments.parametrization}; wanted "
                "one of them: leave one out"
            )
        compared = [(name, _build(arguments, name).explain(lr, arguments.optimizer)) for name in arguments.diff]
        _show(explanation.difference(compared), arguments.format)
        return
    built = _build(arguments, arguments.parametrization)
    frame = built.explain(lr, arguments.optimizer)
    if arguments.format != "table":
        _show(frame, arguments.format)
        return
    print(f"{built.table.name} at width {arguments.width}, base width {arguments.base_width}: {built.table.source}")
    _show(frame.drop(columns="source"), "table")
    print()
    _show(explanation.group_totals(built.model, built.rules_for(arguments.optimizer), lr), "table")
    for note in built.notes:
        print(f"\n{note}")


def _show(frame: pd.DataFrame, kind: str) -> None:
    if kind == "json":
        print(frame.to_json(orient="records", indent=1))
    elif kind == "csv":
        print(frame.to_csv(index=False), end="")
    elif frame.empty:
        print("no difference")
    else:
        print(frame.to_string(index=False, na_rep="", float_format=lambda value: f"{value:.4g}"))


def _build(arguments: ExplainArguments, parametrization: str | None) -> Parametrized:
    return _build_ours(arguments, parametrization) if arguments.own is None else _build_own(arguments, parametrization)


def _build_ours(arguments: ExplainArguments, parametrization: str | None) -> Parametrized:
    from mutransfer.parametrization import build_model

    refuse_given(arguments, ("sample", "roles", "init_powers", "device"), "our own model; give --model module:function")
    refuse_model_width(arguments.model, "--width")
    return build_model(
        dataclasses.replace(arguments.model, width=arguments.width),
        "mup" if parametrization is None else parametrization,
        base_width=arguments.base_width,
        base_depth=arguments.base_depth,
        init=arguments.init,
        device="meta",
    )


def _build_own(arguments: ExplainArguments, parametrization: str | None) -> Parametrized:
    from mutransfer.parametrization import load_build, parametrize
    from mutransfer.parametrization.user_model import load_function
    from mutransfer.theory.parametrizations import Role

    own = "a model of your own, which sets them itself; leave them out"
    refuse_given(arguments, ("model", "init", "base_depth"), own)
    assert arguments.own is not None
    build = load_build(arguments.own)
    sample = None if arguments.sample is None else load_function(arguments.sample, "a function without arguments")()
    roles: dict[str, Any] = dict(_pairs("roles", arguments.roles))
    for pattern, role in roles.items():
        one_of(f"the role of {pattern}", role, get_args(Role))
    powers = {pattern: _number(power) for pattern, power in _pairs("init-powers", arguments.init_powers)}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # what is warned of stands in the notes
            return parametrize(
                build,
                width=arguments.width,
                base_width=arguments.base_width,
                parametrization=parametrization,
                sample=sample,
                roles=roles,
                init_powers=powers,
                device=arguments.device,
            )
    except (NotImplementedError, RuntimeError) as error:
        if arguments.device != "meta":
            raise
        first = str(error).partition("\n")[0]
        raise ValueError(
            f"found {type(error).__name__}: {first}, with {arguments.own}; wanted a model that can be built on meta, "
            "without values: give --device cpu"
        ) from error


def _pairs(name: str, words: Iterable[str]) -> list[tuple[str, str]]:
    """`pattern=value` words."""
    pairs = [word.rpartition("=") for word in words]
    for pattern, equals, value in pairs:
        if not (pattern and equals and value):
            raise ValueError(f"found {pattern + equals + value!r} in --{name}; wanted pattern=value, as in *.bias=-0.5")
    return [(pattern, value) for pattern, _, value in pairs]


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise ValueError(f"found the power {word!r}; wanted a number such as -0.5") from None
