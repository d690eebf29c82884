"""Words of the command line as configs, by tyro: lists with commas or spaces, ranges of learning rates, presets."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import io
import math
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from mutransfer.checks import one_of
from mutransfer.config import DIMENSIONS, PRESETS, ModelConfig, Range, SweepConfig
from mutransfer.config.scale import SWEPT
from mutransfer.config.searches import SEARCHES
from mutransfer.config.space import parse_range
from mutransfer.manual import COMMANDS

T = TypeVar("T")

ALIASES = {
    "width": "widths",
    "lr": "lrs",
    "seed": "seeds",
    "parametrization": "parametrizations",
    "model": "build",
    "optimizer": "optimizer.name",
    "schedule": "schedule.name",
}
"""Options under names that people try first, where a command does not have these."""


@dataclass(frozen=True)
class ResultArguments:
    """Arguments of status and report."""

    result: tyro.conf.Positional[str]
    """A result folder, such as results/width_transfer."""


def read_sweep(command: str, words: list[str]) -> SweepConfig:
    """The sweep that the words ask for: the experiment's or the default one, with its preset and overrides."""
    default = SweepConfig()
    if words and not words[0].startswith("-"):
        from mutransfer.experiment import load_experiment

        default, words = load_experiment(words[0]), words[1:]
    words = _spelled(words, SweepConfig)
    given = {word.partition("=")[0].replace("_", "-") for word in words}
    default = _with_lists(default, given)
    config = parse(command, SweepConfig, words, default)
    if config.dimensions != ("width",) and config.experiment == SweepConfig.experiment:
        config = dataclasses.replace(config, experiment=f"{'_'.join(config.dimensions)}_transfer")
    if "--seeds" in given and "--search" not in given and default.search == SweepConfig.search:
        # So many seeds of every rate are a grid: a bracket decides itself what it repeats.
        config = dataclasses.replace(config, search="grid")
    one_of("search", config.search, SEARCHES)
    for option in sorted(given & {f"--{name.replace('_', '-')}" for name in SEARCHES[config.search].idle}):
        if SEARCHES[config.search].adaptive:
            raise ValueError(
                f"found {option} with --search {config.search}, which decides that itself; give --target-se, --budget"
            )
        meant = ", as --seeds alone asks for" if "--search" not in given and "--seeds" in given else ""
        taker = "random" if option == "--n-trials" else "bracket"
        raise ValueError(f"found {option} with --search {config.search}{meant}; wanted --search {taker} for it")
    return config


def _with_lists(default: SweepConfig, given: Set[str]) -> SweepConfig:
    """The experiment's sweep where options list sizes: they take the place of its ladder, and of its one size."""
    listed = [name for name in SWEPT if f"--{DIMENSIONS[name].sizes.replace('_', '-')}" in given]
    if not listed:
        return default
    alone = {name: getattr(SweepConfig, name) for name in ("batch_size", "steps") if name in listed}
    model = dataclasses.replace(default.model, depth=ModelConfig.depth) if "depth" in listed else default.model
    return dataclasses.replace(default, ladder=(), model=model, **alone)


@dataclass(frozen=True)
class _Preset:
    preset: str = "default"


def parse(command: str, cls: type[T], words: list[str], default: T | None = None, switches: bool = False) -> T:
    """Arguments as a dataclass. tyro explains a mistake in a box; here it is one line, as everywhere.

    Where they hold a model, `--preset NAME` is what its other options start from. A choice of a config is given as True
    or False, as the error messages name it; with `switches` its name is enough.
    """
    if any(word in ("-h", "--help", "--help-all") for word in words):
        _print_help(command, cls, whole="--help-all" in words)
    words = _spelled(words, cls)
    if {"model", "init"} <= cls.__dataclass_fields__.keys() and any(word.startswith("--preset") for word in words):  # type: ignore[attr-defined]
        found, words = _by_tyro(command, _Preset, words, return_unknown_args=True)
        one_of("preset", found.preset, PRESETS)
        start = cls(**{field.name: tyro.MISSING for field in _required(cls)}) if default is None else default
        default = dataclasses.replace(start, model=PRESETS[found.preset])  # type: ignore[type-var]
    marker = tyro.conf.FlagCreatePairsOff if switches else tyro.conf.FlagConversionOff
    given = {} if default is None else {"default": default}
    parsed: T = _by_tyro(command, cls, words, config=(marker,), registry=_REGISTRY, **given)
    return parsed


