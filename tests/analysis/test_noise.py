import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analysis.planted import parabola
from mutransfer.analysis.curve import Curve
from mutransfer.analysis.noise import (
    LOWEST_LEVEL,
    PRIOR_DF,
    SEEDS_SIGMA,
    SHARED_DF,
    SINGLE_SEED_COVERAGE,
    SINGLE_SIGMA,
    TILT,
    TILT_DF,
    Noise,
    expected_noise,
    repeated_noise,
    residual_noise,
    single_seed_note,
    tilt,
)
from mutransfer.analysis.quartic import MEASURED_PARAMS, MEASURED_WIDTH, Quartic, Window, fit, typical_noise, window
from mutransfer.config.scale import Scale

CALIBRATION = Path(__file__).parents[2] / "results" / "calibration" / "calibration.json"
RATES = np.arange(-10.0, -3.0)
SIGMA = 0.01


def noisy(seed: int, seeds: int = 3, tilted: float = 0.0) -> Window:
    """A parabola with independent noise, every seed's curve tilted by a number of its own, and a seed offset."""
    rng = np.random.default_rng(seed)
    clean = parabola(128, -7.0, RATES, seeds, a=0.01)
    own = SIGMA * rng.standard_normal(clean.losses.shape) + 0.1 * rng.standard_normal((seeds, 1))
    slanted = tilted * rng.standard_normal((seeds, 1)) * (RATES + 7)
    points = window(Curve(Scale(128), RATES, clean.losses + own + slanted))
    assert points is not None
    return points


def fits(windows: list[Window]) -> list[Quartic]:
    return [fit(points, SIGMA**2) for points in windows]


def kappa2(windows: list[Window], noise: Noise) -> Noise:
    return tilt([(quartic.points, quartic.minimum_gradient() @ quartic.influence, noise) for quartic in fits(windows)])


def test_sigma_is_recovered_and_seed_offsets_are_no_noise() -> None:
    found = repeated_noise([noisy(seed) for seed in range(200)])
    assert found is not None
    assert np.mean([noise.variance for noise in found]) == pytest.approx(SIGMA**2, rel=0.05)


def times(points: Window, factor: float) -> Window:
    """The same runs with `factor` times the spread about their mean."""
    means = np.nanmean(points.losses, axis=0)
    return replace(points, losses=means + factor * (points.losses - means))


def test_sigma_starts_from_a_typical_run_and_falls_as_easily_as_it_rises() -> None:
    """A table of very quiet runs is found quiet: an arithmetic mean with what is expected of small models would not
    fall below its part of that."""
    points = window(parabola(128, -7.0, RATES, 3, a=0.01))
    assert points is not None
    typical = SEEDS_SIGMA**2
    told = 2.0 * (len(points.z) - 1)
    assert expected_noise([points])[0] == Noise(SINGLE_SIGMA**2, PRIOR_DF)
    for factor in (0.1, 1.0, 10.0):
        found = repeated_noise([times(noisy(seed), factor) for seed in range(40)])
        assert found is not None
        assert np.mean([noise.variance for noise in found]) == pytest.approx((factor * SIGMA) ** 2, rel=0.15)
    (alone,) = repeated_noise([points]) or ()
    level = LOWEST_LEVEL ** (told / (told + PRIOR_DF))
    assert alone.df == PRIOR_DF + told
    assert alone.variance == pytest.approx(PRIOR_DF * level * typical / alone.df)


def test_a_width_of_its_own_has_the_sigma_of_the_others_as_its_prior() -> None:
    quiet, others = window(parabola(128, -7.0, RATES, 3, a=0.01)), [noisy(seed) for seed in range(100)]
    assert quiet is not None
    found = repeated_noise([quiet, *others])
    assert found is not None
    own = 2 * (len(quiet.z) - 1)
    assert found[0].df == SHARED_DF + own
    assert found[0].variance == pytest.approx(SIGMA**2 * SHARED_DF / (SHARED_DF + own), rel=0.1)
    assert np.mean([noise.variance for noise in found[1:]]) == pytest.approx(SIGMA**2, rel=0.1)


