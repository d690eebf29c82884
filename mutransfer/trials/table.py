"""The table of trials: what the analysis takes, whoever trained them.

A row is a trial. Columns that every table has:

| column             | holds                                                                                        |
|--------------------|----------------------------------------------------------------------------------------------|
| arm                | the line of the comparison that it belongs to, text                                          |
| width, depth, ...  | its scale: each dimension of `DIMENSIONS` that the table knows, numbers above 0              |
| lr, log2_lr        | peak learning rate, above 0, and its log2                                                    |
| seed               | a whole number; 0 where nobody said                                                          |
| loss               | the loss that the study minimizes, in `unit`; inf where the trial diverged                   |
| diverged           | whether it did                                                                               |

Columns that a table may have; what needs one that is missing is left out, and said:

| column          | holds                                                    | what needs it                           |
|-----------------|----------------------------------------------------------|-----------------------------------------|
| init_loss       | loss at initialization                                   | sensitivity to the learning rate        |
| n_params        | number of parameters                                     | the law of the number of parameters     |
| flops           | FLOPs of the trial                                       | what would settle a verdict: its cost   |
| seconds         | wall time                                                | the same                                |
| parametrization | its name                                                 | what muP predicts                       |
| setting         | all else that decides the optimum, as JSON; one an arm   | refusing a mixture                      |
| search          | the search that placed the trial                         | what would settle a verdict             |
| trial_id, row   | where it stands in the records, or in the file read      | naming it                               |
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from mutransfer.config.scale import DIMENSIONS, Scale, varying

REQUIRED = ("arm", "lr", "log2_lr", "seed", "loss", "diverged")
OPTIONAL = ("init_loss", "n_params", "flops", "seconds", "parametrization", "setting", "search", "trial_id", "row")


@dataclass(frozen=True, eq=False)
class Trials:
    """A table of trials. `frame` has the columns above; rows of one arm and scale need not stand together."""

    frame: pd.DataFrame
    unit: str = "nats"
    """What the loss is measured in, per token."""
    notes: tuple[str, ...] = field(default=())
    """What a reader of the result should know of how the table was read, a sentence each."""

    @property
    def known(self) -> tuple[str, ...]:
        """The dimensions of the scale that are columns, in the order of DIMENSIONS."""
        return tuple(name for name in DIMENSIONS if name in self.frame.columns)

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The dimensions that vary."""
        return varying(self.scales)

    @property
    def scales(self) -> tuple[Scale, ...]:
        """Every scale that has a trial, ascending."""
        rows = self.frame[list(self.known)].drop_duplicates().to_dict("records")
        return tuple(sorted(Scale(**{str(name): size for name, size in row.items()}) for row in rows))

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms, in the order in which they first stand."""
        return tuple(dict.fromkeys(str(arm) for arm in self.frame["arm"]))

    def of_arm(self, arm: str) -> Trials:
        """The trials of one arm."""
        return Trials(self.frame[self.frame["arm"] == arm], self.unit, self.notes)
