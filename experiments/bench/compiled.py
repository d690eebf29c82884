"""What torch.compile gives the default study's trials on one CPU thread. Writes results/bench/compiled.json, by width:

eager_ms, compiled_ms   a step, medians of rounds in which the two take turns
compiled_over_eager     the ratio
begin_s                 what the first compiled step took longer, nothing compiled before being kept on the disk
pays_after              steps after which the compiled trial has caught up
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from ratios import ratio

from mutransfer import Corpus, SweepConfig, load_corpus
from mutransfer.config import Scale
from mutransfer.training.batches import draw_batches
from mutransfer.training.cohort import Cohort
from mutransfer.training.trainer import start

ROUNDS, WARM, STEPS = 7, 3, 15
OUT = Path("results/bench/compiled.json")


def advance(cohort: Cohort, batches: Iterator[torch.Tensor], steps: int) -> float:
    """Seconds for each of so many steps."""
    begin = time.perf_counter()
    for _ in range(steps):
        cohort.advance(next(batches))
    return (time.perf_counter() - begin) / steps


def compare(corpus: Corpus, width: int) -> dict[str, Any]:
    steps = WARM + 1 + (ROUNDS + 1) * STEPS
    config = SweepConfig(steps=steps)
    trial = config.trial(config.arms[1], Scale(width), 2**-8, 0)
    runs = {
        mode: (start([trial], "cpu", mode=mode), draw_batches(corpus, [trial], range(steps), "cpu"))
        for mode in ("eager", "compiled")
    }
    first = advance(*runs["compiled"], 1)
    for run in runs.values():
        advance(*run, WARM)
    rounds = [{mode: advance(*run, STEPS) for mode, run in runs.items()} for _ in range(ROUNDS)]
    eager, compiled = ([each[mode] for each in rounds] for mode in ("eager", "compiled"))
    step, other = statistics.median(eager), statistics.median(compiled)
    begin = first - other
    return {
        "eager_ms": 1e3 * step,
        "compiled_ms": 1e3 * other,
        "compiled_over_eager": ratio(compiled, eager),
        "begin_s": begin,
        "pays_after": round(begin / (step - other)) if other < step else None,
    }


def main() -> None:
    torch.set_num_threads(1)
    corpus = load_corpus("stdlib")
    with tempfile.TemporaryDirectory() as empty:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = empty
        found = {str(width): compare(corpus, width) for width in SweepConfig.widths}
    machine = f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}"
    OUT.write_text(json.dumps({"machine": machine, "measured": found}, indent=1) + "\n")
    print(f"compiled: {OUT}")


if __name__ == "__main__":
    main()
