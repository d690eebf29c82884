"""What trials gain by being trained as one, as ratios of things measured in turn. Writes results/bench/cohort.json.

step        a step's time for each trial of K, over that of a single trial, by tokens a step and width; one thread. What
            `config.on_cpu` goes by on a CPU
attention   the same at the default study's batch with softmax(Q K^T) V written out, and with the fused kernel over the
            cohort folded into the batch, as it is
host        milliseconds where arithmetic is next to nothing (12 blocks of width 8, two tokens): a cohort's step is then
            the host's own work, which on a GPU bounds it from below. `update` is the optimizers' part of it,
            `update_by_parameter` what that would be if they stepped parameters and not rows; `build` builds K models
leaving     milliseconds to let one slice of 8 go at width 128, and of a step of the 7
batch       milliseconds to cut a batch of 64 x 1024 tokens

All is processor time: other work on the machine would stretch wall time.
"""

from __future__ import annotations

import contextlib
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from mutransfer import Corpus, ModelConfig, SweepConfig, TrialConfig, load_corpus
from mutransfer.config import Scale
from mutransfer.data import sample_batch
from mutransfer.training import cohort as cohort_module
from mutransfer.training.batches import draw_batches
from mutransfer.training.trainer import make_optimizer, start

ROUNDS = 5
WARM, STEPS = 2, 6
SIZES = (1, 2, 4, 8)
WIDTHS = (32, 64, 128, 256)
BATCHES = ((4, 16), (4, 64), (8, 64), (16, 64))
"""Sequences and their tokens; the last is the default study's."""
LAUNCHES = ModelConfig(depth=12, head_dim=8, context=2)
OUT = Path("results/bench/cohort.json")


