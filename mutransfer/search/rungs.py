"""Where the settings of a round are compared, and how many go on: successive halving (Jamieson & Talwalkar 1502.07943).

| at step    | of the `ROUND` settings there go on |
|------------|-------------------------------------|
| steps // 4 | the best 2                          |
| steps // 2 | the best 1                          |

The paper spends as much on every rung as on any other and returns what is left after the last. Here a rung is a part of
the run, and what is left is trained to the end, so that its loss is one like any other trial's.
"""

from __future__ import annotations

from typing import NamedTuple

from mutransfer.config.searches import ROUND


class Rung(NamedTuple):
    """At `step` the best `keep` settings go on."""

    step: int
    keep: int


def rungs(steps: int) -> tuple[Rung, ...]:
    """The rungs of a run of so many steps, the first one first."""
    return Rung(steps // 4, ROUND // 2), Rung(steps // 2, ROUND // 4)


def next_stop(steps: int, left: int) -> int:
    """The step up to which the settings that are left are trained next: to the rung that has room for fewer of them,
    or to the end."""
    return next((rung.step for rung in rungs(steps) if left > rung.keep), steps)


def part_trained(steps: int) -> float:
    """The part of all steps that a round is trained for, where nothing diverges."""
    trained, left, since = 0, ROUND, 0
    for step, keep in (*rungs(steps), Rung(steps, 0)):
        trained += left * (step - since)
        left, since = keep, step
    return trained / (ROUND * steps)
