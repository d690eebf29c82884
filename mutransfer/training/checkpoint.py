"""Checkpoints of trials in training: going on from one gives the bits of a run that nothing disturbed.

| what a run depends on | in the file |
|---|---|
| weights, and what the optimizers keep | as torch's own state dicts |
| the place in the data | the step: the batch at a step depends on (data, seed, step) alone |
| the rate, the batch | the step and the losses, of which schedules are functions; and where a re-warmup began |
| random numbers | nothing: initial values depend on (seed, name), what a step draws on (seed, step) |
| the losses so far | all of them: divergence and final_loss are read off the whole curve |

The same bits are those of a CPU and the same versions of the libraries; on a GPU some sums have no fixed order.
"""

from __future__ import annotations

import io
import json
import pickle
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mutransfer.checks import positive
from mutransfer.config import TrialConfig, flat_trial, to_json
from mutransfer.files import write_whole
from mutransfer.optim import rewarmup_steps, shared_steps
from mutransfer.training.cohort import Cohort, Curve, Slice

FORMAT = "mutransfer checkpoint 1"


@dataclass(frozen=True)
class Checkpoint:
    """Where a run in training is kept, and how often.

    Beside `path` stands, from the end of the steps that every longer run shares (`optim.shared_steps`), such as wsd's
    stable phase, the checkpoint made there: NAME.shared.SUFFIX. From it the run can be extended when it is done.
    """

    path: Path
    every: int = 100
    """Steps between checkpoints; one more is made at the end."""
    optimizer_state: bool = True
    """Keep the state of the optimizer. Without it (Adam's is two thirds of a file) who goes on does so with a fresh
    one, at rates that first warm up again."""

    @property
    def shared_path(self) -> Path:
        return self.path.with_name(f"{self.path.stem}.shared{self.path.suffix}")

    def validate(self) -> None:
        """Raises ValueError on what makes no sense."""
        positive("every", self.every)
        if self.path.is_dir():
            raise ValueError(f"found a folder at {self.path}; wanted the name of a file: add one")

    def next_stop(self, trials: Sequence[TrialConfig], step: int) -> int:
        """The next step after `step` at which a checkpoint is due."""
        stops = (_last_shared(trials), trials[0].steps)
        return min((step // self.every + 1) * self.every, *(stop for stop in stops if stop > step))

    def save(self, cohort: Cohort, trials: Sequence[TrialConfig], curves: Sequence[Curve], fingerprint: str) -> None:
        """Write the file, whole or not at all, where one is due.

        Args:
            cohort: after a look at its losses.
            trials, curves: what it began with, those included that have diverged since.
            fingerprint: of the data.
        """
        step, shared = cohort.step, _last_shared(trials)
        due = step % self.every == 0 or step in (shared, trials[0].steps) or not cohort.slices
        if not due:
            return
        slices = [_kept_slice(each, each.place, self.optimizer_state) for each in cohort.slices]
        data = _to_bytes(slices, trials, curves, step, fingerprint)
        # first: a run killed between the two goes on from before this step, and comes by it again
        if step == shared < trials[0].steps:
            write_whole(self.shared_path, data, sync=True)
        write_whole(self.path, data, sync=True)

    def restore(self, cohort: Cohort, fingerprint: str) -> None:
        """Take up into a cohort at its start what was kept, where there is something.

        Raises ValueError on a file of other trials or data, one that is torn, and on one whose steps are not all steps
        of this run; warns where the state of the optimizer is not in it.
        """
        trials = [each.trial for each in cohort.slices]
        kept = self._kept(trials, fingerprint)
        if kept is None:
            return
        path, state = kept
        for each, losses in zip(cohort.slices, state["curves"], strict=True):
            each.curve.extend(losses.numpy(), each.trial)
        cohort.keep([saved["place"] for saved in state["slices"]])
        cohort.step = state["step"]
        for each, saved in zip(cohort.slices, state["slices"], strict=True):
            _take_up(each, saved, cohort.step)
        if cohort.step < trials[0].steps and any(saved["optimizer"] is None for saved in state["slices"]):
            warnings.warn(
                f"found no state of the optimizer in {path}: the run goes on from step {cohort.step} with a fresh one, "
                f"at rates that rise linearly over {rewarmup_steps(trials[0].optimizer)} steps, and is not the "
                "undisturbed run",
                stacklevel=2,
            )

    def _kept(self, trials: Sequence[TrialConfig], fingerprint: str) -> tuple[Path, dict[str, Any]] | None:
        """The file to go on from and what it holds: the latest of those there that this run can go on from.

        Raises ValueError where there are files and none will do.
        """
        refusals = []
        for path in (self.path, self.shared_path):
            if not path.exists():
                continue
            state = _read(path, path.read_bytes())
            _check_same(path, state, trials, fingerprint)
            refusal = _check_steps(path, state, trials)
            if refusal is None:
                return path, state
            refusals.append(refusal)
        if refusals:
            raise ValueError(refusals[-1])
        return None


def freeze(each: Slice, step: int, fingerprint: str) -> bytes:
    """A checkpoint of one trial of a cohort, whose optimizer keeps its state by parameter. It does not tell with how
    many others the trial was trained."""
    kept = _kept_slice(each, 0, True)
    # of a stack they are views, of which torch would write the whole stack
    kept["weights"] = {name: weight.clone() for name, weight in kept["weights"].items()}
    return _to_bytes([kept], [each.trial], [each.curve], step, fingerprint)


def frozen_step(state: bytes, trial: TrialConfig, fingerprint: str) -> int:
    """The step at which a trial was frozen. Raises ValueError on what `freeze` did not give."""
    return int(_read(_name(trial, fingerprint), state)["step"])


def thaw(cohort: Cohort, states: Sequence[bytes], fingerprint: str) -> None:
    """Let a cohort at its start go on from where each of its trials was frozen, all at one step.

    Raises ValueError on states of other trials or other data, and on damaged ones.
    """
    for each, data in zip(cohort.slices, states, strict=True):
        where = _name(each.trial, fingerprint)
        state = _read(where, data)
        _check_same(where, state, [each.trial], fingerprint)
        each.curve.extend(state["curves"][0].numpy(), each.trial)
        cohort.step = state["step"]
        _take_up(each, state["slices"][0], cohort.step)


def _name(trial: TrialConfig, fingerprint: str) -> str:
    """As its sweep calls the file in which it keeps a frozen trial."""
    return f"{trial.digest(fingerprint)}.pt"


def _kept_slice(each: Slice, place: int, optimizer_state: bool) -> dict[str, Any]:
    return {
        "place": place,
        "rewarm_from": each.rewarm_from,
        "weights": each.built.model.state_dict(),
        "optimizer": each.optimizer.state_dict() if optimizer_state else None,
    }


def _take_up(each: Slice, saved: dict[str, Any], step: int) -> None:
    """Let a slice go on from what was kept of it at a step."""
    each.built.model.load_state_dict(saved["weights"])
    each.rewarm_from = saved["rewarm_from"]
    if saved["optimizer"] is None:
        each.rewarm_from = step
    else:
        _load(each.optimizer, saved["optimizer"])


def _load(optimizer: torch.optim.Optimizer, kept: dict[str, Any]) -> None:
    """Torch's own takes all that is kept of a parameter to its type and device; nadam has a float32 product beside
    float64, on the host, who would wait for it at every step."""
    optimizer.load_state_dict(kept)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for place, state in kept["state"].items():
        own = optimizer.state[parameters[place]]
        for name, value in state.items():
            if isinstance(value, torch.Tensor) and value.ndim == 0 and name != "step":
                own[name] = value


def _to_bytes(
    slices: Sequence[dict[str, Any]],
    trials: Sequence[TrialConfig],
    curves: Sequence[Curve],
    step: int,
    fingerprint: str,
) -> bytes:
    state = {
        "format": FORMAT,
        "trials": [json.dumps(to_json(trial)) for trial in trials],
        "data_fingerprint": fingerprint,
        "step": step,
        "curves": [torch.from_numpy(curve.losses) for curve in curves],
        "slices": slices,
    }
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def _last_shared(trials: Sequence[TrialConfig]) -> int:
    """The last step up to which all trials are what longer ones would be."""
    return min(shared_steps(trial.schedule, trial.steps) for trial in trials)


def _read(path: Path | str, data: bytes) -> dict[str, Any]:
    """Raises ValueError on what is no checkpoint, or is damaged in any byte."""
    try:
        # torch does not look at the checksums that it writes
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            damaged = archive.testzip()
        state = None if damaged else torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError):
        state = None
    if not isinstance(state, dict) or "format" not in state or state["format"] != FORMAT:
        raise ValueError(
            f"found {path}, which is no whole checkpoint of ours; wanted one, or none: delete it to begin at step 0"
        )
    return state


def _check_same(path: Path | str, state: dict[str, Any], trials: Sequence[TrialConfig], fingerprint: str) -> None:
    """Raises ValueError on a checkpoint of other data or trials, naming the first field that differs; their numbers of
    steps may."""
    if state["data_fingerprint"] != fingerprint:
        raise ValueError(
            f"found {path} of data with fingerprint {state['data_fingerprint']}; wanted {fingerprint}: restore the "
            "data, or give another file"
        )
    if len(state["trials"]) != len(trials):
        raise ValueError(f"found {path} of {len(state['trials'])} trials; wanted {len(trials)}: give another file")
    for text, trial in zip(state["trials"], trials, strict=True):
        theirs, ours = flat_trial(json.loads(text)), flat_trial(to_json(trial))
        for name in sorted(theirs.keys() | ours.keys()):
            if name != "steps" and (name not in theirs or name not in ours or theirs[name] != ours[name]):
                found, wanted = (repr(each[name]) if name in each else "nothing" for each in (theirs, ours))
                raise ValueError(f"found {path} of a trial with {name} {found}; wanted {wanted}: give another file")


def _check_steps(path: Path, state: dict[str, Any], trials: Sequence[TrialConfig]) -> str | None:
    """Why a run of the trials' steps cannot go on from there, or None where it can."""
    steps, made, step = trials[0].steps, json.loads(state["trials"][0])["steps"], state["step"]
    if steps == made and step <= steps:
        return None
    schedules = [trial.schedule for trial in trials]
    shared = min(shared_steps(schedule, min(steps, made)) for schedule in schedules)
    if step > shared:
        wanted = f"one at step {shared} or before, up to which both have the same rates" if shared else "the same"
        todo = "give another file" if shared else "give warmup (and knee) as a number of steps, and begin at step 0"
        return (
            f"found {path} at step {step} of a run of {made} steps, for one of {steps} under schedule "
            f"{schedules[0].name}; wanted {wanted}: {todo}"
        )
    if len(state["slices"]) < len(trials):
        return f"found {path} of a trial that has diverged; wanted one to extend: run {made} steps again"
    return None
