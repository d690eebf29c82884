"""What to train another width with: the recommended base rate, and what each group of parameters gets of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mutransfer.analysis import Recommendation, horizon_note, recommend
from mutransfer.analysis.confirmation import Confirmation, arm_to_follow
from mutransfer.analysis.recommend import refuse_horizon
from mutransfer.config import one_size
from mutransfer.config.scale import DIMENSIONS, Scale
from mutransfer.report.commands import confirm_command
from mutransfer.search.planned import cell_flops, cells
from mutransfer.study.confirmations import confirmation_sweep
from mutransfer.study.result import Result, read_result


@dataclass(frozen=True)
class GroupAdvice:
    """One parameter group of a torch optimizer, with the values to give it; `eps` is None where there is none."""

    parameters: tuple[str, ...]
    lr: float
    weight_decay: float
    eps: float | None


@dataclass(frozen=True)
class Check:
    """What trains the recommended size at the proxy's rate, half and double of it, and what that costs."""

    command: str
    trials: int
    flops: float


@dataclass(frozen=True)
class Advice:
    """A recommendation, what training it holds for, its parameter groups, how to check it, and what was found where
    that has been done; `check` is None at the proxy itself."""

    recommendation: Recommendation
    note: str
    groups: tuple[GroupAdvice, ...]
    check: Check | None
    confirmed: Confirmation | None


def advise(
    folder: Path,
    sizes: Mapping[str, int],
    arm: str | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
) -> Advice:
    """The rate to train a size with, from a result folder.

    Args:
        folder: what a sweep wrote.
        sizes: the size to train, by axis: {"width": 1024}.
        arm: the arm to follow; None: the first whose verdict is that it transfers.
        steps, batch_size: of the run to come; None: those of the sweep.

    Raises:
        ValueError: where the verdict does not support transfer, the size is none, or of another axis, or cannot be
            built, or steps and batch are too far from those that the rate was tuned at.
    """
    result = read_result(folder)
    name = arm_to_follow(result.analysis, arm)
    axis = result.config.axis
    refuse_horizon(axis)
    size = one_size(sizes, axis)
    recommendation = recommend(result.analysis, name, Scale(**{axis: size}))
    note = horizon_note(recommendation, steps, batch_size)
    confirmed = next((each for each in result.confirmations if (each.arm, each.scale[axis]) == (name, size)), None)
    return Advice(recommendation, note, _groups(result, recommendation), _check(result, name, size), confirmed)


def _check(result: Result, arm: str, size: int) -> Check | None:
    proxy = result.analysis.arm(arm).optima[0]
    if size == proxy.scale[result.config.axis]:
        return None
    planned = confirmation_sweep(result.folder, result.config, arm, size, 2.0**proxy.log2_lr)
    (cell,) = cells(planned)
    trials = len(planned.lrs) * planned.seeds
    command = confirm_command(result.analysis, str(result.folder), arm, size)
    return Check(command, trials, trials * cell_flops(planned, cell))


def _groups(result: Result, recommendation: Recommendation) -> tuple[GroupAdvice, ...]:
    from mutransfer.training.trainer import build

    (arm,) = (arm for arm in result.config.arms if arm.name == recommendation.arm)
    config = result.config.for_arm(arm)
    trial = config.trial(arm, int(recommendation.scale[config.axis]), recommendation.lr, 0)
    built = build(trial, "cpu" if trial.build else "meta")
    rows = built.explain(recommendation.lr, config.optimizer).query("lr.notna()")
    groups: dict[tuple[float, float, float | None], list[str]] = {}
    for row in rows.to_dict("records"):
        groups.setdefault((row["lr"], row["weight_decay"], row["eps"]), []).append(row["parameter"])
    return tuple(GroupAdvice(tuple(names), *values) for values, names in groups.items())


def describe(advice: Advice) -> str:
    """The advice as text."""
    found = advice.recommendation
    (axis,) = found.scale.known
    lines = [
        f"{found.scale.describe()} under {found.arm}: train at lr {found.lr:.4g} (95% interval {found.ci_low:.4g}.."
        f"{found.ci_high:.4g})",
    ]
    if found.extrapolation > 0:
        lines.append(
            f"that is {found.extrapolation:.1f} doublings beyond the {DIMENSIONS[axis].words} that were measured"
        )
    if found.expected_regret is not None:
        lines.append(f"expected loss from the rate's uncertainty: {found.expected_regret:.4f} {found.unit}")
    lines.append(advice.note)
    lines.append("per parameter group:")
    for group in advice.groups:
        eps = "" if group.eps is None else f"  eps {group.eps:.3g}"
        lines.append(
            f"  lr {group.lr:<10.4g} weight_decay {group.weight_decay:<8.3g}{eps}  {', '.join(group.parameters)}"
        )
    if advice.confirmed is not None:
        lines.append(f"checked there: {advice.confirmed.sentence}")
    elif advice.check is not None:
        cost = f"{advice.check.trials} trials, {advice.check.flops:.2e} FLOPs"
        lines.append(f"check it there: {advice.check.command}  ({cost})")
    return "\n".join(lines)
