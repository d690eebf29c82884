"""What a search may vary beside the rate, and between which values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mutransfer.checks import of_its_types, one_of

SEARCHABLE = (
    "z_loss",
    "model.attention_mult",
    "model.embedding_mult",
    "model.output_mult",
    "init.std",
    "init.embedding_std",
    "init.position_std",
    "init.readout_scale",
    "optimizer.beta1",
    "optimizer.beta2",
    "optimizer.eps",
    "optimizer.momentum",
    "optimizer.weight_decay",
    "optimizer.clip_norm",
    "schedule.warmup",
    "schedule.floor",
    "schedule.decay_fraction",
    "schedule.power",
    "schedule.gamma",
    "schedule.exponent",
)
"""Numbers of a SweepConfig that are good between any two values that are; none changes what a trial costs."""


@dataclass(frozen=True)
class Range:
    """A hyperparameter that is searched together with the rate."""

    name: str
    """The dotted field of the SweepConfig, one of SEARCHABLE."""
    low: float
    high: float
    log: bool = True
    """Whether to search its logarithm."""

    def validate(self) -> None:
        """Raises ValueError on what is no range of a hyperparameter."""
        of_its_types("a range's ", self)
        one_of("hyperparameter", self.name, SEARCHABLE)
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"found {self.name} from {self.low:g} to {self.high:g}; wanted the lower first")
        if self.log and self.low <= 0:
            raise ValueError(
                f"found {self.name} from {self.low:g} on a logarithmic scale; wanted it above 0, or log=False"
            )
        if self.name == "schedule.warmup" and self.low < 1 <= self.high:
            raise ValueError(
                f"found schedule.warmup from {self.low:g} to {self.high:g}; wanted both below 1, a fraction of the "
                "steps, or both from 1 on, a number of steps"
            )

    def value_in(self, flat: Mapping[str, Any]) -> float:
        """Its value in a trial's config with dotted fields."""
        return float(flat[self.name])


def parse_range(text: str) -> Range:
    """A range of the command line: `model.output_mult=1..16`, its logarithm searched; with `:linear` behind it, as in
    `optimizer.beta2=0.9..0.99:linear`, the value itself.

    Raises ValueError on anything else.
    """
    name, equals, ends = text.partition("=")
    ends, colon, scale = ends.partition(":")
    low, dots, high = ends.partition("..")
    try:
        if not (equals and dots) or (colon and scale != "linear"):
            raise ValueError
        found = Range(name, float(low), float(high), log=not colon)
    except ValueError:
        raise ValueError(
            f"found the range {text!r}; wanted one such as model.output_mult=1..16 or optimizer.beta2=0.9..0.99:linear"
        ) from None
    found.validate()
    return found
