"""Words of the command line as configs: ranges of learning rates, lists with commas or spaces, presets, overrides."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import tyro

from mutransfer.checks import one_of
from mutransfer.config import AXES, PRESETS, ModelConfig, Range, SweepConfig
from mutransfer.config.choices import IDLE, SEARCHES
from mutransfer.config.space import parse_range

T = TypeVar("T")

LISTS = ("--lrs", "--parametrizations", *(f"--{axis.sizes.replace('_', '-')}" for axis in AXES.values()))
"""Options whose values may be separated by commas or spaces."""


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
    space, words = _take_space(words)
    if space:
        default = dataclasses.replace(default, space=space)
    preset, words = _take_preset(words)
    if preset is not None:
        default = dataclasses.replace(default, model=PRESETS[preset])
    usage = f"{command} [EXPERIMENT] [--space NAME=LOW..HIGH ...] [--preset {'|'.join(PRESETS)}]"
    words = [re.sub(r"^--model(?=$|=)", "--build", word) for word in words]  # as coord-check and explain call it
    config = parse(command, SweepConfig, _split_lists(words), default, usage)
    if config.axis != "width" and config.experiment == SweepConfig.experiment:
        config = dataclasses.replace(config, experiment=f"{config.axis}_transfer")
    given = {word.partition("=")[0].replace("_", "-") for word in words}
    if "--seeds" in given and "--search" not in given and default.search == SweepConfig.search:
        # So many seeds of every rate are a grid: a bracket decides itself what it repeats.
        config = dataclasses.replace(config, search="grid")
    one_of("search", config.search, SEARCHES)
    for option in sorted(given & {f"--{name.replace('_', '-')}" for name in IDLE[config.search]}):
        if config.search == "bracket":
            raise ValueError(
                f"found {option} with --search bracket, which decides that itself; give --target-se, --budget"
            )
        meant = ", as --seeds alone asks for" if "--search" not in given and "--seeds" in given else ""
        taker = "random" if option == "--n-trials" else "bracket"
        raise ValueError(f"found {option} with --search {config.search}{meant}; wanted --search {taker} for it")
    return config


def with_preset(words: list[str]) -> list[str]:
    """`--preset NAME` as overrides of the model, before the others, which win."""
    preset, words = _take_preset(words)
    if preset is None:
        return words
    chosen, default = dataclasses.asdict(PRESETS[preset]), dataclasses.asdict(ModelConfig())
    changed = [(name, value) for name, value in chosen.items() if value != default[name]]
    return [*(word for name, value in changed for word in (f"--model.{name.replace('_', '-')}", str(value))), *words]


def _take_preset(words: list[str]) -> tuple[str | None, list[str]]:
    """The name after `--preset`, and the other words."""
    for at, word in enumerate(words):
        flag, equals, name = word.partition("=")
        if flag == "--preset":
            end = at + 1 if equals else at + 2
            if end > len(words):
                raise ValueError(f"found --preset without a name; wanted one of {', '.join(PRESETS)}")
            name = name if equals else words[at + 1]
            one_of("preset", name, PRESETS)
            return name, words[:at] + words[end:]
    return None, words


def _take_space(words: list[str]) -> tuple[tuple[Range, ...], list[str]]:
    """The ranges after `--space`, and the other words."""
    found: list[Range] = []
    rest: list[str] = []
    at = 0
    while at < len(words):
        flag, equals, first = words[at].partition("=")
        at += 1
        if flag != "--space":
            rest.append(words[at - 1])
            continue
        texts = [first] if equals else []
        while at < len(words) and not words[at].startswith("--"):
            texts.append(words[at])
            at += 1
        if not texts:
            raise ValueError("found --space without a range; wanted one or more such as model.output_mult=1..16")
        found += [parse_range(text) for text in split_words(texts)]
    return tuple(found), rest


def _split_lists(words: list[str]) -> list[str]:
    """Lists with commas as words, and ranges of rates as numbers."""
    result: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        flag, equals, value = word.partition("=")
        if flag not in LISTS:
            result.append(word)
            continue
        values = [value] if equals else []
        while at < len(words) and not words[at].startswith("--"):
            values.append(words[at])
            at += 1
        if not values:
            raise ValueError(f"found {flag} without a value; wanted one or more after it")
        result += [flag, *(map(repr, parse_lrs(values)) if flag == "--lrs" else split_words(values))]
    return result


def one_lr(word: str) -> float:
    lrs = parse_lrs([word])
    if len(lrs) != 1:
        raise ValueError(f"found {len(lrs)} learning rates in {word!r}; wanted one")
    return lrs[0]


def parse(
    command: str, cls: type[T], words: list[str], default: T | None = None, usage: str = "", switches: bool = False
) -> T:
    """Arguments as a dataclass. tyro explains a mistake in a box; here it is one line, as everywhere.

    A choice of a config is given as True or False, as the error messages name it; with `switches` its name is enough.
    """
    marker = tyro.conf.FlagCreatePairsOff if switches else tyro.conf.FlagConversionOff
    start: Any = tyro.MISSING_NONPROP if default is None else default
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            arguments: T = tyro.cli(
                cls, args=words, default=start, prog=f"mutransfer {usage or command}", config=(marker,)
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise ValueError(f"{_first_lines(told.getvalue())}; `mutransfer {command} --help` lists the options") from None
    return arguments


def refuse_given(arguments: Any, names: Iterable[str], why: str) -> None:
    """Raises ValueError on a field that is not at its default and would be ignored."""
    fields = {field.name: field for field in dataclasses.fields(arguments)}
    for name in names:
        field = fields[name]
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        if getattr(arguments, name) != default:
            raise ValueError(f"found {name.replace('_', '-')} settings for {why}")


def refuse_model_width(model: ModelConfig, option: str) -> None:
    """Raises ValueError on a width among the model's settings, where an option of its own gives it."""
    if model.width != ModelConfig.width:
        raise ValueError(f"found --model.width; wanted {option} {model.width} in its place")


def _first_lines(box: str) -> str:
    """The text of tyro's box up to its first rule, as one line; the box is drawn in ASCII where a terminal knows no
    more."""
    lines: list[str] = []
    for line in box.splitlines()[1:]:
        text = line.strip("│|╭╰╮╯+ ")
        is_rule = not text.strip("─-")
        if is_rule and lines:
            break
        if not is_rule:
            lines.append(text)
    return " ".join(lines)


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
            raise ValueError(f"found the range {word!r}; wanted powers of two, the lower first, such as 2^-10..2^-4")
        lrs += [2.0**e for e in range(int(low), int(high) + 1)]
    return tuple(lrs)


def _parse_lr(word: str) -> float:
    base, power, exponent = word.partition("^")
    try:
        lr = float(base) ** float(exponent) if power else float(word)
    except (ValueError, OverflowError, ZeroDivisionError):
        raise ValueError(f"found the learning rate {word!r}; wanted a number such as 0.003 or 2^-7") from None
    if isinstance(lr, complex) or not (math.isfinite(lr) and lr > 0):
        raise ValueError(f"found the learning rate {word!r}; wanted a finite number above 0, such as 0.003 or 2^-7")
    return lr


def split_words(words: Iterable[str]) -> list[str]:
    """`["64,128", "256"]` as `["64", "128", "256"]`."""
    return [part for word in words for part in word.replace(",", " ").split()]


def typed_command(words: Sequence[str]) -> str:
    """What to type to run this again: the program by name, or by its path where it is not on the user's."""
    typed = sys.argv[0]
    program = typed if Path(typed).name == "mutransfer" and shutil.which("mutransfer") is None else "mutransfer"
    return shlex.join([program, *words])
