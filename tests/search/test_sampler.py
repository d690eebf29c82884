"""The bracket search in a real Optuna study."""

from __future__ import annotations

import math
import random

import optuna
import pytest

from mutransfer import BracketSampler

LOW, HIGH = 2.0**-12, 2.0**-2


@pytest.fixture(autouse=True)
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def loss(lr: float, number: int, optimum: float = -6.4) -> float:
    z = math.log2(lr) - optimum
    return math.inf if z > 3 else 2.0 + 0.025 * z**2 + random.Random(number).gauss(0, 0.003)


def objective(trial: optuna.Trial) -> float:
    return loss(trial.suggest_float("lr", LOW, HIGH, log=True), trial.number)


def rates(study: optuna.Study) -> list[float]:
    return [math.log2(trial.params["lr"]) for trial in study.trials]


@pytest.mark.parametrize("start", [None, 2.0**-7, 2.0**-11])
def test_it_brackets_the_optimum_and_knows_how_well(start: float | None) -> None:
    sampler = BracketSampler(start)
    study = optuna.create_study(sampler=sampler)
    study.optimize(objective, n_trials=18)
    found = sampler.optimum(study)
    assert found.interior
    assert found.ci_low is not None
    assert found.ci_high is not None
    assert found.ci_low <= -6.4 <= found.ci_high
    assert found.log2_lr == pytest.approx(-6.4, abs=0.3)
    assert all(-12 <= rate <= -2 for rate in rates(study))
    assert rates(study) == [round(rate) for rate in rates(study)]
    assert len(set(rates(study))) < 12


def test_maximizing_is_minimizing_the_opposite() -> None:
    down, up = (optuna.create_study(sampler=BracketSampler(), direction=name) for name in ("minimize", "maximize"))
    down.optimize(objective, n_trials=12)
    up.optimize(lambda trial: -min(objective(trial), 1e9), n_trials=12)
    assert rates(down)[:6] == rates(up)[:6]


def test_rounds_that_are_asked_at_once_are_those_of_one_after_another() -> None:
    alone = optuna.create_study(sampler=BracketSampler())
    alone.optimize(objective, n_trials=12)
    together = optuna.create_study(sampler=BracketSampler())
    space = {"lr": optuna.distributions.FloatDistribution(LOW, HIGH, log=True)}
    done = 0
    while done < 12:
        number = alone.user_attrs[f"bracket:round:{done}"]
        size = sum(each == number for each in alone.user_attrs.values())
        asked = [together.ask(space) for _ in range(size)]
        for trial in reversed(asked):
            together.tell(trial, loss(trial.params["lr"], trial.number))
        done += size
    assert rates(together) == rates(alone)


def test_more_at_once_than_a_round_has_are_still_given_a_rate() -> None:
    study = optuna.create_study(sampler=BracketSampler())
    space = {"lr": optuna.distributions.FloatDistribution(LOW, HIGH, log=True)}
    asked = [study.ask(space) for _ in range(12)]
    assert all(LOW <= trial.params["lr"] <= HIGH for trial in asked)


def test_a_failed_trial_is_asked_for_again() -> None:
    study = optuna.create_study(sampler=BracketSampler())
    space = {"lr": optuna.distributions.FloatDistribution(LOW, HIGH, log=True)}
    first = study.ask(space)
    study.tell(first, state=optuna.trial.TrialState.FAIL)
    assert study.ask(space).params == first.params


def test_another_study_is_refused() -> None:
    study = optuna.create_study(sampler=BracketSampler())
    with pytest.raises(ValueError, match="wanted one float of a logarithmic scale"):
        study.optimize(lambda trial: trial.suggest_float("lr", 0.1, 1.0), n_trials=1)
    with pytest.raises(ValueError, match=r"beside \['lr'\]"):
        study.optimize(lambda trial: objective(trial) + trial.suggest_float("wd", 0.1, 1, log=True), n_trials=1)
    with pytest.raises(ValueError, match="found start -1"):
        BracketSampler(-1.0)
