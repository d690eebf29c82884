"""What known models were trained with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from mutransfer.arguments import parse
from mutransfer.checks import one_of, positive
from mutransfer.toolbox.recipes import FAMILIES, MARKS, RANGES, RECIPES, RateRange, Recipe, trend

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

POINTS = 2000
"""Places at which a schedule is drawn, half of them in its first tenth, where the warmup is."""


@dataclass(frozen=True)
class RecipeArguments:
    """Arguments of recipe."""

    name: tyro.conf.Positional[str | None] = None
    """A recipe (llama-7b) or a range (finetune-lora); --list names them all."""
    list: bool = False
    """List the recipes and ranges."""
    width: int | None = None
    """What muP makes of the rate for a model of this width, and what the family's published rates say of it."""
    json: bool = False
    """Print JSON."""
    out: str | None = None
    """Draw the schedule into this file (.png or .svg)."""


def run(words: list[str]) -> None:
    """Print a recipe or a range with its sources, and draw its schedule."""
    arguments = parse("recipe", RecipeArguments, words, switches=True)
    if arguments.name is None or arguments.list:
        if arguments.name is None and not arguments.list:
            raise ValueError("found no name; wanted one, such as llama-7b: --list names them all")
        _print_list(arguments.json)
        return
    name = arguments.name.lower()
    one_of("recipe", name, [*RECIPES, *RANGES])
    if name in RANGES:
        if arguments.width is not None or arguments.out is not None:
            raise ValueError(f"found --width or --out with {name}, which is a range of rates; leave it out")
        _print_range(RANGES[name], arguments.json)
        return
    recipe = RECIPES[name]
    if arguments.width is not None:
        positive("width", arguments.width)
    if arguments.out is not None:
        _draw(recipe, Path(arguments.out))
    if arguments.json:
        print(json.dumps(_recipe_json(recipe, arguments.width), indent=1, allow_nan=False))
        return
    _print_recipe(recipe, arguments.width)


