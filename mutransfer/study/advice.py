"""What to train a run to come with: the recommended base rate, and what each group of parameters gets of it."""

from __future__ import annotations

import dataclasses
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mutransfer.analysis import Recommendation, recommend
from mutransfer.analysis.confirmation import Confirmation, arm_to_follow
from mutransfer.analysis.law import LINE, measured
from mutransfer.config import TrialConfig
from mutransfer.config.scale import DIMENSIONS, Scale
from mutransfer.report.commands import confirm_command
from mutransfer.search.planned import cell_flops, cells
from mutransfer.study.confirmations import confirmation_sweep
from mutransfer.study.foreign import ForeignResult
from mutransfer.study.ladder import PlannedLadder, further
from mutransfer.study.result import Result, read_result
from mutransfer.theory.lr_priors import COLLECTION, FAMILY

PLAN_SHARE = 0.1
"""Of the run to come, what the runs may cost that narrow its interval."""
SURE = 0.8
"""A regime is named from this probability on."""


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
    """A recommendation, its parameter groups, how to check it, and what was found where that has been done. `check` is
    None at the proxy itself and for training other than the sweep's, `groups` empty where others trained the trials."""

    recommendation: Recommendation
    note: str
    groups: tuple[GroupAdvice, ...]
    check: Check | None
    confirmed: Confirmation | None
    plan: PlannedLadder | None
    """Where the interval supports no choice: the runs that narrow it most for PLAN_SHARE of the run to come."""
    folder: str

    @property
    def plan_command(self) -> str | None:
        """The command that shows the plan, and writes an experiment of it."""
        if self.plan is None:
            return None
        target = " ".join(f"{name}={self.plan.target[name]:.15g}" for name in self.plan.target.known)
        words = ["mutransfer", "plan", self.folder, "--target", target, "--budget", f"{PLAN_SHARE:.0%}"]
        return shlex.join([*words, "--arm", self.recommendation.arm])

    def plain(self) -> dict[str, Any]:
        """As JSON data: all of it, and first what most are after."""
        found = self.recommendation
        first = {name: getattr(found, name) for name in ("lr", "ci_low", "ci_high", "supported", "form")}
        plan = None if self.plan is None else {**self.plan.plain(), "command": self.plan_command}
        rest = {name: getattr(self, name) for name in ("recommendation", "groups", "check", "confirmed")}
        plain = {name: _plain(value) for name, value in rest.items()}
        return first | {"extrapolation": dict(found.extrapolation), "plan": plan, "note": self.note} | plain


def advise(folder: Path, target: Scale, arm: str | None = None) -> Advice:
    """The rate of a run to come, from a result folder.

    Args:
        folder: what a sweep wrote.
        target: the run's sizes, training and batch; None: as in all trials.
        arm: the arm to follow; None: the first whose verdict is that it transfers, else the last.

    Raises:
        ValueError: where a size is none, not known of the trials or missing, where no optimum was found, or where the
            model cannot be built.
    """
    result = read_result(folder)
    name = arm_to_follow(result.analysis, arm)
    if isinstance(result, ForeignResult):
        # What was trained is not known here: no groups of parameters, and no run that would check it.
        recommendation = recommend(result.analysis, name, target, COLLECTION)
        plan = _plan(result, recommendation, target)
        return Advice(recommendation, horizon_note(recommendation), (), None, None, plan, str(folder))
    target = in_steps(result, target)
    recommendation = recommend(result.analysis, name, target)
    return Advice(
        plan=_plan(result, recommendation, target),
        folder=str(folder),
        recommendation=recommendation,
        note=horizon_note(recommendation),
        groups=_groups(result, recommendation),
        check=_check(result, recommendation),
        confirmed=_confirmed(result, recommendation),
    )


