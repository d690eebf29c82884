"""The law from optima to a run to come: on Step Law's runs, on planted surfaces, and what it refuses."""

import numpy as np
import pandas as pd
import pytest

from analysis.real_law import cells, column, predicted, runs, splits
from mutransfer.analysis.law import LINE, TWO_REGIMES, Measured, measured, predict
from mutransfer.analysis.optimum import Optimum
from mutransfer.config.scale import Scale
from mutransfer.theory.lr_priors import FAMILY, MUP


def of(scales: list[Scale], log2_lr: list[float], sd: float = 0.08) -> Measured:
    count = len(scales)
    return Measured(tuple(scales), np.array(log2_lr), sd**2 * np.eye(count), 12.0, np.full(count, 0.02))


WIDTHS = of([Scale(width=w, batch_size=16, steps=150) for w in (32, 64, 128, 256)], [-7.5, -7.6, -7.45, -7.55])


@pytest.fixture(scope="module")
def dense() -> list[Optimum]:
    return cells(runs("dense"))


def test_larger_models_and_longer_runs_are_predicted(dense: list[Optimum]) -> None:
    """Up to twice the parameters and five times the tokens of what was fitted, at every batch."""
    found = {name: predicted(dense, fitted) for name, fitted in splits(dense)}
    first = found["N <= 2.7e+08, D <= 1.2e+10"]
    every = pd.concat(found.values())
    for frame in (first, every):
        assert frame["error"].mean() <= 0.22
        assert frame["cost"].mean() <= 0.001
        assert 0.90 <= frame["held"].mean() <= 0.99
    assert every["half"].mean() <= 0.6


def test_mixtures_of_experts_are_predicted_along_tokens() -> None:
    found = []
    for _, frame in runs("moe").groupby("moe_name"):
        rows = cells(frame)
        found += [predicted(rows, column(rows, "tokens") <= tokens) for tokens in (2e9, 4e9, 8e9)]
    every = pd.concat(found)
    assert every["error"].mean() <= 0.25
    assert every["held"].mean() >= 0.90


def test_one_batch_says_what_it_does_not_know(dense: list[Optimum]) -> None:
    """A line in size and tokens at a batch of 128 held 50% to 62% of what was larger."""
    for batch in (128, 512):
        rows = [optimum for optimum in dense if optimum.scale.batch_size == batch]
        small = (column(rows, "params") < 270e6) & (column(rows, "tokens") < 12e9)
        found = predicted(rows, small)
        assert found["held"].all()
    (near, far) = predict(
        measured([optimum for optimum, inside in zip(rows, small, strict=True) if inside]),
        [Scale(params=2.7e8, tokens=tokens, batch_size=512) for tokens in (5e9, 80e9)],
    )
    assert far.sd >= near.sd + 0.1 * 4


def test_only_sizes_differ_and_it_is_a_line() -> None:
    (found,) = predict(WIDTHS, [Scale(width=1024)], MUP, FAMILY)
    slope, level = np.polyfit([5, 6, 7, 8], WIDTHS.log2_lr, 1)
    assert found.form == LINE
    assert found.log2_lr == pytest.approx(level + 10 * slope, abs=0.02)
    assert found.measured == ("width",)
    assert found.assumed == ()
    assert found.extrapolation == {"width": 2.0}
    assert found.target == Scale(width=1024, batch_size=16)
    assert found.supported


def test_another_horizon_is_wider_and_said_to_be_assumed() -> None:
    same, longer, larger = (
        predict(WIDTHS, [Scale(width=256, **asked)], MUP, FAMILY)[0]
        for asked in ({}, {"steps": 1200}, {"batch_size": 128, "steps": 1200})
    )
    assert longer.form == larger.form == TWO_REGIMES
    assert longer.assumed == ("tokens",)
    assert larger.assumed == ("tokens", "batch_size")
    assert larger.extrapolation == {"tokens": 6.0, "batch_size": 3.0}
    assert longer.sd > 2 * same.sd
    assert not longer.supported or longer.ci_high - longer.ci_low > 2 * (same.ci_high - same.ci_low)


def test_what_the_interval_costs() -> None:
    (found,) = predict(WIDTHS, [Scale(width=512)], MUP, FAMILY)
    half = max(found.ci_high - found.log2_lr, found.log2_lr - found.ci_low)
    assert found.curvature == pytest.approx(0.02)
    assert found.cost == pytest.approx(0.02 * half**2)
    assert found.expected_cost == pytest.approx(0.02 * found.sd**2)


def test_curvature_follows_the_tokens(dense: list[Optimum]) -> None:
    """Half per quadrupling, or less, as in the runs themselves."""
    short, long = predict(
        measured(dense), [Scale(params=2.7e8, tokens=tokens, batch_size=256) for tokens in (5e9, 20e9)]
    )
    assert short.curvature is not None
    assert long.curvature is not None
    assert 0.4 < long.curvature / short.curvature < 0.95


def test_steps_and_tokens_are_one_horizon() -> None:
    """Tokens are steps x batch x context, and the context is the same in all cells."""
    cells = [
        Scale(params=p, batch_size=b, steps=t, tokens=b * t * 2048)
        for p in (1e8, 2e8)
        for b in (32, 128)
        for t in (1000, 4000)
    ]
    known = of(cells, [-9.0, -8.9, -8.6, -8.7, -9.6, -9.4, -9.2, -9.3])
    by_steps, by_tokens = predict(
        known,
        [Scale(params=4e8, batch_size=256, steps=8000), Scale(params=4e8, batch_size=256, tokens=256 * 8000 * 2048)],
    )
    assert by_steps.log2_lr == by_tokens.log2_lr
    assert by_steps.sd == by_tokens.sd


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (Scale(depth=4), "expected a target in --width, --batch-size, --steps, which the trials know, got --depth"),
        (Scale(batch_size=32), r"expected --width, because the trials differ in it \(32 to 256\), got none"),
        (Scale(width=64, tokens=1e6), "got --tokens"),
    ],
)
def test_a_target_that_the_trials_do_not_know_is_refused(target: Scale, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        predict(WIDTHS, [target], MUP, FAMILY)


def test_no_optimum_is_refused() -> None:
    with pytest.raises(ValueError, match="expected at least one optimum"):
        measured([])
