import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.planted import curves_of, frame, parabola, world
from mutransfer.analysis import Settling, analyze
from mutransfer.analysis.assurance import assurance
from mutransfer.analysis.curve import Curve
from mutransfer.analysis.interval import Estimate
from mutransfer.analysis.line import located, slope, slope_weights
from mutransfer.analysis.optimum import Optimum, optima
from mutransfer.analysis.settle import ASSURANCE, MOST_SEEDS, settle
from mutransfer.analysis.verdict import INCONCLUSIVE, judge
from mutransfer.arguments import parse_lrs
from mutransfer.config.scale import Scale
from mutransfer.report.commands import settling_flags
from mutransfer.trials.table import from_frame

TAU = 0.25
WIDTHS = (32, 64, 128, 256)
RATES = np.arange(-11.0, -2.0)


def priced(planted: Sequence[Curve]) -> pd.DataFrame:
    """FLOPs that grow with the square of the width."""
    trials = frame({"mup": tuple(planted)})
    return trials.assign(flops=1e8 * trials["width"] ** 2, search="grid")


def line(slope: float, rates: np.ndarray = RATES, widths: Sequence[int] = WIDTHS) -> pd.DataFrame:
    """Two seeds; a little noise, so that intervals are not only what is known before the first run."""
    noise = np.random.default_rng(0).normal(0, 0.005, (len(widths), 2, len(rates)))
    planted = [parabola(width, -7 + slope * (math.log2(width) - 6.5), rates) for width in widths]
    return priced([Curve(each.scale, rates, each.losses + own) for each, own in zip(planted, noise, strict=True)])


def advised(trials: pd.DataFrame, reach: float, axis: str = "width") -> tuple[Settling, ...]:
    """With the tolerance so far above the slope, in half-widths of its interval."""
    found = optima(curves_of(trials))
    fitted = slope(found, axis)
    assert fitted is not None
    return settle(found, from_frame(trials), abs(fitted.value) + reach * (fitted.interval.ci_high - fitted.value), axis)


def flag(found: Settling, name: str) -> list[str]:
    """The words after a flag."""
    flags = settling_flags(found)
    words = list(flags[flags.index(name) + 1 :])
    return words[: next((at for at, word in enumerate(words) if word.startswith("--")), len(words))]


def cut(planted: Sequence[Curve], widths: Sequence[int], seeds: int, low: float, high: float) -> list[Curve]:
    """The part of a study with these widths, so many seeds and the rates from low to high."""
    inside = (planted[0].log2_lr >= low - 1e-6) & (planted[0].log2_lr <= high + 1e-6)
    return [
        Curve(each.scale, each.log2_lr[inside], each.losses[:seeds, inside])
        for each in planted
        if each.scale.width in widths
    ]


def test_what_it_proposes_decides_as_often_as_it_says() -> None:
    """Of planted studies left inconclusive by one or two seeds at three widths, the cheapest plan is carried out with
    the seeds, widths and rates that were held back. Any slope is as likely as another."""
    rng, fewer, chances, decided = np.random.default_rng(20250608), (32, 64, 128), [], []
    for _ in range(300):
        slope, seeds = float(rng.uniform(-0.5, 0.5)), int(rng.choice([1, 2]))
        whole = world(rng, slope=slope, seeds=MOST_SEEDS, widths=(*fewer, 256, 512), factor=float(rng.choice([1, 2])))
        low, high = whole.curves[0].log2_lr[[2 * (rng.random() < 0.3), -1]]
        some = cut(whole.curves, fewer, seeds, low, high)
        found = optima(some)
        if judge(found, TAU) != INCONCLUSIVE:
            continue
        plan = settle(found, from_frame(priced(some)), TAU, "width")[0]
        if plan.chance is not None:
            ends = (low, high) if plan.lrs is None else np.log2([plan.lrs[0], plan.lrs[-1]])
            more = cut(whole.curves, plan.sizes or fewer, plan.seeds or seeds, *ends)
            chances.append(plan.chance)
            decided.append(judge(optima(more), TAU) != INCONCLUSIVE)
    sure = np.array(chances) >= ASSURANCE
    assert sure.sum() >= 40
    assert np.mean(np.array(decided)[sure]) >= 0.8
    assert np.mean(decided) >= np.mean(chances) - 0.1


def test_too_near_the_tolerance_it_says_so() -> None:
    for drift, bound in ((0.1, "+0."), (-0.1, "-0.")):
        (found,) = advised(line(drift), 0.01)
        assert found == Settling(found.what)
        assert settling_flags(found) == ()
        assert (found.trials, found.chance) == (0, None)
        assert f"lies so near {bound}" in found.what
        assert "that no plan up to 8 seeds and 2 further widths is likely to decide" in found.what


