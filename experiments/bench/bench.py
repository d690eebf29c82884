"""`make bench`: ratios of two things measured in one run, in turn, as medians. Writes results/bench/NAME.json each, and
the table of all that was measured, results/bench/README.md.

`make bench DEVICE=cuda` runs what needs a GPU, alone. `--only step dispatcher` runs some.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cohort
import compiled
import torch
import watching
from dispatcher import bench_dispatcher
from gpu import bench_gpu
from step import bench_step
from table import write_table
from verdict import bench_verdict

from mutransfer import Corpus, load_corpus

OUT = Path("results/bench")

ON_CPU: Mapping[str, Callable[[Corpus], Any]] = {
    "step": bench_step,
    "dispatcher": bench_dispatcher,
    "verdict": lambda corpus: bench_verdict(corpus, len(os.sched_getaffinity(0))),
}

OF_THEIR_OWN: Mapping[str, Callable[[], None]] = {
    "cohort": cohort.main,
    "compiled": compiled.main,
    "watching": watching.main,
}
"""What writes its file itself, and runs alone as well."""


def main() -> None:
    parser = argparse.ArgumentParser(description="measure speed, as ratios, into results/bench/")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--only", nargs="+", choices=[*ON_CPU, *OF_THEIR_OWN], default=[*ON_CPU, *OF_THEIR_OWN])
    asked = parser.parse_args()
    if asked.device == "cuda" and not torch.cuda.is_available():
        parser.error("found no GPU; wanted one for --device cuda: leave it out")
    corpus = load_corpus("stdlib")
    OUT.mkdir(parents=True, exist_ok=True)
    if asked.device == "cuda":
        measures: Mapping[str, Callable[[Corpus], Any]] = {"cuda": lambda corpus: bench_gpu(corpus, "cuda:0")}
    else:
        measures = {name: ON_CPU[name] for name in asked.only if name in ON_CPU}
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    for name, measure in measures.items():
        found = {"machine": f"{machine}, torch {torch.__version__}", "measured": measure(corpus)}
        (OUT / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
        print(f"{name}: {OUT / name}.json", flush=True)
    if asked.device == "cpu":
        for name in asked.only:
            if name in OF_THEIR_OWN:
                OF_THEIR_OWN[name]()
    print(write_table(OUT))


if __name__ == "__main__":
    main()
