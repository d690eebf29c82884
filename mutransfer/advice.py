"""What to train another width with: the recommended base rate, and what each group of parameters gets of it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from mutransfer.analysis import Recommendation, horizon_note, recommend
from mutransfer.result import Result, read_result


@dataclass(frozen=True)
class GroupAdvice:
    """One parameter group of a torch optimizer, with the values to give it; `eps` is None where there is none."""

    parameters: tuple[str, ...]
    lr: float
    weight_decay: float
    eps: float | None


@dataclass(frozen=True)
class Advice:
    """A recommendation, what training it holds for, and its parameter groups."""

    recommendation: Recommendation
    note: str
    groups: tuple[GroupAdvice, ...]


def advise(
    folder: Path, width: int, arm: str | None = None, steps: int | None = None, batch_size: int | None = None
) -> Advice:
    """The rate to train `width` with, from a result folder.

    Args:
        folder: what a sweep wrote.
        width: the width to train at.
        arm: the arm to follow; None: the first whose verdict is that it transfers.
        steps, batch_size: of the run to come; None: those of the sweep.

    Raises:
        ValueError: where the verdict does not support transfer, the width cannot be built, or steps and batch are too
            far from those that the rate was tuned at.
    """
    result = read_result(folder)
    recommendation = recommend(result.analysis, arm or _first_that_transfers(result), width)
    note = horizon_note(recommendation, steps, batch_size)
    return Advice(recommendation, note, _groups(result, recommendation))


def _first_that_transfers(result: Result) -> str:
    arms = result.analysis.arms
    return next((arm.arm for arm in arms if arm.verdict == "transfers"), arms[-1].arm)


def _groups(result: Result, recommendation: Recommendation) -> tuple[GroupAdvice, ...]:
    from mutransfer.parametrization import build_transformer

    config = result.config
    built = build_transformer(
        dataclasses.replace(config.model, width=recommendation.width),
        recommendation.parametrization,
        base_width=config.base_width,
        init=config.init,
        device="meta",
    )
    rows = built.explain(recommendation.lr, config.optimizer).query("role != 'logits'")
    groups: dict[tuple[float, float, float | None], list[str]] = {}
    for row in rows.to_dict("records"):
        groups.setdefault((row["lr"], row["weight_decay"], row["eps"]), []).append(row["parameter"])
    return tuple(GroupAdvice(tuple(names), *values) for values, names in groups.items())


def describe(advice: Advice) -> str:
    """The advice as text."""
    found = advice.recommendation
    lines = [
        f"width {found.width} under {found.arm}: train at lr {found.lr:.4g} (95% interval {found.ci_low:.4g}.."
        f"{found.ci_high:.4g})",
    ]
    if found.extrapolation > 0:
        lines.append(f"that is {found.extrapolation:.1f} doublings beyond the widths that were measured")
    if found.expected_regret is not None:
        lines.append(f"expected loss from the rate's uncertainty: {found.expected_regret:.4f} nats")
    lines.append(advice.note)
    lines.append("per parameter group:")
    for group in advice.groups:
        eps = "" if group.eps is None else f"  eps {group.eps:.3g}"
        lines.append(
            f"  lr {group.lr:<10.4g} weight_decay {group.weight_decay:<8.3g}{eps}  {', '.join(group.parameters)}"
        )
    return "\n".join(lines)