def test_the_nearer_the_tolerance_the_more_it_takes() -> None:
    trials = [min(plan.trials for plan in advised(line(0.1), reach)) for reach in (0.99, 0.98, 0.96, 0.93)]
    assert trials == sorted(trials)
    assert trials[0] < trials[-1]


def test_seeds_and_sizes_are_both_offered_and_cost_what_they_add() -> None:
    plans = advised(line(0.1), 0.85)
    seeds = next(plan for plan in plans if plan.sizes is None)
    wider = next(plan for plan in plans if plan.seeds is None)
    assert seeds.seeds is not None
    added = seeds.seeds - 2
    assert (seeds.lrs, seeds.trials) == (None, 4 * 9 * added)
    assert seeds.flops == pytest.approx(9 * added * 1e8 * sum(width**2 for width in WIDTHS))
    assert settling_flags(seeds) == ("--seeds", str(seeds.seeds), "--search", "grid")
    assert wider.sizes == (*WIDTHS, 512)
    assert wider.trials == 9 * 2
    assert wider.flops == pytest.approx(9 * 2 * 1e8 * 512**2)
    assert settling_flags(wider) == ("--widths", "32", "64", "128", "256", "512", "--search", "grid")
    assert "width 512 as well (18 more trials): narrows the slope's CI from +-" in wider.what
    assert [plan.flops for plan in plans] == sorted(plan.flops or 0 for plan in plans)


@given(st.floats(0.3, 0.99))
@settings(max_examples=20, deadline=None)
def test_no_plan_does_all_of_another_and_more(reach: float) -> None:
    plans = [(plan.seeds or 2, set(plan.sizes or WIDTHS)) for plan in advised(line(0.1), reach)]
    for at, (seeds, sizes) in enumerate(plans):
        for other_seeds, others in plans[:at]:
            assert not (other_seeds <= seeds and others <= sizes)


def test_half_width_and_chance_are_those_of_the_formulas() -> None:
    trials, reach = line(0.1), 0.85
    plan = next(plan for plan in advised(trials, reach) if plan.sizes is None)
    assert plan.seeds is not None
    found = optima(curves_of(trials))
    joint, k = located(found), slope_weights(found)

    def with_seeds(more: float) -> Estimate:
        noise, shape = float(k @ joint.noise @ k), float(k @ joint.shape @ k)
        return Estimate(float(k @ joint.log2_lr), ((noise / more, joint.df * more), (shape, math.inf)))

    now, then = with_seeds(1), with_seeds(plan.seeds / 2)
    wide, narrow = (each.interval.ci_high - each.value for each in (now, then))
    assert f"from +-{wide:.2f} to about +-{narrow:.2f}" in plan.what
    assert plan.chance == pytest.approx(assurance(now, then, joint.df, now.value + reach * wide))


def test_a_censored_size_needs_rates_beyond_its_optimum() -> None:
    trials = line(-0.2)
    found = analyze(trials[trials["log2_lr"] >= -7], TAU).arms[0]
    assert (found.verdict, found.optima[-1].status) == ("inconclusive", "censored_low")
    for plan in found.settling:
        assert plan.lrs is not None
        # Two octaves below the lowest rate, or below where the line expects the optimum.
        assert math.log2(plan.lrs[0]) <= -9
        assert math.log2(plan.lrs[-1]) == -3
        assert flag(plan, "--lrs") == [f"2^{math.log2(plan.lrs[0]):g}..2^-3"]


@pytest.mark.parametrize(("low", "high", "beyond"), [(-3.5, 4, "higher"), (-18, -9.5, "lower")])
def test_sizes_without_any_optimum_need_rates_on_the_side_they_fall_to(low: float, high: float, beyond: str) -> None:
    optimum = 0.0 if beyond == "higher" else -14.0
    curves = [parabola(width, optimum, np.arange(-8.0, -4.0)) for width in WIDTHS]
    (plan,) = analyze(priced(curves), TAU).arms[0].settling
    assert plan.lrs is not None
    assert (math.log2(plan.lrs[0]) < -8) == (beyond == "lower")
    assert (math.log2(plan.lrs[-1]) > -5) == (beyond == "higher")
    assert "a slope needs two optima" in plan.what


def test_one_size_needs_others() -> None:
    (plan,) = analyze(line(0.0, widths=(64,)), TAU).arms[0].settling
    assert plan.sizes == (64, 128, 256)
    assert flag(plan, "--widths") == ["64", "128", "256"]


