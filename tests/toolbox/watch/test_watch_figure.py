"""The heat map shows what was observed, cell by cell."""

from __future__ import annotations

import math
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest

from mutransfer.report.files import png
from mutransfer.toolbox.watch.figure import SCALES, edges, watched_run
from mutransfer.toolbox.watch.observed import QUANTITIES, Observation


def observation(step: int, ratio: float | None, losses: list) -> Observation:
    norms = {"embedding.weight": 2.0, "blocks.0.up.weight": 2.0, "blocks.1.up.weight": 0.0}
    updates = {"embedding.weight": 2e-3, "blocks.0.up.weight": None if ratio is None else 2 * ratio}
    return Observation(
        step=step,
        losses=losses,
        spike_score=0.0,
        unrecovered=None,
        weight_norm=norms,
        update_norm={**updates, "blocks.1.up.weight": 0.1},
        grad_norm=norms,
        clipped_grad_norm=norms,
        eps_share=dict.fromkeys(norms, 0.25),
        activation={"embedding": 1.0, "blocks.0": None},
        attention_logit={"blocks.0.attention": 3.0},
    )


LOSSES = [[step, 3.0 + step % 2] for step in range(29)]
RUN = [
    observation(0, 1e-6, LOSSES[:1]),
    observation(10, 0.5, LOSSES[1:11]),
    observation(40, None, [*LOSSES[11:], [29, 90.0], [30, 3.0], [40, None]]),
]


def heat(figure):
    """The map's values: of rows, columns."""
    (mesh,) = figure.axes[1].collections
    return mesh.get_array()


def test_every_quantity_is_drawn_without_a_warning_and_without_pyplot():
    assert set(SCALES) == set(QUANTITIES)
    for quantity in QUANTITIES:
        watched_run(RUN, quantity).draw_without_rendering()
        watched_run(RUN[:1], quantity).draw_without_rendering()
    assert png(watched_run(RUN)).startswith(b"\x89PNG")
    assert plt.get_fignums() == []


def test_a_cell_is_the_ratio_of_its_layer_at_its_step_and_masked_where_there_is_none():
    figure = watched_run(RUN)
    values = heat(figure)
    assert [label.get_text() for label in figure.axes[1].get_yticklabels()] == ["embedding", "blocks.0"]
    assert values.data[0] == pytest.approx([1e-3] * 3)
    assert values.data[1, :2] == pytest.approx([1e-6, 0.5])
    assert values.mask.tolist() == [[False] * 3, [False, False, True]]


def test_a_healthy_ratio_is_in_the_middle_of_the_colours_and_both_bounds_are_within():
    figure = watched_run(RUN)
    norm = figure.axes[1].collections[0].norm
    assert norm(1e-3) == pytest.approx(0.5)
    assert norm(1e-5) == pytest.approx(0.0)
    assert norm(1e-2) == pytest.approx(0.75)


def test_a_ratio_of_zero_is_below_the_scale_and_not_missing():
    still = [replace(RUN[0], update_norm={"embedding.weight": 0.0})]
    values = heat(watched_run(still, "update_ratio"))
    assert not np.ma.getmaskarray(values).any()
    assert 0 < values.data[0, 0] < 1e-5


def test_columns_reach_halfway_to_their_neighbours():
    assert edges([0, 10, 40]) == [-5.0, 5.0, 25.0, 55.0]
    assert edges([7]) == [6.5, 7.5]


def test_losses_and_spikes_are_drawn_at_their_steps():
    upper = watched_run(RUN).axes[0]
    x, y = upper.lines[0].get_data()
    assert list(x) == [*range(31), 40]
    assert y[29] == 90
    assert math.isnan(y[-1])
    assert upper.get_title(loc="left") == "2 spikes, 1 not recovered; spike score 6.2%"
    assert [line.get_xdata()[0] for line in upper.lines[1:]] == [29, 40]
    assert upper.get_yscale() == "log"


def test_a_run_that_told_no_loss_and_one_that_was_not_observed():
    silent = [replace(each, losses=[]) for each in RUN]
    assert watched_run(silent).axes[0].get_title(loc="left") == "no loss told"
    with pytest.raises(ValueError, match="found no eps_share in 1 observations"):
        watched_run([replace(RUN[0], eps_share={})], "eps_share")
    with pytest.raises(ValueError, match="did you mean 'activation'"):
        watched_run(RUN, "activations")
