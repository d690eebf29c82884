"""Rows that others left as a table of trials: what is a run's loss, what diverged, what crashed, what are the arms.

| a row                                                    | becomes                                          |
|----------------------------------------------------------|--------------------------------------------------|
| `diverged` true, or a loss that is `nan` or `inf`        | diverged, loss inf: a result                     |
| state failed, crashed, killed, ...                       | left out: an error is no result                  |
| state running, pending, ..., or pruned                   | left out: its loss is that of a shorter training |
| no loss; no learning rate above 0; no size               | left out                                         |
| a loss above `diverged_above`, or above the initial loss | diverged, loss inf                               |
| fewer steps than the other runs of its cell              | left out: interrupted                            |

Nothing is left out silently: `Reading.lines` tells all of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mutransfer.checks import one_of
from mutransfer.config.scale import DIMENSIONS
from mutransfer.strict import LARGEST_NUMBER
from mutransfer.trials.foreign.names import FAILED, FINISHED, PRUNED, ROLES, STATES, UNFINISHED, flag
from mutransfer.trials.foreign.numbers import without_missing
from mutransfer.trials.foreign.settings import Cells, in_cells
from mutransfer.trials.foreign.sources import OWN, Rows, Source
from mutransfer.trials.foreign.taking import NONE, ReadOptions, Taken, keep_where, quoted, take, values_of
from mutransfer.trials.table import Trials

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

WHOLE_RUN = 0.9
"""A run that came to less than this part of the steps of the longest of its cell was interrupted."""

WHOLE_NUMBERS = ("width", "depth", "steps")
NUMBERS = (*DIMENSIONS, "lr", "seed", "reached", "init_loss", "flops", "seconds")
"""Roles whose columns hold numbers, but for the loss."""

_WHY = {
    FAILED: "failed or crashed: an error is no result",
    UNFINISHED: "not finished",
    PRUNED: "pruned: their loss is that of a shorter training",
}
_TRUE, _FALSE = ("true", "1", "1.0", "yes", "t"), ("false", "0", "0.0", "no", "f")


@dataclass(frozen=True, eq=False)
class Reading:
    """A table of trials and how it was read."""

    trials: Trials
    left_out: Mapping[str, int]
    """How many rows are no trials, by the reason in words."""
    resolved: ReadOptions
    """ReadOptions that read the same rows in the same way, whatever names are known by then."""

    @property
    def lines(self) -> tuple[str, ...]:
        """What was taken for what, what was kept and left out, a sentence each."""
        return self.trials.notes


@dataclass
class _Table:
    """The rows that are still trials, and what is known of each."""

    frame: pd.DataFrame
    loss: Array
    diverged: Mask
    numbers: dict[str, Array]
    left_out: dict[str, int] = field(default_factory=dict)

    def keep(self, those: Mask, why: str) -> None:
        """Leave the others out, and count them."""
        if those.all():
            return
        self.left_out[why] = self.left_out.get(why, 0) + int((~those).sum())
        self.frame, self.loss, self.diverged = self.frame[those], self.loss[those], self.diverged[those]
        self.numbers = {name: values[those] for name, values in self.numbers.items()}


def read(rows: Rows, options: ReadOptions) -> Reading:
    """A table of trials from rows of text.

    Raises:
        ValueError: where a needed column is missing or could be several, where a cell is no number, where anything but
            learning rate and seed varies in a cell (arm x scale), and where no trial is left.
    """
    for name in options.along:
        one_of("--along", name, DIMENSIONS)
    if options.diverged_above is not None and math.isnan(options.diverged_above):
        raise ValueError("expected a loss after --diverged-above, got nan; give a number, or inf for none")
    frame = keep_where(without_missing(rows.frame), options.where, rows.decimal)
    taken = _take_all(frame, options, rows.decimal)
    table = _results(frame, taken, rows.decimal)
    _keep_sized(table)
    if table.frame.empty:
        reasons = "; ".join(f"{count} {why}" for why, count in table.left_out.items())
        raise ValueError(f"expected trials, got none of {len(frame)} rows ({reasons}); choose other columns or rows")
    sizes = {name: table.numbers[name] for name in DIMENSIONS if name in table.numbers}
    _check_whole(sizes, taken)
    cells = in_cells(table.frame, sizes, table.numbers["lr"], table.numbers.get("seed"), taken, options, rows.decimal)
    said = _diverge(table, cells, options)
    arm = np.array(cells.arms, dtype=object)[cells.arm]
    whole = _whole(table, cells)
    table.keep(whole, "interrupted: they stopped before others of their cell")
    found = _trials(table, arm[whole], cells, taken)
    found, seeds = _seeded(found, table)
    resolved = _resolve(options, taken, cells, rows)
    notes = (
        *(_say_source(source) for source in rows.sources),
        *_say_columns(taken, cells, options, rows),
        *_say_rows(len(rows.frame), len(frame), found, table),
        *seeds,
        *said,
    )
    trials = Trials(found.assign(unit=options.unit), along=cells.along, notes=notes)
    return Reading(trials, table.left_out, resolved)


def _take_all(frame: pd.DataFrame, options: ReadOptions, decimal: str) -> dict[str, Taken]:
    found = {
        role: take(frame, role, getattr(options, role), decimal, role in ("lr", "loss"))
        for role in ROLES
        if role != "arm"
    }
    for name in ("lr", "loss"):
        if found[name] is None:
            raise ValueError(f"expected a column after {flag(name)}, got none; every analysis needs it")
    if all(found[name] is None for name in DIMENSIONS):
        raise ValueError(
            f"expected a size of the runs, got {quoted(frame.columns)}; name its column with one of "
            f"{', '.join(map(flag, DIMENSIONS))}, or give the size that all runs have, such as --width 1024"
        )
    unknown = [name for name in options.along if found[name] is None]
    if unknown:
        raise ValueError(
            f"expected a column for {DIMENSIONS[unknown[0]].word}, which --along names, got {quoted(frame.columns)}; "
            f"name it with {flag(unknown[0])} COLUMN"
        )
    return {role: each for role, each in found.items() if each is not None}


def _results(frame: pd.DataFrame, taken: Mapping[str, Taken], decimal: str) -> _Table:
    """The rows that are the result of a run."""
    loss, column = values_of(frame, taken["loss"], decimal), taken["loss"].column
    empty = frame[column].isna().to_numpy() if column is not None else np.isnan(loss)
    diverged = ~empty & ~np.isfinite(loss)
    if "diverged" in taken:
        diverged |= _told_diverged(frame[taken["diverged"].column])
    numbers = {name: values_of(frame, taken[name], decimal) for name in NUMBERS if name in taken}
    table = _Table(frame, loss, diverged, numbers)
    if "state" in taken:
        ended = _ended(frame[taken["state"].column])
        for state, why in _WHY.items():
            kept = table.diverged | (ended != state)
            table.keep(kept, why)
            ended = ended[kept]
    if column is not None:
        table.keep(table.diverged | table.frame[column].notna().to_numpy(), "without a loss")
    return table


def _told_diverged(cells: pd.Series) -> Mask:
    texts = cells.fillna("").str.strip().str.lower()
    unknown = ~texts.isin([*_TRUE, *_FALSE, ""])
    if unknown.any():
        raise ValueError(
            f"expected true or false in column {cells.name!r}, got {cells[unknown].iloc[0]!r} in row "
            f"{cells[unknown].index[0]}; correct it, or give --diverged none"
        )
    return texts.isin(_TRUE).to_numpy(dtype=bool)


def _ended(cells: pd.Series) -> NDArray[np.object_]:
    """How each run ended: a value of STATES. An empty cell says nothing, and counts as finished."""
    texts = cells.fillna("").str.strip().str.lower().str.replace(r"^.*\.", "", regex=True)  # TrialState.COMPLETE
    found = texts.map({**STATES, "": FINISHED})
    if found.isna().any():
        known = ", ".join(dict.fromkeys(STATES))
        raise ValueError(
            f"expected a state in column {cells.name!r} ({known}), got {cells[found.isna()].iloc[0]!r} in row "
            f"{cells[found.isna()].index[0]}; keep rows with --where, or give --state none"
        )
    return np.asarray(found.to_numpy(dtype=object))


def _keep_sized(table: _Table) -> None:
    """Keep the rows that have a learning rate and every size."""
    for name in ("lr", *DIMENSIONS):
        if name in table.numbers:
            word = "learning rate" if name == "lr" else DIMENSIONS[name].word
            usable = (table.numbers[name] > 0) & (table.numbers[name] <= LARGEST_NUMBER)  # never true of NaN
            table.keep(usable, f"without a {word} above 0")


def _check_whole(sizes: Mapping[str, Array], taken: Mapping[str, Taken]) -> None:
    for name in WHOLE_NUMBERS:
        if name in sizes and (sizes[name] != np.round(sizes[name])).any():
            odd = sizes[name][sizes[name] != np.round(sizes[name])][0]
            raise ValueError(
                f"expected whole numbers for the {DIMENSIONS[name].word}, got {odd:g} in column "
                f"{taken[name].text()!r}; name another with {flag(name)}"
            )


def _diverge(table: _Table, cells: Cells, options: ReadOptions) -> tuple[str, ...]:
    """Add to the diverged those whose loss says so, and tell."""
    not_finite = int(table.diverged.sum())
    trained = np.where(table.diverged, np.inf, table.loss)
    if options.diverged_above is not None:
        limit, rule = options.diverged_above, f"above {options.diverged_above:g} {options.unit}, as asked"
        high = trained > limit
    else:
        over = options.diverged_over_best
        best = np.full(int(cells.cell.max()) + 1, np.inf)
        np.minimum.at(best, cells.cell, trained)
        at_best = np.full(len(best), -np.inf)
        is_best = trained == best[cells.cell]
        np.maximum.at(at_best, cells.cell[is_best], table.numbers["lr"][is_best])
        high = (trained > best[cells.cell] + over) & (table.numbers["lr"] > at_best[cells.cell])
        rule = (
            f"more than {over:g} {options.unit} above the best of their cell, at a larger learning rate than that "
            "(--diverged-above sets a limit of your own)"
        )
    if "init_loss" in table.numbers:
        high |= trained > table.numbers["init_loss"]  # never true of NaN
        rule += ", or above the initial loss"
    high &= ~table.diverged
    table.diverged = table.diverged | high
    lines = [f"{not_finite} diverged by a loss that is no finite number, or as the table says"] if not_finite else []
    if high.any():
        low, top = table.loss[high].min(), table.loss[high].max()
        lines.append(f"{int(high.sum())} taken as diverged by a loss ({low:.4g} to {top:.4g}) {rule}")
    else:
        lines.append(f"none taken as diverged by a finite loss {rule}")
    return tuple(lines)


def _whole(table: _Table, cells: Cells) -> Mask:
    """Which runs were as long as the others of their cell, or diverged."""
    if "reached" not in table.numbers:
        return np.ones(len(table.loss), dtype=bool)
    reached = np.nan_to_num(table.numbers["reached"], nan=np.inf)
    longest = np.full(int(cells.cell.max()) + 1, -np.inf)
    known = np.isfinite(reached)
    np.maximum.at(longest, cells.cell[known], reached[known])
    return np.asarray(table.diverged | (reached >= WHOLE_RUN * longest[cells.cell]))


def _trials(table: _Table, arm: NDArray[np.object_], cells: Cells, taken: Mapping[str, Taken]) -> pd.DataFrame:
    """The columns of a table of trials, but for the seed."""
    numbers = table.numbers
    frame = pd.DataFrame({"arm": arm}, index=table.frame.index)
    for name in DIMENSIONS:
        if name in cells.along or (name in numbers and pd.Series(numbers[name]).groupby(arm).nunique().eq(1).all()):
            frame[name] = numbers[name].astype(np.int64) if name in WHOLE_NUMBERS else numbers[name]
    if "params" in numbers:
        frame["n_params"] = numbers["params"]
    frame["lr"], frame["log2_lr"] = numbers["lr"], np.log2(numbers["lr"])
    frame["loss"], frame["diverged"] = np.where(table.diverged, np.inf, table.loss), table.diverged
    for name in ("init_loss", "flops", "seconds"):
        if name in numbers and np.isfinite(numbers[name]).all():
            frame[name] = numbers[name]
    if "flops" not in frame and {"params", "tokens"} <= numbers.keys():
        frame["flops"] = 6.0 * numbers["params"] * numbers["tokens"]
    if "parametrization" in taken and not table.frame[taken["parametrization"].column].isna().any():
        frame["parametrization"] = table.frame[taken["parametrization"].column]
    frame["row"] = table.frame.index
    return frame


def _seeded(frame: pd.DataFrame, table: _Table) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The trials with their seeds, each arm, scale, learning rate and seed once, and what was made of repeats."""
    known = table.numbers.get("seed")
    frame = frame.assign(seed=0 if known is None else pd.factorize(known, sort=True)[0].astype(np.int64) + 1)
    if known is not None and np.isfinite(known).all() and (known == np.round(known)).all():
        frame["seed"] = known.astype(np.int64)
    cell = ["arm", *(name for name in DIMENSIONS if name in frame), "lr", "seed"]
    copies = frame.duplicated([*cell, "loss"]) & np.isfinite(frame["loss"])
    if copies.any():
        table.left_out["copies of another row, loss for loss"] = int(copies.sum())
        frame = frame[~copies]
    again = frame.groupby(cell, sort=False).cumcount().to_numpy()
    repeats = int((again > 0).sum())
    if repeats:
        seeds = frame["seed"].to_numpy()
        frame = frame.assign(seed=seeds + again * (int(seeds.max()) - min(0, int(seeds.min())) + 1))
    columns = [*cell[:-2], "lr", "log2_lr", "seed"]
    frame = frame[[*columns, *(name for name in frame.columns if name not in columns)]].reset_index(drop=True)
    if not repeats:
        return frame, ()
    of = "" if known is None else " and seed"
    return frame, (f"{repeats} repeat the learning rate{of} of another row of their cell: taken as further seeds",)


