"""Train a size at the proxy's rate, at half and at double: what that rate costs there, measured and not fitted."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mutransfer.analysis.confirmation import Confirmation, arm_to_follow
from mutransfer.analysis.optimum import Optimum
from mutransfer.config import Scale, SweepConfig, validate
from mutransfer.study.confirmations import confirmation_sweep, confirmed_lr, read_confirmation, target_scale
from mutransfer.study.result import Result
from mutransfer.sweep.driver import load_corpus, open_executor, run_sweep
from mutransfer.sweep.events import Listener, ignore
from mutransfer.sweep.executors import Executor
from mutransfer.sweep.folder import ResultFolder

if TYPE_CHECKING:
    from mutransfer.data import Corpus


def plan_confirmation(
    result: Result,
    sizes: Mapping[str, int],
    arm: str | None = None,
    seeds: int | None = None,
    executor: str | None = None,
    device: str | None = None,
    gpus_per_trial: float | None = None,
) -> SweepConfig:
    """The sweep that a confirmation is.

    A confirmation that was begun keeps its rates as long as they are, by its interval, the proxy's: what is trained
    stays of use when the result has grown.

    Args:
        result: of a sweep.
        sizes: the scale to train, by dimension: {"width": 1024}.
        arm: the arm to confirm; None: the first whose verdict is that it transfers, else the last.
        seeds, executor, device, gpus_per_trial: None: as in the result's sweep.

    Raises:
        ValueError: where the sizes are not those of its dimensions, or the proxy's own, or cannot be built, and where
            the proxy has no optimum inside the rates tried.
    """
    config = result.config
    scale = target_scale(config, sizes)
    name = arm_to_follow(result.analysis, arm)
    proxy = result.analysis.arm(name).optima[0]
    _check_proxy(proxy, name, config, scale)
    found = confirmation_sweep(result.folder, config, name, scale, 2.0**proxy.log2_lr)
    begun = confirmed_lr(ResultFolder(Path(found.folder)))
    if begun is not None and _is_within(proxy, begun):
        found = confirmation_sweep(result.folder, config, name, scale, begun)
    found = dataclasses.replace(
        found,
        seeds=config.seeds if seeds is None else seeds,
        executor=config.executor if executor is None else executor,
        device=config.device if device is None else device,
        gpus_per_trial=config.gpus_per_trial if gpus_per_trial is None else gpus_per_trial,
    )
    validate(found)
    return found


def confirm(
    result: Result,
    config: SweepConfig,
    *,
    command: str,
    listener: Listener = ignore,
    open_executor: Callable[[SweepConfig, Corpus], Executor] = open_executor,
    load: Callable[[str], Corpus] = load_corpus,
) -> Confirmation:
    """Run, resume or extend a confirmation, and say what it found.

    Args:
        result: that it is a confirmation of.
        config: from `plan_confirmation`.
        command, listener, open_executor, load: as of `run_sweep`.

    Raises:
        ValueError, TrialsFailedError, KeyboardInterrupt: as `run_sweep`; ValueError also where the data are not the
            result's.
    """
    corpus = load(config.data)
    result.check_data(corpus.fingerprint)
    outcome = run_sweep(config, command=command, listener=listener, open_executor=open_executor, load=lambda _: corpus)
    found = read_confirmation(ResultFolder(outcome.folder), result.analysis, result.trials)
    assert found is not None  # every trial of it is recorded
    return found


def _check_proxy(proxy: Optimum, arm: str, config: SweepConfig, scale: Scale) -> None:
    along = config.dimensions
    tuned, wanted = proxy.scale.only(along), scale.describe(along)
    if not proxy.interior:
        raise ValueError(
            f"found {tuned.describe()} of {arm} {proxy.status}; wanted an optimum inside the rates tried, to "
            f"train {wanted} at: widen --lrs of the sweep"
        )
    if scale.only(along) == tuned:
        raise ValueError(f"found {wanted}, at which the rate was tuned; wanted another scale")


def _is_within(proxy: Optimum, lr: float) -> bool:
    assert proxy.ci_low is not None
    assert proxy.ci_high is not None
    return proxy.ci_low <= math.log2(lr) <= proxy.ci_high