def rates(recipe: Recipe) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places in the recipe's unit, and the rate at each, by the function that the trainer uses."""
    import numpy as np

    from mutransfer.optim.schedules import schedule_factor

    first = np.linspace(0, recipe.length / 10, POINTS // 2)
    places = np.unique(np.concatenate([first, np.linspace(0, recipe.length, POINTS // 2)]).astype(np.int64))
    factors = [schedule_factor(recipe.schedule, min(int(at), recipe.decay_end), recipe.decay_end) for at in places]
    return places.astype(np.float64), recipe.peak_lr * np.array(factors)


def family_of(recipe: Recipe) -> str:
    return next(name for name, members in FAMILIES.items() if recipe in members)


def _draw(recipe: Recipe, path: Path) -> None:
    from mutransfer.report.picture import write_figure
    from mutransfer.toolbox.recipes.figure import draw_recipe

    places, drawn = rates(recipe)
    write_figure(draw_recipe(recipe.title, str(recipe.shape.value), recipe.unit, places, drawn), path)


def _print_recipe(recipe: Recipe, width: int | None) -> None:
    from rich.table import Table

    from mutransfer.terminal import open_console

    table = Table("", "value", "checked", "source", box=None, pad_edge=False)
    for what, fact in recipe.facts.items():
        known = fact.value is not None
        table.add_row(what, _shown(recipe, what) if known else "?", fact.mark if known else "", fact.source)
    console = open_console()
    print(f"{recipe.title} ({recipe.name}): width {recipe.width}, depth {recipe.depth}")
    console.print(table)
    for line in (recipe.remark, *([] if width is None else _width_lines(recipe, width))):
        print(line, end="\n" if line else "")
    _print_marks(dict.fromkeys(fact.mark for fact in recipe.facts.values() if fact.value is not None))


def _width_lines(recipe: Recipe, width: int) -> Iterator[str]:
    base = recipe.base_width or recipe.width
    yield f"at width {width}, its data, batch and depth unchanged:"
    yield (
        f"  muP from base width {base} (Table 8, Adam): hidden matrices {_rate(recipe.hidden_lr(width))} "
        f"({_rate(recipe.peak_lr)} x {base}/{width}), embeddings, vectors and readout {_rate(recipe.peak_lr)}"
    )
    family = FAMILIES[family_of(recipe)]
    line = trend(family)
    if recipe.parametrization == "mup":
        yield "  its own family has one base rate at every width, as muP has it"
    elif line is None:
        yield f"  published: {family_of(recipe)} has no other width to compare"
    else:
        yield (
            f"  published: {family_of(recipe)}'s peaks go as width^{line.slope:.2f} by least squares "
            f"(^{line.between_ends:.2f} from its narrowest to its widest), which gives {_rate(line.at(width))} for all "
            "weights; depth, batch and data vary along"
        )
    twins = [
        f"{other.title} {_rate(other.peak_lr)}" for other in family if other.width == width and other is not recipe
    ]
    if twins:
        yield f"  published at that width: {', '.join(twins)}"


def _recipe_json(recipe: Recipe, width: int | None) -> dict[str, Any]:
    facts = {
        what: {"value": fact.value, "source": fact.source, "mark": None if fact.value is None else fact.mark}
        for what, fact in recipe.facts.items()
    }
    told: dict[str, Any] = {"schema": 1, "name": recipe.name, "title": recipe.title, "family": family_of(recipe)}
    told |= {"width": recipe.width, "depth": recipe.depth, "facts": facts, "remark": recipe.remark}
    if width is not None:
        line = trend(FAMILIES[family_of(recipe)])
        told["at_width"] = {
            "width": width,
            "mup": {"hidden": recipe.hidden_lr(width), "embedding": recipe.peak_lr, "readout": recipe.peak_lr},
            "family": None if line is None else {"slope": line.slope, "lr": line.at(width)},
        }
    return told


def _print_range(found: RateRange, as_json: bool) -> None:
    low, high = found.rates[0], found.rates[-1]
    if as_json:
        told = {"schema": 1, "name": found.name, "title": found.title, "low": low, "high": high, "per": found.per}
        told |= {"schedule": found.schedule, "why": found.why, "examples": [e._asdict() for e in found.examples]}
        print(json.dumps(told, indent=1))
        return
    print(f"{found.title} ({found.name})")
    reach = _rate(low) if low == high else f"{_rate(low)} to {_rate(high)}"
    print(f"  rate      {reach}{f' for {found.per}' if found.per else ''}")
    print(f"  schedule  {found.schedule}")
    print(f"  why       {found.why}")
    for example in found.examples:
        rate = "" if example.rate is None else f"{_rate(example.rate)}: "
        print(f"  {rate}{example.text}\n{'':6}{example.mark}: {example.source}")
    _print_marks(dict.fromkeys(example.mark for example in found.examples))


def _print_list(as_json: bool) -> None:
    if as_json:
        print(json.dumps({"schema": 1, "recipes": [*RECIPES], "ranges": [*RANGES]}, indent=1))
        return
    for family, members in FAMILIES.items():
        print(f"{family}: {', '.join(recipe.name for recipe in members)}")
    for each in RANGES.values():
        print(f"{each.name}: {each.title}")


def _print_marks(used: Iterable[str]) -> None:
    print("; ".join(f"{mark}: {MARKS[mark]}" for mark in used))


def _shown(recipe: Recipe, what: str) -> str:
    value = recipe.facts[what].value
    if what == "floor":
        return f"{value} of the peak, {_rate(recipe.peak_lr * float(value or 0))}"
    return value if isinstance(value, str) else _rate(float(value or 0))


def _rate(value: float) -> str:
    """A rate with up to three digits, 3e-4 rather than 0.0003."""
    if value == 0 or value >= 0.01:
        return f"{value:.3g}"
    digits, _, exponent = f"{value:.2e}".partition("e")
    return f"{float(digits):g}e{int(exponent)}"
