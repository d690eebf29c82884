import pytest

from mutransfer.analysis.interval import Interval
from mutransfer.analysis.optimum import Optimum
from mutransfer.analysis.regret import Regret
from mutransfer.analysis.verdict import judge, reason, sentence
from mutransfer.config.scale import Scale

WIDTHS = (32, 64, 128, 256)
TAU = 0.25


def at(width: int, log2_lr: float, sd: float = 0.01) -> Optimum:
    return Optimum(Scale(width), log2_lr, log2_lr - 2 * sd, log2_lr + 2 * sd, 2.3, "interior", sd**2, 0.0, 1e9)


def without(width: int, status: str, log2_lr: float = -10.0) -> Optimum:
    return Optimum(Scale(width), log2_lr, None, None, 2.3, status)


def line(slope: float, sd: float = 0.01, n: int = 4) -> list[Optimum]:
    return [at(width, -7 + slope * octave, sd) for octave, width in enumerate(WIDTHS[:n])]


# Four widths an octave apart: the slope's sd is sd / sqrt(5), its half-width 1.96 times that.
HALF = 1.959964 * 0.1 / 5**0.5


@pytest.mark.parametrize(
    ("slope", "verdict"),
    [
        (0.0, "transfers"),
        (TAU - HALF - 1e-4, "transfers"),
        (TAU - HALF + 1e-4, "inconclusive"),
        (TAU, "inconclusive"),
        (TAU + HALF - 1e-4, "inconclusive"),
        (TAU + HALF + 1e-4, "does_not_transfer"),
        (1.0, "does_not_transfer"),
    ],
)
def test_the_interval_decides_on_both_sides(slope: float, verdict: str) -> None:
    assert judge(line(slope, 0.1), TAU) == verdict
    assert judge(line(-slope, 0.1), TAU) == verdict


def test_a_wide_interval_proves_nothing() -> None:
    assert judge(line(0.0, 1.0), TAU) == "inconclusive"
    assert judge(line(-1.0, 2.0), TAU) == "inconclusive"


def test_one_width_and_one_interior_width_are_inconclusive() -> None:
    assert judge([at(32, -7)], TAU) == "inconclusive"
    assert "add widths" in reason([at(32, -7)], TAU)
    optima = [at(32, -5), without(64, "censored_low"), without(128, "censored_low")]
    assert judge(optima, TAU) == "inconclusive"
    assert "1 of 3 widths" in reason(optima, TAU)


@pytest.mark.parametrize("status", ["censored_low", "censored_high", "flat", "too_few"])
def test_a_lone_width_without_an_optimum_is_not_said_to_have_one(status: str) -> None:
    why = reason([without(64, status)], TAU)
    assert why.startswith("one width was trained, without an optimum inside the rates tried: add widths; width 64")
    assert "has an optimum" not in why


@pytest.mark.parametrize("end", [0, -1])
@pytest.mark.parametrize("status", ["censored_low", "censored_high", "flat", "too_few"])
def test_transfer_needs_proxy_and_target(end: int, status: str) -> None:
    optima = line(0.0)
    optima[end] = without(optima[end].scale.width, status, -7.0)
    assert judge(optima, TAU) == "inconclusive"
    assert "not every width" in reason(optima, TAU)
    assert f"width {optima[end].scale.width}" in reason(optima, TAU)


def test_transfer_may_step_over_a_flat_width_but_not_over_a_censored_one() -> None:
    optima = line(0.0)
    optima[1] = without(64, "flat")
    assert judge(optima, TAU) == "transfers"
    assert "through widths 32, 128, 256" in reason(optima, TAU)
    optima[1] = without(64, "censored_low")
    assert judge(optima, TAU) == "inconclusive"


def test_a_censored_width_on_the_lines_own_way_agrees() -> None:
    optima = [*line(-1.0, n=3), without(256, "censored_low", -9.5)]
    assert judge(optima, TAU) == "does_not_transfer"
    assert "width 256 is censored_low" in reason(optima, TAU)
    assert "widen --lrs below 2^-9.5" in reason(optima, TAU)
    assert judge([without(32, "censored_high", -7.5), *line(-1.0)[1:]], TAU) == "does_not_transfer"


def test_a_censored_width_off_the_lines_way_forbids_a_verdict() -> None:
    optima = [*line(-1.0, n=3), without(256, "censored_high", -7.0)]
    assert judge(optima, TAU) == "inconclusive"
    assert "may bring it back" in reason(optima, TAU)


@pytest.mark.parametrize("end", [-7.1, -6.0])
def test_a_censored_width_that_may_level_the_line_forbids_a_verdict(end: float) -> None:
    """Steep through three widths, but the fourth is only known to lie below a rate that would level the line."""
    assert judge([*line(-0.4, n=3), without(256, "censored_low", end)], TAU) == "inconclusive"


def test_a_size_that_decides_alone_is_named() -> None:
    optima = [*line(0.0), at(512, -6.0)]
    assert "the slope rests on width 512 alone: without it +0.00, with it +0.20" in reason(optima, TAU)
    assert "alone" not in reason(line(0.5), TAU)
    steep = [*line(-1.0), at(512, -10.5)]
    assert "width 512 pulls the slope: without it -1.00, with it -0.90" in reason(steep, TAU)


def test_remedies_name_the_rate_and_the_flag() -> None:
    optima = [
        without(32, "censored_high", -4.0),
        without(64, "flat"),
        without(128, "too_few"),
        Optimum(Scale(256), -10.0, None, None, None, "censored_low"),
    ]
    why = reason(optima, TAU)
    assert "widen --lrs above 2^-4" in why
    assert "width 64 is flat" in why
    assert "width 128 has too_few" in why
    assert "width 256: every trial diverged: widen --lrs below 2^-10" in why


def test_sentences() -> None:
    optima, slope = line(0.04), {"width": Interval(0.04, -0.06, 0.13)}
    assert sentence("mup", "transfers", optima, slope, Regret(Scale(32), Scale(256), 0.004, 0.0, 0.011), "") == (
        "mup: transfers: log2 lr* moves by +0.04 per doubling of width (95% CI -0.06..+0.13); "
        "training width 256 at the rate tuned at width 32 costs 0.004 nats (0.000..0.011)"
    )
    assert sentence(
        "sp", "does_not_transfer", optima, slope, Regret(Scale(32), Scale(256), None, 0.3, None), ""
    ).endswith("costs at least 0.300 nats: it lies beyond the rates that trained there")
    assert sentence(
        "sp", "does_not_transfer", optima, slope, Regret(Scale(32), Scale(256), 0.4, 0.3, None), ""
    ).endswith("costs 0.400 nats (0.300 or more)")
    assert sentence("mup", "inconclusive", optima, slope, None, "").startswith("mup: inconclusive: log2 lr* moves")
    assert sentence("mup", "inconclusive", [at(32, -7)], {}, None, "no slope") == (
        "mup: inconclusive: the best rate at width 32 is 2^-7.00 (95% CI 2^-7.02..2^-6.98); no slope"
    )
