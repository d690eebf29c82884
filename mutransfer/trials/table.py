"""The table of trials: what the analysis takes, whoever trained them.

A row is a trial. Columns that every table has:

| column             | holds                                                                                        |
|--------------------|----------------------------------------------------------------------------------------------|
| arm                | the line of the comparison that it belongs to, text                                          |
| width, depth, ...  | its scale: each dimension of `DIMENSIONS` that the table knows, numbers above 0              |
| lr, log2_lr        | peak learning rate, above 0, and its log2                                                    |
| seed               | which seed; 0 where nobody said                                                              |
| loss               | the loss that the study minimizes; inf where the trial diverged                              |
| diverged           | whether it did                                                                               |

Columns that a table may have; what needs one that is missing is left out, and said:

| column          | holds                                                    | what needs it                           |
|-----------------|----------------------------------------------------------|-----------------------------------------|
| unit            | what the loss is measured in, per token                  | words; nats where it is missing         |
| init_loss       | loss at initialization                                   | sensitivity to the learning rate        |
| n_params        | number of parameters                                     | the law of the number of parameters     |
| flops           | FLOPs of the trial                                       | what would settle a verdict: its cost   |
| parametrization | its name                                                 | words                                   |
| setting         | all else that decides the optimum, as JSON; one an arm   | refusing a mixture                      |
| search          | the name of what placed the trial                        | what would settle a verdict             |
| placement       | how: GIVEN, DRAWN or ADAPTIVE; GIVEN where it is missing | the same                                |
| context, data   | tokens of a sequence, name of the data                   | saying what a rate was tuned for        |
| tokens_seen     | tokens trained on                                        | the same                                |
| trial_id, row   | where it stands in the records, or in the file read      | naming it                               |

Other columns are kept and not looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from mutransfer.config.scale import DIMENSIONS, Scale, varying

GIVEN, DRAWN, ADAPTIVE = "given", "drawn", "adaptive"
"""How the learning rate of a trial was chosen: from those that were asked for, at every scale alike; drawn from their
range, others at every scale; or by a search that decides itself on rates and seeds until the slope is known."""
REQUIRED = ("arm", "lr", "log2_lr", "seed", "loss", "diverged")


@dataclass(frozen=True)
class Horizon:
    """The training that the rates were tuned for; the optimal rate depends on it."""

    steps: int
    tokens: int
    batch_size: int
    context: int
    data: str


@dataclass(frozen=True, eq=False)
class Trials:
    """A table of trials. `frame` has the columns above; rows of one arm and scale need not stand together."""

    frame: pd.DataFrame
    name: str = ""
    """What the sweep is called."""
    loss: str = "loss"
    """What the column `loss` holds: of our records final_loss, mean_loss or val_loss."""
    along: tuple[str, ...] = ()
    """The dimensions that the sweep is about, which it names even where it has one size of each so far."""
    notes: tuple[str, ...] = field(default=())
    """What a reader of the result should know of how the table was read, a sentence each."""

    @property
    def known(self) -> tuple[str, ...]:
        """The dimensions of the scale that are columns, in the order of DIMENSIONS."""
        return tuple(name for name in DIMENSIONS if name in self.frame.columns)

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The dimensions that vary within an arm, at least one name: where none varies, those of `along`, or the first
        that is known."""
        found = {name for arm in self.arms for name in varying(self.of_arm(arm).scales)}
        return tuple(name for name in DIMENSIONS if name in found) or self.along or self.known[:1]

    @property
    def scales(self) -> tuple[Scale, ...]:
        """Every scale that has a trial, ascending."""
        rows = self.frame[list(self.known)].drop_duplicates().to_dict("records")
        return tuple(sorted((_scale(row) for row in rows), key=ascending))

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms, in the order in which they first stand."""
        return tuple(dict.fromkeys(str(arm) for arm in self.frame["arm"]))

    @property
    def unit(self) -> str:
        """What the losses are measured in; nats where the table does not say."""
        return " or ".join(sorted(set(self.frame["unit"]))) if "unit" in self.frame.columns else "nats"

    @property
    def horizon(self) -> Horizon | None:
        """The training of the first trial, where the table has all of it."""
        if not {"steps", "batch_size", "context", "data", "tokens_seen"} <= set(self.frame.columns):
            return None
        first = self.frame.iloc[0]
        return Horizon(
            steps=int(first["steps"]),
            tokens=int(first["tokens_seen"]),
            batch_size=int(first["batch_size"]),
            context=int(first["context"]),
            data=str(first["data"]),
        )

    def has(self, *columns: str) -> bool:
        """Whether it has all these columns, with a value in every row."""
        return all(name in self.frame.columns and bool(self.frame[name].notna().all()) for name in columns)

    def of_arm(self, arm: str) -> Trials:
        """The trials of one arm."""
        return self.only(self.frame["arm"] == arm)

    def at(self, scale: Scale) -> Trials:
        """The trials at one scale, along the dimensions that it knows."""
        here = np.ones(len(self.frame), dtype=bool)
        for name in scale.known:
            here &= (self.frame[name] == scale[name]).to_numpy()
        return self.only(here)

    def only(self, rows: Any) -> Trials:
        """The trials of some rows: a mask or an index of the frame."""
        return replace(self, frame=self.frame[rows])

    def measured_by(self, loss: str) -> Trials:
        """The same trials by the loss in another column; inf where a trial diverged."""
        losses = self.frame[loss].astype("float64").mask(self.frame["diverged"].astype(bool), math.inf)
        return replace(self, frame=self.frame.assign(loss=losses), loss=loss)

    def together(self, *others: Trials) -> Trials:
        """These and other trials in one table, under this one's name."""
        return replace(self, frame=pd.concat([self.frame, *(each.frame for each in others)], ignore_index=True))


