"""`python experiments/bench/watching.py`: what watching a run costs. Writes results/bench/watching.json.

Three kinds of step of one model take turns: plain, unwatched (in `watch.step`, nothing measured) and watched. Ratios
are of each turn's CPU seconds, one thread, to those of its plain step, as medians with their quartiles; `at_20` is what
watching every 20th step adds to a run, by those medians.
"""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mutransfer import Corpus, SweepConfig, load_corpus, sample_batch
from mutransfer.config import Scale
from mutransfer.toolbox.watch.watch import EVERY, Watch
from mutransfer.training.trainer import build, make_optimizer, train_step

WIDTHS = (32, 128, 256)
TURNS = 40
OUT = Path("results/bench/watching.json")


def turns(corpus: Corpus, width: int) -> list[tuple[float, float, float]]:
    """CPU seconds of a plain, an unwatched and a watched step, turn by turn."""
    config = SweepConfig()
    trial = config.trial(config.arms[1], Scale(width), 2**-8, 0)
    built = build(trial, "cpu")
    optimizer, seen = make_optimizer(built, trial), list[Any]()
    watch = Watch(built.model, optimizer, every=2, sinks=[seen.append])  # of 0 and 1, step 0 is watched

    def train(step: int) -> torch.Tensor:
        tokens = sample_batch(corpus.train, 0, step, trial.batch_size, trial.model.context)
        return train_step(built, optimizer, trial, step, torch.from_numpy(tokens))

    def within(step: int, number: int) -> None:
        with watch.step(number) as told:
            told.loss = train(step)

    found = []
    for turn in range(TURNS):
        kinds: list[Callable[[], Any]] = [lambda: train(turn), lambda: within(turn, 1), lambda: within(turn, 0)]  # noqa: B023
        first = turn % 3  # each kind goes first as often as the others
        seconds = {kind: timed(kinds[kind]) for kind in (first, (first + 1) % 3, (first + 2) % 3)}
        found.append((seconds[0], seconds[1], seconds[2]))
    assert len(seen) == TURNS
    return found[3:]


def timed(work: Callable[[], Any]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def bench(corpus: Corpus, width: int) -> dict[str, Any]:
    """Medians and quartiles of the ratios at one width."""
    measured = turns(corpus, width)
    unwatched, watched = ([each[kind] / each[0] for each in measured] for kind in (1, 2))
    most = statistics.median(watched)
    return {
        "plain_ms": 1e3 * statistics.median(each[0] for each in measured),
        "unwatched": statistics.quantiles(unwatched, n=4),
        "watched": statistics.quantiles(watched, n=4),
        f"at_{EVERY}": ((EVERY - 1) * statistics.median(unwatched) + most) / EVERY - 1,
    }


def main() -> None:
    torch.set_num_threads(1)
    corpus = load_corpus("stdlib")
    found = {"machine": platform.machine(), "turns": TURNS - 3, "widths": {w: bench(corpus, w) for w in WIDTHS}}
    text = json.dumps(found, indent=1)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
