"""What the doctor says of logs that others published, of made ones of each kind, and of sound runs looked at early."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import cache
from itertools import product

import numpy as np
import pytest

from mutransfer.toolbox.doctor import NOTE, Curve, Run, diagnose, run_of
from mutransfer.trials.logs import read_log
from toolbox.doctor.recorded import FOLDER, PLANTED, recorded, sound_trials
from toolbox.doctor.test_doctor_rules import falling, found, of, whole

PUBLISHED: dict[str, set[str]] = {
    "alpaca64": {"not_finite"},
    "composite_zero_loss": {"not_finite"},
    "hf_kevin": {"plateau"},
    "hf_swap": {"parting"},
    "keras_speaker250": {"parting"},
    "mlx620": {"diverged_later"},
    "pinn_v18": {"recovering_spikes"},
    "real_nanogpt_tok_to892": set(),
    "real_ramey_to_epoch3.5": set(),
    "wandb_druidowm3": {"unstable", "recovering_spikes"},
    "wandb_druidowm4": {"loss_rose", "growing_oscillation"},
    "whisper_naive": {"parting"},
}
"""By file, all that there is to find."""

N = 400
STEPS = np.arange(N)
SHAPES: dict[str, Callable[[], np.ndarray]] = {
    "power": lambda: falling(steps=N),
    "exponential": lambda: 1 + 1.3 * np.exp(-STEPS / 80) + np.random.default_rng(3).normal(0, 0.02, N),
    "to zero": lambda: 0.01 + 2.3 * np.exp(-STEPS / 60) * np.exp(np.random.default_rng(4).normal(0, 0.1, N)),
    "below zero": lambda: -300 * (1 - np.exp(-STEPS / 90)) + np.random.default_rng(5).normal(0, 2, N),
}
"""Sound losses of several kinds."""


@cache
def published(name: str) -> Run:
    return run_of(read_log(FOLDER / "published" / f"{name}.csv"))


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_logs_are_judged_as_what_they_are(name: str) -> None:
    assert {file.stem for file in (FOLDER / "published").glob("*.csv")} == set(PUBLISHED)
    assert found(published(name)) == PUBLISHED[name]


@pytest.mark.parametrize("shape", SHAPES)
def test_sound_shapes_give_no_alarm(shape: str) -> None:
    assert found(of(SHAPES[shape]())) == set()
    assert diagnose(of(SHAPES[shape]())).healthy is True


@pytest.mark.parametrize(("shape", "at"), list(product(SHAPES, (60, 300))))
def test_a_loss_of_zero_with_a_gradient_that_is_not_finite_is_a_dead_run(shape: str, at: int) -> None:
    losses, norms = SHAPES[shape](), np.ones(N)
    losses[at:], norms[at:] = 0, np.nan
    (finding,) = diagnose(of(losses, grad_norm=whole(norms))).findings
    assert (finding.rule, finding.first_step) == ("not_finite", at)


@pytest.mark.parametrize("lost", ["grad_norm", "val_loss", "update_ratio"])
def test_what_is_not_finite_to_the_end_beside_the_loss_is_a_problem(lost: str) -> None:
    values = np.where(np.arange(N) < 250, 1e-3 if lost == "update_ratio" else 2.0, np.nan)
    curves = {lost: {"up": whole(values)} if lost == "update_ratio" else whole(values)}
    assert found(of(falling(steps=N), **curves)) == {"not_finite"}
    assert diagnose(of(falling(steps=N), **curves)).healthy is False


def test_steps_that_a_loss_scaler_skips_are_a_note() -> None:
    norms = np.ones(N)
    norms[[0, 1, 120]] = np.inf
    (finding,) = diagnose(of(falling(steps=N), grad_norm=whole(norms))).findings
    assert (finding.rule, finding.severity) == ("not_finite", NOTE)


@pytest.mark.parametrize("every", [20, 50, 100])
def test_a_held_out_loss_that_falls_at_every_look_has_not_parted(every: int) -> None:
    losses = 2 + 8 * np.exp(-STEPS / 100)
    val = Curve(STEPS[::every], losses[::every] + 0.15)
    assert found(of(losses, val_loss=val)) == set()


@pytest.mark.parametrize("step", [0, 10])
def test_one_held_out_loss_of_the_beginning_says_nothing_of_the_end(step: int) -> None:
    losses = 2 + 8 * np.exp(-STEPS / 100)
    assert found(of(losses, val_loss=Curve(np.array([step]), losses[[step]]))) == set()


@pytest.mark.parametrize("looks", [4, 6, 20])
def test_a_held_out_loss_that_turns_has_parted_where_it_was_lowest(looks: int) -> None:
    val = 2 + np.abs(np.linspace(-1, 2, looks))
    steps = np.linspace(0, N - 1, looks).astype(int)
    (finding,) = diagnose(of(falling(steps=N), val_loss=Curve(steps, val))).findings
    assert (finding.rule, finding.first_step) == ("parting", steps[val.argmin()])


@pytest.mark.parametrize(("shape", "height"), list(product(SHAPES, (10.0, 1e3, 1e6))))
def test_one_outlier_however_high_is_a_spike_that_recovers(shape: str, height: float) -> None:
    losses = SHAPES[shape]()
    losses[200] += height * max(1.0, abs(losses[200]))
    (finding,) = diagnose(of(losses)).findings
    assert (finding.rule, finding.severity, finding.first_step) == ("recovering_spikes", NOTE, 200)


@pytest.mark.parametrize("high", [1e1, 1e6])
def test_one_spike_does_not_hide_the_next(high: float) -> None:
    losses = falling(steps=N)
    losses[200] += high
    losses[230] += 2
    (finding,) = diagnose(of(losses)).findings
    assert (finding.first_step, finding.last_step) == (200, 230)


def test_findings_that_contradict_each_other_are_settled() -> None:
    """What is dead or rises is not told to raise its rate."""
    slow = of(5.5 - 0.001 * STEPS + np.random.default_rng(0).normal(0, 0.01, N))
    assert found(slow) == {"slow_descent"}
    norms = np.where(STEPS < 380, 1.0, np.nan)
    assert found(dataclasses.replace(slow, grad_norm=whole(norms))) == {"not_finite"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_no_number_in_the_evidence_is_of_what_is_next_to_nothing(name: str) -> None:
    for finding in diagnose(published(name)).findings:
        assert len(finding.evidence) < 400
        assert all(len(word) < 30 for word in finding.evidence.split())


@pytest.mark.parametrize("epochs", [3, 5])
def test_stairs_of_several_epochs_are_not_slow(epochs: int) -> None:
    epoch = np.arange(N) * epochs / N
    losses = 1.0 - 0.1 * np.floor(epoch) - 0.01 * (epoch % 1) + np.random.default_rng(0).normal(0, 0.03, N)
    steps = np.arange(0, 10 * N, 10)
    run = Run("stairs", Curve(steps, losses), epoch=Curve(steps, epoch))
    assert found(run) == set()


@pytest.mark.parametrize("rate", [0.0006, 0.0015])
def test_a_straight_line_is_slow(rate: float) -> None:
    losses = 5.5 - rate * STEPS + np.random.default_rng(0).normal(0, 0.01, N)
    assert found(of(losses)) == {"slow_descent"}


def test_the_first_steps_of_a_run_are_nearly_straight_and_not_slow() -> None:
    losses = 10 - 0.05 * np.arange(80) + np.random.default_rng(0).normal(0, 0.03, 80)
    diagnosis = diagnose(of(losses))
    assert (diagnosis.findings, diagnosis.not_judged["slow_descent"]) == ((), "fewer than 150 steps")


@pytest.mark.parametrize("count", [2, 5, 7])
def test_what_is_too_short_to_be_judged_is_not_called_healthy(count: int) -> None:
    diagnosis = diagnose(of(np.linspace(5, 4, count)))
    assert (diagnosis.healthy, diagnosis.findings) == (None, ())
    assert diagnosis.not_judged["loss_rose"] == "fewer than 8 logged losses"


@pytest.mark.parametrize("interval", [10, 50])
@pytest.mark.parametrize("worst", [6.0, 90.0])
def test_short_logs_that_explode_have_diverged_though_they_begin_after_an_interval(interval: int, worst: float) -> None:
    losses = np.array([2.3, 2.1, 2.0, 2.0, 3.0, 4.0, worst, worst, worst, worst])
    run = Run("short", Curve(np.arange(interval, 11 * interval, interval), losses))
    assert run.from_start
    assert found(run) == {"diverged_later"}
    assert found(dataclasses.replace(run, loss=Curve(run.loss.step, np.linspace(2.3, 1.5, 10)))) == set()


def test_a_run_that_comes_back_again_and_again_is_not_stable_though_its_spikes_widen_its_scatter() -> None:
    losses = falling(noise=0.02, steps=N)
    for at in range(80, N - 40, 60):
        losses[at : at + 25] += np.linspace(2, 0, 25)
    assert "unstable" in found(of(losses))


@pytest.mark.parametrize(("ratio", "rules"), [(1e-3, set()), (0.3, {"update_size"}), (1e-6, {"update_size"})])
def test_updates_are_held_against_a_thousandth_of_the_weights(ratio: float, rules: set[str]) -> None:
    rng = np.random.default_rng(0)
    ratios = {f"layer{i}": whole(ratio * np.exp(rng.normal(0, 0.1, N))) for i in range(5)}
    assert found(of(falling(steps=N), update_ratio=ratios)) == rules


def test_a_gradient_that_grows_while_the_loss_falls_is_seen() -> None:
    grows = of(falling(steps=N), grad_norm=whole(np.exp(STEPS / 60)))
    assert found(grows) == {"gradient_grows"}
    assert found(of(falling(steps=N), grad_norm=whole(1 + STEPS / N))) == set()


@pytest.mark.parametrize(("norm", "said"), [(1e-9, "it vanishes"), (0.5, "the steps may be too small")])
def test_a_flat_loss_is_read_together_with_its_gradient(norm: float, said: str) -> None:
    flat = 2.3 + np.random.default_rng(0).normal(0, 0.005, N)
    norms = np.where(STEPS < 50, 0.5, norm)
    (finding,) = diagnose(of(flat, grad_norm=whole(norms))).findings
    assert finding.rule == "never_learned"
    assert said in finding.evidence


def test_a_norm_that_spikes_before_a_divergence_is_named() -> None:
    losses, norms = falling(steps=N), np.ones(N)
    losses[300:], norms[280] = np.nan, 50
    (finding,) = diagnose(of(losses, grad_norm=whole(norms))).findings
    assert finding.rule == "diverged_later"
    assert "spiked before, to 50 times its median, at step 280" in finding.evidence


def test_a_rate_of_zero_is_said() -> None:
    flat = 2.3 + np.random.default_rng(0).normal(0, 0.02, N)
    assert found(of(flat, lr=whole(np.zeros(N)))) == {"rate_zero", "never_learned"}


@pytest.mark.parametrize("size", [0.5, 200.0])
def test_a_negative_loss_that_stops_has_stopped(size: float) -> None:
    losses = -size * (1 - np.exp(-STEPS / 15)) + np.random.default_rng(0).normal(0, 0.005 * size, N)
    assert found(of(losses)) == {"plateau"}


@pytest.mark.parametrize(("times", "there"), [(1.0, False), (1.6, False), (4.0, True), (16.0, True)])
def test_a_training_loss_that_is_summed_is_seen(times: float, there: bool) -> None:
    losses = falling(steps=N)
    run = of(losses * times, val_loss=Curve(STEPS[::50], losses[::50]))
    assert ("loss_summed" in found(run)) == there


def test_a_rate_that_steps_down_explains_the_flat_parts_before() -> None:
    """Step decay of an image model: flat before each step, and lower after it."""
    epochs = np.arange(90)
    losses = 2.2 - 0.5 * (epochs >= 30) - 0.2 * (epochs >= 60) + 4.5 * np.exp(-epochs / 4)
    run = of(losses, lr=whole(np.where(epochs < 30, 0.1, np.where(epochs < 60, 0.009, 0.0009))))
    assert found(dataclasses.replace(run, unit="epoch")) == set()


SOUND = [name for name, planted in PLANTED.items() if not planted]
WORLD = ("real_nanogpt_tok_to892", "real_ramey_to_epoch3.5", "pinn_v18")


@pytest.mark.parametrize(("looks", "every"), [(7, 12), pytest.param(40, 1, marks=pytest.mark.slow)])
def test_a_sound_run_looked_at_while_it_trains_gives_hardly_an_alarm(looks: int, every: int) -> None:
    runs = [*map(recorded, SOUND), *map(published, WORLD), *sound_trials()[::every]]
    alarms = [
        (run.name, len(part.loss), diagnosis.findings)
        for run in runs
        for part in prefixes(run, looks)
        if (diagnosis := diagnose(part)).healthy is False
    ]
    assert len(alarms) <= 0.02 * looks * len(runs), alarms
    assert all(diagnose(run).healthy for run in runs)


def prefixes(run: Run, count: int) -> Iterator[Run]:
    """A run as it stood at so many moments, the last of which is its end."""

    def until(curve: Curve, step: int) -> Curve:
        return curve[: int(np.searchsorted(curve.step, step))]

    for end in np.linspace(0, run.steps, count + 1)[1:].round().astype(int):
        curves = {field.name: getattr(run, field.name) for field in dataclasses.fields(run)}
        cut = {name: until(curve, end) for name, curve in curves.items() if isinstance(curve, Curve)}
        layers = {
            name: {layer: until(curve, end) for layer, curve in each.items()}
            for name, each in curves.items()
            if isinstance(each, dict)
        }
        if len(cut["loss"]):
            yield dataclasses.replace(run, **cut, **layers)
