"""What a search may vary beside the rate, and between which values."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mutransfer.checks import of_its_types, one_of, several
from mutransfer.config.arm import AXES

if TYPE_CHECKING:
    from mutransfer.config.sweep import SweepConfig

SAMPLED = ("random", "tpe", "gp")
"""Searches that draw what they try, and so can search several hyperparameters at once."""

ROUND = 4
"""Rates or settings that TPE and the Gaussian process propose at once: few enough to learn from, enough to keep several
slots busy. It is also how many settings halving compares, which drops half of them twice."""

PRUNES = ("none", "halving")

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


def validate_space(config: SweepConfig) -> None:
    """Raises ValueError on a sweep whose space cannot be searched: its ends are tried one by one in every arm."""
    for each in config.space:
        each.validate()
    several("space", tuple(each.name for each in config.space))
    if config.search not in SAMPLED:
        raise ValueError(
            f"found a space with search {config.search}, which tries rates alone; wanted one of {', '.join(SAMPLED)}: "
            "give --search"
        )
    if len(config.sizes) > 1:
        raise ValueError(
            f"found a space with {len(config.sizes)} {AXES[config.axis].words}; wanted one, the proxy's: give "
            f"--{AXES[config.axis].sizes.replace('_', '-')}"
        )
    for arm in config.arms:
        twice = {name for name, _ in arm.changes} & {each.name for each in config.space}
        if twice:
            raise ValueError(f"found {min(twice)} in arm {arm.name} and in the space; wanted it once: leave one out")
        for name, value in ((each.name, end) for each in config.space for end in (each.low, each.high)):
            at_end = dataclasses.replace(arm, changes=(*arm.changes, (name, value)))
            try:
                dataclasses.replace(config.for_arm(at_end), space=(), prune="none").validate()
            except ValueError as error:
                raise ValueError(f"at the end {value:g} of {name}: {error}") from None


def validate_pruning(config: SweepConfig) -> None:
    """Raises ValueError on a sweep whose trials cannot be pruned, or must not be."""
    if not config.space:
        raise ValueError(
            f"found prune {config.prune} with search {config.search} over the rate alone, whose optimum it would bias: "
            "early losses favour larger rates; wanted a search over several hyperparameters: give --space, or leave "
            "--prune out"
        )
    if config.n_trials % ROUND:
        raise ValueError(
            f"found n_trials {config.n_trials} with prune {config.prune}, which compares {ROUND} settings at a time; "
            f"wanted a multiple of {ROUND}: give --n-trials {-(-config.n_trials // ROUND) * ROUND}"
        )
    for arm in config.arms:
        steps = config.for_arm(arm).at(config.sizes[0]).steps
        if steps < ROUND:
            raise ValueError(f"found {steps} steps with prune {config.prune}; wanted {ROUND} or more: raise steps")