def test_noise_follows_the_size_of_the_model() -> None:
    """Measured at widths 32 to 128; Step Law's public runs of width 960 to 1280, 0.2 to 0.4 billion parameters, have
    0.001 to 0.003 nats."""
    assert (
        typical_noise(Scale(128))
        == typical_noise(Scale(params=MEASURED_PARAMS))
        == typical_noise(Scale(depth=2))
        == 1.0
    )
    assert MEASURED_WIDTH == 128
    assert typical_noise(Scale(32)) == pytest.approx(4**0.44)
    for large in (typical_noise(Scale(1024)), typical_noise(Scale(params=3e8)), typical_noise(Scale(1024, params=3e8))):
        assert 0.0015 < SINGLE_SIGMA * large < 0.003


def test_one_table_of_many_sizes_has_one_level() -> None:
    """Three times the noise that is expected at each size, learned from the other sizes."""
    rng = np.random.default_rng(0)
    windows = []
    for width in (32, 128, 512, 2048) * 10:
        relative = typical_noise(Scale(width))
        losses = parabola(width, -7.0, RATES, 3, a=0.01).losses + 3 * SEEDS_SIGMA * relative * rng.normal(size=(3, 7))
        points = window(Curve(Scale(width), RATES, losses))
        assert points is not None
        windows.append(points)
    found = repeated_noise(windows)
    assert found is not None
    for width, at in zip((32, 128, 512, 2048), range(4), strict=True):
        mean = np.mean([noise.variance for noise in found[at::4]])
        assert mean == pytest.approx((3 * SEEDS_SIGMA * typical_noise(Scale(width))) ** 2, rel=0.2)


def test_the_noise_that_the_user_knows_is_taken() -> None:
    windows = [replace(noisy(seed), noise=0.002) for seed in range(3)]
    known = (Noise(0.002**2, np.inf),) * 3
    assert expected_noise(windows) == repeated_noise(windows) == residual_noise(fits(windows)) == known


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


def test_kappa_starts_from_its_prior_and_counts_the_seeds() -> None:
    noise = Noise(SIGMA**2, 1000.0)
    assert tilt([]) == Noise(TILT, TILT_DF)
    assert kappa2([noisy(0, seeds=1)], noise) == Noise(TILT, TILT_DF)
    assert kappa2([noisy(0)], noise).df == pytest.approx(TILT_DF + 2, abs=0.02)


@pytest.mark.parametrize("tilted", [0.0, 0.01])
def test_kappa_is_told_by_seeds_that_were_not_run_at_all_rates(tilted: float) -> None:
    """A seventh of the runs missing: the same kappa^2 from nearly as many degrees of freedom."""
    rng, noise = np.random.default_rng(0), Noise(SIGMA**2, 1000.0)
    whole, holed = [noisy(seed, tilted=tilted) for seed in range(200)], []
    for each in whole:
        gaps = np.zeros(each.losses.shape, bool)
        gaps[0, rng.integers(len(each.z))] = gaps[1, rng.integers(len(each.z))] = True
        points = window(Curve(Scale(128), RATES[: len(each.z)], np.where(gaps, np.nan, each.losses)))
        assert points is not None
        holed.append(points)
    full, part = kappa2(whole, noise), kappa2(holed, noise)
    assert part.variance == pytest.approx(full.variance, rel=0.2)
    assert 0.7 * full.df < part.df < full.df
    found = repeated_noise(holed)
    assert found is not None
    if not tilted:
        assert np.mean([each.variance for each in found]) == pytest.approx(SIGMA**2, rel=0.1)


def test_a_few_shared_rates_say_less_than_the_residuals() -> None:
    holes = noisy(0, seeds=2).losses.copy()
    holes[1, :-2] = np.nan
    points = window(Curve(Scale(128), RATES[: holes.shape[1]], holes))
    assert points is not None
    assert repeated_noise([points]) is None


def test_what_one_seed_cannot_know_is_said() -> None:
    assert single_seed_note(2) is None
    note = single_seed_note(1)
    assert note is not None
    assert "one seed" in note


def test_the_coverage_that_is_told_of_one_seed_is_the_measured_one() -> None:
    table = json.loads(CALIBRATION.read_text())["tables"]["By seeds and noise factor"]
    measured = {row["factor"]: row["lr* held"] for row in table if row["seeds"] == 1}
    assert pytest.approx(measured, abs=0.005001) == SINGLE_SEED_COVERAGE
