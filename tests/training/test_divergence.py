"""Where a run has diverged."""

import numpy as np
import pytest

from mutransfer.training.divergence import find_divergence


@pytest.mark.parametrize("unit", [1.0, 0.2], ids=["nats", "squared units"])
def test_where_a_run_has_diverged(unit: float) -> None:
    falling = unit * np.linspace(5, 2, 100)
    assert find_divergence(falling, 10, 100) is None
    nan = falling.copy()
    nan[37] = np.nan
    assert find_divergence(nan, 10, 100) == 37
    inf = falling.copy()
    inf[0] = np.inf
    assert find_divergence(inf, 10, 100) == 0
    spike = falling.copy()
    spike[50] = 20.0 * unit
    assert find_divergence(spike, 10, 100) is None, "one bad batch is no divergence"
    risen = unit * np.concatenate([[5.0], np.full(99, 6.0)])
    assert find_divergence(risen, 10, 100) == 19
    assert find_divergence(risen, 60, 100) == 60, "during warmup a run may stand above its start"


@pytest.mark.parametrize("steps", [2, 6, 19])
def test_a_run_shorter_than_the_window_is_judged_by_the_mean_of_all(steps: int) -> None:
    risen = np.geomspace(5.5, 93_497, steps)
    assert find_divergence(risen, 1, steps) == steps - 1
    assert find_divergence(np.linspace(5.5, 5, steps), 1, steps) is None
    assert find_divergence(np.full(steps, 5.5), 1, steps) is None, "a loss that stays has not diverged"


def test_the_first_part_of_a_long_run_is_judged_as_that() -> None:
    """Whenever a run is looked at, it has diverged at the same step or not yet."""
    rng = np.random.default_rng(0)
    for warmup in (0, 10):
        losses = np.concatenate([[5.0], rng.normal(4.9, 0.5, 60), np.linspace(5, 9, 39)])
        whole = find_divergence(losses, warmup, 100)
        assert whole is not None
        for done in range(1, 101):
            assert find_divergence(losses[:done], warmup, 100) == (whole if done > whole else None)
