"""What is wrong with a run, from its records or its log."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from mutransfer.arguments import parse
from mutransfer.checks import positive

if TYPE_CHECKING:
    from mutransfer.config import Scale
    from mutransfer.toolbox.doctor import Diagnosis, Finding, Run
    from mutransfer.toolbox.doctor.cells import Cell
    from mutransfer.toolbox.doctor.recorded import RecordedTrial
    from mutransfer.trials.logs import Log

COLUMNS = ("step", "loss", "val_loss", "lr", "grad_norm")
"""Options that name a column of a log."""
FACTS = ("warmup", "weight_decay", "clip_norm", "stability_limit")
"""Options that say how a logged run was set up; records say so themselves."""
MOST_LISTED = 8


@dataclass(frozen=True)
class DoctorArguments:
    """Arguments of doctor. Logs are read as trainers write them (docs/doctor.md lists them), and what was taken for
    what is printed; the options that name a column are for what is called otherwise."""

    log: tyro.conf.Positional[str]
    """A result folder, or a log: a table, JSON, JSON lines, what a trainer printed, a TensorBoard folder."""
    trial: str | None = None
    """Of a result folder one trial, by its id or the beginning of it."""
    run: str | None = None
    """Of a log of several runs one, by its name or a part of it."""
    step: str | None = None
    """The column of the steps."""
    loss: str | None = None
    """The column of the training loss."""
    val_loss: str | None = None
    """The column of the held-out loss."""
    lr: str | None = None
    """The column of the learning rate."""
    grad_norm: str | None = None
    """The column of the gradient's norm before clipping."""
    warmup: int | None = None
    """Steps of warmup, where the log has no rate."""
    weight_decay: float | None = None
    """Weight decay of the optimizer, which tells whether it faded with the rate."""
    clip_norm: float | None = None
    """Largest gradient norm, where the log has no norm after clipping."""
    stability_limit: float | None = None
    """What rate times sharpness may reach: 2 for gradient descent, 38 for Adam at beta1 = 0.9."""
    json: bool = False
    """Print JSON."""
    out: str | None = None
    """Draw the run into this file (.png or .svg)."""


class UnhealthyError(RuntimeError):
    """Something is wrong with the run, or with trials at the best rate of a sweep: exit code 1."""


def run(words: list[str]) -> None:
    """Say what is wrong with a run, with the evidence and what to try first and second. Notes are no problem."""
    arguments = parse("doctor", DoctorArguments, words, switches=True)
    path = Path(arguments.log)
    if not path.exists():
        raise ValueError(f"expected a result folder or a log, got nothing at {path}; give a path that is there")
    if (path / "records.jsonl").exists() or (path / "config.json").exists():
        _examine_folder(path, arguments)
    else:
        _examine_log(path, arguments)


def _examine_log(path: Path, arguments: DoctorArguments) -> None:
    from mutransfer.toolbox.doctor.run import Setup, run_of
    from mutransfer.toolbox.doctor.watched import is_watched, read_watched
    from mutransfer.trials.logs import read_log

    if arguments.trial is not None:
        raise ValueError(f"found --trial with {path}, which holds one run; leave it out")
    if arguments.warmup is not None and arguments.warmup < 0:
        raise ValueError(f"found --warmup {arguments.warmup}; wanted 0 or more steps")
    for name in FACTS[1:]:
        if getattr(arguments, name) is not None:
            positive(name.replace("_", "-"), getattr(arguments, name))
    named = {name: column for name in COLUMNS if (column := getattr(arguments, name)) is not None}
    log = read_watched(path) if is_watched(path) else read_log(path, arguments.run, named)
    _report(run_of(log, Setup(**{name: getattr(arguments, name) for name in FACTS})), arguments, log)


