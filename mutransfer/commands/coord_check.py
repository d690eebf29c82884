"""The coordinate check of our own models, or of yours."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from mutransfer.arguments import LearningRate, parse, refuse_given, refuse_model_width
from mutransfer.config import InitConfig, ModelConfig, OptimizerConfig, SweepConfig
from mutransfer.coordcheck.result import CoordCheck, CoordSettings

if TYPE_CHECKING:
    from mutransfer.coordcheck.bench import Build


@dataclass(frozen=True)
class CoordCheckArguments:
    """Arguments of coord-check."""

    own: Annotated[str | None, tyro.conf.arg(name="model")] = None
    """A model of your own: module:function, which takes a width and returns what `mutransfer.parametrize` does, a pair
    of a module and its parameter groups, or a torch.nn.Module."""
    batch: str | None = None
    """With --model, module:function, which takes a seed and returns what the loss takes beside the model. None: inputs
    and targets, bytes of Python's standard library."""
    loss: str | None = None
    """With --model, module:function, which takes the model and a batch. None: cross-entropy of the outputs."""
    scheduler: str | None = None
    """module:function, which takes the optimizer and returns a scheduler, stepped after every update."""
    widths: tuple[int, ...] = CoordSettings.widths
    """Widths to build the model at, two or more."""
    lr: LearningRate | None = None
    """The base rate, such as 0.003 or 2^-8 (of parameter groups that come with rates, what multiplies these). None:
    chosen at the narrowest width, so that changes are small and plain to see."""
    steps: int = CoordSettings.steps
    """Updates, all on one batch."""
    seeds: int = CoordSettings.seeds
    """Initializations and batches at each width, two or more."""
    tolerance: float = CoordSettings.tolerance
    """Powers of width by which a slope may lie outside muP's bounds."""
    device: str = "cpu"
    """A torch device, such as cpu or cuda."""
    out: str | None = None
    """The folder to write coord_check.json, coordinates.csv and coord_check.png to."""
    json: bool = False
    """Print JSON."""
    parametrization: str = "mup"
    """A table by name, such as sp, mup (Table 8) or completep."""
    base_width: int | None = None
    """The width at which every parametrization is the same model; None: the narrowest."""
    base_depth: int = SweepConfig.base_depth
    """The depth at which tables with rules for depth are the same model as those without."""
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    init: InitConfig = dataclasses.field(default_factory=InitConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)


class CoordCheckFailedError(RuntimeError):
    """Something grows or vanishes with width, or too little was seen: exit code 1."""


OURS = ("parametrization", "base_width", "base_depth", "model", "init")
"""What a model of your own sets itself."""


def run(words: list[str]) -> None:
    """Check that what training changes in a model does not depend on its width; name what is at fault, and why."""
    from mutransfer.coordcheck.bench import next_token_loss, text_batches
    from mutransfer.coordcheck.check import coord_check
    from mutransfer.parametrization.user_model import load_function

    arguments = parse("coord-check", CoordCheckArguments, words)
    widths = arguments.widths
    build = _build_ours(arguments, min(widths)) if arguments.own is None else _build_own(arguments)
    batch = None if arguments.batch is None else load_function(arguments.batch, "a function of the seed")
    check = coord_check(
        build,
        widths,
        optimizer=arguments.optimizer,
        lr=arguments.lr,
        steps=arguments.steps,
        seeds=arguments.seeds,
        batch=text_batches() if batch is None else batch,
        loss=next_token_loss if arguments.loss is None else load_function(arguments.loss, "a function of the model"),
        scheduler=None if arguments.scheduler is None else load_function(arguments.scheduler, "a scheduler"),
        tolerance=arguments.tolerance,
        device=arguments.device,
    )
    told = json.dumps(check.to_json(), indent=1, allow_nan=False)
    if arguments.out is not None:
        _write(check, told, Path(arguments.out))
    report, sentence = check.report().rsplit("\n", 1)
    print(told if arguments.json else report)
    if not check.passed:
        raise CoordCheckFailedError(sentence)
    if not arguments.json:
        print(sentence)


def _build_ours(arguments: CoordCheckArguments, narrowest: int) -> Build:
    from mutransfer.parametrization import Parametrized, build_model

    refuse_given(arguments, ("batch", "loss"), "our own model; give --model module:function")
    refuse_model_width(arguments.model, "--widths")

    def build(width: int, seed: int) -> Parametrized:
        return build_model(
            dataclasses.replace(arguments.model, width=width),
            arguments.parametrization,
            base_width=narrowest if arguments.base_width is None else arguments.base_width,
            base_depth=arguments.base_depth,
            init=arguments.init,
            seed=seed,
        )

    return build


def _build_own(arguments: CoordCheckArguments) -> Build:
    from mutransfer.parametrization import load_build

    refuse_given(arguments, OURS, "a model of your own, which sets them itself; leave them out")
    assert arguments.own is not None  # or it would be ours
    return load_build(arguments.own, seeded=True)


def _write(check: CoordCheck, told: str, folder: Path) -> None:
    from mutransfer.coordcheck.figure import coordinates
    from mutransfer.files import write_whole
    from mutransfer.report.files import png

    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "coord_check.json", told.encode() + b"\n")
    write_whole(folder / "coordinates.csv", check.frame.to_csv(index=False).encode())
    write_whole(folder / "coord_check.png", png(coordinates(check)))
