"""What is likely wrong where a coordinate check fails: which modules are at fault, and which only follow from others.

A module's own excess is the power of width in its slope that neither its input nor the gradient it receives explains:

    size at initialization    slope(output) - slope(input)
    effective update          slope - (1 + p) slope(input) - p (slope(gradient) - g)

with p = 1 where the update is in proportion to the gradient and 0 where it does not depend on its size, and g the power
of the gradient that muP leads to: -1 at a wide output, 0 at a fixed one. What is wrong with it is read from the powers
of width of its rate (as given, and as used), its initial standard deviation and its multipliers, beside those of the
other modules.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mutransfer.coordcheck.coordinates import Coordinates
from mutransfer.coordcheck.result import WHOLE, Finding
from mutransfer.coordcheck.verdict import GROWS, JUDGED, OK, VANISHES, Judgement, ModuleVerdict, Slope, context

NEAR = 0.25
"""Powers of width nearer than this are taken for the same."""

NOUNS: Mapping[str, str] = {
    "input": "input (embedding) lr",
    "hidden": "hidden lr",
    "bottleneck": "lr of maps to a fixed space",
    "output": "readout lr",
    "vector": "lr of gains and biases",
}


@dataclass(frozen=True)
class Traits:
    """The powers of width in what a module was given; NaN where it has no such thing."""

    given: float
    """Its rate in the parameter groups, before any schedule."""
    used: float
    """Its rate at the update that shows the fault."""
    init: float
    """Its initial standard deviation."""
    mult: float
    """Its multipliers, inside and outside."""
    gradient_power: float


def find_causes(
    judgement: Judgement, ties: Sequence[Sequence[str]], tolerance: float, advice: Sequence[str] = ()
) -> tuple[Finding, ...]:
    """The modules at fault in the order of data flow, the culprit first; empty where every module is ok.

    What grows is at fault where its own excess does, as soon as it is off; what vanishes always is, since bounds leave
    out what falls with its input and gradient. Where none explains itself, the first that is off stands for all:
    attention logits before others, since gradients carry their fault to what comes before them.

    Args:
        judgement: of what was measured.
        ties: modules that share a parameter.
        tolerance: of the judgement.
        advice: what the parametrization said of the model.
    """
    off = [module for module in judgement.modules if module.worst is not None]
    findings = [finding for module in off if (finding := _fault(module, judgement, ties, tolerance)) is not None]
    if findings or not off:
        return tuple(findings)
    return (_unexplained(next((module for module in off if module.role == "logits"), off[0]), judgement, advice),)


def _fault(
    module: ModuleVerdict, judgement: Judgement, ties: Sequence[Sequence[str]], tolerance: float
) -> Finding | None:
    off = [slope for key, slope in judgement.slopes.items() if key[0] == module.module and slope.status != OK]
    for slope in sorted(off, key=lambda slope: (slope.step, JUDGED.index(slope.quantity))):
        own = _own(slope, judgement.coordinates)
        if own is None:
            continue
        if slope.status == VANISHES or own > tolerance:
            return Finding(slope, *_explain(slope, module.role, own, judgement, ties))
        return None  # off because of another: what it adds in later updates follows from that too
    return None


def _own(slope: Slope, coordinates: Coordinates) -> float | None:
    """A module's own excess; None where a slope can tell none."""
    module, step = slope.module, slope.step
    if slope.power is None or slope.quantity in ("change", "fit"):
        return None
    if slope.quantity == "aligned":
        return coordinates.slope(module, "logit_scale", step) + coordinates.slope(module, "head_dim", step)
    if (module, "weight", 0) not in coordinates.values:
        return None
    return context(coordinates, module, step, slope.outer).own(slope.quantity, slope.power.estimate)


def _traits(module: str, step: int, coordinates: Coordinates) -> Traits:
    moved = max(step, 1)
    mults = [coordinates.slope(module, "outer", step), coordinates.slope(module, "inner", moved)]
    return Traits(
        given=coordinates.slope(module, "rate", 0),
        used=coordinates.slope(module, "rate", moved),
        init=coordinates.slope(module, "weight", 0),
        mult=sum(0.0 if math.isnan(mult) else mult for mult in mults),
        gradient_power=coordinates.gradient_powers[module],
    )


def _explain(
    slope: Slope, role: str, own: float, judgement: Judgement, ties: Sequence[Sequence[str]]
) -> tuple[str, str]:
    """The likely cause, and the powers that it is read from."""
    name = slope.module
    if slope.quantity == "aligned":
        return _attention(name, slope.step, judgement.coordinates)
    traits = _traits(name, slope.step, judgement.coordinates)
    evidence = _evidence(traits, own)
    no_mult = role == "output" and own > 0 and _near(traits.mult, 0) and not _near(traits.init, -1)
    raised = traits.gradient_power < 0.5 and traits.used > NEAR  # a rate that no readout needs there
    if no_mult and not raised and not _near(traits.given, -1):
        return "readout has no output multiplier", evidence
    if slope.quantity == "size":
        return _initial(name, role, own, traits, ties), evidence
    return _rate(name, role, own, traits, judgement), evidence


