"""The learning-rate range test of a model, alone or beside the optimum that a width study found."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mutransfer.arguments import parse, refuse_model_width
from mutransfer.config import (
    LOSSES,
    Arm,
    InitConfig,
    ModelConfig,
    OptimizerConfig,
    Scale,
    SweepConfig,
    to_json,
    validate,
)
from mutransfer.toolbox.range_test.rates import BELOW_EDGE, SEEDS, Ramp, RangeTest, recommend_lr, suggest_lrs

if TYPE_CHECKING:
    from rich.table import Table

    from mutransfer.analysis import Optimum
    from mutransfer.study.result import Result


@dataclass(frozen=True)
class LrRangeTestArguments:
    """Arguments of lr-range-test."""

    width: int
    """The width of the model."""
    result: str | None = None
    """A result folder, such as results/reference_cpu: its model, batch and data are tested, and its optimum is shown
    beside what the test suggests."""
    arm: str | None = None
    """The arm of the result to test; None: the first whose verdict is that it transfers, else the last."""
    parametrization: str = "mup"
    """A table by name, such as sp, mup (Table 8) or completep."""
    base_width: int = SweepConfig.base_width
    """The width at which every parametrization is the same model."""
    base_depth: int = SweepConfig.base_depth
    """The depth at which tables with rules for depth are the same model as those without."""
    batch_size: int = SweepConfig.batch_size
    """Sequences per step."""
    dtype: str = SweepConfig.dtype
    """float32, bfloat16 (autocast over float32 weights) or float64."""
    data: str = SweepConfig.data
    """stdlib (the source of Python's standard library), text:PATH, tokens:PATH (uint16), or hf:NAME, as in a sweep."""
    seeds: int = SEEDS
    """Initializations and orders of the data that are each tested."""
    device: str = SweepConfig.device
    """auto (cuda where there is one), cpu or cuda."""
    out: str = "results/lr_range_test"
    """The folder to write the figure and range_test.json to."""
    json: bool = False
    """Print JSON."""
    build: str = SweepConfig.build
    """A model of your own in place of ours: module:function, as in a sweep."""
    task: str = ""
    """A task of your own, of whatever kind: module:function, which returns (model, batches, loss) for a width. Batches
    of two are (inputs, targets) and the loss takes outputs and targets; else it takes the model and a batch."""
    ramp: Ramp = dataclasses.field(default_factory=Ramp)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    init: InitConfig = dataclasses.field(default_factory=InitConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)


OF_THE_MODEL = (
    "parametrization",
    "base_width",
    "base_depth",
    "batch_size",
    "dtype",
    "data",
    "model",
    "init",
    "optimizer",
    "build",
    "task",
)
"""What a result says itself."""


def run(words: list[str]) -> None:
    """Train along a ramp of rates, print what each rule reads off the loss, and draw it."""
    from mutransfer.data import load_corpus
    from mutransfer.study.result import read_swept
    from mutransfer.sweep.executors import local_device
    from mutransfer.toolbox.range_test.measure import range_test_trial

    arguments = parse("lr-range-test", LrRangeTestArguments, words)
    arguments.ramp.validate()
    if arguments.task and arguments.result is None:
        _test_task(arguments)
        return
    result = None if arguments.result is None else read_swept(Path(arguments.result))
    config, arm = _asked(arguments) if result is None else _of_result(arguments, result)
    trial = config.trial(arm, Scale(arguments.width), arguments.ramp.high, 0)
    corpus = load_corpus(config.data)
    corpus.check(trial.model.context, trial.model.vocab)
    if result is not None:
        result.check_data(corpus.fingerprint)
    device = local_device(arguments.device, config.gpus_per_trial)
    test = range_test_trial(trial, corpus, device, ramp=arguments.ramp, seeds=arguments.seeds)
    optimum = None if result is None else _optimum(result, arm.name, arguments.width)
    unit = f"{LOSSES[config.loss]} per token"
    _show(arguments, f"{arm.name}, width {arguments.width}", test, optimum, to_json(trial), unit)


def _test_task(arguments: LrRangeTestArguments) -> None:
    """The range test of a task of one's own, under the parametrization that is asked for."""
    from mutransfer.optim import build_optimizer
    from mutransfer.sweep.executors import local_device
    from mutransfer.toolbox.own_task import build_task
    from mutransfer.toolbox.range_test.measure import lr_range_test
    from mutransfer.training.trainer import one_thread

    given = [name for name in ("arm", "build") if getattr(arguments, name)]
    if given:
        raise ValueError(f"expected --task alone, got --{given[0]} beside it; leave one of them out")
    device, width = local_device(arguments.device, 1.0), arguments.width
    with one_thread(device):
        built, batches, loss = build_task(
            arguments.task, width, arguments.base_width, arguments.parametrization, 0, device
        )
        optimizer = build_optimizer(built.groups_for(1.0, arguments.optimizer), arguments.optimizer)
        test = lr_range_test(built.model, batches, loss, optimizer, ramp=arguments.ramp, seeds=arguments.seeds, lr=1.0)
    asked = {name: getattr(arguments, name) for name in ("task", "width", "base_width", "parametrization")}
    trial = asked | {"optimizer": to_json(arguments.optimizer)}
    _show(arguments, f"{arguments.task}, width {width}", test, None, trial, "of the task")


def _show(
    arguments: LrRangeTestArguments,
    title: str,
    test: RangeTest,
    optimum: Optimum | None,
    trial: dict[str, Any],
    unit: str,
) -> None:
    """Write the figure and the numbers, and print what is read off them."""
    from mutransfer.files import write_whole
    from mutransfer.report.files import save_figure
    from mutransfer.terminal import open_console
    from mutransfer.toolbox.range_test.figure import RangePanel, range_tests

    figure = range_tests([RangePanel(title, test, optimum)], unit)
    told = json.dumps(_told(test, optimum, trial), indent=1, allow_nan=False)
    folder = Path(arguments.out)
    _, picture = save_figure("range_test", figure, folder)
    write_whole(folder / "range_test.json", told.encode() + b"\n")
    if arguments.json:
        print(told)
        return
    console = open_console()
    console.print(_table(test, optimum))
    console.print(_recommended(test), soft_wrap=True)
    console.print(str(picture), soft_wrap=True)


def _asked(arguments: LrRangeTestArguments) -> tuple[SweepConfig, Arm]:
    """The model that the options describe. Raises ValueError where they make no sense."""
    if arguments.arm is not None:
        raise ValueError(f"found --arm {arguments.arm} without --result; wanted --parametrization, or a result")
    refuse_model_width(arguments.model, "--width")
    config = SweepConfig(
        parametrizations=(arguments.parametrization,),
        widths=(arguments.width,),
        base_width=arguments.base_width,
        base_depth=arguments.base_depth,
        batch_size=arguments.batch_size,
        dtype=arguments.dtype,
        data=arguments.data,
        device=arguments.device,
        build=arguments.build,
        model=arguments.model,
        init=arguments.init,
        optimizer=arguments.optimizer,
    )
    validate(config)
    return config, config.arms[0]


def _of_result(arguments: LrRangeTestArguments, result: Result) -> tuple[SweepConfig, Arm]:
    """The result's sweep and the arm asked for. Raises ValueError where there is none, and on options that would say
    again what the result says."""
    from mutransfer.analysis.confirmation import arm_to_follow

    default = LrRangeTestArguments(arguments.width)
    for name in OF_THE_MODEL:
        if getattr(arguments, name) != getattr(default, name):
            option = name.replace("_", "-")
            raise ValueError(f"found --{option} with --result, which says it itself; wanted one of them: leave one out")
    if result.config.dimensions != ("width",):
        raise ValueError(
            f"found a sweep along {', '.join(result.config.dimensions)} in {result.folder}; wanted one of widths: "
            "leave --result out"
        )
    name = arm_to_follow(result.analysis, arguments.arm)
    config = result.config.at(Scale(arguments.width))
    validate(config)
    return config, next(arm for arm in config.arms if arm.name == name)


def _optimum(result: Result, arm: str, width: int) -> Optimum | None:
    return next((optimum for optimum in result.analysis.arm(arm).optima if optimum.scale.width == width), None)


def _told(test: RangeTest, optimum: Optimum | None, trial: dict[str, Any]) -> dict[str, Any]:
    """The test, what is read off it, and the study's optimum, as JSON data; rates of suggestions are log2."""
    suggestions = {
        name: None if found is None else dataclasses.asdict(found) for name, found in suggest_lrs(test).items()
    }
    study = ("log2_lr", "ci_low", "ci_high", "status")
    return {
        "trial": trial,
        "lrs": test.lrs.tolist(),
        "losses": [[loss if math.isfinite(loss) else None for loss in losses] for losses in test.losses.tolist()],
        "suggestions": suggestions,
        "recommended": dataclasses.asdict(recommend_lr(test)),
        "optimum": None if optimum is None else {name: getattr(optimum, name) for name in study},
    }


def _recommended(test: RangeTest) -> str:
    found = recommend_lr(test)
    return f"recommended: {'no rate' if found.lr is None else f'lr {found.lr:.3g}'}: {found.reason}"


def _table(test: RangeTest, optimum: Optimum | None) -> Table:
    from rich.table import Table

    table = Table("rule", "lr", "log2 lr", "over seeds", "octaves from the study's optimum")
    for name, found in suggest_lrs(test).items():
        if found is None:
            table.add_row(name, "none", "", "", "")
            continue
        away = "" if optimum is None or not optimum.interior else f"{found.log2_lr - optimum.log2_lr:+.2f}"
        ends = f"{found.low:.2f} .. {found.high:.2f}"
        table.add_row(name, f"{2**found.log2_lr:.3g}", f"{found.log2_lr:.2f}", ends, away)
        if name == "edge":
            table.add_row(f"{BELOW_EDGE:g} of it", f"{BELOW_EDGE * 2**found.log2_lr:.3g}", "", "", "")
    return table
