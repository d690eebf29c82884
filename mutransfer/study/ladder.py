"""The ladder of small runs that tells most about a run to come: planned from nothing, or from a result."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mutransfer.analysis.confirmation import arm_to_follow
from mutransfer.analysis.design import Ladder, ladder
from mutransfer.analysis.law import WIDEST, Measured, measured
from mutransfer.config.scale import DIMENSIONS, Scale
from mutransfer.study.foreign import ForeignResult
from mutransfer.study.result import read_result
from mutransfer.theory.lr_priors import COLLECTION, FAMILY, Scatter, treatment


@dataclass(frozen=True)
class PlannedLadder:
    """A ladder, the run that it is for, and the parametrization that it is planned under."""

    target: Scale
    parametrization: str | None
    ladder: Ladder
    measured: int
    """Cells that are known already."""

    def plain(self) -> dict[str, Any]:
        """As JSON data; `share` is in FLOPs of the target, half-widths in octaves."""
        runs = [
            {
                "scale": {name: rung.scale[name] for name in rung.scale.known},
                "lrs": [2.0**each for each in rung.log2_lrs] if self.measured else None,
                "rates": len(rung.log2_lrs),
                "share": rung.share,
                "half_after": rung.half,
            }
            for rung in self.ladder.rungs
        ]
        found = self.ladder
        return {"half_before": found.before, "half_after": found.half, "share": found.share, "runs": runs}


def parse_target(text: str) -> Scale:
    """A scale from words such as "width=4096 depth=32 batch_size=1024 steps=100000". Raises ValueError on others."""
    sizes: dict[str, Any] = {}
    for word in text.replace(",", " ").split():
        name, _, size = word.partition("=")
        name = name.replace("-", "_")
        try:
            number = float(size)
        except ValueError:
            number = math.nan
        if name not in DIMENSIONS or not (math.isfinite(number) and number > 0):
            raise ValueError(
                f"expected {' '.join(f'{each}=SIZE' for each in DIMENSIONS)} or some of them, got {word!r}"
            )
        sizes[name] = int(number) if number == int(number) else number
    return Scale(**sizes)


def parse_share(text: str) -> float:
    """A part of the target run, "2%" or "0.02". Raises ValueError where it is none above 0."""
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = math.nan
    if not (math.isfinite(share) and share > 0):
        raise ValueError(f"expected a part of the target run above 0, such as 2%, got {text!r}")
    return share


def plan_ladder(target: Scale, share: float, parametrization: str) -> PlannedLadder:
    """The ladder before the first run. Raises ValueError where the target has no size or no length."""
    if not {"width", "params"} & {*target.known} or not {"steps", "tokens"} & {*target.known}:
        raise ValueError(
            "expected a target with a size (width or params) and a length (steps or tokens), got "
            f"{target.describe() or 'neither'}; give such as 'width=4096 depth=32 batch_size=1024 steps=100000'"
        )
    return PlannedLadder(target, parametrization, ladder(target, share, treatment(parametrization), FAMILY), 0)


def extend_ladder(folder: Path, target: Scale, share: float, arm: str | None = None) -> PlannedLadder:
    """The runs that tell most beside those of a result. Raises ValueError as `recommend` does."""
    result = read_result(folder)
    found = result.analysis.arm(arm_to_follow(result.analysis, arm))
    scatter = COLLECTION if isinstance(result, ForeignResult) else FAMILY
    return further(measured(found.optima), target, share, found.parametrization, scatter)


def further(
    known: Measured, target: Scale, share: float, parametrization: str | None, scatter: Scatter
) -> PlannedLadder:
    """The same from measured optima; what the target leaves out is as in all of them."""
    scales = known.scales
    sizes = ("params",) if target.params is not None else ("width", "depth")
    length = "tokens" if scales[0].tokens is not None else "steps"
    names = [name for name in (*sizes, length, "batch_size") if name in scales[0].known]
    whole = target.replace(**{name: scales[0][name] for name in names if getattr(target, name) is None}).only(names)
    for name in names:
        if getattr(target, name) is None and len({scale[name] for scale in scales}) > 1:
            raise ValueError(f"expected {name} in the target, because the trials differ in it, got none; give it")
    cells = Measured(
        tuple(scale.only(names) for scale in scales), known.log2_lr, known.covariance, known.df, known.curvature
    )
    found = ladder(whole, share, treatment(parametrization), scatter, cells)
    return PlannedLadder(whole, parametrization, found, len(scales))


def describe_ladder(planned: PlannedLadder) -> str:
    """The ladder as text."""
    found = planned.ladder
    start = f"for {planned.target.describe()}"
    if not found.rungs:
        return f"{start}: no run within this budget tells anything worth its FLOPs; give more of it"
    lines = [f"{start}: {len(found.rungs)} cells, {sum(len(rung.log2_lrs) for rung in found.rungs)} runs"]
    for rung in found.rungs:
        rates = f"{len(rung.log2_lrs)} learning rates an octave apart"
        if planned.measured:
            rates = f"lr {', '.join(f'{2.0**each:.3g}' for each in rung.log2_lrs)}"
        lines.append(
            f"  {rung.scale.describe()}: {rates}  ({rung.share:.2%} of the target; then +-{rung.half:.2f} octaves)"
        )
    known = f"+-{found.before:.2f} octaves now" if planned.measured else "nothing known now"
    lines.append(
        f"all of it costs {found.share:.2%} of the target run, and its interval is expected to be +-{found.half:.2f} "
        f"octaves ({known})"
    )
    if found.half > WIDEST:
        lines.append("that is too wide to choose a learning rate by: give more --budget")
    return "\n".join(lines)


def experiment(planned: PlannedLadder) -> str:
    """An experiment's file that runs the ladder: its rates are found by the search of a sweep."""
    whole = {name: planned.target[name] for name in planned.target.known}
    scales = [
        "            Scale(" + ", ".join(f"{name}={rung.scale[name]:.15g}" for name in rung.scale.known) + "),"
        for rung in planned.ladder.rungs
    ]
    return "\n".join(
        [
            f'"""The ladder for {", ".join(f"{name} {size:.15g}" for name, size in whole.items())}."""',
            "",
            "from mutransfer import Scale, SweepConfig",
            "",
            "",
            "def sweep() -> SweepConfig:",
            "    return SweepConfig(",
            '        experiment="ladder",',
            f"        parametrizations=({planned.parametrization!r},),",
            "        ladder=(",
            *scales,
            "        ),",
            "    )",
            "",
        ]
    )
