"""`make bench`: ratios of two things measured in one run, alternated, as medians. Writes results/bench/bench.json.

step      seconds of our training step over those of a plain hand-written PyTorch loop of the same model, one thread
driver    the driver's own work per trial (ask, dispatch, record, tell), measured with trials that do nothing, and its
          share of the default study's wall time on two slots if each of its trials cost that
"""

from __future__ import annotations

import json
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from plain_loop import time_steps

from mutransfer import Corpus, SweepConfig, TrialConfig, TrialResult, load_corpus, run_sweep
from mutransfer.sweep.executors import InProcess
from mutransfer.training.trainer import build, make_optimizer, sample_batch, train_step

ROUNDS = 5
STEPS = 40
OUT = Path("results/bench/bench.json")


def our_steps(corpus: Corpus, width: int) -> float:
    """Seconds of the trainer's own steps; the model's construction left out, as in the plain loop."""
    config = SweepConfig(steps=STEPS)
    trial = config.trial(config.arms[1], width, 2**-7, 0)
    built = build(trial, "cpu")
    optimizer = make_optimizer(built, trial)
    losses = torch.zeros(STEPS)
    start = time.perf_counter()
    for step in range(STEPS):
        tokens = sample_batch(corpus.train, 0, step, trial.batch_size, trial.model.context)
        losses[step] = train_step(built, optimizer, trial, step, torch.from_numpy(tokens))
    wall = time.perf_counter() - start
    assert losses.isfinite().all()
    return wall


def bench_step(corpus: Corpus, width: int) -> dict[str, float]:
    """Medians in milliseconds, and the ratio ours / plain of each round's pair."""
    data = torch.from_numpy(np.array(corpus.train))
    pairs = [(our_steps(corpus, width), time_steps(data, width, STEPS)) for _ in range(ROUNDS + 1)][1:]
    ours, plain = ([1e3 * pair[side] / STEPS for pair in pairs] for side in (0, 1))
    ratios = sorted(a / b for a, b in pairs)
    return {
        "ours_ms": statistics.median(ours),
        "plain_ms": statistics.median(plain),
        "ratio": statistics.median(ratios),
        "ratio_min": ratios[0],
        "ratio_max": ratios[-1],
    }


def no_op(trials: Sequence[TrialConfig], corpus: Corpus, device: str) -> list[TrialResult]:
    """A trial that does nothing."""
    curve = np.full(trials[0].steps, 2.0, np.float32)
    now = "2026-01-01T00:00:00+00:00"
    return [TrialResult(curve, 5.5, 2.0, 2.0, 2.0, None, None, False, None, 1e-6, 1, device, now) for _ in trials]


def bench_driver(corpus: Corpus, trials: int) -> float:
    """Milliseconds of the driver's own work per trial."""
    config = SweepConfig(widths=(32, 64), lrs=tuple(2.0**-e for e in range(1, 11)), seeds=trials // 40)
    with tempfile.TemporaryDirectory(dir=".") as folder:
        start = time.perf_counter()
        run_sweep(
            replace(config, out=f"{folder}/result", executor="inprocess"),
            command="",
            open_executor=lambda config, corpus: InProcess(no_op, corpus, "cpu"),
            load=lambda spec: corpus,
        )
        return 1e3 * (time.perf_counter() - start) / trials


def main() -> None:
    torch.set_num_threads(1)
    corpus = load_corpus("stdlib")
    default = SweepConfig()
    steps = {str(width): bench_step(corpus, width) for width in default.widths}
    driver_ms = statistics.median(bench_driver(corpus, 400) for _ in range(ROUNDS))
    seconds = sum(row["ours_ms"] for row in steps.values()) * default.steps / 1e3
    trials_per_width = len(default.arms) * len(default.lrs) * default.seeds
    trials = trials_per_width * len(default.widths)
    share = trials * driver_ms / 1e3 / (trials_per_width * seconds / 2)
    found = {
        "machine": f"{platform.machine()}, {platform.python_version()}, torch {torch.__version__}",
        "rounds": ROUNDS,
        "step": steps,
        "driver": {"ms_per_trial": driver_ms, "share_of_the_default_study": share},
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(found, indent=1) + "\n")
    for width, row in steps.items():
        print(
            f"width {width}: step {row['ours_ms']:.1f} ms, plain loop {row['plain_ms']:.1f} ms, "
            f"ratio {row['ratio']:.3f} ({row['ratio_min']:.3f}..{row['ratio_max']:.3f})"
        )
    print(f"driver: {driver_ms:.2f} ms per trial, {100 * share:.2f}% of the default study's wall time")


if __name__ == "__main__":
    main()