def _by_tyro(command: str, cls: type, words: list[str], **settings: Any) -> Any:
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            return tyro.cli(cls, args=words, prog=f"mutransfer {command}", add_help=False, **settings)
    except SystemExit:
        raise ValueError(f"{_one_line(told.getvalue())}; `mutransfer {command} --help-all` lists its options") from None


def _one_line(box: str) -> str:
    """What tyro says in a box, which it draws in ASCII where a terminal knows no more: the mistake, and the options
    that come near."""
    lines = [line.strip("│|╭╰╮╯+ ") for line in box.splitlines()[1:]]
    while lines and not lines[0].strip("─-"):
        lines = lines[1:]
    end = next((place for place, line in enumerate(lines) if not line.strip("─-")), len(lines))
    mistake = " ".join(lines[:end])
    for theirs, ours in _WORDS.items():
        mistake = re.sub(theirs, ours, mistake)
    near = [line.split()[0] for line in lines[end:] if re.match(r"--\w", line)]
    return f"{mistake}; perhaps you meant {' or '.join(near[:3])}" if "Perhaps you meant:" in lines else mistake


_WORDS = {
    r"^Error parsing ": "",
    r"^Unrecognized options: (.*)$": r"expected known options, got \1",
    r"^Missing value for argument '(\S+)'\. Expected .*$": r"\1: expected a value, got none",
    r"^invalid choice (\S+) for argument '(\S+)'\. Expected one of \((.*)\)\.$": r"\2: expected one of \3, got \1",
    r"no type matching (\S+) could be instantiated from \[(.*)\]\.": r"expected \1, got \2",
    r"invalid literal for int\(\) with base 10: ": "expected a whole number, got ",
    r"could not convert string to float: ": "expected a number, got ",
}
"""What tyro says of a mistake, in our words."""


def _spelled(words: list[str], cls: type) -> list[str]:
    """The words with options under their own names in place of ALIASES."""
    own = get_type_hints(cls, include_extras=True)
    shown = {name.partition(".")[0] for name in own}
    alike = {
        f"--{short}": f"--{name.replace('_', '-')}"
        for short, name in ALIASES.items()
        if name.partition(".")[0] in shown and (short not in own or "." in name or name == "build")
    }
    flags = [word.partition("=") for word in words]
    return [alike.get(flag, flag) + equals + value for flag, equals, value in flags]


def _required(cls: Any) -> list[dataclasses.Field[Any]]:
    missing = dataclasses.MISSING
    return [each for each in dataclasses.fields(cls) if each.default is missing and each.default_factory is missing]


def _print_help(command: str, cls: type, whole: bool) -> None:
    """Print a sentence, examples, and the options that most people use, or all of them; then exit."""
    about = COMMANDS[command]
    lines = [f"{about.summary[0].upper()}{about.summary[1:]}.", "", "examples:"]
    lines += [f"  mutransfer {example}" for example in about.examples]
    if about.common and not whole:
        lines += ["", f"`mutransfer {command} --help-all` lists all options."]
        cls = _narrow(cls, about.common)
    preset = " [--preset NAME]" if {"model", "init"} <= get_type_hints(cls).keys() else ""
    prog = f"mutransfer {command} {about.arguments}{preset}"
    tyro.cli(cls, args=["--help"], prog=prog, description="\n".join(lines), registry=_REGISTRY)


def _narrow(cls: Any, shown: Sequence[str]) -> Any:
    """A dataclass of which tyro shows some fields alone, dotted where they are of a part."""
    hints, hidden = get_type_hints(cls, include_extras=True), []
    for field in dataclasses.fields(cls):
        inner = [name.partition(".")[2] for name in shown if name.startswith(f"{field.name}.")]
        if inner:
            part = _narrow(hints[field.name], inner)
            hidden.append((field.name, part, dataclasses.field(default_factory=part)))
        elif field.name not in shown:
            hidden.append((field.name, Annotated[hints[field.name], tyro.conf.Suppress], copy.copy(field)))
    return dataclasses.make_dataclass(cls.__name__, hidden, bases=(cls,), frozen=True)


_REGISTRY = ConstructorRegistry()


