import math

import pytest

from analysis.planted import frame
from analysis.test_transfer import arm
from mutransfer.analysis import Analysis, Recommendation, analyze, horizon_note, recommend
from mutransfer.config.scale import Scale


def planted(slope: float = 0.1) -> Analysis:
    return analyze(frame({"sp": arm(-1.0), "mup": arm(slope)}), 0.25)


@pytest.mark.parametrize(("width", "extrapolation"), [(16, 1.0), (32, 0.0), (100, 0.0), (256, 0.0), (4096, 4.0)])
def test_the_rate_is_on_the_line(width: int, extrapolation: float) -> None:
    found = recommend(planted(), "mup", Scale(width))
    assert math.log2(found.lr) == pytest.approx(-7 + 0.1 * (math.log2(width) - 6.5), abs=1e-6)
    assert found.ci_low < found.lr < found.ci_high
    assert found.extrapolation == pytest.approx(extrapolation)
    assert (found.arm, found.parametrization, found.scale) == ("mup", "mup", Scale(width))
    assert found.horizon is not None
    assert (found.horizon.steps, found.horizon.batch_size, found.horizon.data) == (150, 16, "stdlib")


def test_it_is_less_sure_the_further_it_goes() -> None:
    found = [recommend(planted(0.0), "mup", Scale(width)) for width in (256, 1024, 4096, 16384)]
    ratios = [each.ci_high / each.ci_low for each in found]
    assert ratios == sorted(ratios)
    regrets = [each.expected_regret for each in found if each.expected_regret is not None]
    assert len(regrets) == 4
    assert regrets == sorted(regrets)
    variance = (math.log2(found[0].ci_high / found[0].ci_low) / 2 / 2) ** 2
    assert regrets[0] == pytest.approx(0.025 * variance, rel=0.5)


def test_no_rate_without_transfer() -> None:
    with pytest.raises(ValueError, match=r"found the verdict does_not_transfer for sp .*wanted transfers") as refused:
        recommend(planted(), "sp", Scale(1024))
    assert "\n" not in str(refused.value)
    with pytest.raises(ValueError, match="found the verdict inconclusive for mup"):
        recommend(planted(0.24), "mup", Scale(1024))
    with pytest.raises(ValueError, match="found no arm 'ntk'"):
        recommend(planted(), "ntk", Scale(1024))
    with pytest.raises(ValueError, match="found width 0"):
        recommend(planted(), "mup", Scale(0))


@pytest.fixture
def tuned() -> Recommendation:
    return recommend(planted(), "mup", Scale(1024))


def test_the_horizon_it_was_tuned_at_is_named(tuned: Recommendation) -> None:
    plain = horizon_note(tuned)
    assert plain == "tuned at 150 steps of 16 x 64 tokens (153,600 in all) on stdlib"
    assert horizon_note(tuned, steps=150, batch_size=16) == plain


@pytest.mark.parametrize(("steps", "batch_size"), [(300, None), (75, None), (None, 32), (150, 8), (75, 32), (300, 8)])
def test_another_horizon_within_a_factor_of_two_is_labelled(
    tuned: Recommendation, steps: int | None, batch_size: int | None
) -> None:
    assert "the optimal rate falls with tokens and rises with batch" in horizon_note(tuned, steps, batch_size)


@pytest.mark.parametrize(("steps", "batch_size"), [(0, None), (-150, None), (None, 0), (150, -16)])
def test_a_horizon_of_nothing_is_refused(tuned: Recommendation, steps: int | None, batch_size: int | None) -> None:
    with pytest.raises(ValueError, match=r"found (steps|batch_size) -?[0-9]+; wanted a finite number above 0"):
        horizon_note(tuned, steps, batch_size)


@pytest.mark.parametrize(("steps", "batch_size"), [(301, None), (74, None), (None, 33), (None, 7), (300, 32), (600, 4)])
def test_another_horizon_beyond_is_refused(tuned: Recommendation, steps: int | None, batch_size: int | None) -> None:
    with pytest.raises(ValueError, match="wanted at most a factor 2"):
        horizon_note(tuned, steps, batch_size)
