"""One line of a comparison, and what a sweep can vary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from mutransfer.checks import one_of

PARAMETRIZATIONS = (
    "sp",
    "sp_fixed_std",
    "mup",
    "mup_table3",
    "mup_table9",
    "mup_simple",
    "sp_full_align",
    "ntk",
    "mean_field",
    "umup",
    "depth_mup",
    "completep",
)
"""Tables that people train with."""

ABLATIONS = ("sp_embedding_lr", "mup_without_hidden_lr", "mup_without_output_mult")
"""Tables with one entry taken out or put in, to show what it does."""


UNTIED = ("mup_table3", "sp_full_align", "ntk", "umup", "sp_embedding_lr")
"""Tables that give an embedding and a readout different rates, so that a weight shared by both has none."""

FOR_DEPTH = ("depth_mup", "completep")
"""Tables with rules for residual blocks."""


class Axis(NamedTuple):
    """What a sweep varies beside rate and seed: the field that lists its sizes, and the words for one and several."""

    sizes: str
    word: str
    words: str


AXES: Mapping[str, Axis] = {
    "width": Axis("widths", "width", "widths"),
    "depth": Axis("depths", "depth", "depths"),
    "batch_size": Axis("batch_sizes", "batch size", "batch sizes"),
    "steps": Axis("step_counts", "number of steps", "numbers of steps"),
}
"""By the name of the record's column."""


def one_size(sizes: Mapping[str, int], axis: str) -> int:
    """The size that a command line gives along an axis. Raises ValueError where it gives none, or another axis'."""
    option = _option(axis)
    if not sizes:
        raise ValueError(f"found no size to train; wanted one: give {option}")
    if list(sizes) != [axis]:
        given = " and ".join(map(_option, sizes))
        raise ValueError(f"found {given} for a sweep of {AXES[axis].words}; wanted {option} alone")
    return sizes[axis]


def _option(axis: str) -> str:
    return f"--{axis.replace('_', '-')}"


@dataclass(frozen=True)
class Arm:
    """One line of a comparison: a parametrization, and what its trials change of the sweep's config."""

    name: str
    parametrization: str
    changes: tuple[tuple[str, Any], ...] = ()
    """Dotted fields of the SweepConfig with their values for this arm, as (("model.qk_norm", True),)."""

    def validate(self) -> None:
        """Raises ValueError on a name that is none and on changes that are no pairs."""
        if not isinstance(self.name, str) or not plain_name(self.name):
            raise ValueError(f"found an arm named {self.name!r}; wanted a plain name, without a slash: rename it")
        one_of("parametrization", self.parametrization, (*PARAMETRIZATIONS, *ABLATIONS))
        pairs = isinstance(self.changes, tuple) and all(isinstance(each, tuple) for each in self.changes)
        if not pairs or not all(len(each) == 2 and isinstance(each[0], str) for each in self.changes):
            raise ValueError(
                f"found the changes {self.changes!r} in arm {self.name}; wanted pairs of a field and its value, such "
                'as (("model.qk_norm", True),)'
            )


def plain_name(name: str) -> bool:
    """Whether a name may be that of a folder, and stands in one line."""
    return bool(name) and name.isprintable() and not name.startswith(".") and "/" not in name and "\\" not in name
