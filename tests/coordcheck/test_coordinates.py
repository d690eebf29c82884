"""Slopes of coordinates are those planted, their intervals cover, and verdicts follow muP's bounds."""

import math

import numpy as np
import pandas as pd
import pytest

from mutransfer.coordcheck.coordinates import COLUMNS, LOGITS, log_slopes, read_coordinates
from mutransfer.coordcheck.verdict import GROWS, OK, UNALIGNED, VANISHES, Context, judge

WIDTHS, SEEDS = (32, 64, 128, 256), 3
RNG = np.random.default_rng(7)


def frame(powers, scatter=0.02, constant=()):
    """Rows whose values go as the given powers of width; `powers` is {(module, quantity, step): power}."""
    rows = []
    for (module, quantity, step), power in powers.items():
        for width in WIDTHS:
            for seed in range(SEEDS):
                noise = 0.0 if quantity in constant else scatter
                rows.append((module, quantity, step, width, seed, width**power * 2 ** RNG.normal(0, noise)))
    return pd.DataFrame(rows, columns=list(COLUMNS))


STRUCTURE = ("in_size", "out_size", "weight_dims", "gradient_power", "outer", "noise")


def module(name, reads, writes, dims=2, p=0.0, **powers):
    """A module's rows: which sides are wide, its parameters, and powers as `size_0=-0.5`."""
    found = {(name, "in_size", 0): reads, (name, "out_size", 0): writes}
    if dims:
        found |= {(name, "weight_dims", 0): dims, (name, "gradient_power", 0): p, (name, "weight", 0): 0.0}
    for key, power in powers.items():
        quantity, _, step = key.rpartition("_")
        found[name, quantity, int(step)] = power
    return found


def planted(*modules, scatter=0.02):
    """A frame of modules; weight_dims and gradient_power are numbers, not powers."""
    table = frame({key: power for each in modules for key, power in each.items()}, scatter, STRUCTURE)
    numbers = {key: power for each in modules for key, power in each.items()}
    for name in ("weight_dims", "gradient_power"):
        rows = table["quantity"] == name
        table.loc[rows, "value"] = [float(numbers[m, name, 0]) for m in table[rows]["module"]]
    return table


NET = (
    module("embedding", 0, 1),
    module("hidden", 1, 1),
    module("act", 1, 1, dims=0),
    module("readout", 1, 0),
    module("scale", 0, 0, dims=0),
)


def test_slopes_are_the_powers_that_were_planted() -> None:
    exact = read_coordinates(
        frame({("a", "size", 0): -0.5, ("a", "change", 1): 1.25, ("b", "size", 0): 0.0}, scatter=0)
    )
    assert exact.modules == ("a", "b")
    assert exact.slope("a", "size", 0) == pytest.approx(-0.5)
    assert exact.slope("a", "change", 1) == pytest.approx(1.25)
    assert exact.slope("b", "size", 0) == pytest.approx(0)
    assert math.isnan(exact.slope("b", "change", 1))


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_intervals_cover_whatever_scatters(seeds: int) -> None:
    """Noise that differs by width, and a slope of its own for every seed: 95% of the intervals hold the truth."""
    draws, truth = 4000, 0.3
    octaves = np.log2(WIDTHS)
    noise = RNG.normal(0, 1, (draws, seeds, len(WIDTHS))) * [0.5, 0.3, 0.1, 0.05]
    own = RNG.normal(0, 0.1, (draws, seeds, 1)) * octaves + RNG.normal(0, 1, (draws, seeds, 1))
    estimates, halves = log_slopes(WIDTHS, 2 ** (truth * octaves + noise + own))
    covered = np.mean(np.abs(estimates - truth) <= halves)
    assert abs(covered - 0.95) < 3.5 * math.sqrt(0.95 * 0.05 / draws)


def test_the_order_of_rows_does_not_matter() -> None:
    table = planted(*NET, module("hidden", 1, 1, change_1=0.7, size_0=0.1))
    shuffled = pd.concat(
        [table[table["module"] == name].sample(frac=1, random_state=1) for name in table["module"].unique()]
    )
    one, other = read_coordinates(table), read_coordinates(shuffled)
    assert one.slopes.keys() == other.slopes.keys()
    for key, slope in one.slopes.items():
        assert slope.estimate == pytest.approx(other.slopes[key].estimate)


def test_roles_are_read_off_what_is_wide_and_where_it_stands() -> None:
    found = read_coordinates(
        planted(
            module("embedding", 0, 1),
            module("norm", 1, 1, dims=1),
            module("key", 1, 0),
            module(f"attention{LOGITS}", 0, 0, dims=0),
            module("out", 0, 1),
            module("act", 1, 1, dims=0),
            module("readout", 1, 0),
            module("cap", 0, 0, dims=0),
            module("", 0, 0),
        )
    )
    assert found.roles == {
        "embedding": "input",
        "norm": "vector",
        "key": "bottleneck",
        f"attention{LOGITS}": "logits",
        "out": "input",
        "act": "none",
        "readout": "output",
        "cap": "after the readout",
        "": "output",
    }


def verdict(*modules, of, scatter=0.02):
    judged = judge(read_coordinates(planted(*modules, scatter=scatter)), 0.3)
    return next(each.status for each in judged.modules if each.module == of)


def with_(name, **powers):
    """NET with powers of one module."""
    shape = {"embedding": (0, 1, 2), "hidden": (1, 1, 2), "act": (1, 1, 0), "readout": (1, 0, 2), "scale": (0, 0, 0)}
    p = powers.pop("p", 0.0)
    reads, writes, dims = shape[name]
    return [
        each if (name, "in_size", 0) not in each else module(name, reads, writes, dims, p, **powers) for each in NET
    ]


