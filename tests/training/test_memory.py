"""How many trials are trained as one."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mutransfer.config import Arm, ModelConfig, OptimizerConfig, ScheduleConfig, SweepConfig, TrialConfig
from mutransfer.data import Corpus
from mutransfer.training import cohort_size
from mutransfer.training.memory import GAIN, ROOM, Cost, find_size, measure_step

DRAWN = np.zeros(2000, np.uint8)
CORPUS = Corpus("drawn", "0" * 16, 256, DRAWN, DRAWN)
MEASURED = json.loads((Path(__file__).parents[2] / "results" / "bench" / "cohort.json").read_text())


def trial(width: int = 32, batch_size: int = 16, context: int = 64, **changes: object) -> TrialConfig:
    sweep = SweepConfig(batch_size=batch_size, base_width=32, model=ModelConfig(context=context))
    return replace(sweep.trial(Arm("mup", "mup"), width, 2**-7, 0), **changes)  # type: ignore[arg-type]


def device(fixed: float, each: float, fits: int, seen: list[int] | None = None) -> Callable[[int], Cost]:
    """A device on which a step of K trials takes fixed + K each seconds (a single one, without `vmap`, a third of
    what is fixed), and K bytes, and on which `fits` trials fit."""

    def measure(size: int) -> Cost:
        if seen is not None:
            seen.append(size)
        if size > fits:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return Cost(fixed * (1 if size > 1 else 1 / 3) + size * each, size)

    return measure


def best(measure: Callable[[int], Cost], sizes: range) -> float:
    return min(measure(size).seconds / size for size in sizes)


def test_where_launches_are_all_that_costs_as_many_as_fit_or_are_there() -> None:
    assert find_size(device(1.0, 0.0, fits=1000), free=10_000, most=64) == 64
    assert find_size(device(1.0, 0.0, fits=1000), free=10_000, most=50) == 50
    assert find_size(device(1.0, 0.0, fits=1000), free=40, most=64) == int(ROOM * 40)
    assert find_size(device(1.0, 0.0, fits=20), free=10_000, most=64) == 16


def test_where_arithmetic_is_all_that_costs_one() -> None:
    seen: list[int] = []
    assert find_size(device(0.01, 1.0, fits=1000, seen=seen), free=10_000, most=64) == 1
    assert seen == [1, 2, 4], "no larger cohort can be faster"


def test_a_trial_that_does_not_fit_is_left_to_training() -> None:
    assert find_size(device(1.0, 0.0, fits=0), free=10_000, most=64) == 1


def test_a_cohort_that_takes_more_than_its_room_is_none() -> None:
    def measure(size: int) -> Cost:
        return Cost(1.0, size if size < 8 else 100 * size)

    assert find_size(measure, free=100, most=64) == 4


@given(st.floats(0, 10), st.floats(0.01, 1), st.integers(1, 200), st.integers(1, 300), st.integers(1, 100))
def test_the_size_fits_and_hardly_another_is_faster(fixed: float, each: float, fits: int, free: int, most: int) -> None:
    seen: list[int] = []
    found = find_size(device(fixed, each, fits, seen), free, most)
    assert 1 <= found <= most
    assert found == 1 or found <= min(fits, ROOM * free)
    assert len(seen) <= 2 + np.log2(most)
    assert all(size == 1 or size <= ROOM * free for size in seen)
    # doubling stops where it gains less than GAIN, and no later doubling gains more; a last step may be cut short
    measure = device(fixed, each, fits)
    reachable = range(1, max(1, int(min(fits // 2, ROOM * free / 2, most))) + 1)
    assert measure(found).seconds / found <= best(measure, reachable) / GAIN**4 + 1e-12


def test_the_rule_for_a_cpu_is_what_was_measured() -> None:
    """It loses nowhere, is near the best of what was measured, and takes a cohort where that saves a quarter."""
    for batch, widths in MEASURED["step"].items():
        batch_size, context = map(int, batch.split("x"))
        for width, sizes in widths.items():
            found = sizes[str(cohort_size(trial(int(width), batch_size, context), CORPUS, "cpu", most=8))]["ratio"]
            fastest = min(row["ratio"] for row in sizes.values())
            assert found <= 1.0, (batch, width)
            assert found <= fastest + 0.2, (batch, width)
            assert found == fastest or fastest > 0.75, (batch, width)


def test_the_default_study_is_trained_trial_by_trial_on_a_cpu() -> None:
    sweep = SweepConfig()
    for width in sweep.widths:
        assert cohort_size(sweep.trial(sweep.arms[0], width, 0.1, 0), CORPUS, "cpu", most=16) == 1


def test_never_more_than_asked_for_and_one_where_the_optimizer_cannot() -> None:
    small = trial(32, 4, 16)
    assert [cohort_size(small, CORPUS, "cpu", most) for most in (1, 2, 7, 8, 100)] == [1, 1, 1, 8, 8]
    curved = replace(small, optimizer=OptimizerConfig("sophia"))
    assert cohort_size(curved, CORPUS, "cpu", most=8) == 1
    with pytest.raises(ValueError, match="found room for 0 trials at most; wanted 1 or more"):
        cohort_size(small, CORPUS, "cpu", most=0)


def test_on_a_gpu_real_steps_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the numbers of a GPU in place of the machine's: each trial takes 1000 bytes, and time stands still but for
    what a step costs."""
    trained: list[int] = []
    clock = [0.0]

    def advance(self: object, tokens: torch.Tensor) -> torch.Tensor:
        trained.append(len(tokens))
        clock[0] += 1.0 + 0.001 * len(tokens)
        return torch.zeros(len(tokens))

    monkeypatch.setattr("mutransfer.training.cohort.Cohort.advance", advance)
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    for name, fake in {
        "empty_cache": lambda: None,
        "synchronize": lambda device: None,
        "reset_peak_memory_stats": lambda device: None,
        "memory_allocated": lambda device: 500,
        "max_memory_allocated": lambda device: 500 + 1000 * trained[-1],
        "mem_get_info": lambda device: (20_000, 80_000),
    }.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    small = trial(32, 2, 8)
    assert measure_step(small, CORPUS, "cpu", 3) == Cost(pytest.approx(1.003), 3000)
    trained.clear()
    monkeypatch.setattr(
        "mutransfer.training.memory.measure_step", lambda t, c, d, size: measure_step(t, c, "cpu", size)
    )
    assert cohort_size(small, CORPUS, "cuda", most=64) == 18
    assert sorted(set(trained)) == [1, 2, 4, 8, 16, 18]


def test_a_plateau_is_timed_without_its_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("synchronize", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda device: None)
    for name in ("memory_allocated", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, lambda device: 0)
    looking = trial(32, 2, 8, schedule=ScheduleConfig("plateau", window=2, warmup=0.0))
    assert measure_step(looking, CORPUS, "cpu", 2).seconds > 0
