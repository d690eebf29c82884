"""The gradient noise scale of a run: how large a batch still buys steps."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mutransfer.arguments import parse
from mutransfer.toolbox.trial_arguments import TrialArguments, write_looks

if TYPE_CHECKING:
    from mutransfer.config import TrialConfig
    from mutransfer.toolbox.noise_scale.measure import NoiseScale


@dataclass(frozen=True)
class NoiseScaleArguments(TrialArguments):
    """Arguments of noise-scale."""

    micro_batches: int = 8
    """In how many parts each batch is run; their gradients are compared with that of the whole."""
    horizon: int | None = None
    """Steps over which the averages forget; None: a fifth of the steps, at most 100."""
    to_batch: int | None = None
    """Also say with which rate, betas, epsilon and decay to train at this batch size."""
    out: str = "results/noise_scale"
    """The folder to write noise_scale.jsonl and the figure to."""


def run(words: list[str]) -> None:
    """Train with every batch in parts, and print the noise scale, which stands for the critical batch size."""
    import pandas as pd

    from mutransfer.config import LOSSES
    from mutransfer.data import load_corpus
    from mutransfer.sweep.executors import local_device
    from mutransfer.terminal import open_console
    from mutransfer.toolbox.noise_scale.figure import noise_scale
    from mutransfer.toolbox.noise_scale.measure import follow_noise
    from mutransfer.training.trainer import one_thread

    arguments = parse("noise-scale", NoiseScaleArguments, words)
    trial = arguments.trial()
    corpus = load_corpus(arguments.data)
    corpus.check(trial.model.context, trial.model.vocab)
    device = local_device(arguments.device, 1.0)
    with one_thread(device):
        seen = list(follow_noise(trial, arguments.micro_batches, corpus, device, arguments.horizon))
    rows = [{"step": step, "loss": loss, **asdict(found)} for step, loss, found in seen]
    figure = noise_scale(pd.DataFrame(rows), trial.batch_size, "sequences", LOSSES[trial.loss])
    console = open_console()
    last = seen[-1][2]
    for line in (*_found(last, trial, len(seen)), *_scaled(arguments.to_batch, last, trial)):
        console.print(line, soft_wrap=True)
    print(write_looks(Path(arguments.out), "noise_scale", trial, rows, figure))


def _found(found: NoiseScale, trial: TrialConfig, steps: int) -> list[str]:
    """What the noise scale is, in words."""
    at_least = f"noise scale after {steps} steps: at least {found.ci_low:.3g} sequences"
    if found.critical_batch is None:
        return [f"{at_least}; the gradient's own size is lost in the noise: raise --batch-size or --steps"]
    if math.isinf(found.ci_high):
        return [f"{at_least} (95%; estimate {found.critical_batch:.3g}): raise --batch-size or --steps to know more"]
    return [
        f"noise scale after {steps} steps: {found.critical_batch:.3g} sequences (95% {found.ci_low:.3g}.."
        f"{found.ci_high:.3g}), or {found.critical_batch * trial.model.context:.3g} tokens",
        f"a run with batch {trial.batch_size} takes {1 + found.critical_batch / trial.batch_size:.2f} times the fewest "
        f"steps, and {1 + trial.batch_size / found.critical_batch:.2f} times the fewest examples",
    ]


def _scaled(to_batch: int | None, found: NoiseScale, trial: TrialConfig) -> list[str]:
    """What to train with at another batch size, in words."""
    from mutransfer.toolbox.noise_scale.batch_scaling import scale_batch

    if to_batch is None:
        return []
    scaled = scale_batch(
        trial.lr, trial.optimizer, from_batch=trial.batch_size, to_batch=to_batch, critical=found.critical_batch
    )
    changed = {
        name: value for name, value in asdict(scaled.optimizer).items() if value != getattr(trial.optimizer, name)
    }
    settings = "".join(f", {name} {value:.4g}" for name, value in changed.items())
    return [
        f"at batch {to_batch}: lr {scaled.lr:.4g}{settings}, over {scaled.steps_mult:.3g} times the steps, by the rule "
        f"{scaled.rule}",
        *scaled.notes,
    ]
