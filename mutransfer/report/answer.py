"""The answer in a line: which learning rate to use, up to which size, and the command that goes on from there."""

from __future__ import annotations

import shlex
from typing import NamedTuple

from mutransfer.analysis import Analysis, recommend
from mutransfer.analysis.confirmation import arm_to_follow
from mutransfer.analysis.verdict import TRANSFERS
from mutransfer.config.scale import DIMENSIONS
from mutransfer.report.words import rate, size_text, size_words


class Answer(NamedTuple):
    """What to use, and the command that says what to use beyond; `command` may be run as it stands."""

    text: str
    command: str


def answer(analysis: Analysis, folder: str) -> Answer | None:
    """The learning rate of the arm to follow, at its largest scale that has an optimum; None where no scale of it has.

    Args:
        analysis: what a sweep says.
        folder: its result folder, as a user names it.
    """
    name = arm_to_follow(analysis)
    arm = analysis.arm(name)
    interior = [optimum for optimum in arm.optima if optimum.interior]
    if not interior:
        return None
    largest, along = interior[-1].scale, analysis.dimensions
    found = recommend(analysis, name, largest)
    sizes = ", ".join(size_words(each, largest[each]) for each in along)
    at = f"at {sizes}"
    if arm.verdict == TRANSFERS:
        one = f"at any {DIMENSIONS[along[0]].word} up to {size_text(largest[along[0]])}"
        at = one if len(along) == 1 else f"up to {sizes}"
    warning = "" if found.supported else " This is a wide guess: its interval reaches further than an octave."
    text = f"Use lr {rate(found.lr)} ({rate(found.ci_low)} to {rate(found.ci_high)}) {at} under {name}.{warning}"
    words = ["mutransfer", "recommend", folder]
    for each in along:
        size = largest[each] * (2 if each == along[0] else 1)
        words += [f"--{each.replace('_', '-')}", f"{size:.15g}"]
    return Answer(text, shlex.join([*words, *(["--arm", name] if len(analysis.arms) > 1 else [])]))