def _plan(result: Result | ForeignResult, found: Recommendation, target: Scale) -> PlannedLadder | None:
    if found.supported:
        return None
    scatter = COLLECTION if isinstance(result, ForeignResult) else FAMILY
    known = measured(result.analysis.arm(found.arm).optima)
    return further(known, target, PLAN_SHARE, found.parametrization, scatter)


def _plain(value: Any) -> Any:
    """Dataclasses, alone or several, as JSON data."""
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value


def in_steps(result: Result, target: Scale) -> Scale:
    """A target in tokens as one in steps, which our own sweeps know; at the batch asked for, else the sweep's."""
    if target.tokens is None:
        return target
    config = result.config
    if target.steps is not None:
        raise ValueError("expected --steps or --tokens, got both; leave one out")
    if len(config.batch_sizes) > 1 and target.batch_size is None:
        raise ValueError("expected --batch-size beside --tokens, got none; give that of the run to come")
    batch = target.batch_size or config.batch_size
    return target.replace(tokens=None, steps=max(1, round(target.tokens / (batch * config.model.context))))


def horizon_note(found: Recommendation) -> str:
    """What training the rate was tuned for, and how far off another one is."""
    tuned = found.horizon
    if tuned is None:
        return "what training it was tuned for, the table of trials does not say"
    known = f"{tuned.batch_size} x {tuned.context} tokens ({tuned.tokens:,} in all) on {tuned.data}"
    if {"steps", "batch_size"} & {*found.measured} or "tokens" in found.measured:
        return f"tuned at several steps and batches of {tuned.context} tokens on {tuned.data}"
    note = f"tuned at {tuned.steps} steps of {known}"
    batch = (found.scale.batch_size or tuned.batch_size) / tuned.batch_size
    tokens = batch * (found.scale.steps or tuned.steps) / tuned.steps
    if batch == tokens == 1:
        return note
    return f"{note}; asked for {tokens:.3g} times the tokens and {batch:.3g} times the batch"


def _confirmed(result: Result, found: Recommendation) -> Confirmation | None:
    """What was measured at this very scale, where the sweep was about sizes alone."""
    asked = found.scale.only(result.analysis.dimensions)
    at_home = found.form == LINE
    return next(
        (each for each in result.confirmations if at_home and (each.arm, each.scale) == (found.arm, asked)), None
    )


def _check(result: Result, found: Recommendation) -> Check | None:
    """How to train there at the proxy's rate, half and double: where the sweep was about sizes alone, and it is another
    training of none."""
    along = result.analysis.dimensions
    proxy = result.analysis.arm(found.arm).optima[0].scale.only(along)
    asked = found.scale.only(along)
    if found.form != LINE or asked.known != along or asked == proxy:
        return None
    scale = result.config.scales[0].replace(**{name: asked[name] for name in along})
    log2_lr = result.analysis.arm(found.arm).optima[0].log2_lr
    planned = confirmation_sweep(result.folder, result.config, found.arm, scale, 2.0**log2_lr)
    (cell,) = cells(planned)
    trials = len(planned.lrs) * planned.seeds
    command = confirm_command(result.analysis, str(result.folder), found.arm, asked)
    return Check(command, trials, trials * cell_flops(planned, cell))


def _groups(result: Result, found: Recommendation) -> tuple[GroupAdvice, ...]:
    from mutransfer.training.trainer import build

    (arm,) = (arm for arm in result.config.arms if arm.name == found.arm)
    config = result.config.for_arm(arm)
    trial = at_scale(config.trial(arm, config.scales[0], found.lr, 0), found.scale)
    built = build(trial, "cpu" if trial.build else "meta")
    rows = built.explain(found.lr, config.optimizer).query("lr.notna()")
    groups: dict[tuple[float, float, float | None], list[str]] = {}
    for row in rows.to_dict("records"):
        groups.setdefault((row["lr"], row["weight_decay"], row["eps"]), []).append(row["parameter"])
    return tuple(GroupAdvice(tuple(names), *values) for values, names in groups.items())


