"""A result on a terminal: the table of optima, and what it says in words."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mutransfer.config import to_json
from mutransfer.config.scale import DIMENSIONS, in_digits

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from mutransfer.study.foreign import ForeignResult
    from mutransfer.study.result import Result
    from mutransfer.study.search_result import SearchResult

MOST_PAIRS = 3
"""Pairs of arms of which the difference is shown."""


def print_result(result: Result | ForeignResult) -> None:
    """Print the table of optima, what the result says, and where its page is."""
    from rich.table import Column, Table

    from mutransfer.report import optima_table

    dimensions = result.analysis.dimensions
    table = Table(
        Column("arm", overflow="fold"),
        *(DIMENSIONS[name].word for name in dimensions),
        "log2 lr*",
        "95% interval",
        "lr*",
        "loss there",
        "optimum",
    )
    for row in optima_table(result.analysis).to_dict("records"):
        known = row["ci_low"] == row["ci_low"]
        interval = f"{row['ci_low']:.2f} .. {row['ci_high']:.2f}" if known else "unknown"
        loss = f"{row['loss']:.4f}" if row["loss"] == row["loss"] else "unknown"
        table.add_row(
            row["arm"],
            *(in_digits(row[name]) for name in dimensions),
            f"{row['log2_lr']:.2f}",
            interval,
            f"{row['optimal_lr']:.3g}",
            loss,
            row["status"],
        )
    console = open_console()
    console.print(table)
    for line in _lines(result):
        console.print(line, soft_wrap=True)


def print_search(result: SearchResult) -> None:
    """Print the best settings of a search, what told them apart, and how to confirm them."""
    from mutransfer.report.settings import best_table

    console = open_console()
    left = rows = best_table(result.settings, result.config).to_dict("records")
    while left:
        fitting = [count for count in range(1, len(left) + 1) if _fits(console, _settings_table(left[:count]))]
        count = max(fitting, default=1)
        console.print(_settings_table(left[:count]))
        left = left[count:]
    if any(row["at an end"] for row in rows):
        console.print("* at an end of its range: the best may lie beyond")
    for line in result.lines:
        console.print(line, soft_wrap=True)
    console.print(str(result.folder / "report.html"), soft_wrap=True)


def _settings_table(rows: Sequence[Mapping[Any, Any]]) -> Table:
    """A setting a column, since names are longer than numbers: as many settings stand side by side as there is room."""
    from rich.table import Table

    from mutransfer.report.words import significant

    table = Table("place", *(str(row["place"]) for row in rows))
    for name in [name for name in rows[0] if name not in ("place", "at an end")]:
        values = [significant(row[name]) if isinstance(row[name], float) else str(row[name]) for row in rows]
        ends = ["*" if name in row["at an end"] else "" for row in rows]
        table.add_row(name, *(value + end for value, end in zip(values, ends, strict=True)))
    return table


def _fits(console: Console, table: Table) -> bool:
    """Whether a table has room without a break in any cell."""
    return console.measure(table, options=console.options.update(max_width=sys.maxsize)).maximum <= console.width


def _lines(result: Result | ForeignResult) -> Iterator[str]:
    """What a result says in words; of more than MOST_PAIRS differences, where to find them."""
    from mutransfer.analysis.verdict import INCONCLUSIVE
    from mutransfer.report.answer import answer
    from mutransfer.report.commands import settling_flags, settling_step

    analysis, page, config = result.analysis, result.folder / "report.html", to_json(result.config)
    for arm in analysis.arms:
        yield arm.sentence
        if arm.verdict == INCONCLUSIVE and arm.reason not in arm.sentence:
            yield f"  {arm.reason}"
        for plan in arm.settling:
            step = settling_step(arm.arm, plan.what, settling_flags(plan), result.command, config)
            yield f"  to settle it: {step.what}"
            if step.command:
                yield f"    {step.command}"
    if len(analysis.slope_difference) <= MOST_PAIRS:
        for pair, difference in analysis.slope_difference.items():
            yield (
                f"{pair}: the slopes differ by {difference.estimate:+.2f} "
                f"(95% CI {difference.ci_low:+.2f}..{difference.ci_high:+.2f})"
            )
    else:
        yield f"differences of the arms' slopes: in {page}"
    yield from (confirmation.sentence for confirmation in result.confirmations)
    found = answer(analysis, str(result.folder))
    if found is not None:
        yield found.text
        yield f"Beyond: {found.command}"
    yield str(page)


def open_console(stderr: bool = False) -> Console:
    """The terminal, or a log, which shows every text as it is."""
    from rich.console import Console

    console = Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    # A log has no width of its own, and nothing in it should be cut off.
    if not console.is_terminal:
        console.width = 120
    return console
