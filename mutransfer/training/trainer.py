"""The one training loop: trials in, results out.

B batch, T time
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mutransfer.checks import one_of
from mutransfer.config import MODES, TrialConfig
from mutransfer.data import Corpus
from mutransfer.optim import averaged_weights, build_optimizer, needs_curvature
from mutransfer.parametrization import Parametrized, build_model
from mutransfer.training.batches import draw_batches
from mutransfer.training.checkpoint import Checkpoint, freeze
from mutransfer.training.cohort import Cohort, Slice
from mutransfer.training.compiled import compile_model
from mutransfer.training.evaluation import Evaluation, evaluate
from mutransfer.training.own_model import build_own, own_stacks
from mutransfer.training.part import Part
from mutransfer.training.stack import Stack

FETCH_EVERY = 20
"""Steps between looks at the losses, which on a GPU wait for the device."""


@dataclass(frozen=True)
class TrialResult:
    """What one trial measured. Losses are nats per token, or squared units where the trial's loss is squared_error, and
    never hold the z-loss; None where it diverged before there was one.

    `train_losses` (float32, one per step) is cut after `diverged_step`. `init_loss` is the loss of the first batch
    before any update, `final_loss` the mean of the last `final_window` of the steps, `mean_loss` the mean of all steps,
    `val_loss` the loss of the final model on the fixed held-out batches. There, too, are measured `attention_logit`,
    the largest attention logit in absolute value (on the first batch), and `output_log_z`, the mean log of the sum that
    normalizes the outputs' softmax; None also for a model without attention, and for a loss without softmax.
    `cohort_size` trials were trained as one at the start, by steps of the kind `execution`; `wall_s` is the time of all
    of it, building included, divided by them.

    Of a trial that stands at the end of a part, `state` is what it goes on from. Its losses are those up to there, and
    nothing was measured on held-out batches.
    """

    train_losses: NDArray[np.float32]
    init_loss: float
    final_loss: float | None
    val_loss: float | None
    mean_loss: float | None
    attention_logit: float | None
    output_log_z: float | None
    diverged: bool
    diverged_step: int | None
    wall_s: float
    n_params: int
    device: str
    started: str
    cohort_size: int
    execution: str
    state: bytes | None = None


def train(
    trials: Sequence[TrialConfig], corpus: Corpus, device: str, part: Part | None = None, mode: str = "eager"
) -> list[TrialResult]:
    """Train every trial and return their results in order.

    Trials of one `cohort_key` are trained as one model, one such cohort after another; those whose optimizer looks at
    the curvature, which is that of one model alone, one by one, and so those whose model is your own and which `vmap`
    cannot run, and all where models are compiled. Where a cohort does not fit into the device's memory its halves are
    trained, one after the other.

    The same trial gives the same bits on the CPU whatever process runs it: it is trained on one thread. In a cohort it
    gives the same but for rounding, unless it is alone.

    Args:
        trials: what to train.
        corpus: its training tokens are sampled, its validation tokens evaluated.
        device: a torch device, such as `cpu` or `cuda:0`.
        part: what to train of them; None: all. One after the other, the parts give the bits of the whole; in a cohort,
            as everywhere, but for rounding.
        mode: the kind of step, one of `config.MODES`. Compiled steps round otherwise than eager ones, each compiler in
            its way; recorded ones launch what eager ones do.

    Raises:
        torch.OutOfMemoryError: where a single trial does not fit.
        ValueError: on a state that is none of the trial's, and on a mode that the trials cannot be trained in.
    """
    at = [0] * len(trials) if part is None else part.begins(trials, corpus.fingerprint)
    cohorts: dict[tuple[TrialConfig, int, int | None], list[int]] = {}
    for place, trial in enumerate(trials):
        check_mode(trial, device, mode)
        alone = mode == "compiled" or not stackable(trial)
        cohorts.setdefault((trial.cohort_key, at[place], place if alone else None), []).append(place)
    results: dict[int, TrialResult] = {}
    with one_thread(device):
        for places in cohorts.values():
            mine = part and part.of(places)
            found = _train_or_halve([trials[place] for place in places], corpus, device, mine, mode)
            results.update(zip(places, found, strict=True))
    return [results[place] for place in range(len(trials))]


def train_trial(
    trial: TrialConfig,
    corpus: Corpus,
    device: str,
    checkpoint: Checkpoint | None = None,
    tell: Callable[[Cohort], None] | None = None,
    mode: str = "eager",
) -> TrialResult:
    """Train one trial, from its last checkpoint on where there is one, so that running again is resuming.

    It gives the same bits however often it was killed. With more (or fewer) steps than the checkpoint's run had it goes
    on from the end of what the two share, wsd's stable phase above all, and gives the bits of a run of that many steps
    from the first on. The result's `started` and `wall_s` are of this call alone.

    Args:
        trial: what to train.
        corpus: its training tokens are sampled, its validation tokens evaluated.
        device: a torch device, such as `cpu` or `cuda:0`.
        checkpoint: where to keep the run; None: nowhere.
        tell: called with the run at its last checkpoint or at its start, and after every further look at its losses.
        mode: the kind of step, one of `config.MODES`, as in `train`.

    Raises:
        ValueError: on a mode that the trial cannot be trained in, on a checkpoint of another trial or other data, a
            torn one, and one from which no run of that many steps can go on.
        torch.OutOfMemoryError: where it does not fit.
    """
    if checkpoint is not None:
        checkpoint.validate()
        checkpoint.path.parent.mkdir(parents=True, exist_ok=True)
    check_mode(trial, device, mode)
    with one_thread(device):
        return _train_cohort([trial], corpus, device, checkpoint, tell, mode=mode)[0]


def stackable(trial: TrialConfig) -> bool:
    """Whether the trial can be trained as one with others of its `cohort_key`."""
    return not needs_curvature(trial.optimizer, 0) and (not trial.build or own_stacks(trial))


def check_mode(trial: TrialConfig, device: str, mode: str) -> None:
    """Raises ValueError where a trial cannot be trained by such steps."""
    one_of("execution", mode, MODES)
    if mode == "eager":
        return
    if needs_curvature(trial.optimizer, 0):
        raise ValueError(
            f"found execution {mode} with {trial.optimizer.name}, which looks at the curvature; wanted eager"
        )
    if mode == "graph" and not device.startswith("cuda"):
        raise ValueError(
            f"found execution graph on {device}; wanted a GPU, which alone has graphs: give eager or compiled"
        )
    if mode == "graph" and trial.build:
        raise ValueError(
            f"found execution graph with {trial.build}; wanted eager or compiled: what a model of your own does may be "
            "another thing at every step, and a graph repeats the first"
        )


def _train_or_halve(
    trials: Sequence[TrialConfig], corpus: Corpus, device: str, part: Part | None, mode: str
) -> list[TrialResult]:
    try:
        return _train_cohort(trials, corpus, device, part=part, mode=mode)
    except torch.OutOfMemoryError as error:
        if len(trials) == 1:
            raise torch.OutOfMemoryError(_too_large(trials[0], device)) from error
    # Not in the handler: the error holds on to the memory of the cohort that failed.
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
    half, every = len(trials) // 2, range(len(trials))
    found: list[TrialResult] = []
    for places in (every[:half], every[half:]):
        found += _train_or_halve([trials[place] for place in places], corpus, device, part and part.of(places), mode)
    return found


def _too_large(trial: TrialConfig, device: str) -> str:
    return (
        f"found too little memory on {device} for one trial of width {trial.model.width} and depth "
        f"{trial.model.depth} with {trial.batch_size} sequences of {trial.model.context} tokens; wanted it to fit: "
        "lower batch_size or model.context, or give a larger device"
    )


def _train_cohort(
    trials: Sequence[TrialConfig],
    corpus: Corpus,
    device: str,
    checkpoint: Checkpoint | None = None,
    tell: Callable[[Cohort], None] | None = None,
    part: Part | None = None,
    mode: str = "eager",
) -> list[TrialResult]:
    started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    cohort = start(trials, device, rows=part is None, mode=mode)
    n_params = sum(parameter.numel() for parameter in cohort.slices[0].built.model.parameters())
    curves = [each.curve for each in cohort.slices]
    steps = trials[0].steps
    until = steps if part is None else part.until
    if checkpoint is not None:
        checkpoint.restore(cohort, corpus.fingerprint)
    if part is not None:
        part.take_up(cohort, corpus.fingerprint)
    if tell is not None:
        tell(cohort)
    while cohort.slices and cohort.step < until:
        # at multiples wherever it began, so that what goes on looks when the undisturbed run does
        end = min(*((cohort.step // every + 1) * every for every in _looks(trials)), until)
        if checkpoint is not None:
            end = min(end, checkpoint.next_stop(trials, cohort.step))
        batches = draw_batches(corpus, [each.trial for each in cohort.slices], range(cohort.step, end), device)
        cohort.look(torch.stack([cohort.advance(tokens) for tokens in batches]).cpu().numpy())
        if checkpoint is not None:
            checkpoint.save(cohort, trials, curves, corpus.fingerprint)
        if tell is not None:
            tell(cohort)
    held_out: dict[int, Evaluation] = {}
    states: dict[int, bytes | None] = dict.fromkeys(range(len(trials)))
    for each in cohort.slices:
        if until < steps:
            states[each.place] = freeze(each, cohort.step, corpus.fingerprint)
            continue
        each.built.model.eval()
        with averaged_weights(each.optimizer):
            held_out[each.place] = evaluate(each.built.model, each.trial, corpus, device)
    wall_s = (time.perf_counter() - clock) / len(trials)
    results = []
    for place, (trial, curve) in enumerate(zip(trials, curves, strict=True)):
        losses, survived = curve.losses, curve.diverged_step is None
        window = max(1, round(trial.final_window * steps))
        last = held_out[place] if place in held_out else Evaluation(None, None, None)
        results.append(
            TrialResult(
                train_losses=losses.astype(np.float32),
                init_loss=float(losses[0]),
                final_loss=float(losses[-window:].mean()) if survived else None,
                val_loss=last.loss,
                mean_loss=float(losses.mean()) if survived else None,
                attention_logit=last.attention_logit,
                output_log_z=last.output_log_z,
                diverged=not survived,
                diverged_step=curve.diverged_step,
                wall_s=wall_s,
                n_params=n_params,
                device=torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
                started=started,
                cohort_size=len(trials),
                execution=mode,
                state=states[place],
            )
        )
    return results


def _looks(trials: Sequence[TrialConfig]) -> set[int]:
    """After how many steps there are looks at the losses: those of plateau decide what comes next."""
    return {FETCH_EVERY} | {each.schedule.window for each in trials if each.schedule.spec.by_losses}


def start(trials: Sequence[TrialConfig], device: str, rows: bool = True, mode: str = "eager") -> Cohort:
    """Trials of one `cohort_key` at their initialization, ready to train as one by steps of kind `mode`. Without `rows`
    an optimizer's state is each parameter's own also where it could be that of many side by side, and serves whatever
    other cohort."""
    builts = [build(trial, device) for trial in trials]
    groups = [built.groups_for(trial.lr, trial.optimizer) for built, trial in zip(builts, trials, strict=True)]
    stack = None
    if len(trials) > 1:
        mults = {name: rule.grad_mult for name, rule in builts[0].rules.items()}
        max_norms = [trial.optimizer.clip_norm for trial in trials]
        stack = Stack([built.model for built in builts], groups, mults, max_norms)
    if stack is not None and trials[0].optimizer.spec.elementwise and rows:
        groups = stack.row_groups(groups)
    made = zip(trials, builts, groups, strict=True)
    slices = [
        Slice(trial, built, build_optimizer(mine, trial.optimizer), place)
        for place, (trial, built, mine) in enumerate(made)
    ]
    compiled = compile_model(builts[0].model, whole=not trials[0].build) if mode == "compiled" else None
    return Cohort(slices, stack, compiled=compiled, graphs=mode == "graph")


def build(trial: TrialConfig, device: str) -> Parametrized:
    """The trial's model at its initialization, on `device`, in the trial's precision (bfloat16: weights in float32)."""
    if trial.build:
        return build_own(trial, device)
    return build_model(
        trial.model,
        trial.parametrization,
        base_width=trial.base_width,
        base_depth=trial.base_depth,
        init=trial.init,
        seed=trial.seed,
        device=device,
        dtype=torch.float64 if trial.dtype == "float64" else torch.float32,
    )


def make_optimizer(built: Parametrized, trial: TrialConfig) -> torch.optim.Optimizer:
    """The trial's optimizer at its peak rate."""
    return build_optimizer(built.groups_for(trial.lr, trial.optimizer), trial.optimizer)


def train_step(
    built: Parametrized, optimizer: torch.optim.Optimizer, trial: TrialConfig, step: int, tokens_BT1: Tensor
) -> Tensor:
    """One update on sequences of context + 1 tokens; returns the plain loss before it, detached."""
    return Cohort([Slice(trial, built, optimizer)], None, step).advance(tokens_BT1[None])[0]


@contextlib.contextmanager
def one_thread(device: str) -> Iterator[None]:
    """One thread on the CPU: the bits do not depend on the machine, and two trials side by side beat two threads."""
    before = torch.get_num_threads()
    if device == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
