"""What was planted in a real training is found, all of it and nothing else; sound runs give no alarm."""

from __future__ import annotations

import dataclasses
import importlib.util
from types import ModuleType

import numpy as np
import pytest

from mutransfer.toolbox.doctor import RULES, Curve, Run, diagnose, run_of
from mutransfer.trials.logs import read_log
from toolbox.doctor.recorded import FOLDER, PLANTED, recorded, set_up, sound_trials

SOUND = [name for name, planted in PLANTED.items() if not planted]


def found(run: Run) -> set[str]:
    return {finding.rule for finding in diagnose(run).findings}


@pytest.mark.parametrize("name", PLANTED)
def test_what_was_planted_is_found_and_nothing_else(name: str) -> None:
    assert found(recorded(name)) == PLANTED[name]


def test_every_recorded_run_is_known_and_all_rules_but_three_have_a_run_in_which_it_happened() -> None:
    assert {file.stem for file in FOLDER.glob("*.csv")} == set(PLANTED)
    happened = set().union(*PLANTED.values(), {"not_finite", "unstable"})  # the latter two in published logs
    assert set(RULES) - happened == {"gradient_grows", "rate_zero", "loss_summed"}  # known from made logs alone


def test_a_hundred_sound_runs_give_no_alarm() -> None:
    runs = sound_trials()
    assert len(runs) >= 100
    assert {run.name: found(run) for run in runs if found(run)} == {}


@pytest.mark.parametrize("every", [2, 5])
def test_sound_runs_that_were_logged_less_often_give_no_alarm(every: int) -> None:
    for run in [*map(recorded, SOUND), *sound_trials()]:
        assert found(thinned(run, every)) == set(), run.name


@pytest.mark.parametrize("unit", [1e-3, 100.0])
@pytest.mark.parametrize("name", PLANTED)
def test_the_unit_of_the_loss_does_not_matter(name: str, unit: float) -> None:
    run = recorded(name)
    scaled = dataclasses.replace(run, loss=times(run.loss, unit), val_loss=times(run.val_loss, unit))
    assert found(scaled) == PLANTED[name]


def test_what_happened_is_where_it_was_done() -> None:
    """The spike, the jump of the rate and the end of the schedule lie at the steps at which make.py put them."""
    assert only("lm_bad_batch").first_step == 120
    assert 100 < only("lm_rate_jumps").first_step <= 120 < only("lm_rate_jumps").last_step < 140
    assert 100 < only("lm_rate_creeps").first_step < 130
    assert 80 < only("lm_schedule_over").first_step < 100
    assert only("digits_squared_nan_at_once").last_step == 10


def test_every_finding_says_what_to_do_and_whence_it_is_known() -> None:
    for name in PLANTED:
        for finding in diagnose(recorded(name)).findings:
            assert finding.rule in RULES
            assert min(map(len, (finding.what, finding.evidence, finding.first, finding.second, finding.source))) > 15
            assert 0 <= finding.first_step <= finding.last_step < recorded(name).steps
            assert "nan" not in finding.evidence.split()


@pytest.mark.parametrize("name", ["digits_squared_nan_at_once", "digits_random_labels", "digits_squared_edge"])
def test_a_quick_run_trained_again_is_found_alike(name: str, tmp_path) -> None:
    again(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANTED)
def test_a_run_trained_again_is_found_alike(name: str, tmp_path) -> None:
    again(name, tmp_path)


def again(name: str, folder) -> None:
    maker = make()
    maker.write(name, folder)
    run = set_up(name, run_of(read_log(folder / f"{name}.csv")))
    assert found(run) == PLANTED[name]
    np.testing.assert_allclose(run.loss.value[:5], recorded(name).loss.value[:5], rtol=0.02)


def make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("doctor_runs", FOLDER / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def only(name: str):
    (finding,) = diagnose(recorded(name)).findings
    return finding


def times(curve: Curve, factor: float) -> Curve:
    return Curve(curve.step, curve.value * factor)


def thinned(run: Run, every: int) -> Run:
    return dataclasses.replace(run, loss=Curve(run.loss.step[::every], run.loss.value[::every]))