def _initial(name: str, role: str, own: float, traits: Traits, ties: Sequence[Sequence[str]]) -> str:
    """What is wrong with an initial output that has `own` powers of width too many."""
    shared = next((tie for tie in ties if name in tie), None)
    if shared is not None and abs(traits.init) > NEAR:
        others = " and ".join(each for each in shared if each != name)
        return f"embedding tied and rescaled: its table, shared with {others}, starts with std {_as(traits.init)}"
    if role in ("hidden", "bottleneck") and _near(traits.init, 0):
        return f"{role} initial std is not divided by sqrt(fan-in)"
    if not _near(traits.init, -0.5 if role in ("hidden", "bottleneck") else 0.0):
        return f"initial std of the {role} weight scales as {_as(traits.init)}; wanted {_as(traits.init - own)}"
    return f"its output is multiplied by {_as(own)}, which its initial std does not make up for"


def _rate(name: str, role: str, own: float, traits: Traits, judgement: Judgement) -> str:
    """What is wrong with a rate whose effective update has `own` powers of width too many."""
    if math.isnan(traits.given):
        return "it changes without a rate: none of its parameters is in a parameter group"
    if not _near(traits.given, traits.used):
        return (
            f"a scheduler flattened the group rates: given as {_as(traits.given)}, used as {_as(traits.used)}; use one "
            "that multiplies every group's rate by one factor"
        )
    family = _other_family(judgement, traits.gradient_power)
    if family:
        return family
    if role in ("input", "vector") and own < 0 and traits.gradient_power < 0.5 and _near(traits.used, 0):
        return "epsilon outweighs the gradient as width grows: scale it with width, or lower it"
    noun, changed = NOUNS[role], {1: "multiplied", -1: "divided"}
    others = [rate for module, rate in _rates(judgement, role).items() if module != name]
    apart = bool(others) and not _near(statistics.median(others), traits.used)
    alone = f"{name or WHOLE} is not in the parameter group of the other {role} weights: " if apart else ""
    if _near(abs(own), 1) and _near(traits.used, 0):
        return f"{alone}{noun} is not {changed[-round(own)]} by width"
    if _near(abs(own), 1) and _near(traits.used, own):
        return f"{alone}{noun} is {changed[round(own)]} by width"
    return f"{alone}{noun} scales as {_as(traits.used)}; wanted about {_as(traits.used - own)}"


def _other_family(judgement: Judgement, gradient_power: float) -> str | None:
    """Whether the rates of all input and hidden weights are those that another optimizer would need."""
    into, inside = (list(_rates(judgement, role).values()) for role in ("input", "hidden"))

    def all_near(wanted_into: float, wanted_inside: float) -> bool:
        pairs = [*((rate, wanted_into) for rate in into), *((rate, wanted_inside) for rate in inside)]
        return bool(into and inside) and all(_near(rate, wanted) for rate, wanted in pairs)

    if gradient_power < 0.5 and all_near(1, 0):
        return "the rates are SGD's, but the optimizer's update does not depend on the gradient's size, as Adam's"
    if gradient_power >= 0.5 and all_near(0, -1):
        return "the rates are Adam's, but the optimizer's update is in proportion to the gradient, as SGD's"
    return None


def _rates(judgement: Judgement, role: str) -> dict[str, float]:
    """The power of width of the rate of every module of a role, as it was given."""
    return {
        each.module: judgement.coordinates.slope(each.module, "rate", 0)
        for each in judgement.modules
        if each.role == role
    }


def _attention(name: str, step: int, coordinates: Coordinates) -> tuple[str, str]:
    scale, head_dim = coordinates.slope(name, "logit_scale", step), coordinates.slope(name, "head_dim", step)
    evidence = f"head_dim grows as {_as(head_dim)}, the scale of its logits as {_as(scale)}"
    if _near(scale, -head_dim / 2):
        return "1/sqrt(d) attention with growing head_dim: use 1/d", evidence
    return f"the scale of attention logits goes as {_as(scale)}; wanted {_as(-head_dim)}", evidence


def _unexplained(module: ModuleVerdict, judgement: Judgement, advice: Sequence[str]) -> Finding:
    assert module.worst is not None  # only what is off is explained
    names = [each.module for each in judgement.modules]
    before = names[names.index(module.module) - 1] if names.index(module.module) else "the model's input"
    if module.module == judgement.coordinates.final and module.worst.quantity == "fit":
        meets = next((note for note in advice if note.startswith("two activations meet")), None)
        cause = meets or (
            "what the loss gets is multiplied by a number that goes with width: look at what stands after "
            f"{before}, and at numbers inside"
        )
    elif module.role == "logits" and module.worst.status == GROWS:
        cause = "attention logits grow: a scale of 1/sqrt(d) with growing head_dim does this; use 1/d"
    else:
        cause = f"no rate, initialization or multiplier of a module explains it: look at what stands after {before}"
    return Finding(module.worst, cause, f"the first module that is off; {before} comes before it")


def _near(value: float, wanted: float) -> bool:
    return abs(value - wanted) < NEAR


def _as(power: float) -> str:
    return "unknown" if math.isnan(power) else f"width^{round(power, 2) + 0.0:+.2f}"


def _evidence(traits: Traits, own: float) -> str:
    parts = [f"of its own {_as(own)}"]
    for word, value in (("rate", traits.used), ("initial std", traits.init), ("multiplier", traits.mult)):
        if not math.isnan(value):
            parts.append(f"{word} {_as(value)}")
    return ", ".join(parts)
