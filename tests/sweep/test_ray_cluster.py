"""Ray: the same results, GPUs bound one trial each, killed workers, and no process left behind."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mutransfer.config import SweepConfig
from mutransfer.sweep import executors, ray_cluster
from mutransfer.sweep.driver import run_sweep
from mutransfer.sweep.executors import train_trials
from mutransfer.sweep.loop import TrialsFailedError
from mutransfer.sweep.plan import plan_trials
from mutransfer.sweep.ray_cluster import RayCluster
from mutransfer.sweep.shares import WHOLE
from mutransfer.trials import records

from .drive import Order
from .fake_legs import FakeLegs
from .fake_training import CORPUS, FakeTrain, fake_measure
from .fakes import assert_journal_agrees, calls, load_fake, measured, small, sweep
from .test_halving import assert_trained_once, known, pruned
from .test_kills import ENVIRONMENT, driving, resume, wait_until

GPUS = 2

SETTLED: dict[str, Any] = {"execution": "eager", "cohort_size": 1}
"""Nothing is left to measure, where GPUs are not shared."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A Ray of this process, which every RayCluster of these tests joins: 2 CPUs and 2 GPUs that are not there."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", ENVIRONMENT["PYTHONPATH"])  # The workers must find these tests.
        ray_cluster.start(GPUS)
    yield
    ray.shutdown()


@pytest.fixture
def train(tmp_path: Path) -> FakeTrain:
    return FakeTrain(str(tmp_path / "calls"))


def ray_sweep(config: SweepConfig, train: FakeTrain | FakeLegs, sharers: int | None = None) -> Any:
    def open_executor(config: SweepConfig, corpus: Any) -> RayCluster:
        cluster = RayCluster(train, corpus, config.device, config.gpus_per_trial, gpus=GPUS)
        cluster.sharers = sharers or cluster.sharers  # of as many CPUs as the test wants
        return cluster

    return run_sweep(config, command="again", open_executor=open_executor, load=load_fake)


def most_at_once(spans: list[dict[str, Any]]) -> int:
    edges = sorted([(span["start"], 1) for span in spans] + [(span["end"], -1) for span in spans])
    running, most = 0, 0
    for _, change in edges:
        running += change
        most = max(most, running)
    return most


