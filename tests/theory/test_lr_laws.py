"""Published laws by their formulas: on what their papers print, and on the runs behind them."""

import numpy as np
import pandas as pd
import pytest
from analysis.real_law import runs

from mutransfer.theory.lr_laws import LAWS

BY_NAME = {law.name: law for law in LAWS}


@pytest.mark.parametrize(
    ("layers", "width", "printed"),
    [(30, 4096, 4.2e-4), (95, 8192, 3.2e-4)],
    ids=["DeepSeek 7B", "DeepSeek 67B"],
)
def test_deepseek_trained_its_models_at_what_its_law_gives(layers: int, width: int, printed: float) -> None:
    """Table 2 of arXiv 2401.02954: the learning rates of the two models, 2T tokens each. Its model scale is the FLOPs
    of a token without embeddings, 72 layers width^2 + 12 layers width context (eq. 2), with a context of 4,096."""
    flops = 72 * layers * width**2 + 12 * layers * width * 4096
    found = BY_NAME["DeepSeek"].lr({"params": flops / 6, "tokens": 2e12})
    assert found == pytest.approx(printed, rel=0.03)


def test_step_law_finds_the_best_of_its_own_runs() -> None:
    """At the best batch of each (N, D) the lowest loss stands within an octave of the law's rate, and on average nearer
    than half of one: its rates are half an octave apart."""
    found = []
    for (params, tokens), cell in runs("dense").groupby(["N", "D"]):
        best = cell.loc[cell["smooth_loss"].idxmin()]
        found.append(np.log2(BY_NAME["Step Law"].lr({"params": params, "tokens": tokens}) / best["lr"]))
    assert np.abs(found).max() < 1.0
    assert np.abs(found).mean() < 0.5


def test_step_law_of_a_billion_parameters_and_a_hundred_billion_tokens() -> None:
    """1.79 * 10^(-0.713 * 9) * 10^(0.307 * 11) = 1.79 * 10^-3.04."""
    assert BY_NAME["Step Law"].lr({"params": 1e9, "tokens": 1e11}) == pytest.approx(1.79 * 10**-3.04)


@pytest.mark.parametrize(
    ("name", "more", "factor"),
    [
        ("Bjorck et al.", {"tokens": 8}, 0.514),
        ("Zhou et al.", {"params": 10, "tokens": 1}, 0.600),
        ("Marin", {"batch_size": 4, "tokens": 4}, 2 * 0.677),
        ("Marin", {"width": 2}, 0.775),
        ("HyperP", {"depth": 4, "tokens": 1}, 0.5),
        ("square root of size", {"params": 4}, 0.5),
        ("square root of batch", {"batch_size": 4}, 2.0),
        ("Complete(d)P", {"batch_size": 4, "tokens": 4}, 1.0),
        ("Complete(d)P", {"batch_size": 1, "tokens": 4}, 0.5),
        ("Porian et al.", {"params": 10}, 0.437),
    ],
)
def test_factors_of_a_larger_run(name: str, more: dict[str, float], factor: float) -> None:
    """Complete(d)P leaves the rate as it is where batch and tokens grow together: the number of steps is the same."""
    known = {"params": 1e8, "tokens": 1e9, "batch_size": 64.0, "width": 512.0, "depth": 8.0}
    target = known | {dimension: known[dimension] * times for dimension, times in more.items()}
    assert BY_NAME[name].factor(target, known) == pytest.approx(factor, rel=2e-3)


def test_absolute_laws_and_their_factors_agree() -> None:
    known, target = {"params": 1e8, "tokens": 1e9}, {"params": 3e9, "tokens": 7e10}
    for law in LAWS:
        if law.constant is not None:
            assert law.factor(target, known) == pytest.approx(law.lr(target) / law.lr(known))


def test_what_a_law_does_not_know_is_none() -> None:
    assert BY_NAME["Step Law"].lr({"params": 1e8}) is None
    assert BY_NAME["Bjorck et al."].lr({"params": 1e8, "tokens": 1e9}) is None
    assert BY_NAME["Marin"].factor({"width": 64.0}, {"width": 32.0}) is None


def test_every_law_says_where_it_is_from() -> None:
    table = pd.DataFrame([(law.name, law.source, law.measured_on) for law in LAWS])
    assert (table.map(len) > 0).all(axis=None)
    assert table[0].is_unique
