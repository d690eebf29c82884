"""`make conformance`: measure the claims and write results/conformance/.

run.py                    all of them; what is recorded in a sweep is not run again
run.py --only C17,C18     some; the others' rows stay as they are
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch
from claim import Claim
from claims import CLAIMS
from place import ROOT, Place
from table import make_row, read_rows, verdict, write_table

from mutransfer.checks import one_of
from mutransfer.config.validation import EXECUTORS
from mutransfer.sweep.recording import installed_versions


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Measure the published claims.")
    parser.add_argument("--only", default="", help="ids of claims, as C17,C18; all by default")
    parser.add_argument("--table", action="store_true", help="only write the table again")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "conformance", help="folder of table and sweeps")
    parser.add_argument("--executor", choices=EXECUTORS, default="ray", help="who runs the sweeps' trials")
    arguments = parser.parse_args(words)
    try:
        wanted = () if arguments.table else chosen(arguments.only)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    place = Place(arguments.out / "sweeps", arguments.executor)
    rows = read_rows(arguments.out)
    write_table(rows, arguments.out)
    for claim in wanted:
        if claim.measure is not None:
            began = time.perf_counter()
            measurement = claim.measure.measure(place)
            rows[claim.id] = make_row(claim, measurement, time.perf_counter() - began, installed_versions())
            write_table(rows, arguments.out)
        row = rows.get(claim.id)
        print(f"{claim.id} {verdict(claim, row)}: {claim.statement}", flush=True)
        for name, quantity in row.measured.items() if row else ():
            print(f"    {name}: {quantity}", flush=True)
    return 0


def chosen(only: str) -> tuple[Claim, ...]:
    """The claims that --only names. Raises ValueError on one that there is not."""
    if not only:
        return CLAIMS
    ids = only.replace(",", " ").split()
    for name in ids:
        one_of("claim", name, [claim.id for claim in CLAIMS])
    return tuple(claim for claim in CLAIMS if claim.id in ids)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
