"""The gradient noise scale, from norms that a step with several micro-batches has anyway.

A gradient over B examples drawn independently has the mean G and the covariance Sigma / B, so

    E |g_B|^2 = |G|^2 + S / B        S = tr(Sigma)
    B_simple  = S / |G|^2            (McCandlish et al. 2018, arXiv 1812.06162, section 2.2)

and the squared norms at two batch sizes, those of a micro-batch and of the whole step, give unbiased estimates of
|G|^2 and S (appendix A.1). Their ratio is biased, so each is averaged over steps by itself and divided last.

B_simple stands for the critical batch size: far below it twice the batch halves the steps, far above it twice the batch
buys nothing, and at it a run takes twice the fewest steps and twice the fewest examples (section 2.3).
"""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mutransfer.analysis.interval import CONFIDENCE, t_quantile
from mutransfer.checks import positive
from mutransfer.config import TrialConfig
from mutransfer.data import Corpus, sample_batch
from mutransfer.parametrization import Parametrized
from mutransfer.training.cohort import Slice
from mutransfer.training.losses import training_loss
from mutransfer.training.trainer import build, make_optimizer

HORIZON = 100
"""Steps over which the running averages forget."""
NOISE_BLOCKS = 10
"""Blocks of consecutive steps whose spread says how sure an average is, whatever links neighbouring steps. With 20 the
intervals are 8% narrower, and hold less where steps are linked."""
REMEMBERED = 10
"""Horizons after which a step is forgotten altogether: its weight is e^-10 then."""


@dataclass(frozen=True)
class NoiseScale:
    """An estimate in examples: what a batch is counted in.

    `critical_batch` is B_simple with its 95% interval, which has no upper end where |G|^2 cannot be told from 0; None
    where the estimate of |G|^2 is not above 0. `noise` is S and `signal` |G|^2, in the units of the gradients that were
    fed.
    """

    critical_batch: float | None
    ci_low: float
    ci_high: float
    noise: float
    signal: float