def _list_of(
    kind: type, metavar: str, read: Callable[[list[str]], tuple[Any, ...]], write: Callable[[Any], str] = str
) -> None:
    """Options whose values may be separated by commas or spaces."""

    @_REGISTRY.primitive_rule
    def rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
        if (get_origin(info.type), get_args(info.type)) != (tuple, (kind, ...)):  # tyro may spell it typing.Tuple
            return None
        return PrimitiveConstructorSpec(
            nargs="*",
            metavar=metavar,
            instance_from_str=lambda words: read(split_words(words)),
            is_instance=lambda value: isinstance(value, tuple),
            str_from_instance=lambda values: [write(value) for value in values],
        )


def split_words(words: Iterable[str]) -> list[str]:
    """`["64,128", "256"]` as `["64", "128", "256"]`. Raises ValueError where there is nothing between two commas."""
    parts = [part.strip() for word in words for part in re.split(r"\s*,\s*|\s+", word.strip())]
    if not parts:
        raise ValueError("expected a value, got none")
    if not all(parts):
        raise ValueError(f"expected values with one comma or a space between them, got {' '.join(words)!r}")
    return parts


def parse_lrs(words: Iterable[str]) -> tuple[float, ...]:
    """Learning rates from the command line: `2^-10..2^-4` (powers of two), `2^-7.5`, `0.003`, commas or spaces.

    Raises ValueError on anything else.
    """
    lrs: list[float] = []
    for word in split_words(words):
        first, dots, last = word.partition("..")
        if not dots:
            lrs.append(_parse_lr(word))
            continue
        low, high = math.log2(_parse_lr(first)), math.log2(_parse_lr(last))
        if low % 1 or high % 1 or low > high:
            raise ValueError(f"expected a range of powers of two, the lower first, such as 2^-10..2^-4, got {word!r}")
        lrs += [2.0**e for e in range(int(low), int(high) + 1)]
    return tuple(lrs)


def _parse_lr(word: str) -> float:
    base, power, exponent = word.partition("^")
    try:
        lr = float(base) ** float(exponent) if power else float(word)
    except (ValueError, OverflowError, ZeroDivisionError):
        lr = math.nan
    if isinstance(lr, complex) or not (math.isfinite(lr) and lr > 0 and float(base) > 0):
        raise ValueError(f"expected a learning rate above 0, such as 0.003 or 2^-7, got {word!r}")
    return lr


def _lr_word(lr: float) -> str:
    """A learning rate as it is typed: 2^-7, or a number."""
    octaves = math.log2(lr)
    return f"2^{octaves:.0f}" if octaves % 1 == 0 else f"{lr:.15g}"


_list_of(int, "N,N,...", lambda words: tuple(map(int, words)))
_list_of(float, "LR,LR,...|LR..LR", parse_lrs, _lr_word)
_list_of(str, "NAME,NAME,...", tuple)
_list_of(Range, "NAME=LOW..HIGH ...", lambda words: tuple(map(parse_range, words)))

LearningRate = Annotated[
    float,
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="LR",
        instance_from_str=lambda words: _parse_lr(words[0]),
        is_instance=lambda value: isinstance(value, float),
        str_from_instance=lambda lr: [_lr_word(lr)],
    ),
]
"""One learning rate, given as 0.003 or 2^-8."""


def refuse_given(arguments: Any, names: Iterable[str], why: str) -> None:
    """Raises ValueError on a field that is not at its default and would be ignored."""
    fields = {field.name: field for field in dataclasses.fields(arguments)}
    for name in names:
        field = fields[name]
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        if getattr(arguments, name) != default:
            raise ValueError(f"expected no {name.replace('_', '-')} settings for {why}")


def refuse_model_width(model: ModelConfig, option: str) -> None:
    """Raises ValueError on a width among the model's settings, where an option of its own gives it."""
    if model.width != ModelConfig.width:
        raise ValueError(f"expected {option}, got --model.width {model.width}; give {option} {model.width}")


def typed_command(words: Sequence[str]) -> str:
    """What to type to run this again: the program by name, or by its path where it is not on the user's."""
    typed = sys.argv[0]
    program = typed if Path(typed).name == "mutransfer" and shutil.which("mutransfer") is None else "mutransfer"
    return shlex.join([program, *words])