def _resolve(options: ReadOptions, taken: Mapping[str, Taken], cells: Cells, rows: Rows) -> ReadOptions:
    roles = {role: taken[role].text() if role in taken else NONE for role in ROLES}
    used = {each.column for each in taken.values()} | set(cells.arm_columns)
    return replace(
        ReadOptions(**roles | {"arm": ",".join(cells.arm_columns) or NONE}),  # type: ignore[arg-type]
        where=options.where,
        diverged_above=None if options.diverged_above is None else min(options.diverged_above, LARGEST_NUMBER),
        diverged_over_best=options.diverged_over_best,
        unit=options.unit,
        along=cells.along,
        ignore=tuple(str(column) for column in rows.frame.columns if column not in used),
    )


def _say_source(source: Source) -> str:
    by = "" if source.kind == OWN else ": trained by others, not by this program"
    return f"{source.kind} {source.path} (SHA-256 {source.sha256[:12]}){by}"


def _say_columns(taken: Mapping[str, Taken], cells: Cells, options: ReadOptions, rows: Rows) -> list[str]:
    read = "; ".join(f"{role.replace('_', ' ')} from {each.text()!r}" for role, each in taken.items())
    arms = "one arm" if not cells.arm_columns else f"{len(cells.arms)} arms by {quoted(cells.arm_columns)}"
    scaled = " and ".join(DIMENSIONS[name].word for name in cells.along) or "nothing: one scale"
    lines = [f"read {read}", f"{arms}, scaled along {scaled}"]
    lines += [
        f"{DIMENSIONS[name].word} goes with {other}: no slope can tell them apart"
        for name, other in cells.goes_with.items()
    ]
    if cells.between:
        lines.append(f"{quoted(cells.between)} differ between cells, not within: slopes hold their effect too")
    if options.ignore:
        lines.append(f"left out of account: {quoted(options.ignore)}")
    return lines


def _say_rows(rows: int, asked: int, found: pd.DataFrame, table: _Table) -> list[str]:
    left_out = ({"not asked for": rows - asked} if asked < rows else {}) | table.left_out
    reasons = "".join(f"; {count} {why}" for why, count in left_out.items())
    return [f"{len(found)} of {rows} rows are trials{reasons}"]
