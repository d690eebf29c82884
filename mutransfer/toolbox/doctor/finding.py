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


class Rule(NamedTuple):
    """A judgement, and the curves (or `setup.` facts) of a run without which it cannot be made."""

    judge: Callable[[Run], Finding | None]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Diagnosis:
    """All findings of a run, problems first, and by rule what was missing where it could not be judged."""

    name: str
    findings: tuple[Finding, ...]
    not_judged: dict[str, tuple[str, ...]]

    @property
    def healthy(self) -> bool:
        """No problem was found; notes do not count."""
        return all(finding.severity != PROBLEM for finding in self.findings)
