"""The law's arithmetic: what is known in closed form, and what may not depend on units or order."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from mutransfer.analysis import two_regimes
from mutransfer.analysis.two_regimes import Beliefs, Cells, Groups, Regimes, surface
from mutransfer.theory import lr_priors
from mutransfer.theory.lr_priors import FAMILY, Prior

WIDE = Prior(0.0, 3.0, "")
REGIMES = Regimes(lr_priors.TOKENS, lr_priors.BATCH, (lr_priors.KNEE, lr_priors.KNEE_TOKENS, lr_priors.KNEE_SIZE))
BELIEFS = Beliefs((lr_priors.SIZE["params"]["sp"],), REGIMES, FAMILY)


def truth(sizes: float, tokens: float, batch: float) -> float:
    """A surface with its knee among the batches."""
    softplus = np.logaddexp2(0, 3 * (9.5 + 0.6 * (tokens - 33) - 0.2 * (sizes - 27) - batch)) / 3
    return -8 - 0.6 * (sizes - 27) + 0.25 * (tokens - 33) - 0.75 * softplus


def planted(sd: float = 0.05) -> Cells:
    """Three sizes, three lengths, five batches; no scatter."""
    grid = [(n, d, b) for n in (26.0, 27.0, 28.0) for d in (31.0, 33.0, 35.0) for b in (6.0, 8.0, 10.0, 12.0, 14.0)]
    sizes, tokens, batch = np.array(grid).T
    y = np.array([truth(*at) for at in grid])
    return Cells(sizes[:, None], tokens, batch, y, sd**2 * np.eye(len(grid)), 50.0)


@pytest.mark.parametrize("at", [(29.0, 36.0, 10.0), (29.0, 36.0, 14.0), (27.0, 37.0, 6.0), (25.0, 32.0, 9.0)])
def test_a_planted_surface_is_found_beyond_its_cells(at: tuple[float, float, float]) -> None:
    found = surface(planted(), BELIEFS).at([at[0]], at[1], at[2])
    assert found.log2_lr == pytest.approx(truth(*at), abs=0.1)
    assert found.ci_low < truth(*at) < found.ci_high
    knee = 9.5 + 0.6 * (at[1] - 33) - 0.2 * (at[0] - 27)
    assert found.log2_knee == pytest.approx(knee, abs=0.3)
    assert (found.above_knee > 0.5) == (at[2] > knee)


def test_units_and_order_do_not_matter() -> None:
    """A batch in tokens instead of sequences, another unit of the rate, cells in another order."""
    cells = planted()
    expected = surface(cells, BELIEFS).at([29.0], 36.0, 10.0)
    order = np.random.default_rng(0).permutation(len(cells.log2_lr))
    moved = Cells(
        cells.sizes[order] + 3, cells.tokens[order], cells.batch[order] + 11, cells.log2_lr[order] + 5,
        cells.covariance, cells.df,
    )  # fmt: skip
    found = surface(moved, BELIEFS).at([32.0], 36.0, 21.0)
    assert found.log2_lr - 5 == pytest.approx(expected.log2_lr, abs=1e-3)
    assert found.sd == pytest.approx(expected.sd, rel=1e-3)
    assert found.log2_knee - 11 == pytest.approx(expected.log2_knee, abs=1e-3)


def test_the_evidence_is_that_of_the_multivariate_normal() -> None:
    """With the linear parameters integrated out: mean X m, covariance X S X' + scatter + scale V, in full."""
    rng = np.random.default_rng(1)
    cells = planted()
    root = rng.normal(size=(45, 45)) * 0.02
    cells = replace(cells, covariance=root @ root.T + 0.05**2 * np.eye(45))
    where = np.column_stack([cells.sizes, cells.tokens, cells.batch])
    points = where - where.mean(axis=0)
    groups = Groups.of(points)
    linear = two_regimes._linear(cells, BELIEFS, points, groups)
    curved = np.array([[0.3, 0.5, -0.1, -2.0, -2.5, -3.0, 0.4], [-1.0, 0.7, 0.2, -3.0, -2.0, -2.2, -0.3]])
    found = linear.solve(curved)[0]
    expected = []
    for row in curved:
        knee = row[0] + row[1] * points[:, 1] + row[2] * points[:, 0] - points[:, 2]
        design = np.column_stack([np.ones(45), points[:, :2], -np.log2(1 + 2 ** (3 * knee)) / 3])
        prior = [
            np.median(cells.log2_lr),
            *(p.mean for p in (*BELIEFS.sizes, REGIMES.tokens, REGIMES.batch)),
        ]
        sds = [two_regimes.LEVEL_SD, *(p.sd for p in (*BELIEFS.sizes, REGIMES.tokens, REGIMES.batch))]
        same_size = points[:, None, 0] == points[None, :, 0]
        same_length = same_size & (points[:, None, 1] == points[None, :, 1])
        scatter = np.exp(2 * row[3]) * same_size + np.exp(2 * row[4]) * same_length + np.exp(2 * row[5]) * np.eye(45)
        size, tokens = points[:, 0], points[:, 1]
        bends = two_regimes.BEND * np.column_stack([size**2 / 2, size * tokens, tokens**2 / 2])
        covariance = (
            design @ np.diag(np.square(sds)) @ design.T + bends @ bends.T + scatter + np.exp(row[6]) * cells.covariance
        )
        expected.append(stats.multivariate_normal(design @ prior, covariance).logpdf(cells.log2_lr))
    assert found[0] - found[1] == pytest.approx(expected[0] - expected[1], rel=1e-6)


