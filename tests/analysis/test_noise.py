import json
from pathlib import Path

import numpy as np
import pytest

from analysis.planted import parabola
from mutransfer.analysis.curve import Curve
from mutransfer.analysis.noise import (
    PRIOR_DF,
    SEEDS_SIGMA,
    SHARED_DF,
    SINGLE_SEED_COVERAGE,
    SINGLE_SIGMA,
    TILT,
    TILT_DF,
    Noise,
    repeated_noise,
    residual_noise,
    single_seed_note,
    tilt,
)
from mutransfer.analysis.quartic import SHARPEST, Quartic, Window, fit, window
from mutransfer.config.scale import Scale

CALIBRATION = Path(__file__).parents[2] / "results" / "calibration" / "calibration.json"
RATES = np.arange(-10.0, -3.0)
SIGMA = 0.01


def noisy(seed: int, seeds: int = 3, tilted: float = 0.0) -> Window:
    """A parabola with independent noise, every seed's curve tilted by a number of its own, and a seed offset."""
    rng = np.random.default_rng(seed)
    clean = parabola(32, -7.0, RATES, seeds, a=0.01)
    own = SIGMA * rng.standard_normal(clean.losses.shape) + 0.1 * rng.standard_normal((seeds, 1))
    slanted = tilted * rng.standard_normal((seeds, 1)) * (RATES + 7)
    points = window(Curve(Scale(32), RATES, clean.losses + own + slanted))
    assert points is not None
    return points


def fits(windows: list[Window]) -> list[Quartic]:
    return [fit(points, SIGMA**2) for points in windows]


def kappa2(windows: list[Window], noise: Noise) -> Noise:
    return tilt([(quartic.points, quartic.minimum_by_rate(), noise) for quartic in fits(windows)])


def test_sigma_is_recovered_and_seed_offsets_are_no_noise() -> None:
    found = repeated_noise([noisy(seed) for seed in range(200)])
    assert found is not None
    assert np.mean([noise.variance for noise in found]) == pytest.approx(SIGMA**2, rel=0.05)


def test_sigma_starts_from_a_typical_run() -> None:
    points = window(parabola(32, -7.0, RATES, 3, a=0.01))
    assert points is not None
    found = repeated_noise([points])
    assert found is not None
    assert found[0].df == PRIOR_DF + 2 * (len(points.z) - 1)
    assert found[0].variance == pytest.approx(PRIOR_DF * SEEDS_SIGMA**2 / found[0].df)


def test_a_width_of_its_own_has_the_sigma_of_the_others_as_its_prior() -> None:
    quiet, others = window(parabola(32, -7.0, RATES, 3, a=0.01)), [noisy(seed) for seed in range(100)]
    assert quiet is not None
    found = repeated_noise([quiet, *others])
    assert found is not None
    own = 2 * (len(quiet.z) - 1)
    assert found[0].df == SHARED_DF + own
    assert found[0].variance == pytest.approx(SIGMA**2 * SHARED_DF / (SHARED_DF + own), rel=0.1)
    assert np.mean([noise.variance for noise in found[1:]]) == pytest.approx(SIGMA**2, rel=0.1)


def test_single_seeds_tell_the_noise_by_their_residuals() -> None:
    windows = [noisy(seed, seeds=1) for seed in range(200)]
    assert repeated_noise(windows) is None
    # A little low, because the fit allows for more discrepancy than a parabola has.
    assert 0.7 < np.mean([noise.variance for noise in residual_noise(fits(windows))]) / SIGMA**2 < 1.1


def test_kappa_is_one_without_tilt_and_more_with_it() -> None:
    noise = Noise(SIGMA**2, 100.0)
    plain = kappa2([noisy(seed) for seed in range(200)], noise)
    tilted = kappa2([noisy(seed, tilted=0.01) for seed in range(200)], noise)
    assert plain.variance == pytest.approx(1, rel=0.15)
    assert tilted.variance > 3 * plain.variance


def test_kappa_starts_from_its_prior_and_counts_seeds_run_at_all_rates() -> None:
    noise = Noise(SIGMA**2, 100.0)
    assert tilt([]) == Noise(TILT, TILT_DF)
    holes = noisy(0).losses.copy()
    holes[0, 0] = np.nan
    points = window(Curve(Scale(32), RATES[: holes.shape[1]], holes))
    assert points is not None
    assert kappa2([points], noise).df == TILT_DF + 1


def test_what_one_seed_cannot_know_is_said() -> None:
    assert single_seed_note(2) is None
    note = single_seed_note(1)
    assert note is not None
    assert "one seed" in note


def test_the_coverage_that_is_told_of_one_seed_is_the_measured_one() -> None:
    table = json.loads(CALIBRATION.read_text())["tables"]["By seeds and noise factor"]
    measured = {row["factor"]: row["lr* held"] for row in table if row["seeds"] == 1}
    assert pytest.approx(measured, abs=0.005001) == SINGLE_SEED_COVERAGE


@pytest.mark.parametrize(("a", "scale"), [(0.01, 1.0), (SHARPEST, 1.0), (10 * SHARPEST, 10.0)])
def test_what_is_known_of_a_single_seeds_noise_is_scaled_with_the_unit_of_the_loss(a: float, scale: float) -> None:
    points = window(parabola(32, -7.0, RATES, seeds=1, a=a))
    assert points is not None
    quiet = fit(points, SIGMA**2)
    (found,) = residual_noise([quiet])
    assert found.variance == pytest.approx((scale * SINGLE_SIGMA) ** 2 * PRIOR_DF / found.df, rel=0.01)