def trials(size: int, width: int, model: ModelConfig, batch_size: int) -> list[TrialConfig]:
    """Four rates, and as many seeds as it takes."""
    config = SweepConfig(model=model, batch_size=batch_size, base_width=width)
    return [config.trial(config.arms[1], Scale(width), 2.0 ** -(6 + place % 4), place // 4) for place in range(size)]


def time_step(corpus: Corpus, of: list[TrialConfig]) -> float:
    """Milliseconds of a step, for each trial."""
    cohort = start(of, "cpu")
    batches = draw_batches(corpus, of, range(WARM + STEPS), "cpu")
    for _ in range(WARM):
        cohort.advance(next(batches))
    return timed(lambda: [cohort.advance(tokens) for tokens in batches]) / STEPS / len(of)


def timed(call: Callable[[], object]) -> float:
    """Milliseconds."""
    clock = time.process_time()
    call()
    return 1e3 * (time.process_time() - clock)


def compare(measures: Mapping[str, Callable[[], float]]) -> dict[str, dict[str, float]]:
    """Each measure's median, and its ratio to the first of the same round; one round before is not counted."""
    rounds = [{name: measure() for name, measure in measures.items()} for _ in range(ROUNDS + 1)][1:]
    first = next(iter(measures))
    found = {}
    for name in measures:
        ratios = sorted(each[name] / each[first] for each in rounds)
        found[name] = {
            "ms": statistics.median(each[name] for each in rounds),
            "ratio": statistics.median(ratios),
            "ratio_min": ratios[0],
            "ratio_max": ratios[-1],
        }
    return found


def bench_step(corpus: Corpus, width: int, batch_size: int, context: int) -> dict[str, dict[str, float]]:
    """By K."""
    model = ModelConfig(context=context)
    return compare({str(size): partial(time_step, corpus, trials(size, width, model, batch_size)) for size in SIZES})


class WrittenOut(TorchFunctionMode):
    """Causal attention as softmax(Q K^T) V."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        query, key, value = args
        later = torch.ones(query.shape[-2], query.shape[-2], dtype=torch.bool).triu(1)
        return (kwargs["scale"] * (query @ key.mT)).masked_fill(later, -torch.inf).softmax(dim=-1) @ value


@contextlib.contextmanager
def written_out() -> Iterator[None]:
    """Cohorts attend by the formula."""
    before = cohort_module.FoldedAttention
    cohort_module.FoldedAttention = WrittenOut
    try:
        yield
    finally:
        cohort_module.FoldedAttention = before


def bench_attention(corpus: Corpus, width: int) -> dict[str, dict[str, float]]:
    """A cohort of 8."""
    of = trials(8, width, ModelConfig(), 16)

    def formula() -> float:
        with written_out():
            return time_step(corpus, of)

    return compare(
        {"single": partial(time_step, corpus, of[:1]), "folded": partial(time_step, corpus, of), "formula": formula}
    )


def bench_host(corpus: Corpus, size: int) -> dict[str, float]:
    """Milliseconds of a step of the whole cohort and of its parts, medians."""
    of = trials(size, 8, LAUNCHES, 1)
    cohort = start(of, "cpu")
    (tokens,) = draw_batches(corpus, of, range(1), "cpu")

    def update() -> None:
        for each in cohort.slices:
            each.update(0)

    def median(call: Callable[[], object], times: int = 4 * ROUNDS) -> float:
        call()
        return statistics.median(timed(call) for _ in range(times))

    found = {"step": median(lambda: cohort.advance(tokens)), "update": median(update)}
    for each in cohort.slices:
        each.optimizer = make_optimizer(each.built, each.trial)
    found["update_by_parameter"] = median(update)
    found["build"] = median(lambda: start(of, "cpu"), 3)
    return found


def bench_leaving(corpus: Corpus) -> dict[str, float]:
    """Milliseconds to let one of 8 go, and of a step of the 7."""
    of = trials(8, 128, ModelConfig(), 16)
    leaving, stepping = [], []
    for _ in range(ROUNDS):
        cohort = start(of, "cpu")
        batches = draw_batches(corpus, of[1:], range(3), "cpu")
        leaving.append(timed(partial(cohort.keep, range(1, 8))))
        cohort.advance(next(batches))
        stepping.append(timed(partial(cohort.advance, next(batches))))
    return {"leaving": statistics.median(leaving), "step": statistics.median(stepping)}


SECTIONS: Mapping[str, Callable[[Corpus], Any]] = {
    "step": lambda corpus: {
        f"{batch_size}x{context}": {str(width): bench_step(corpus, width, batch_size, context) for width in WIDTHS}
        for batch_size, context in BATCHES
    },
    "attention": lambda corpus: {str(width): bench_attention(corpus, width) for width in WIDTHS[:3]},
    "host": lambda corpus: {str(size): bench_host(corpus, size) for size in (1, 8, 32)},
    "leaving": bench_leaving,
    "batch": lambda corpus: statistics.median(
        timed(lambda: sample_batch(corpus.train, 0, 0, 64, 1024)) for _ in range(4 * ROUNDS)
    ),
}


def bench_cohort(corpus: Corpus, sections: Sequence[str] = tuple(SECTIONS)) -> dict[str, Any]:
    """Some sections, or all: about five minutes."""
    torch.set_num_threads(1)
    machine = f"{platform.machine()}, {platform.python_version()}, torch {torch.__version__}"
    return {"machine": machine, "rounds": ROUNDS} | {name: SECTIONS[name](corpus) for name in sections}


def main(sections: Sequence[str] = ()) -> None:
    """Measure the sections named, or all, and leave the others as they are in the file."""
    found = json.loads(OUT.read_text()) if sections else {}
    found |= bench_cohort(load_corpus("stdlib"), sections or tuple(SECTIONS))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(found, indent=1) + "\n")
    for batch, widths in found["step"].items():
        for width, sizes in widths.items():
            print(
                f"{batch} tokens, width {width}: " + ", ".join(f"K {k} {row['ratio']:.2f}" for k, row in sizes.items())
            )
    for width, row in found["attention"].items():
        print(f"attention, width {width}: folded {row['folded']['ratio']:.2f}, formula {row['formula']['ratio']:.2f}")
    for size, row in found["host"].items():
        print(f"host, K {size}: " + ", ".join(f"{name} {ms:.1f} ms" for name, ms in row.items()))
    print(f"leaving: {found['leaving']['leaving']:.1f} ms, a step {found['leaving']['step']:.1f} ms")
    print(f"batch: {found['batch']:.2f} ms")


if __name__ == "__main__":
    main(sys.argv[1:])