def _examine_folder(path: Path, arguments: DoctorArguments) -> None:
    from mutransfer.toolbox.doctor import diagnose
    from mutransfer.toolbox.doctor.cells import Patient, cells
    from mutransfer.toolbox.doctor.recorded import read_trials

    given = next((name for name in (*FACTS, *COLUMNS, "run") if getattr(arguments, name) is not None), None)
    if given is not None:
        raise ValueError(
            f"found --{given.replace('_', '-')} with {path}, whose records say so themselves; leave it out"
        )
    trials = read_trials(path)
    if arguments.trial is not None:
        _report(_pick(trials, arguments.trial, path), arguments)
        return
    if arguments.out is not None:
        raise ValueError("found --out with a whole folder; wanted one run to draw: give --trial too")
    diagnoses = [None if trial.run is None else diagnose(trial.run) for trial in trials]
    if not any(diagnoses):
        raise ValueError(f"found no curve of any trial in {path / 'curves'}; wanted some: restore them")
    patients = [
        Patient(t.record.arm, t.scale, t.record.lr, t.record.seed, t.record.final_loss, diagnosis)
        for t, diagnosis in zip(trials, diagnoses, strict=True)
    ]
    found = cells(patients)
    if arguments.json:
        print(json.dumps(_folder_json(path, trials, diagnoses, found), indent=1, allow_nan=False))
    else:
        for line in _folder_lines(path, found, diagnoses):
            print(line)
    sick = [f"{cell.arm} at {cell.scale.describe()}" for cell in found if not cell.healthy]
    if sick:
        raise UnhealthyError(f"something is wrong at the best rate of {', '.join(sick)}")


def _pick(trials: Sequence[RecordedTrial], wanted: str, path: Path) -> Run:
    chosen = [trial for trial in trials if trial.record.trial_id.startswith(wanted)]
    if len(chosen) != 1:
        raise ValueError(f"found {len(chosen)} trials {wanted!r} in {path}; wanted one: give more of its id")
    if chosen[0].run is None:
        raise ValueError(f"found no curve of trial {wanted} in {path / 'curves'}; wanted it: restore it")
    return chosen[0].run


def _report(run: Run, arguments: DoctorArguments, log: Log | None = None) -> None:
    """Print what is found in one run, and draw it."""
    from mutransfer.toolbox.doctor import diagnose

    diagnosis = diagnose(run)
    if arguments.out is not None:
        from mutransfer.report.picture import write_figure
        from mutransfer.toolbox.doctor.figure import draw_run

        write_figure(draw_run(run, diagnosis), Path(arguments.out))
    if arguments.json:
        print(json.dumps(_json(diagnosis) | _reading(log), indent=1, allow_nan=False))
    else:
        for line in _lines(run, diagnosis, log):
            print(line)
    problems = [finding.rule for finding in diagnosis.findings if finding.severity == "problem"]
    if problems:
        raise UnhealthyError(f"found {', '.join(problems)} in {run.name}")


def _lines(run: Run, diagnosis: Diagnosis, log: Log | None) -> Iterator[str]:
    yield f"{run.name}: {len(run.loss)} losses, {run.unit}s {run.loss.step[0]} to {run.loss.step[-1]}{_pace(run)}"
    if log is not None:
        taken = "".join(f", {column} as {name}" for column, name in log.read_as.items())
        yield f"  read as {log.format}{taken}"
        yield from (f"  {note}" for note in log.notes)
    if log is not None and log.not_read:
        more = f" and {len(log.not_read) - MOST_LISTED} more" if len(log.not_read) > MOST_LISTED else ""
        yield f"  not read: {', '.join(log.not_read[:MOST_LISTED])}{more}"
    for finding in diagnosis.findings:
        yield from _finding_lines(finding)
    if diagnosis.healthy:
        yield "healthy: no problem found" if diagnosis.findings else "healthy: nothing found"
    elif diagnosis.healthy is None:
        yield "no problem found, and too little to call it healthy"
    if diagnosis.not_judged:
        yield f"not judged: {', '.join(f'{name} ({why})' for name, why in diagnosis.not_judged.items())}"


