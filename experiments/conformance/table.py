"""The table of claims: rows of conformance.json, and the README made from them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claim import Claim
from claims import CLAIMS
from findings import FINDINGS
from gates import FAILS, HOLDS, Measurement, Quantity, judge

from mutransfer.files import write_whole

SCHEMA = 1


@dataclass(frozen=True)
class Row:
    """A claim as it was measured. `inputs` is the claim's digest at that time; `seconds` the wall time, sweeps that
    were there already not counted."""

    id: str
    inputs: str
    measured: dict[str, Quantity]
    conditions: str
    seconds: float
    versions: dict[str, str]


def verdict(claim: Claim, row: Row | None) -> str:
    """`holds` or `fails` by the claim's gate, `not run (...)` without a measurement or on a machine that lacks what it
    needs: nothing holds that was not run."""
    if claim.needs:
        return f"not run (needs {claim.needs})"
    if row is None or row.inputs != claim.inputs:
        return "not run (yet)"
    return judge(claim.gate, row.measured)


def make_row(claim: Claim, measurement: Measurement, seconds: float, versions: dict[str, str]) -> Row:
    return Row(
        claim.id, claim.inputs, dict(measurement.quantities), measurement.conditions, round(seconds, 1), versions
    )


def read_rows(folder: Path) -> dict[str, Row]:
    """The rows of a table by claim; none where there is no table yet."""
    path = folder / "conformance.json"
    if not path.exists():
        return {}
    entries = json.loads(path.read_text())["claims"]
    names = [field.name for field in dataclasses.fields(Row)]
    rows = {}
    for entry in entries:
        if entry["inputs"] is not None:
            quantities = {name: Quantity(**numbers) for name, numbers in entry["measured"].items()}
            rows[entry["id"]] = Row(**{name: entry[name] for name in names} | {"measured": quantities})
    return rows


def write_table(rows: dict[str, Row], folder: Path) -> None:
    """Write conformance.json and README.md."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = [to_entry(claim, rows.get(claim.id)) for claim in CLAIMS]
    data = json.dumps({"schema": SCHEMA, "claims": entries}, indent=1, allow_nan=False, ensure_ascii=False)
    write_whole(folder / "conformance.json", data.encode() + b"\n")
    write_whole(folder / "README.md", to_markdown(rows).encode())


def to_entry(claim: Claim, row: Row | None) -> dict[str, Any]:
    """A claim with its row as plain JSON data; `inputs` is null where it was never measured."""
    found = verdict(claim, row)
    return {
        "id": claim.id,
        "claim": claim.statement,
        "source": claim.source,
        "expected": claim.expectation,
        "gate": [str(bound) for bound in claim.gate],
        "command": claim.command,
        "inputs": row.inputs if row else None,
        "measured": {name: dataclasses.asdict(quantity) for name, quantity in row.measured.items()} if row else {},
        "conditions": row.conditions if row else "",
        "verdict": found,
        "finding": finding(claim) if found == FAILS else "",
        "seconds": row.seconds if row else None,
        "versions": row.versions if row else {},
    }


def finding(claim: Claim) -> str:
    """Why the claim failed; empty where nobody has said."""
    found = FINDINGS.get(claim.id)
    return "" if found is None else found


def to_markdown(rows: dict[str, Row]) -> str:
    """The table for a reader."""
    verdicts = {claim.id: verdict(claim, rows.get(claim.id)) for claim in CLAIMS}
    count = {word: sum(found == word for found in verdicts.values()) for word in (HOLDS, FAILS)}
    failed = [claim for claim in CLAIMS if verdicts[claim.id] == FAILS]
    lines = [
        "# Do the published claims hold here?",
        "",
        "Claims of the literature on learning rates and width, each measured by this project's own training and "
        "analysis, at a size that two CPU cores can pay. `make conformance` measures all of them again (about "
        f"{sum(claim.minutes for claim in CLAIMS):.0f} minutes; trials that are recorded are not run again), the "
        "command in a row that row alone. Written by the program; all numbers are in "
        "[`conformance.json`](conformance.json).",
        "",
        f"**{count[HOLDS]} hold, {count[FAILS]} fail, {len(CLAIMS) - sum(count.values())} were not run.** A claim "
        "holds if every bound in bold under *expected* is kept. Bounds are written down before a claim is measured and "
        "never loosened: those of C12, C21 and C22 were tightened afterwards, from an estimate to an interval, and the "
        "default study (C1, C3, C5, C6, C8) had been run before. C17 to C19 take published numbers as input, C20 is an "
        "identity. Slopes are octaves of the best "
        "rate per doubling of width; brackets are 95% intervals. Where a claim needs a GPU and an analogue of it fits "
        "a CPU, the analogue is shown; it decides nothing.",
        "",
        "| | claim | source | expected here, and why | measured | verdict | command |",
        "|---|---|---|---|---|---|---|",
    ]
    for claim in CLAIMS:
        row = rows.get(claim.id)
        current = row if row is not None and row.inputs == claim.inputs else None
        cells = (claim.id, claim.statement, claim.source, _expected(claim), _measured(claim, current))
        lines.append(_line(*cells, verdicts[claim.id], f"`{claim.command}`" if claim.measure else ""))
    lines += ["", "## Findings", ""]
    lines += [f"- **{claim.id}** {finding(claim) or 'Fails, and is not explained yet.'}" for claim in failed]
    lines += [] if failed else ["No claim that was run fails."]
    return "\n".join(lines) + "\n"


def _expected(claim: Claim) -> str:
    gate = "; ".join(str(bound) for bound in claim.gate)
    return f"{claim.expectation} **{gate}**" if gate else claim.expectation


def _measured(claim: Claim, row: Row | None) -> str:
    if row is None:
        return ""
    numbers = "<br>".join(f"{name}: **{quantity}**" for name, quantity in row.measured.items())
    return f"{'analogue: ' if claim.needs else ''}{numbers}<br>({row.conditions})"


def _line(*cells: Sequence[str]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