def test_wider_sizes_bring_the_rates_they_need() -> None:
    trials = line(-0.6, np.arange(-10.0, -3.0))
    wider = [plan for plan in advised(trials, 0.85) if plan.sizes]
    assert wider
    for plan in wider:
        assert plan.sizes is not None
        assert plan.lrs is not None
        assert math.log2(plan.lrs[0]) <= -7 - 0.6 * (math.log2(plan.sizes[-1]) - 6.5) - 1.9
        assert plan.trials == len(plan.lrs) * len(plan.sizes) * (plan.seeds or 2) - len(trials)


@given(st.sampled_from([0.0, 0.5, 0.25]), st.sampled_from([1.0, 0.5]), st.sampled_from([1.0, 0.003 * 2**8]))
@settings(deadline=None)
def test_the_command_line_reads_its_rates_back(phase: float, step: float, factor: float) -> None:
    """Rates that were run stay the same numbers, or their trials would run again."""
    rates = np.arange(-7.5, -3.0, step) + phase
    trials = line(-1.0, rates)
    trials["lr"] *= factor
    trials["log2_lr"] = np.log2(trials["lr"])
    for plan in analyze(trials, TAU).arms[0].settling:
        if plan.lrs is not None:
            assert parse_lrs(flag(plan, "--lrs")) == plan.lrs
            assert set(trials["lr"]) <= set(plan.lrs)


def test_other_axes_have_their_own_flags_and_costs() -> None:
    trials = line(0.1).assign(steps=lambda each: each["width"], width=128, flops=lambda each: 1e8 * each["steps"])
    longer = next(plan for plan in advised(trials, 0.85, "steps") if plan.seeds is None)
    assert settling_flags(longer)[0] == "--step-counts"
    assert longer.flops == pytest.approx(18 * 1e8 * 512)
    assert "number of steps 512 as well" in longer.what


def test_a_smaller_size_is_offered_where_all_are_multiples_of_it() -> None:
    """A width must be a multiple of head_dim: 16 may not be one where 32 was the smallest, 32 is one of 64 and 96."""
    plans = [plan for reach in (0.9, 0.7) for plan in advised(line(0.1, widths=(64, 96, 128)), reach)]
    assert any(plan.sizes and plan.sizes[0] == 32 for plan in plans)
    assert not any(plan.sizes and plan.sizes[0] < 32 for reach in (0.9, 0.7) for plan in advised(line(0.1), reach))


def test_what_is_known_to_a_bracket_is_not_narrowed_by_seeds() -> None:
    known = [Optimum(Scale(width), -7.0, -8.0, -6.0, 2.3, "interior", 0.3**2) for width in WIDTHS]
    plans = settle(known, from_frame(line(0.0)), TAU, "width")
    assert plans[0].sizes == (*WIDTHS, 512)
    assert all(plan.seeds is None for plan in plans)


def test_flops_that_are_not_known_are_none() -> None:
    plans = advised(line(0.1).assign(flops=math.nan), 0.85)
    assert plans[0].trials > 0
    assert all(plan.flops is None for plan in plans)


def test_an_adaptive_search_is_told_what_to_reach_and_of_several_that_draw_the_one_with_the_most_trials_counts() -> (
    None
):
    trials = line(0.1)
    adaptive = advised(trials.assign(search="mine", placement=np.where(trials["seed"] == 0, "given", "adaptive")), 0.85)
    told = next(plan for plan in adaptive if plan.target_se is not None)
    assert (told.seeds, told.adaptive, told.search, told.n_trials) == (None, True, "mine", None)
    assert told.what.startswith(f"a standard error of {told.target_se:g} of the slope (about ")
    both = trials.assign(search=np.where(trials["log2_lr"] > -4, "few", "many"), placement="drawn")
    for plan in advised(both, 0.85):
        assert plan.search == "many"
        assert plan.n_trials is not None
        assert plan.n_trials >= len(set(both.loc[both["search"] == "many", "lr"]))


@pytest.mark.parametrize("search", ["random", "tpe"])
def test_a_search_is_as_dense_over_its_wider_range_as_before(search: str) -> None:
    trials = line(-0.2)
    found = analyze(trials[trials["log2_lr"] >= -7].assign(search=search, placement="drawn"), TAU).arms[0]
    assert found.settling
    for plan in found.settling:
        assert plan.lrs is not None
        assert flag(plan, "--search") == [search]
        low, high = np.log2(plan.lrs)
        more = int(flag(plan, "--n-trials")[0]) - 5
        # Five rates an octave apart were tried.
        assert more >= high - low
        assert plan.trials == (5 + more) * (plan.seeds or 2) * len(plan.sizes or WIDTHS) - 4 * 5 * 2
        assert parse_lrs(flag(plan, "--lrs")) == plan.lrs