def ascending(scale: Scale) -> tuple[float, Scale]:
    """The key by which scales ascend: the product of their sizes, in octaves, then size by size."""
    return sum(scale.log2(name) for name in scale.known), scale


def from_frame(frame: pd.DataFrame, name: str = "", along: Iterable[str] = ()) -> Trials:
    """A table of trials from a DataFrame with the columns above, of which it needs a learning rate (`lr` or `log2_lr`),
    `loss` and one dimension of the scale. Without `arm` all is one arm, without `seed` there is one, and without
    `diverged` those with an infinite loss have. Columns that are not named above are kept and not looked at.

    Raises ValueError in one sentence on all that is missing, and on values that cannot be.
    """
    columns = set(frame.columns)
    missing = [
        words
        for words, names in (
            ("a learning rate (lr or log2_lr)", ("lr", "log2_lr")),
            ("a loss (loss)", ("loss",)),
            (f"a scale (one or more of {', '.join(DIMENSIONS)})", tuple(DIMENSIONS)),
        )
        if not columns & set(names)
    ]
    if missing:
        found = ", ".join(map(str, frame.columns)) or "none"
        raise ValueError(f"expected columns for {', '.join(missing)}; got {found}: name the columns so")
    if frame.empty:
        raise ValueError("expected at least one finished trial, got none; run the sweep first")
    known = [name for name in DIMENSIONS if name in columns]
    lr = _numbers(frame, "lr") if "lr" in columns else 2.0 ** _numbers(frame, "log2_lr")
    # log2 of a rate that is given as a power of 2 is to be that very number, not one beside it.
    log2_lr = _numbers(frame, "log2_lr") if "log2_lr" in columns else np.log2(lr.where(lr > 0))
    loss = _numbers(frame, "loss")
    diverged = frame["diverged"].astype(bool) if "diverged" in columns else loss == math.inf
    seed = frame["seed"] if "seed" in columns else pd.Series(0, index=frame.index)
    sizes = {each: _numbers(frame, each) for each in known}
    _refuse("lr", lr, ~(lr.map(math.isfinite) & (lr > 0)), "a finite number above 0")
    for each, size in sizes.items():
        _refuse(each, size, ~(size.map(math.isfinite) & (size > 0)), "a finite number above 0")
    _refuse("loss", loss, ~diverged & ~loss.map(math.isfinite), "a finite number, or diverged set to true")
    _refuse("seed", seed, seed.isna(), "a whole number")
    table = frame.assign(
        arm=frame["arm"].astype(str) if "arm" in columns else "all trials",
        **sizes,
        lr=lr,
        log2_lr=log2_lr,
        seed=seed,
        loss=loss.mask(diverged, math.inf),
        diverged=diverged,
    )
    return Trials(table, name, along=tuple(along))


def _numbers(frame: pd.DataFrame, name: str) -> pd.Series[float]:
    try:
        return frame[name].astype("float64")
    except (TypeError, ValueError):
        raise ValueError(f"expected numbers in the column {name}, got {frame[name].iloc[0]!r}; convert it") from None


def _refuse(name: str, values: pd.Series[Any], wrong: pd.Series[bool], wanted: str) -> None:
    """Raises ValueError where some rows of a column are wrong."""
    if bool(wrong.any()):
        first = int(np.argmax(wrong.to_numpy()))
        raise ValueError(
            f"expected {name} to be {wanted}, got {values.iloc[first]} in row {first} and {int(wrong.sum())} rows in "
            "all; mend or remove them"
        )


def _scale(row: dict[Any, Any]) -> Scale:
    """Whole sizes as whole numbers, however the column holds them."""
    sizes = {str(name): int(size) if size == int(size) else float(size) for name, size in row.items()}
    return Scale(**sizes)  # type: ignore[arg-type]
