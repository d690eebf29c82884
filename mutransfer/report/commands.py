"""The commands that a page and a terminal give to go on with."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mutransfer.analysis import Analysis, Settling
from mutransfer.config.scale import DIMENSIONS, Scale
from mutransfer.config.searches import SEARCHES


class Step(NamedTuple):
    """What would settle an arm, and the command that does it: empty where there is none to run."""

    what: str
    command: str


def confirm_command(analysis: Analysis, folder: str, arm: str, scale: Scale) -> str:
    """The command that trains an arm at a scale, of the dimensions that varied, at the proxy's rate, half and double;
    `folder` as a user names it."""
    words = ["mutransfer", "confirm", folder]
    for name in analysis.dimensions:
        words += [f"--{name.replace('_', '-')}", f"{scale[name]:.15g}"]
    return shlex.join([*words, *(["--arm", arm] if len(analysis.arms) > 1 else [])])


def settling_flags(plan: Settling) -> tuple[str, ...]:
    """The options that a plan adds to the command of its sweep; none where there is nothing to do."""
    if not plan.adds:
        return ()
    flags: list[str] = []
    if plan.target_se is not None:
        flags += ["--target-se", f"{plan.target_se:g}"]
    if plan.seeds is not None:
        flags += ["--seeds", str(plan.seeds)]
    if plan.sizes is not None and plan.dimension is not None:
        name = DIMENSIONS[plan.dimension].sizes.replace("_", "-")
        flags += [f"--{name}", *(f"{size:.15g}" for size in plan.sizes)]
    if plan.lrs is not None:
        flags += ["--lrs", *_lrs(plan.lrs)]
    if plan.search is not None:
        flags += ["--search", plan.search]
    if plan.n_trials is not None:
        flags += ["--n-trials", str(plan.n_trials)]
    if plan.budget is not None:
        flags += ["--budget", f"{plan.budget:g}"]
    return tuple(flags)


def _lrs(lrs: Sequence[float]) -> list[str]:
    """As the command line takes them: a range where they are all powers of two between two, or each."""
    exponents = [math.log2(lr) for lr in lrs]
    low, high = exponents[0], exponents[-1]
    if low % 1 == 0 and exponents == [low + octave for octave in range(len(lrs))]:
        return [f"2^{low:g}..2^{high:g}"]
    return [
        f"2^{exponent:g}" if 2.0 ** float(f"{exponent:g}") == lr else repr(lr)
        for exponent, lr in zip(exponents, lrs, strict=True)
    ]


def settling_step(arm: str, what: str, flags: Sequence[str], command: str, config: Mapping[str, Any]) -> Step:
    """How to carry out a plan of `settle`.

    What an arm sets itself no option of a sweep can change: that is to be set in the experiment's file. Only a sweep
    takes such options, so there is no command where the folder was made by another one.

    Args:
        arm, what, flags: the arm, and its plan in words and in options.
        command, config: of the folder; the config as plain data.
    """
    stored = _sweep(command)
    if stored is None or not flags:
        return Step(what, "")
    own = _own_fields(config, arm)
    given = _options(flags)
    set_there = [option for option in given if _name(option)[2:].replace("-", "_") in own]
    for name, *values in set_there:
        what += f"; first set {name[2:]} of arm {arm} in the experiment's file to {' '.join(values)}"
    free = [option for option in given if option not in set_there]
    again = {_name(option) for option in free}
    for name, *values in free:
        if name == "--search":  # it would not take what belonged to another one
            again |= {f"--{field.replace('_', '-')}" for field in SEARCHES[values[0]].idle}
    kept = [option for option in stored if _name(option) not in again]
    return Step(what, shlex.join(word for option in (*kept, *free) for word in option))


def _sweep(command: str) -> list[list[str]] | None:
    """The options of a sweep's command, the first with what stands before them; None of any other text."""
    try:
        words = shlex.split(command)
    except ValueError:  # a program of the user's may have called it anything
        return None
    at = next((at for at, word in enumerate(words) if word.startswith("--")), len(words))
    return [words[:at], *_options(words[at:])] if words[1:2] == ["sweep"] else None


def _options(words: Sequence[str]) -> list[list[str]]:
    """Each option with its values."""
    found: list[list[str]] = []
    for word in words:
        if word.startswith("--"):
            found.append([])
        found[-1].append(word)
    return found


def _name(option: Sequence[str]) -> str:
    return option[0].partition("=")[0].replace("_", "-")


def _own_fields(config: Mapping[str, Any], arm: str) -> set[str]:
    """The fields of the sweep's config that an arm has values of its own for."""
    variants = [each for name, value in config.items() if name == "variants" for each in value]
    return {name for each in variants if each["name"] == arm for name, _ in each["changes"]}