def _pace(run: Run) -> str:
    """The usual time of a step, where the log has times."""
    if len(run.seconds) < 2 or run.seconds.step[-1] == run.seconds.step[0]:
        return ""
    times, steps = run.seconds.value, run.seconds.step
    pace = sorted((times[1:] - times[:-1]) / (steps[1:] - steps[:-1]))[(len(times) - 1) // 2]
    return f", {pace:.3g} s a {run.unit}"


def _finding_lines(finding: Finding) -> Iterator[str]:
    yield f"{finding.severity}: {finding.what} ({finding.rule}, steps {finding.first_step} to {finding.last_step})"
    yield f"  evidence: {finding.evidence}"
    yield f"  try first: {finding.first}"
    yield f"  then: {finding.second}"
    yield f"  source: {finding.source}"


def _folder_lines(path: Path, found: Sequence[Cell], diagnoses: Sequence[Diagnosis | None]) -> Iterator[str]:
    from mutransfer.toolbox.doctor import RULES

    trials, unseen = sum(cell.trials for cell in found), sum(cell.unseen for cell in found)
    yield f"{path}: {trials} trials" + (f", {unseen} of them without a curve and not judged" if unseen else "")
    for cell in found:
        state = "none survives" if cell.best_lr is None else f"best rate {cell.best_lr:.4g}"
        yield f"{cell.arm}, {cell.scale.describe()}: {state}{', healthy' if cell.healthy else ''}"
        for rule, rates in cell.found.items():
            yield f"  {rule} at {', '.join(f'{lr:.4g}' + (f' (x{n})' if n > 1 else '') for lr, n in rates.items())}"
    examples: dict[str, Finding] = {}
    for diagnosis in diagnoses:
        for finding in diagnosis.findings if diagnosis else ():
            examples.setdefault(finding.rule, finding)
    for rule in (rule for rule in RULES if rule in examples):
        yield f"{rule}: {examples[rule].what}"
        yield f"  for example: {examples[rule].evidence}"
        yield f"  try first: {examples[rule].first}"
        yield f"  then: {examples[rule].second}"
    yield "one trial in full: --trial ID; a sweep counts as healthy where the trials at each best rate are"


def _json(diagnosis: Diagnosis) -> dict[str, Any]:
    return {"schema": 1, "run": diagnosis.name, "healthy": diagnosis.healthy, **_findings(diagnosis)}


def _findings(diagnosis: Diagnosis) -> dict[str, Any]:
    return {"findings": [asdict(each) for each in diagnosis.findings], "not_judged": diagnosis.not_judged}


def _reading(log: Log | None) -> dict[str, Any]:
    if log is None:
        return {}
    return {
        "format": log.format,
        "unit": log.unit,
        "read_as": dict(log.read_as),
        "not_read": list(log.not_read),
        "notes": list(log.notes),
    }


def _folder_json(
    path: Path,
    trials: Sequence[RecordedTrial],
    diagnoses: Sequence[Diagnosis | None],
    found: Sequence[Cell],
) -> dict[str, Any]:
    return {
        "schema": 1,
        "result": str(path),
        "healthy": all(cell.healthy for cell in found),
        "cells": [
            {"arm": cell.arm, "scale": _sizes(cell.scale), "best_lr": cell.best_lr, "healthy": cell.healthy}
            for cell in found
        ],
        "trials": [
            {
                "trial_id": trial.record.trial_id,
                "arm": trial.record.arm,
                "scale": _sizes(trial.scale),
                "lr": trial.record.lr,
                "seed": trial.record.seed,
                "healthy": None if diagnosis is None else diagnosis.healthy,
                **({} if diagnosis is None else _findings(diagnosis)),
            }
            for trial, diagnosis in zip(trials, diagnoses, strict=True)
        ],
    }


def _sizes(scale: Scale) -> dict[str, float]:
    return {name: scale[name] for name in scale.known}