def by_gpu(spans: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    gpus = {span["gpus"] for span in spans}
    return {gpu: [span for span in spans if span["gpus"] == gpu] for gpu in gpus}


@pytest.mark.usefixtures("cluster")
def test_ray_gives_what_one_process_gives(tmp_path: Path, train: FakeTrain) -> None:
    ray_sweep(small(tmp_path / "ray"), dataclasses.replace(train, seconds=0.05))
    spans = calls(train.calls)
    sweep(small(tmp_path / "inprocess"), train)
    assert measured(tmp_path / "ray") == measured(tmp_path / "inprocess")
    assert_journal_agrees(tmp_path / "ray")
    assert {span["threads"] for span in spans} == {"1"}
    assert {span["device"] for span in spans} == {"cpu"}
    assert os.getpid() not in {span["pid"] for span in spans}


@pytest.mark.usefixtures("cluster")
def test_a_pruned_search_goes_on_from_the_states_that_its_workers_hand_over(tmp_path: Path) -> None:
    for name, run in (("ray", ray_sweep), ("inprocess", sweep)):
        run(pruned(tmp_path / name, n_trials=4), FakeLegs(str(tmp_path / f"{name}.calls")))
        assert_journal_agrees(tmp_path / name)
        assert_trained_once(tmp_path / f"{name}.calls")
    assert known(tmp_path / "ray") == known(tmp_path / "inprocess")
    assert list((tmp_path / "ray" / "rungs").iterdir()) == []


@pytest.mark.usefixtures("cluster")
def test_each_gpu_has_one_trial_at_a_time_and_all_are_busy(tmp_path: Path, train: FakeTrain) -> None:
    config = small(tmp_path / "out", device="cuda", seeds=1, **SETTLED)
    ray_sweep(config, dataclasses.replace(train, seconds=0.3))
    spans = calls(train.calls)
    assert len(spans) == 6
    assert set(by_gpu(spans)) == {"0", "1"}
    assert {gpu: most_at_once(bound) for gpu, bound in by_gpu(spans).items()} == {"0": 1, "1": 1}
    assert {span["device"] for span in spans} == {"cuda:0"}
    # A process keeps the GPU it first used, so none may serve a second trial.
    assert len({span["pid"] for span in spans}) == 6


@pytest.mark.usefixtures("cluster")
def test_two_gpus_work_at_once(tmp_path: Path, train: FakeTrain) -> None:
    config = small(tmp_path / "out", device="auto", seeds=1, lrs=(0.01,), **SETTLED)
    ray_sweep(config, dataclasses.replace(train, party=2))
    spans = calls(train.calls)
    assert most_at_once(spans) == 2
    assert set(by_gpu(spans)) == {"0", "1"}


@pytest.mark.usefixtures("cluster")
def test_quarters_let_four_trials_share_a_gpu(tmp_path: Path, train: FakeTrain) -> None:
    config = small(tmp_path / "out", device="cuda", gpus_per_trial=0.25, seeds=4, lrs=(0.01,), **SETTLED)
    ray_sweep(config, dataclasses.replace(train, party=8))
    spans = calls(train.calls)
    assert {gpu: most_at_once(bound) for gpu, bound in by_gpu(spans).items()} == {"0": 4, "1": 4}


@pytest.mark.usefixtures("cluster")
def test_cohorts_that_do_not_fill_a_gpu_share_it(
    tmp_path: Path, train: FakeTrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three shapes of one trial, of which three fill a GPU, where there is one; its workers are kept."""
    monkeypatch.setattr("ray.nodes", lambda: [{"Alive": True, "Resources": {"CPU": 3.0, "GPU": 1.0}}])
    monkeypatch.setattr(ray_cluster, "measure_execution", fake_measure)
    config = small(tmp_path / "out", device="cuda", widths=(32, 48, 64), seeds=1, lrs=(0.01,))
    ray_sweep(config, dataclasses.replace(train, party=3))
    spans = calls(train.calls)
    assert [most_at_once(bound) for bound in by_gpu(spans).values()] == [3]
    assert {record.execution for record in records.read(tmp_path / "out" / "records.jsonl")} == {"graph"}
    again = small(tmp_path / "again", device="cuda", lrs=(0.01,), gpus_per_trial=1.0, **SETTLED)
    ray_sweep(again, train)
    later = calls(train.calls)[3:]
    assert len({span["pid"] for span in later}) < len(later) == 4


@pytest.mark.usefixtures("cluster")
def test_shares_of_any_size_fit_or_wait_and_none_is_lost(tmp_path: Path, train: FakeTrain) -> None:
    """Also where the driver hands out more than there is; on several GPUs workers end with what they train."""
    shares = [Fraction(3, 4), Fraction(1, 2), Fraction(1, 4), Fraction(1, 2), Fraction(1), Fraction(1, 3)]
    trials = [trial.config for trial in plan_trials(small(tmp_path), CORPUS.fingerprint)][: len(shares)]
    cluster = RayCluster(dataclasses.replace(train, seconds=0.3), CORPUS, "cuda", None, gpus=GPUS)
    for trial, share in zip(trials, shares, strict=True):
        cluster.submit(trial.digest(CORPUS.fingerprint), [trial], "eager", share)
    ended = [cluster.next_finished() for _ in shares]
    assert [finished.error for finished in ended] == [None] * len(shares)
    share_of = {trial.digest(CORPUS.fingerprint): share for trial, share in zip(trials, shares, strict=True)}
    spans = calls(train.calls)
    assert {span["trial_id"] for span in spans} == {finished.key for finished in ended} == set(share_of)
    for bound in by_gpu(spans).values():
        for span in bound:
            here = [other for other in bound if other["start"] <= span["start"] < other["end"]]
            assert sum(share_of[other["trial_id"]] for other in here) <= 1
    assert most_at_once(spans) > GPUS
    assert len({span["pid"] for span in spans}) == len(shares)


def test_as_many_share_a_gpu_as_there_are_cpus_for_it() -> None:
    """On the machine that has the fewest for each."""
    assert ray_cluster.most_sharers([{"CPU": 16.0, "GPU": 2.0}, {"CPU": 4.0}]) == 8
    assert ray_cluster.most_sharers([{"CPU": 16.0, "GPU": 2.0}, {"CPU": 12.0, "GPU": 4.0}]) == 3
    assert ray_cluster.most_sharers([{"CPU": 2.0, "GPU": 4.0}]) == 1
    assert ray_cluster.most_sharers([{"GPU": 1.0}]) == 1


@pytest.mark.parametrize("gpus_per_trial", [None, 0.25, 1.0, 2.0])
@pytest.mark.usefixtures("cluster")
def test_equal_shares_of_a_gpu_fit_whatever_ray_rounds(
    monkeypatch: pytest.MonkeyPatch, gpus_per_trial: float | None
) -> None:
    monkeypatch.setattr("ray.nodes", lambda: [{"Alive": True, "Resources": {"CPU": 16.0, "GPU": 2.0}}])
    asked: list[float] = []
    cluster = RayCluster(train_trials, CORPUS, "cuda", gpus_per_trial, gpus=GPUS)
    task = SimpleNamespace(options=lambda num_gpus: asked.append(num_gpus))
    if gpus_per_trial is not None:
        cluster._on(task, WHOLE)
        assert (asked, cluster.sharers) == ([gpus_per_trial], 1)
        return
    assert (cluster.slots, cluster.sharers) == (2, 8)
    for many in range(1, 100):
        cluster._on(task, Fraction(1, many))
        assert many * round(asked[-1] * ray_cluster.PRECISION) <= ray_cluster.PRECISION
        assert asked[-1] > 1 / (many + 1)
    cluster._on(task, WHOLE)
    assert asked[-1] == 1


@pytest.mark.usefixtures("cluster")
def test_what_never_fits_is_refused_before_anything_is_submitted(tmp_path: Path, train: FakeTrain) -> None:
    with pytest.raises(ValueError, match="found 2 GPUs on a machine; wanted gpus_per_trial 3"):
        ray_sweep(small(tmp_path / "out", device="cuda", gpus_per_trial=3.0), train)
    assert not (tmp_path / "out").exists()
    assert calls(train.calls) == []


def test_no_gpu_is_refused() -> None:
    with pytest.raises(ValueError, match="found no GPU; wanted one for device cuda"):
        ray_cluster.resolve_device("cuda", [], 1.0, believe=False)
    assert ray_cluster.resolve_device("auto", [], 1.0, believe=False) == "cpu"


@pytest.mark.parametrize("gpus", [0.25, 1.0, 2.0])
def test_several_gpus_for_a_trial_are_not_given_up_for_the_cpu(monkeypatch: pytest.MonkeyPatch, gpus: float) -> None:
    monkeypatch.setattr(executors, "local_gpus", lambda: 0)
    monkeypatch.setattr(ray_cluster, "_torch_has_cuda", lambda: False)
    assert executors.local_device("cpu", gpus) == "cpu"
    assert ray_cluster.resolve_device("cpu", [], gpus, believe=False) == "cpu"
    if gpus <= 1:
        assert executors.local_device("auto", gpus) == "cpu"
        assert ray_cluster.resolve_device("auto", [], gpus, believe=False) == "cpu"
        assert ray_cluster.resolve_device("auto", [4.0], gpus, believe=False) == "cpu"
        return
    with pytest.raises(ValueError, match="found no GPU; wanted 2 for each trial: leave --gpus-per-trial out"):
        executors.local_device("auto", gpus)
    with pytest.raises(ValueError, match="found no GPU; wanted 2 for each trial: leave --gpus-per-trial out"):
        ray_cluster.resolve_device("auto", [], gpus, believe=False)
    with pytest.raises(ValueError, match="found a torch without CUDA"):
        ray_cluster.resolve_device("auto", [4.0], gpus, believe=False)


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_with_nobody_there_is_refused_at_once(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("RAY_ADDRESS", f"{scheme}127.0.0.1:{port}")
    start = time.monotonic()
    with pytest.raises(ValueError, match=f"found no Ray cluster at RAY_ADDRESS={scheme}127.0.0.1:{port} .*refused"):
        ray_cluster.start(None)
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("address", ["127.0.0.1:port", "127.0.0.1:99999"])
def test_an_address_that_is_none_is_one_line(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ValueError, match=f"RAY_ADDRESS={address} .*; wanted one: start it with `ray start --head`"):
        ray_cluster.start(None)


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The file in which `ray start` leaves its address, on a machine where no Ray runs."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    (tmp_path / "ray").mkdir()
    return tmp_path / "ray" / "ray_current_cluster"


def test_a_cluster_that_is_long_gone_is_refused_at_once(nobody: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody.write_text("{}:{}".format(*free.getsockname()))
    start = time.monotonic()
    with pytest.raises(ValueError, match=r"found no Ray cluster at RAY_ADDRESS=auto .*refused.*`ray start --head`"):
        ray_cluster.start(None)
    assert time.monotonic() - start < 10


@pytest.mark.usefixtures("nobody")
def test_no_cluster_to_find_is_one_line() -> None:
    with pytest.raises(ValueError, match=r"found no Ray cluster at RAY_ADDRESS=auto .no `ray start` has") as refused:
        ray_cluster.start(None)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("address", ["", "local", None])
def test_without_an_address_ray_starts_here(monkeypatch: pytest.MonkeyPatch, address: str | None) -> None:
    started: list[str] = []

    def init(address: str, **options: object) -> None:
        started.append(address)

    monkeypatch.setattr(ray_cluster, "_load_ray", lambda: SimpleNamespace(init=init))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address is not None:
        monkeypatch.setenv("RAY_ADDRESS", address)
    ray_cluster.start(None)
    assert started == ["local"]


@pytest.mark.usefixtures("cluster")
def test_a_killed_worker_costs_no_trial(tmp_path: Path, train: FakeTrain) -> None:
    (tmp_path / "kills").mkdir()
    ray_sweep(small(tmp_path / "ray"), dataclasses.replace(train, kills=str(tmp_path / "kills"), deaths=2))
    assert len(list((tmp_path / "kills").iterdir())) == 2
    assert len(calls(train.calls)) == 12
    sweep(small(tmp_path / "inprocess"), train)
    assert measured(tmp_path / "ray") == measured(tmp_path / "inprocess")
    assert_journal_agrees(tmp_path / "ray")


@pytest.mark.usefixtures("cluster")
def test_a_trial_that_always_kills_its_worker_is_an_error(tmp_path: Path, train: FakeTrain) -> None:
    (tmp_path / "kills").mkdir()
    config = small(tmp_path / "out", widths=(32,), lrs=(0.01,), seeds=1)
    with pytest.raises(TrialsFailedError, match="1 of 1 trials failed, the first with 'WorkerCrashedError"):
        ray_sweep(config, dataclasses.replace(train, kills=str(tmp_path / "kills"), deaths=99))
    assert len(list((tmp_path / "kills").iterdir())) == 1 + ray_cluster.RETRIES


@pytest.mark.usefixtures("cluster")
def test_an_error_in_a_task_is_not_tried_again(tmp_path: Path, train: FakeTrain) -> None:
    config = small(tmp_path / "out")
    with pytest.raises(TrialsFailedError, match="4 of 12 trials failed, the first with 'RuntimeError: cannot train"):
        ray_sweep(config, dataclasses.replace(train, fails=(2.0**-6,)))
    assert len(calls(train.calls)) == 8
    assert len(Path(train.calls + ".failed").read_text().splitlines()) == 4


def descendants(pid: int) -> set[int]:
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # It has just ended.
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def alive(pids: set[int]) -> set[int]:
    return {pid for pid in pids if Path(f"/proc/{pid}").exists() and not is_zombie(pid)}


def is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 130)])
def test_no_process_outlives_the_driver(tmp_path: Path, number: signal.Signals, code: int) -> None:
    plain = FakeTrain(str(tmp_path / "plain"))
    sweep(small(tmp_path / "undisturbed"), plain)
    order = Order(str(tmp_path / "out"), str(tmp_path / "calls"), seconds=0.5, executor="ray")
    # A terminal's Ctrl-C reaches the whole group.
    with driving(order, dispatched=4, new_session=True) as driver:
        # After kill -9 Ray's two agents, which run no trial, take a minute to notice.
        workers = {pid for pid in descendants(driver.pid) if number != signal.SIGKILL or "Agent" not in command(pid)}
        assert len(workers) >= 4
        if number == signal.SIGINT:
            os.killpg(driver.pid, number)
        else:
            driver.send_signal(number)
        assert driver.wait(60) == code
    assert wait_until(lambda: not alive(workers), 40), alive(workers)
    assert 1 <= len(measured(tmp_path / "out")) < 12
    resume(order, measured(tmp_path / "undisturbed"))
