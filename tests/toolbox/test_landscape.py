"""The figures of noise scale and sharpness show what their data hold, and draw in every odd case."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from mutransfer.report.files import png
from mutransfer.toolbox.noise_scale.figure import NOISE_COLUMNS, noise_scale
from mutransfer.toolbox.sharpness.figure import SHARPNESS_COLUMNS, sharpness


def noise(rows: list[tuple[float, ...]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(NOISE_COLUMNS))


@pytest.mark.parametrize(
    "rows",
    [
        [(step, 3.0 - step / 100, 4.0 + step, 2.0 + step, 8.0 + step) for step in range(1, 60)],
        [(1, 3.0, 4.0, 0.0, math.inf)],
        [(1, 3.0, None, 0.0, math.inf), (2, 2.0, None, 5.0, math.inf)],
    ],
    ids=["steady", "one step", "nothing known"],
)
def test_the_noise_scale_is_drawn_beside_the_batch(rows: list[tuple[float, ...]]) -> None:
    figure = noise_scale(noise(rows), 16, "sequences")
    assert png(figure).startswith(b"\x89PNG")
    assert plt.get_fignums() == []
    top, bottom = figure.axes
    estimate, batch = top.lines
    np.testing.assert_array_equal(np.asarray(estimate.get_ydata(), float), noise(rows)["critical_batch"].astype(float))
    assert set(batch.get_ydata()) == {16}
    np.testing.assert_array_equal(bottom.lines[0].get_ydata(), noise(rows)["loss"])
    low, high = top.get_ylim()
    assert low < 16 < high
    assert "sequences" in top.get_ylabel()


def test_the_first_steps_noise_does_not_decide_what_is_seen() -> None:
    rows = [(step, 1.0, 1e6 if step < 3 else 20.0, 1.0, 1e7) for step in range(1, 100)]
    assert noise_scale(noise(rows), 16).axes[0].get_ylim()[1] < 100


def looks(**panels: dict[str, list[tuple[float, ...]]]) -> pd.DataFrame:
    rows = [
        (panel.replace("_", " "), run, *look)
        for panel, runs in panels.items()
        for run, all in runs.items()
        for look in all
    ]
    return pd.DataFrame(rows, columns=list(SHARPNESS_COLUMNS))


RISING = [(step, 1 / step, min(4.0, step / 10), 4.0) for step in range(1, 60)]
AWAY = [(1, 1.0, 3.0, 4.0), (2, 1e200, 1e300, 4.0), (3, math.nan, math.nan, 4.0)]
NARROW = [(1, 2.0, 3.0, 4.0), (2, 2.1, 3.5, 4.0)]


@pytest.mark.parametrize(
    "frame",
    [
        looks(one={"a": RISING}),
        looks(one={"a": RISING, "b": AWAY}, two_panels={"b": NARROW}),
        looks(one={"a": NARROW[:1]}),
    ],
    ids=["one run", "two panels, one run away", "one look"],
)
def test_sharpness_is_drawn_beside_its_edge(frame: pd.DataFrame) -> None:
    figure = sharpness(frame, title="runs")
    assert png(figure).startswith(b"\x89PNG")
    assert plt.get_fignums() == []
    panels = list(dict.fromkeys(frame["panel"]))
    tops, bottoms = figure.axes[: len(panels)], figure.axes[len(panels) :]
    assert [axes.get_title(loc="left") for axes in tops] == panels
    for panel, top, bottom in zip(panels, tops, bottoms, strict=True):
        for place, (_, run) in enumerate(frame[frame["panel"] == panel].groupby("run", sort=False)):
            edge, seen = top.lines[2 * place : 2 * place + 2]
            np.testing.assert_array_equal(edge.get_ydata(), run["edge"])
            np.testing.assert_array_equal(seen.get_ydata(), run["preconditioned"].clip(upper=40))
            assert edge.get_linestyle() != seen.get_linestyle() == "-"
            assert edge.get_color() == seen.get_color() == bottom.lines[place].get_color()
            assert len(bottom.lines[place].get_ydata()) == len(run)
        assert top.get_ylim()[1] < 1000


def test_a_run_has_one_colour_in_all_panels() -> None:
    figure = sharpness(looks(one={"a": NARROW, "b": NARROW}, other={"b": NARROW}))
    first, second = figure.axes[:2]
    assert first.lines[3].get_color() == second.lines[1].get_color() != first.lines[1].get_color()
