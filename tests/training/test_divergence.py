"""Where a run has diverged."""

import numpy as np
import pytest

from mutransfer.training.divergence import find_divergence


@pytest.mark.parametrize("unit", [1.0, 0.2], ids=["nats", "squared units"])
def test_where_a_run_has_diverged(unit: float) -> None:
    falling = unit * np.linspace(5, 2, 100)
    assert find_divergence(falling, 10) is None
    nan = falling.copy()
    nan[37] = np.nan
    assert find_divergence(nan, 10) == 37
    inf = falling.copy()
    inf[0] = np.inf
    assert find_divergence(inf, 10) == 0
    spike = falling.copy()
    spike[50] = 20.0 * unit
    assert find_divergence(spike, 10) is None, "one bad batch is no divergence"
    risen = unit * np.concatenate([[5.0], np.full(99, 6.0)])
    assert find_divergence(risen, 10) == 19
    assert find_divergence(risen, 60) == 60, "during warmup a run may stand above its start"
