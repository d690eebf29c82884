"""Weighted points of a density: its moments and quantiles as they are known in closed form."""

import numpy as np
import pytest

from mutransfer.analysis.importance import Array, explore, resampled, uniform


def gaussian(mean: Array, covariance: Array):
    precision = np.linalg.inv(covariance)
    return lambda x: -0.5 * np.einsum("ni,ij,nj->n", x - mean, precision, x - mean)


def test_a_narrow_gaussian_far_from_the_start_is_found() -> None:
    """Its volume is 1e-6 of what the start covers, and its axes are not the coordinates'."""
    mean = np.array([2.0, -1.5, 0.5, 1.0])
    root = np.array([[0.03, 0, 0, 0], [0.05, 0.02, 0, 0], [0, 0.04, 0.1, 0], [0.02, 0, 0.02, 0.06]])
    covariance = root @ root.T
    points, weights = explore(gaussian(mean, covariance), np.zeros(4), np.ones(4))
    found = weights @ points
    spread = (points - found).T * weights @ (points - found)
    assert weights.sum() == pytest.approx(1)
    assert np.abs(found - mean).max() < 0.05 * np.sqrt(np.diag(covariance)).max()
    assert spread == pytest.approx(covariance, abs=0.1 * np.diag(covariance).max())


def test_two_modes_keep_their_shares() -> None:
    """A third of the mass at -2, the rest at +2, nothing between."""

    def density(x: Array) -> Array:
        one, other = (-0.5 * ((x - at) ** 2).sum(axis=1) / 0.09 for at in (-2.0, 2.0))
        return np.logaddexp(one + np.log(1 / 3), other + np.log(2 / 3))

    # The second mode is at (2, 2): along the diagonal, as the first is.
    points, weights = explore(density, np.zeros(2), 2 * np.ones(2))
    assert weights[points[:, 0] < 0].sum() == pytest.approx(1 / 3, abs=0.04)


def test_the_same_density_gives_the_same_points() -> None:
    density = gaussian(np.ones(3), np.eye(3))
    once, again = (explore(density, np.zeros(3), np.ones(3)) for _ in range(2))
    assert np.array_equal(once[0], again[0])
    assert np.array_equal(once[1], again[1])


def test_uniform_points_fill_the_cube() -> None:
    """More evenly than random points: every tenth of every coordinate has its tenth of the points."""
    points = uniform(1000, 6, 0)
    for column in points.T:
        counts, _ = np.histogram(column, bins=10, range=(0, 1))
        assert np.abs(counts - 100).max() <= 5


def test_resampling_takes_each_point_as_often_as_its_weight() -> None:
    weights = np.array([0.5, 0.0, 0.2, 0.3])
    assert np.bincount(resampled(weights, 100), minlength=4) == pytest.approx(100 * weights, abs=1)