class GradientNoise:
    """Running averages of S and |G|^2, fed with squared gradient norms.

    Gradients may be fed as they come from `step`, which watches the backward passes of gradient accumulation (and of
    data parallelism), or by `update` with norms from elsewhere. Nothing waits for a device before `estimate`.

    Args:
        micro_batch: examples of one micro-batch, on one device; the unit in which the noise scale comes out.
        horizon: steps over which the averages forget (decay 1 - 1/horizon, debiased); None: all steps weigh the same,
            as for a model that stands still.
    """

    def __init__(self, micro_batch: int, horizon: int | None = HORIZON) -> None:
        positive("micro_batch", micro_batch)
        if horizon is not None and horizon < 2:
            raise ValueError(f"found horizon {horizon}; wanted 2 steps or more, or None to weigh all steps the same")
        self.micro_batch = micro_batch
        self.horizon = horizon
        self._seen: deque[tuple[Tensor | float, Tensor | float]] = deque(
            maxlen=None if horizon is None else REMEMBERED * horizon
        )

    def update(self, micro_squares: Sequence[Tensor | float], total_square: Tensor | float, ranks: int = 1) -> None:
        """Take in one step.

        Args:
            micro_squares: |g|^2 of the mean gradient of each micro-batch of this process.
            total_square: |g|^2 of the mean gradient of them all, and of those of the other processes.
            ranks: processes whose micro-batches the total holds, each as many as this one.

        Raises ValueError where the total is of one micro-batch alone.
        """
        self._take(sum(micro_squares) / max(1, len(micro_squares)), total_square, len(micro_squares) * ranks)

    def _take(self, small: Tensor | float, big: Tensor | float, count: int) -> None:
        """The mean |g|^2 of a micro-batch and that of `count` of them together, as estimates of |G|^2 and S."""
        if count < 2:
            raise ValueError(
                f"found {count} micro-batches in a step; wanted 2 or more: the noise shows in how they differ"
            )
        signal = (count * big - small) / (count - 1)
        self._seen.append((signal, (small - big) * (self.micro_batch * count / (count - 1))))

    @contextlib.contextmanager
    def step(
        self, parameters: Iterable[nn.Parameter], mults: Iterable[float] | None = None, ranks: int = 1
    ) -> Iterator[None]:
        """Watch the backward passes of one step, one for each micro-batch, that add up to `parameter.grad`.

        It costs one pass over each micro-batch's gradients and no memory. By what the losses are divided or scaled does
        not matter to B_simple, as long as it is the same for all. Not for sharded gradients (FSDP): there, feed
        `update`.

        Args:
            parameters: those to watch.
            mults: multiplies each gradient before the norm, as a rule's `grad_mult`, which takes norms in one gauge.
            ranks: processes over which DistributedDataParallel averages gradients.

        Raises ValueError where there are gradients before the first backward pass, or fewer than 2 micro-batches.
        """
        watched = [parameter for parameter in parameters if parameter.requires_grad]
        factors = [1.0] * len(watched) if mults is None else list(mults)
        if len(factors) != len(watched):
            raise ValueError(
                f"found {len(factors)} mults for {len(watched)} parameters with a gradient; wanted one for each"
            )
        if any(parameter.grad is not None for parameter in watched):
            raise ValueError("found gradients before the step's first backward; wanted none: call zero_grad() first")
        squares: list[list[Tensor]] = [[] for _ in watched]

        def look(into: list[Tensor], factor: float) -> Callable[[Tensor], None]:
            return lambda gradient: into.append(_square(gradient) * factor**2)

        hooks = [
            parameter.register_hook(look(into, factor))  # type: ignore[no-untyped-call]
            for parameter, into, factor in zip(watched, squares, factors, strict=True)
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
        count = max((len(each) for each in squares), default=0)
        totals = [
            _square(parameter.grad) * factor**2
            for parameter, factor in zip(watched, factors, strict=True)
            if parameter.grad is not None
        ]
        # the gradients of the micro-batches add up, so that of the mean loss is their sum over their number
        self._take(
            _sum(square for each in squares for square in each) / max(1, count),
            _sum(totals) / max(1, count) ** 2,
            count * ranks,
        )

    def estimate(self) -> NoiseScale:
        """The noise scale now. Raises ValueError before the first step."""
        if not self._seen:
            raise ValueError("found no step; wanted one or more before the estimate: call update")
        # as floats from here on, so that no number is fetched from a device twice
        self._seen = deque(((float(signal), float(noise)) for signal, noise in self._seen), self._seen.maxlen)
        signals, noises = np.array(self._seen, dtype=np.float64).T
        return estimate_noise_scale(signals, noises, self.horizon)


def _square(gradient: Tensor) -> Tensor:
    exact = gradient.detach() if gradient.dtype == torch.float64 else gradient.detach().float()
    return exact.square().sum()


def _sum(scalars: Iterable[Tensor]) -> Tensor:
    """As one kernel, on the first one's device."""
    listed = list(scalars)
    return torch.stack([each.to(listed[0].device) for each in listed]).sum() if listed else torch.zeros(())


def estimate_noise_scale(signals: NDArray[np.float64], noises: NDArray[np.float64], horizon: int | None) -> NoiseScale:
    """B_simple from unbiased estimates of |G|^2 and S, one of each for every step, the latest last.

    The steps weigh (1 - 1/horizon)^age. The interval is Fieller's (1954, J. R. Stat. Soc. B 16, 175) for a ratio of two
    means, whose covariance is that of the means of consecutive blocks, with Student's t.
    """
    ages = np.arange(len(signals))[::-1]
    weights = np.ones(len(signals)) if horizon is None else (1 - 1 / horizon) ** ages
    counted = len(signals) if horizon is None else min(len(signals), 2 * horizon)
    blocks = ages // max(1, counted // NOISE_BLOCKS)
    shares = np.bincount(blocks, weights) / weights.sum()
    pairs = np.stack([np.bincount(blocks, weights * each) / weights.sum() / shares for each in (signals, noises)])
    signal, noise = pairs @ shares
    effective = 1 / (shares @ shares)
    low, high = 0.0, math.inf
    if effective > 1 + 1e-9:
        apart = (pairs - [[signal], [noise]]) * shares
        t = t_quantile((1 + CONFIDENCE) / 2, effective - 1)
        spread = apart @ apart.T * (effective / (effective - 1) * t**2)
        low, high = _fieller(signal, noise, spread)
    return NoiseScale(
        critical_batch=float(noise / signal) if signal > 0 else None,
        ci_low=low,
        ci_high=high,
        noise=float(noise),
        signal=float(signal),
    )


def _fieller(below: float, above: float, spread: NDArray[np.float64]) -> tuple[float, float]:
    """The ratios r >= 0 with above - r below within its own spread of 0; `spread` is t^2 times the covariance."""
    a, b, c = below**2 - spread[0, 0], below * above - spread[0, 1], above**2 - spread[1, 1]
    inside = b**2 - a * c
    if inside < 0 or a == 0:  # no ratio can be ruled out
        return 0.0, math.inf
    roots = sorted(((b - math.sqrt(inside)) / a, (b + math.sqrt(inside)) / a))
    if a > 0 and below > 0:
        return max(0.0, roots[0]), max(0.0, roots[1])
    return max(0.0, roots[1]) if c > 0 else 0.0, math.inf


def follow_noise(
    trial: TrialConfig, micro_batches: int, corpus: Corpus, device: str, horizon: int | None = None
) -> Iterator[tuple[int, float, NoiseScale]]:
    """Train a trial with each batch in so many parts, and give after every step its number from 1, its loss before the
    update and the noise scale, in sequences. Norms are taken in one gauge, as where gradients are clipped. Ends where
    the loss is not finite. A `horizon` of None is a fifth of the steps, at most HORIZON.

    Raises ValueError where the batch cannot be divided so.
    """
    if micro_batches < 2 or trial.batch_size % micro_batches:
        raise ValueError(
            f"found batch_size {trial.batch_size} in {micro_batches} micro-batches; wanted 2 or more of one size: set "
            "micro_batches to a divisor of batch_size"
        )
    built = build(trial, device)
    run = Slice(trial, built, make_optimizer(built, trial))
    horizon = max(2, min(HORIZON, trial.steps // 5)) if horizon is None else horizon
    seen = GradientNoise(trial.batch_size // micro_batches, horizon)
    for step in range(trial.steps):
        tokens = sample_batch(corpus.train, trial.seed, step, trial.batch_size, trial.model.context)
        run.optimizer.zero_grad(set_to_none=True)
        losses = []
        with seen.step(*_gauge(built)):
            for part_BT1 in torch.from_numpy(tokens).to(device).chunk(micro_batches):
                loss, plain = training_loss(built.model, part_BT1, trial)
                (loss / micro_batches).backward()  # type: ignore[no-untyped-call]
                losses.append(plain)
        run.clip()
        run.update(step)
        value = torch.stack(losses).mean().item()
        run.curve.losses = np.append(run.curve.losses, value)  # what the schedule plateau goes by
        if not math.isfinite(value):
            return
        yield step + 1, value, seen.estimate()


def _gauge(built: Parametrized) -> tuple[list[nn.Parameter], list[float]]:
    named = [(name, parameter) for name, parameter in built.model.named_parameters() if parameter.requires_grad]
    return [parameter for _, parameter in named], [built.rules[name].grad_mult for name, _ in named]