def at_scale(trial: TrialConfig, scale: Scale) -> TrialConfig:
    """A trial at other sizes."""
    for name in scale.known:
        *within, last = DIMENSIONS[name].field.split(".")
        changed: dict[str, Any] = {last: int(scale[name])}
        if within:
            changed = {within[0]: dataclasses.replace(getattr(trial, within[0]), **changed)}
        trial = dataclasses.replace(trial, **changed)
    return trial


def describe(advice: Advice) -> str:
    """The advice as text."""
    found = advice.recommendation
    interval = f"95% interval {found.ci_low:.4g}..{found.ci_high:.4g}"
    lines = [
        f"{found.scale.describe() or 'as trained'} under {found.arm}: train at lr {found.lr:.4g} ({interval})",
        *_sentences(found),
        advice.note,
        f"on transfer: {found.verdict}",
    ]
    if advice.groups:
        lines.append("per parameter group:")
    for group in advice.groups:
        eps = "" if group.eps is None else f"  eps {group.eps:.3g}"
        lines.append(
            f"  lr {group.lr:<10.4g} weight_decay {group.weight_decay:<8.3g}{eps}  {', '.join(group.parameters)}"
        )
    if found.published:
        lines.append("published laws say, of other models, data and schedules:")
    for each in found.published:
        start = "" if each.nearest is None else f", from the optimum at {each.nearest.describe()}"
        lines.append(f"  lr {each.lr:<10.4g} {each.law} ({each.source}){start}")
    if advice.confirmed is not None:
        lines.append(f"checked there: {advice.confirmed.sentence}")
    elif advice.check is not None:
        cost = f"{advice.check.trials} trials, {advice.check.flops:.2e} FLOPs"
        lines.append(f"check it there: {advice.check.command}  ({cost})")
    return "\n".join(lines)


def refusal(advice: Advice) -> str:
    """Why no rate is named, and the runs that would narrow the interval, in a line."""
    found = advice.recommendation
    down, up = found.octaves
    return (
        f"expected an interval of at most an octave to each side, got lr {found.ci_low:.3g}..{found.ci_high:.3g}, "
        f"{down:.1f} octaves down and {up:.1f} up ({'; '.join(_sentences(found))}); the runs that narrow it most: "
        f"{advice.plan_command}"
    )


def _sentences(found: Recommendation) -> list[str]:
    """What the interval rests on, and what it costs."""
    names = {name: dimension.word for name, dimension in DIMENSIONS.items()}
    law = "the line" if found.form == LINE else "the law of two regimes"
    over = ", ".join(names[name] for name in found.measured) or "one cell"
    lines = [f"by {law} through the optima over {over}"]
    if found.extrapolation:
        far = (
            f"{abs(by):.1f} {'beyond' if by > 0 else 'below'} in {names[at]}" for at, by in found.extrapolation.items()
        )
        lines.append(f"doublings outside what was measured: {', '.join(far)}")
    if found.assumed:
        lines.append(
            f"the trials do not differ in {' and '.join(names[name] for name in found.assumed)}: what that does is "
            "known from the literature alone, about 0.25 octaves a doubling more or less"
        )
    if found.above_knee is not None and "batch_size" in found.measured:
        knee = f"the knee, at a batch of about {found.knee_batch_size:.3g} there"
        if found.above_knee >= SURE:
            lines.append(f"above {knee}: the best rate no longer depends on the batch, and rises slowly with tokens")
        elif found.above_knee <= 1 - SURE:
            lines.append(f"below {knee}: the best rate rises with the batch and falls with tokens")
        else:
            lines.append(f"about at {knee}, below which the best rate rises with the batch and falls with tokens")
    if found.expected_regret is not None:
        lines += [
            f"expected loss from the rate's uncertainty: {found.expected_regret:.4f} {found.unit}",
            f"a rate at the further end of the interval would cost {found.interval_cost:.4f} {found.unit}",
        ]
    return lines
