"""The result of a coordinate check: what was measured, what it comes to, and the one sentence that says so."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mutransfer.analysis.interval import Interval
from mutransfer.coordcheck.verdict import OK, TOLERANCE, Judgement, Slope

SCHEMA = 1
"""Version of the JSON record."""

WHOLE = "(model)"
"""What the model itself is called, which has no name."""

MOST_NAMED = 3
"""Modules named for one cause."""

PASS, FAIL, BLIND = "pass", "fail", "blind"


@dataclass(frozen=True)
class CoordSettings:
    """How much a coordinate check looks at."""

    widths: tuple[int, ...] = (32, 64, 128, 256)
    """Widths to build the model at; at the narrowest the rate is chosen."""
    steps: int = 4
    """Updates, all on one batch. Where the readout starts at zero the rest moves from the second on, and keys from the
    third where queries start at zero too."""
    seeds: int = 5
    """Initializations and batches at each width."""
    tolerance: float = TOLERANCE
    """Powers of width by which a slope may lie outside muP's bounds."""


@dataclass(frozen=True)
class Finding:
    """A module at fault: the slope that shows it, its likely cause, and what that is read from."""

    slope: Slope
    cause: str
    evidence: str

    @property
    def module(self) -> str:
        return self.slope.module


@dataclass(frozen=True)
class CoordCheck:
    """What `coord_check` found.

    `verdict` is pass, fail, or blind where too little moved to tell. `findings` are the modules at fault in the order
    of data flow, the culprit first; modules that follow from them are not among them. `frame` holds every number that
    was measured, in the columns of `coordinates.COLUMNS`.
    """

    verdict: str
    findings: tuple[Finding, ...]
    warnings: tuple[str, ...]
    judgement: Judgement
    frame: pd.DataFrame
    widths: tuple[int, ...]
    seeds: int
    steps: int
    optimizer: str
    lr: float
    rate: str
    """The rate in words: in what unit, and whether it was chosen or given."""
    tolerance: float

    @property
    def passed(self) -> bool:
        """Nothing grows or vanishes with width, and enough was seen to say so."""
        return self.verdict == PASS

    @property
    def culprit(self) -> str | None:
        """The first module at fault, by its name in the model."""
        return self.findings[0].module if self.findings else None

    @property
    def cause(self) -> str | None:
        """What is likely wrong with it."""
        return self.findings[0].cause if self.findings else None

    @property
    def labels(self) -> dict[str, str]:
        """What each module is shown as: repeated blocks as one, with a star for their number; by its own name what is
        one of its kind, as in a sequence of different layers."""
        kinds = {each.module: (fold(each.module), each.role) for each in self.judgement.modules}
        alike, named = Counter(kinds.values()), Counter(name for name, _ in set(kinds.values()))
        labels = {}
        for module, (name, role) in kinds.items():
            several = f"{name} ({role})" if named[name] > 1 else name
            labels[module] = several if alike[name, role] > 1 else module or name
        return labels

    @property
    def verdict_line(self) -> str:
        """The verdict with its culprit and cause, or what else says it."""
        if self.verdict == BLIND:
            return f"coordinate check blind: {self.warnings[0]}"
        if self.verdict == PASS:
            changes = [slope for slope in self.judgement.slopes.values() if slope.quantity == "change" and slope.seen]
            powers = [slope.power.estimate for slope in changes if slope.power is not None]
            fits = [
                slope.power.estimate
                for slope in self.judgement.slopes.values()
                if slope.quantity == "fit" and slope.power
            ]
            outputs = f", that of what the loss gets {fits[-1]:+.2f}" if fits else ""
            aside = f"; but {self.warnings[0]}" if self.warnings else ""
            return (
                "coordinate check passed: nothing grows or vanishes with width, slopes of changes are from "
                f"{min(powers):+.2f} to {max(powers):+.2f}{outputs}{aside}"
            )
        first = self.findings[0]
        return f"coordinate check failed: {first.module or WHOLE} {first.slope.status}: {first.cause}"

    @property
    def sentence(self) -> str:
        """The whole in one sentence."""
        at = f"widths {', '.join(map(str, self.widths))}, {self.steps} updates of {self.optimizer} at {self.rate}"
        if self.verdict != FAIL:
            return f"{self.verdict_line} ({at})"
        off = sum(module.status != OK for module in self.judgement.modules)
        rest = f"; {off} modules are off in all" if off > 1 else ""
        return f"{self.verdict_line}; {shown(self.findings[0].slope)}{rest} ({at})"

    def table(self) -> pd.DataFrame:
        """A row per module, repeated blocks as one with the numbers of the first block that is off: role, the powers of
        width of its size at initialization and, after all updates, of its change and effective update, and status."""
        columns = {"size": 0, "change": self.steps, "effective": self.steps, "pull": self.steps, "fit": self.steps}
        labels = self.labels
        rows: dict[str, dict[str, Any]] = {}
        for each in self.judgement.modules:
            found = {name: self.judgement.slopes.get((each.module, name, step)) for name, step in columns.items()}
            powers = {name: slope.power.estimate for name, slope in found.items() if slope and slope.power}
            name = labels[each.module]
            if name not in rows or (rows[name]["status"] == OK and each.status != OK):
                rows[name] = {"module": name, "role": each.role, **powers, "status": each.status}
        return pd.DataFrame(list(rows.values()), columns=["module", "role", *columns, "status"])

    def report(self) -> str:
        """All that a terminal shows: the table of modules, warnings, what is at fault, and the sentence."""
        lines = [self.table().to_string(index=False, na_rep="", float_format=lambda power: f"{power:+.2f}"), ""]
        lines += [f"warning: {warning}" for warning in self.warnings]
        causes: dict[str, list[Finding]] = {}
        for finding in self.findings:
            causes.setdefault(finding.cause, []).append(finding)
        for cause, found in causes.items():
            names = ", ".join(finding.module or WHOLE for finding in found[:MOST_NAMED])
            more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
            lines.append(f"{cause}: {names}{more} ({found[0].evidence})")
        return "\n".join([*lines, self.sentence])

    def to_json(self) -> dict[str, Any]:
        """As JSON data: verdict, culprit and cause, every module's status, and every slope with its interval."""
        return {
            "schema": SCHEMA,
            "verdict": self.verdict,
            "sentence": self.sentence,
            "culprit": self.culprit,
            "cause": self.cause,
            "findings": [
                {"cause": each.cause, "evidence": each.evidence, **_plain(each.slope)} for each in self.findings
            ],
            "warnings": list(self.warnings),
            "widths": list(self.widths),
            "seeds": self.seeds,
            "steps": self.steps,
            "optimizer": self.optimizer,
            "lr": self.lr,
            "tolerance": self.tolerance,
            "modules": [
                {"module": each.module, "role": each.role, "status": each.status} for each in self.judgement.modules
            ],
            "slopes": [_plain(slope) for slope in self.judgement.slopes.values()],
        }


def fold(module: str) -> str:
    """A module's name with numbers as stars; of the model itself, what it is."""
    return re.sub(r"(^|\.)\d+(?=\.|$| )", r"\1*", module) or WHOLE


WORDS: Mapping[str, str] = {
    "pull": "what its update does for the loss",
    "fit": "what training changes in it",
    "size": "its size at initialization",
    "change": "its change",
    "effective": "its effective update",
    "aligned": "what its logits can reach",
}


def shown(slope: Slope) -> str:
    """Which quantity goes how with width, and when."""
    when = "" if slope.step == 0 else f" after {slope.step} update{'s' if slope.step > 1 else ''}"
    power = slope.power
    how = (
        "becomes zero or infinite"
        if power is None
        else f"goes as width^{power.estimate:+.2f} (95% CI {power.ci_low:+.2f}..{power.ci_high:+.2f})"
    )
    return f"{WORDS[slope.quantity]}{when} {how}"


def _plain(slope: Slope) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(Interval)]
    power = dict.fromkeys(names) if slope.power is None else dataclasses.asdict(slope.power)
    return {**{name: value for name, value in dataclasses.asdict(slope).items() if name != "power"}, **power}
