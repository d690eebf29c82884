"""What is wrong with a run, with the evidence and what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from mutransfer.toolbox.doctor.run import Run

PROBLEM = "problem"
NOTE = "note"
"""Worth knowing, and no reason to change anything."""


@dataclass(frozen=True)
class Finding:
    """One thing found in a run: what, the numbers that say so, where, and what to try first and second."""

    rule: str
    severity: str
    what: str
    evidence: str
    first: str
    second: str
    source: str
    first_step: int
    last_step: int


Judged = Finding | str | None
"""What a rule says of a run: a finding, None where there is nothing to find, or why it could not be judged."""


class Rule(NamedTuple):
    """A judgement, and the curves (or `setup.` facts) of a run without which it cannot be made.

    `advice` is which way it would have the rate: `lower`, `raise` or nothing. Where a problem says lower, no other
    says raise. `core`: without it nobody can call a run healthy.
    """

    judge: Callable[[Run], Judged]
    needs: tuple[str, ...] = ()
    advice: str = ""
    core: bool = False


@dataclass(frozen=True)
class Diagnosis:
    """All findings of a run, problems first, and by rule why it was not judged. `healthy` is True where no problem was
    found (notes do not count), False where one was, and None where too little could be judged to say so."""

    name: str
    findings: tuple[Finding, ...]
    not_judged: dict[str, str]
    healthy: bool | None
