"""How many trials are trained as one, and by which kind of step."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch._dynamo.exc import TorchDynamoException

from mutransfer.config import (
    MODES,
    Arm,
    Execution,
    ModelConfig,
    OptimizerConfig,
    Scale,
    ScheduleConfig,
    SweepConfig,
    TrialConfig,
    on_cpu,
)
from mutransfer.data import Corpus
from mutransfer.training import execution, find_execution
from mutransfer.training.cohort import Cohort
from mutransfer.training.execution import GAIN, ROOM, WORTH_COMPILING, Cost, Measure, fastest, measure

from .recorded_graph import without_a_gpu

DRAWN = np.zeros(2000, np.uint8)
CORPUS = Corpus("drawn", "0" * 16, 256, DRAWN, DRAWN)
MEASURED = json.loads((Path(__file__).parents[2] / "results" / "bench" / "cohort.json").read_text())


def trial(width: int = 32, batch_size: int = 16, context: int = 64, **changes: object) -> TrialConfig:
    sweep = SweepConfig(batch_size=batch_size, base_width=32, model=ModelConfig(context=context))
    return replace(sweep.trial(Arm("mup", "mup"), Scale(width), 2**-7, 0), **changes)  # type: ignore[arg-type]


def device(fixed: float, each: float, fits: int, seen: list[int] | None = None, launch: float = 1.0) -> Measure:
    """A device on which a step of K trials takes fixed + K each seconds (a single one, without `vmap`, a third of
    what is fixed), and K bytes, and on which `fits` trials fit. Recorded, which takes 6 steps, of what is fixed the
    part `launch` is left; compiled, which takes 100 seconds, half of the arithmetic."""

    def measure(way: Execution) -> Cost:
        size = way.cohort_size
        if seen is not None:
            seen.append(size)
        if size > fits:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        host = fixed * (1 if size > 1 else 1 / 3)
        step = host + size * each
        costs = {
            "eager": Cost(0.0, step, size),
            "graph": Cost(6 * step, host * launch + size * each, size),
            "compiled": Cost(100.0, host + size * each / 2, size),
        }
        return costs[way.mode]

    return measure


def size(measure: Measure, free: int, most: int) -> int:
    found = fastest(measure, 300, free, most, ["eager"])
    assert found.mode == "eager"
    return found.cohort_size


def test_where_launches_are_all_that_costs_as_many_as_fit_or_are_there() -> None:
    assert size(device(1.0, 0.0, fits=1000), free=10_000, most=64) == 64
    assert size(device(1.0, 0.0, fits=1000), free=10_000, most=50) == 50
    assert size(device(1.0, 0.0, fits=1000), free=40, most=64) == int(ROOM * 40)
    assert size(device(1.0, 0.0, fits=20), free=10_000, most=64) == 16


def test_where_arithmetic_is_all_that_costs_one() -> None:
    seen: list[int] = []
    assert size(device(0.01, 1.0, fits=1000, seen=seen), free=10_000, most=64) == 1
    assert seen == [1, 2, 4], "no larger cohort can be faster"


def test_a_trial_that_does_not_fit_is_left_to_training() -> None:
    assert fastest(device(1.0, 0.0, fits=0), 300, free=10_000, most=64, modes=MODES) == Execution()


def test_a_cohort_that_takes_more_than_its_room_is_none() -> None:
    def measure(way: Execution) -> Cost:
        return Cost(0.0, 1.0, way.cohort_size if way.cohort_size < 8 else 100 * way.cohort_size)

    assert size(measure, free=100, most=64) == 4


@given(st.floats(0, 10), st.floats(0.01, 1), st.integers(1, 200), st.integers(1, 300), st.integers(1, 100))
def test_the_size_fits_and_hardly_another_is_faster(fixed: float, each: float, fits: int, free: int, most: int) -> None:
    seen: list[int] = []
    found = size(device(fixed, each, fits, seen), free, most)
    assert 1 <= found <= most
    assert found == 1 or found <= min(fits, ROOM * free)
    assert len(seen) <= 2 + np.log2(most)
    assert all(size == 1 or size <= ROOM * free for size in seen)
    # doubling stops where it gains less than GAIN, and no later doubling gains more; a last step may be cut short
    measure = device(fixed, each, fits)

    def per_trial(size: int) -> float:
        return measure(Execution(size)).step / size

    reachable = range(1, max(1, int(min(fits // 2, ROOM * free / 2, most))) + 1)
    assert per_trial(found) <= min(map(per_trial, reachable)) / GAIN**4 + 1e-12


def test_a_step_is_recorded_where_that_pays_for_itself_within_the_trial() -> None:
    launching = device(1.0, 0.001, fits=1000, launch=0.1)
    assert fastest(launching, 300, 10_000, 64, MODES) == Execution(64, "graph")
    assert fastest(launching, 5, 10_000, 64, MODES) == Execution(64, "eager"), "6 steps to record are too many for 5"
    assert fastest(launching, 300, 10_000, 64, ["eager"]) == Execution(64, "eager")
    assert fastest(launching, 300, 10_000, 1, MODES) == Execution(1, "graph")
    computing = device(0.01, 1.0, fits=1000, launch=0.1)
    assert fastest(computing, 20, 10_000, 64, MODES) == Execution(1, "eager"), "a gain of a hundredth is none"


@given(st.integers(1, 1000))
def test_a_model_is_compiled_where_that_pays_for_itself_within_the_trial(steps: int) -> None:
    """It takes 100 seconds and saves half of each step of one second."""
    found = fastest(device(0.0, 1.0, fits=1000), steps, 10_000, 1, ["eager", "compiled"])
    pays = 100 + steps / 2 <= GAIN * steps
    assert found == Execution(1, "compiled" if pays else "eager")


def test_short_trials_do_not_wait_for_a_compiler_and_a_missing_one_is_told() -> None:
    def measure(way: Execution) -> Cost:
        if way.mode == "compiled":
            raise TorchDynamoException("InvalidCxxCompiler: none")
        return Cost(0.0, 1.0, 1)

    short = int(WORTH_COMPILING) - 1
    assert fastest(measure, short, 10_000, 1, MODES) == Execution()
    with pytest.warns(
        UserWarning, match=r"compiled steps could not be measured \(InvalidCxxCompiler: none\); training without"
    ):
        assert fastest(measure, short + 2, 10_000, 1, MODES) == Execution()


def test_what_cannot_be_recorded_is_told_and_trained_eagerly() -> None:
    def measure(way: Execution) -> Cost:
        if way.mode == "graph":
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
        return Cost(0.0, 1.0, 1)

    with pytest.warns(UserWarning, match=r"recorded steps could not be measured \(CUDA error: operation not"):
        assert fastest(measure, 10, 10_000, 4, MODES) == Execution(4)


def test_the_rule_for_a_cpu_is_what_was_measured() -> None:
    """It loses nowhere, is near the best of what was measured, and takes a cohort where that saves a quarter."""
    for batch, widths in MEASURED["step"].items():
        batch_size, context = map(int, batch.split("x"))
        for width, sizes in widths.items():
            found = sizes[str(on_cpu(trial(int(width), batch_size, context)).cohort_size)]["ratio"]
            fastest = min(row["ratio"] for row in sizes.values())
            assert found <= 1.0, (batch, width)
            assert found <= fastest + 0.2, (batch, width)
            assert found == fastest or fastest > 0.75, (batch, width)


def test_the_default_study_is_trained_trial_by_trial_on_a_cpu() -> None:
    sweep = SweepConfig()
    for width in sweep.widths:
        assert find_execution(sweep.trial(sweep.arms[0], Scale(width), 0.1, 0), CORPUS, "cpu", most=16) == Execution()


def test_never_more_than_asked_for_and_one_where_the_optimizer_cannot() -> None:
    small = trial(32, 4, 16)
    assert [find_execution(small, CORPUS, "cpu", most).cohort_size for most in (1, 2, 7, 8, 100)] == [1, 1, 1, 8, 8]
    assert on_cpu(small, "compiled") == Execution(1, "compiled")
    curved = replace(small, optimizer=OptimizerConfig("sophia"))
    assert find_execution(curved, CORPUS, "cpu", most=8) == Execution()
    with pytest.raises(ValueError, match="found room for 0 trials at most; wanted 1 or more"):
        find_execution(small, CORPUS, "cpu", most=0)


def with_the_numbers_of_a_gpu(monkeypatch: pytest.MonkeyPatch, **numbers: object) -> None:
    for name, fake in {"empty_cache": lambda: None, "synchronize": lambda device: None, **numbers}.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)


def test_on_a_gpu_real_steps_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the numbers of a GPU in place of the machine's: each trial takes 1000 bytes, and time stands still but for
    what the host does: a second for a step that it goes through, a tenth for one that it replays."""
    trained: list[tuple[str, int]] = []
    clock = [0.0]

    def differentiate(self: Cohort, tokens: torch.Tensor) -> torch.Tensor:
        trained.append(("graph" if self.graphs else "eager", len(tokens)))
        clock[0] += 0.9
        return torch.zeros(len(tokens))

    def update(self: object, step: int) -> None:
        clock[0] += 0.001

    advance = Cohort.advance

    def timed(self: Cohort, tokens: torch.Tensor) -> torch.Tensor:
        clock[0] += 0.1
        return advance(self, tokens)

    without_a_gpu(monkeypatch)
    monkeypatch.setattr(Cohort, "advance", timed)
    monkeypatch.setattr(Cohort, "_differentiate", differentiate)
    monkeypatch.setattr("mutransfer.training.cohort.Slice.update", update)
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    with_the_numbers_of_a_gpu(
        monkeypatch,
        memory_reserved=lambda device: 500,
        max_memory_reserved=lambda device: 500 + 1000 * trained[-1][1],
        mem_get_info=lambda device: (20_000, 80_000),
    )
    small = trial(32, 2, 8)
    assert measure(small, CORPUS, "cpu", Execution(3)) == Cost(0.0, pytest.approx(1.003), 3000)
    recorded = measure(small, CORPUS, "cpu", Execution(3, "graph"))
    assert recorded == Cost(pytest.approx(4 * 0.9), pytest.approx(0.103), 3000)
    trained.clear()
    monkeypatch.setattr(execution, "measure", lambda t, c, d, way: measure(t, c, "cpu", way))
    assert find_execution(small, CORPUS, "cuda:0", most=64) == Execution(18, "graph")
    assert {size for _, size in trained} == {1, 2, 4, 8, 16, 18}
    assert find_execution(small, CORPUS, "cuda:0", most=64, modes=["eager"]) == Execution(18, "eager")
    assert find_execution(replace(small, steps=3), CORPUS, "cuda:0", most=64) == Execution(18, "eager")
    trained.clear()
    assert find_execution(replace(small, largest_batch=4), CORPUS, "cuda:0", most=64).mode == "eager"
    assert {mode for mode, _ in trained} == {"eager"}


def test_a_plateau_is_timed_without_its_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    with_the_numbers_of_a_gpu(monkeypatch, memory_reserved=lambda device: 0, max_memory_reserved=lambda device: 0)
    looking = trial(32, 2, 8, schedule=ScheduleConfig("plateau", window=2, warmup=0.0))
    assert measure(looking, CORPUS, "cpu", Execution(2)).step > 0
