"""From a trial and its result to its record."""

from __future__ import annotations

import dataclasses
import json
import math
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from mutransfer.config import SCHEMA, SweepConfig
from mutransfer.search.cost import counted_flops
from mutransfer.search.planned import PlannedTrial
from mutransfer.trials.records import Record

if TYPE_CHECKING:
    from mutransfer.data import Corpus
    from mutransfer.training import TrialResult

PACKAGES = ("mutransfer", "torch", "numpy", "optuna", "ray")


def installed_versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on; one that is not installed is left out."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def make_record(
    config: SweepConfig,
    trial: PlannedTrial,
    result: TrialResult,
    corpus: Corpus,
    versions: dict[str, str],
) -> Record:
    """The record of a finished trial, and of one that has come to the rung up to which it was trained: as if it was
    dropped there. Measurements that are not finite are None.

    Raises ValueError where a trial that did not diverge has no final_loss, or init_loss is not finite.
    """
    training = trial.config
    if not math.isfinite(result.init_loss):
        raise ValueError(f"found an init_loss of {result.init_loss}; wanted a finite loss at initialization")
    final_loss = _finite(result.final_loss)
    if final_loss is None and not result.diverged:
        raise ValueError(f"found a final_loss of {result.final_loss} in a trial that did not diverge; wanted a number")
    flops, tokens = counted_flops(training, result.n_params), training.tokens
    pruned_step = trial.until if trial.pauses and not result.diverged else None
    if pruned_step is not None:
        flops, tokens = flops * pruned_step / training.steps, tokens * pruned_step // training.steps
    return Record(
        trial_id=trial.trial_id,
        experiment=config.experiment,
        arm=trial.cell.arm.name,
        parametrization=training.parametrization,
        width=training.model.width,
        base_width=training.base_width,
        depth=training.model.depth,
        base_depth=training.base_depth,
        optimizer=training.optimizer.name,
        lr=training.lr,
        seed=training.seed,
        weight_decay=training.optimizer.weight_decay,
        schedule=training.schedule.name,
        warmup=training.schedule.warmup_steps(training.steps),
        batch_size=training.batch_size,
        context=training.model.context,
        steps=training.steps,
        tokens=tokens,
        n_params=result.n_params,
        flops=flops,
        init_loss=result.init_loss,
        final_loss=final_loss,
        val_loss=_finite(result.val_loss),
        mean_loss=_finite(result.mean_loss),
        attention_logit=_finite(result.attention_logit),
        output_log_z=_finite(result.output_log_z),
        diverged=result.diverged,
        diverged_step=result.diverged_step,
        wall_s=result.wall_s,
        device=result.device,
        dtype=training.dtype,
        cohort_size=result.cohort_size,
        search=config.search,
        round=trial.round,
        data=config.data,
        data_fingerprint=corpus.fingerprint,
        versions=versions,
        started=result.started,
        config=json.loads(json.dumps(dataclasses.asdict(training))),
        schema=SCHEMA,
        pruned_step=pruned_step,
        execution=result.execution,
    )


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None
