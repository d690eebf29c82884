"""The intervals and verdicts over the mixture of planted sweeps, with the noise of real runs: do they hold as often as
they say? experiments/calibration/calibrate.py asks the same of every cell, with more sweeps."""

import numpy as np
import pandas as pd
import pytest

from analysis.calibration import CELLS, SLOPES, STRATA, Cell, Goal, Studied, coverage, goals, half, share, study
from analysis.planted import SHARES

REAL = tuple(stratum for stratum in STRATA if stratum[2] == 1.0)


def together(parts: list[Studied]) -> Studied:
    return Studied(pd.concat([part.sweeps for part in parts]), pd.concat([part.widths for part in parts]))


def missed(found: list[Goal]) -> list[Goal]:
    return [goal for goal in found if not goal.met]


@pytest.fixture(scope="module")
def studied() -> Studied:
    return together([study(Cell(seeds, 4, 1.0), 10, REAL) for seeds in (1, 2, 3, 5)])


def test_goals_are_met_at_the_noise_of_real_runs(studied: Studied) -> None:
    assert missed(goals(studied)) == []


def test_a_width_has_an_estimate_nearly_always(studied: Studied) -> None:
    assert studied.widths["held"].notna().mean() >= 0.98


def test_more_seeds_narrow_the_intervals(studied: Studied) -> None:
    for frame in studied:
        widths = [half(frame[frame["seeds"] == seeds]) for seeds in (1, 2, 3, 5)]
        assert widths == sorted(widths, reverse=True)


def test_narrow_and_wide_models_are_held_alike(studied: Studied) -> None:
    """Narrow models are noisier: one noise for all widths would hold the narrowest too rarely."""
    repeated = studied.widths[studied.widths["seeds"] > 1]
    for _, frame in repeated.groupby("width"):
        assert 0.9 <= coverage(frame) <= 0.995


@pytest.mark.parametrize(("shape", "least"), [("skew 1.0", 0.85), ("cliff 0.6 octaves above", 0.65)])
def test_rates_half_an_octave_apart_tell_a_shape_that_was_not_expected(shape: str, least: float) -> None:
    """With penalties that do not yield, 80% and 21% of these intervals held the truth; over more sweeps
    (results/calibration/holdout.md) 89% and 75% do."""
    strata = tuple((shape, slope, 1.0) for slope in SLOPES)
    assert coverage(study(Cell(3, 4, 0.5), 12, strata).widths) >= least


def test_figures_weigh_shapes_as_the_mixture_does() -> None:
    assert sum(SHARES.values()) == pytest.approx(1)
    assert SHARES["cliff"] <= 0.15
    frame = pd.DataFrame({"held": [1.0, 0.0, np.nan], "half": [0.1, 0.2, np.nan], "weight": [0.3, 0.1, 0.6]})
    assert coverage(frame) == pytest.approx(0.75)
    assert half(frame) == 0.1
    assert share(frame, frame["half"] == 0.2) == pytest.approx(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS[::3], ids=str)
def test_goals_are_met_cell_by_cell_at_the_noise_of_real_runs(cell: Cell) -> None:
    """Coverage within three standard errors of its goal; power and half-widths where the cell has goals for them."""
    found = study(cell, 8, REAL)
    error = 3 * np.sqrt(0.05 * 0.95 / len(found.sweeps))
    assert 0.92 - error <= coverage(found.widths) <= 0.98 + error
    assert 0.92 - error <= coverage(found.sweeps) <= 0.98 + error
    assert missed([goal for goal in goals(found) if "mixture" not in goal.name and "coverage" not in goal.name]) == []


@pytest.mark.slow
def test_goals_are_met_over_all_noise() -> None:
    found = together([study(Cell(seeds, 4, step), 4) for seeds in (1, 2, 3, 5) for step in (1.0, 0.5)])
    assert missed(goals(found)) == []
