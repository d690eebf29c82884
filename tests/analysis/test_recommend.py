import math

import pytest

from analysis.planted import frame
from analysis.test_transfer import arm
from mutransfer.analysis import Analysis, analyze, recommend
from mutransfer.analysis.line import prediction
from mutransfer.config.scale import Scale


def planted(slope: float = 0.1) -> Analysis:
    return analyze(frame({"sp": arm(-1.0), "mup": arm(slope)}), 0.25)


@pytest.mark.parametrize(("width", "extrapolation"), [(16, -1.0), (32, 0.0), (100, 0.0), (256, 0.0), (4096, 4.0)])
def test_the_rate_is_on_the_line(width: int, extrapolation: float) -> None:
    found = recommend(planted(), "mup", Scale(width))
    assert math.log2(found.lr) == pytest.approx(-7 + 0.1 * (math.log2(width) - 6.5), abs=0.02)
    assert found.ci_low < found.lr < found.ci_high
    assert found.extrapolation == pytest.approx({"width": extrapolation} if extrapolation else {})
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


def test_another_horizon_is_less_sure() -> None:
    same, longer, larger = (
        recommend(planted(), "mup", Scale(width=256, **asked))
        for asked in ({}, {"steps": 600}, {"steps": 600, "batch_size": 32})
    )
    assert (same.form, longer.form, larger.form) == ("line", "two_regimes", "two_regimes")
    assert longer.ci_high / longer.ci_low > 1.5 * same.ci_high / same.ci_low
    assert longer.assumed == ("tokens",)
    assert larger.assumed == ("tokens", "batch_size")
    assert larger.extrapolation == {"tokens": 3.0, "batch_size": 1.0}


def test_it_is_the_line_that_the_verdict_judges() -> None:
    """Rate and interval as those of the least-squares line with its wobble, by another road."""
    analysis = planted(0.05)
    optima = [optimum for optimum in analysis.arm("mup").optima if optimum.interior]
    for width in (128, 1024, 4096):
        found, line = recommend(analysis, "mup", Scale(width)), prediction(optima, Scale(width)).interval
        assert math.log2(found.lr) == pytest.approx(line.estimate, abs=0.02)
        assert math.log2(found.ci_high / found.ci_low) == pytest.approx(line.ci_high - line.ci_low, rel=0.25)


def test_the_verdict_is_told_and_closes_nothing() -> None:
    found = recommend(planted(), "sp", Scale(1024))
    assert math.log2(found.lr) == pytest.approx(-7 - 1.0 * 3.5, abs=0.05)
    assert found.supported
    assert found.verdict.startswith("sp: does not transfer")


def test_published_laws_stand_beside_it() -> None:
    """As factors from the nearest cell; one that is silent on all that differs is left out."""
    found = recommend(planted(0.0), "mup", Scale(width=256, steps=600, batch_size=64))
    said = {each.law: each for each in found.published}
    known = 2.0**-7
    assert said["square root of batch"].lr == pytest.approx(2 * known, rel=1e-3)
    assert said["Complete(d)P"].lr == pytest.approx(known * 2 / 4, rel=1e-3)
    assert said["Complete(d)P"].nearest is not None
    assert said["Complete(d)P"].nearest.width == 256
    assert "HyperP" not in {each.law for each in recommend(planted(0.0), "mup", Scale(1024)).published}
    assert recommend(planted(0.0), "mup", Scale(1024)).published == ()


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="found no arm 'ntk'"):
        recommend(planted(), "ntk", Scale(1024))
    with pytest.raises(ValueError, match="expected width above 0, got 0"):
        recommend(planted(), "mup", Scale(0))
    with pytest.raises(ValueError, match=r"expected number of steps above 0, got -150"):
        recommend(planted(), "mup", Scale(1024, steps=-150))
    with pytest.raises(ValueError, match="expected --width, because the trials differ in it"):
        recommend(planted(), "mup", Scale(steps=150))