def test_without_regimes_it_is_the_least_squares_line() -> None:
    """Where the prior says nothing and the cells scatter by nothing, its mean and its variance are in closed form."""
    x, y = np.arange(4.0), np.array([-7.0, -7.4, -7.7, -8.3])
    none = lr_priors.Scatter(1e-6, 1e-6, 1e-6, "")
    cells = Cells(x[:, None], np.zeros(4), np.zeros(4), y, 0.1**2 * np.eye(4), 1e9)
    found = surface(cells, Beliefs((WIDE,), None, none)).at([6.0], 0.0, 0.0)
    slope, level = np.polyfit(x, y, 1)
    variance = 0.1**2 * (1 / 4 + (6 - 1.5) ** 2 / 5)
    assert found.log2_lr == pytest.approx(level + 6 * slope, abs=0.01)
    assert found.sd == pytest.approx(np.sqrt(variance), rel=0.02)
    assert found.above_knee is None


def test_few_degrees_of_freedom_widen_the_interval_like_students_t() -> None:
    x, y = np.arange(3.0), np.array([-7.0, -7.5, -8.0])
    none = lr_priors.Scatter(1e-6, 1e-6, 1e-6, "")

    def half(df: float) -> float:
        cells = Cells(x[:, None], np.zeros(3), np.zeros(3), y + np.array([0.1, -0.2, 0.1]), 0.2**2 * np.eye(3), df)
        found = surface(cells, Beliefs((Prior(-0.5, 0.001, ""),), None, none)).at([1.0], 0.0, 0.0)
        return found.ci_high - found.ci_low

    assert half(4) / half(1e9) == pytest.approx(stats.t.ppf(0.975, 6) / 1.96, rel=0.12)


def test_a_size_that_was_measured_is_known_better_than_a_new_one() -> None:
    """Its own scatter is in its optima, whatever its tokens."""
    rng = np.random.default_rng(2)
    sizes, batch = np.repeat(np.arange(24.0, 33.0), 2), np.tile([12.0, 13.0], 9)
    y = -8 - 0.5 * sizes + np.repeat(rng.normal(0, 0.4, 9), 2)
    cells = Cells(sizes[:, None], np.full(18, 33.0), batch, y, 0.03**2 * np.eye(18), 50.0)
    law = surface(cells, replace(BELIEFS, scatter=lr_priors.Scatter(0.4, 0.01, 0.01, "")))
    same, new = law.at([28.0], 33.5, 14.0), law.at([28.5], 33.5, 14.0)
    assert new.sd**2 - same.sd**2 > 0.3**2