@pytest.mark.parametrize(
    ("name", "powers", "expected"),
    [
        ("hidden", {"size_0": 0.0, "change_1": 0.0, "effective_1": 0.0}, OK),
        ("hidden", {"size_0": 0.5}, GROWS),
        ("hidden", {"size_0": -0.5}, VANISHES),
        ("act", {"size_0": -0.5}, VANISHES),
        ("readout", {"size_0": -0.5}, OK),
        ("readout", {"size_0": 0.5}, GROWS),
        ("scale", {"size_0": -0.5}, OK),
        ("hidden", {"change_2": 0.5}, GROWS),
        ("hidden", {"change_2": -0.5}, OK),
        ("hidden", {"change_2": -1.0}, VANISHES),
        ("hidden", {"change_2": -1.0, "p": 1.0}, OK),
        ("hidden", {"effective_1": 1.0}, GROWS),
        ("hidden", {"effective_1": -0.5}, OK),
        ("hidden", {"effective_1": -1.0}, VANISHES),
        ("embedding", {"effective_1": -0.5}, VANISHES),
        ("embedding", {"effective_1": -0.5, "p": 1.0}, OK),
        ("readout", {"change_1": -0.4}, OK),
        # what the input or the gradient explains
        ("hidden", {"size_0": -0.5, "input_0": -0.5}, OK),
        ("hidden", {"size_0": -1.0, "input_0": -1.0}, VANISHES),
        ("hidden", {"effective_1": -1.0, "input_1": -0.5}, OK),
        ("hidden", {"effective_1": -1.5, "gradient_1": -2.0, "p": 1.0}, OK),
        ("hidden", {"effective_1": -1.5, "gradient_1": -1.0, "p": 1.0}, VANISHES),
        ("hidden", {"effective_1": 1.0, "gradient_1": 0.0, "p": 1.0}, GROWS),
    ],
)
def test_what_lies_beyond_muPs_bounds_grows_or_vanishes(name, powers, expected) -> None:  # noqa: N802
    assert verdict(*with_(name, **powers), of=name) == expected


def test_a_bottleneck_may_start_as_a_hidden_weight_or_as_a_readout() -> None:
    for power, expected in ((0.0, OK), (-0.5, OK), (-1.0, VANISHES), (0.5, GROWS)):
        assert verdict(module("key", 1, 0, size_0=power), module("out", 1, 1), of="key") == expected


def test_logits_may_fall_but_not_grow_and_what_they_can_reach_must_not_fall_far() -> None:
    name = f"attention{LOGITS}"
    for powers, expected in (
        ({"size_0": -0.5, "change_1": -1.5}, OK),
        ({"change_1": 0.5}, GROWS),
        ({"aligned_1": 0.5}, GROWS),
        ({"aligned_1": -0.5}, OK),
        ({"aligned_1": -1.0}, VANISHES),
    ):
        assert verdict(module(name, 0, 0, dims=0, **powers), module("out", 1, 1), of=name) == expected


def test_a_multiplier_outside_a_module_counts_where_it_helps_and_is_no_excuse_for_more() -> None:
    for change, outer, expected in ((1.0, -1.0, OK), (0.0, -1.0, OK), (1.0, 0.0, GROWS), (1.0, -0.5, GROWS)):
        assert verdict(*with_("readout", effective_1=change, outer_1=outer), of="readout") == expected


def test_a_slope_that_is_not_sure_is_not_flagged() -> None:
    assert verdict(*with_("hidden", change_1=0.5), of="hidden", scatter=0.02) == GROWS
    assert verdict(*with_("hidden", change_1=0.5), of="hidden", scatter=3.0) == OK


def test_what_is_not_finite_grows_and_what_is_zero_at_the_widest_alone_vanishes() -> None:
    table = planted(*with_("hidden", change_1=0.0, effective_1=0.0))
    rows = (table["module"] == "hidden") & (table["quantity"] == "change")
    for value, expected in ((math.inf, GROWS), (math.nan, GROWS), (0.0, VANISHES)):
        spoilt = table.copy()
        spoilt.loc[rows & (table["width"] == 256), "value"] = value
        judged = judge(read_coordinates(spoilt), 0.3)
        assert [each.status for each in judged.modules if each.module == "hidden"] == [expected]
    still = table.copy()
    still.loc[rows, "value"] = 0.0
    judged = judge(read_coordinates(still), 0.3)
    assert judged.slopes["hidden", "change", 1].status == OK
    assert not judged.slopes["hidden", "change", 1].seen


def test_what_rounding_may_have_made_is_not_judged() -> None:
    for noise, expected in ((1e-6, GROWS), (100.0, OK)):
        table = planted(*with_("hidden", change_1=1.0, noise_1=0.0))
        table.loc[table["quantity"] == "noise", "value"] = noise
        judged = judge(read_coordinates(table), 0.3)
        assert judged.slopes["hidden", "change", 1].status == expected
        assert judged.slopes["hidden", "change", 1].seen == (expected == GROWS)


def test_a_modules_own_excess_leaves_out_its_input_and_gradient() -> None:
    sgd, adam = (Context("hidden", p, source=0.5, pushed=1.0) for p in (1.0, 0.0))
    assert sgd.own("effective", 3.0) == pytest.approx(1.0)
    assert adam.own("effective", 1.5) == pytest.approx(1.0)
    assert adam.own("size", 0.5) == pytest.approx(0.0)
    assert adam.bounds("effective") == (UNALIGNED, 0.0)
