"""The learning rate over a run."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from mutransfer.checks import MOST, all_used, fitting, of_its_types, one_of, positive
from mutransfer.theory.schedules import COOLDOWNS, SCHEDULES, Schedule


@dataclass(frozen=True)
class ScheduleConfig:
    """The learning rate over the run, as a factor of its peak."""

    name: str = "linear"
    """constant, linear, cosine, polynomial, exponential, step, wsd (warmup, stable, decay), inverse_sqrt, power,
    cosine_restarts, triangular, triangular2, one_cycle or plateau (falls where the training loss no longer does), each
    after a linear warmup (one_cycle's is a cosine)."""
    warmup: float = 0.1
    """Below 1 a fraction of the steps, from 1 on a number of steps."""
    floor: float | None = None
    """The factor at the end of a decay, and between cycles; plateau's smallest. None: 0.1 under cosine (GPT-3,
    2005.14165, appendix B), 0 under the others."""
    decay_fraction: float = 0.2
    """The last part of what follows the warmup, in which wsd, power and step decay."""
    cooldown: str = "linear"
    """How wsd and power decay: linear, cosine, sqrt (1 - sqrt of the part that is done) or exponential."""
    power: float = 2.0
    """polynomial: the power of the part that is left."""
    knee: float = 0.0
    """inverse_sqrt and power: up to here the rate stands at its peak. Below 1 a fraction of the steps, from 1 on a
    number of steps; where it lies within the warmup, the warmup's end."""
    exponent: float = 0.51
    """power: the rate falls as the step to minus this."""
    drops: int = 2
    """step: number of drops, each before an equal part of decay_fraction."""
    milestones: tuple[float, ...] = ()
    """step: where the drops are instead, below 1 parts of the run, from 1 on steps: 1/3 and 2/3 for 30 and 60 epochs of
    90."""
    gamma: float = 0.1
    """step and plateau: the factor of one drop."""
    cycles: int = 4
    """cosine_restarts, triangular and triangular2: cycles in what follows the warmup."""
    cycle_mult: float = 1.0
    """cosine_restarts: how much longer each cycle is than the one before."""
    start: float = 0.04
    """one_cycle: the factor at the first step."""
    momentum_dip: float = 0.0
    """one_cycle: how much lower than the optimizer's own its momentum (Adam's beta1) is at the peak; 0: it stands.
    Smith & Topin go from 0.95 to 0.85 and back: 0.1."""
    window: int = 20
    """plateau: steps whose mean loss is one look, from the warmup on."""
    patience: int = 10
    """plateau: looks without improvement that are borne before a drop."""
    threshold: float = 1e-4
    """plateau: the part of the best loss by which a look must be lower to count as improvement."""
    rest: int = 0
    """plateau: looks after a drop in which none is counted."""

    def validate(self) -> None:
        of_its_types("schedule.", self)
        one_of("schedule.name", self.name, SCHEDULES)
        one_of("schedule.cooldown", self.cooldown, COOLDOWNS)
        for name in ("warmup", "knee"):
            value = getattr(self, name)
            fitting(f"schedule.{name}", value, 0 <= value <= MOST, f"from 0 to {MOST:g}")
        fitting("schedule.floor", self.floor, self.floor is None or 0 <= self.floor <= 1, "from 0 to 1")
        for name in ("decay_fraction", "gamma", "start"):
            value = getattr(self, name)
            fitting(f"schedule.{name}", value, 0 < value <= 1, "above 0 and at most 1")
        for name in ("power", "exponent", "drops", "cycles", "cycle_mult"):
            positive(f"schedule.{name}", getattr(self, name), 1e4)
        positive("schedule.window", self.window)
        rising = all(0 < one < other for one, other in pairwise((*self.milestones, float("inf"))))
        if not rising or 0 < sum(at < 1 for at in self.milestones) < len(self.milestones):
            raise ValueError(
                f"expected schedule.milestones that rise, all parts of the run or all steps, got {self.milestones}; "
                "such as 0.33 0.67, or 30 60 80"
            )
        for name in ("patience", "rest"):
            fitting(f"schedule.{name}", getattr(self, name), 0 <= getattr(self, name) <= MOST, "of 0 or more looks")
        for name in ("momentum_dip", "threshold"):
            fitting(f"schedule.{name}", getattr(self, name), 0 <= getattr(self, name) < 1, "from 0 to below 1")
        own = {field for each in SCHEDULES.values() for field in each.fields}
        used = {field: field in self.spec.fields for field in sorted(own)}
        used["floor"] |= self.floor == 0  # an earlier version's default
        all_used("schedule.", self, used, self.name)
        if self.end == 0 and "exponential" in (self.name, self.cooldown):
            raise ValueError(
                "expected schedule.floor above 0 with an exponential decay, which never reaches 0, got 0.0; set it to "
                "0.01, say"
            )

    @property
    def spec(self) -> Schedule:
        """The schedule's shape, and what else is known of it."""
        return SCHEDULES[self.name]

    @property
    def own(self) -> dict[str, Any]:
        """The fields that the schedule uses, by name."""
        return {name: self.end if name == "floor" else getattr(self, name) for name in self.spec.fields}

    @property
    def end(self) -> float:
        """The floor, that of the schedule where none is given."""
        return self.spec.floor if self.floor is None else self.floor

    def warmup_steps(self, steps: int) -> int:
        """Whole steps of warmup in a run of `steps`."""
        return round(self.warmup * steps) if self.warmup < 1 else round(self.warmup)
