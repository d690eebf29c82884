"""The doctor's figure shows what was logged and marks what was found where it is."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.patches import Rectangle

from mutransfer.report.files import png
from mutransfer.toolbox.doctor import Curve, Run, diagnose, run_of
from mutransfer.toolbox.doctor.figure import draw_run, panels_of
from mutransfer.trials.logs import read_log

DATA = Path(__file__).parents[2] / "data" / "doctor"


@pytest.mark.parametrize("name", ["lm_end_of_warmup", "digits_squared_nan_in_warmup", "lm_bad_batch", "lm_healthy_mup"])
def test_every_finding_is_a_band_over_its_steps_in_every_panel(name: str) -> None:
    run = run_of(read_log(DATA / f"{name}.csv"))
    diagnosis = diagnose(run)
    figure = draw_run(run, diagnosis)
    assert png(figure).startswith(b"\x89PNG")
    assert plt.get_fignums() == []
    assert len(figure.axes) == len(panels_of(run))
    for axes in figure.axes:
        bands = [
            (patch.get_x(), patch.get_x() + patch.get_width()) for patch in axes.patches if isinstance(patch, Rectangle)
        ]
        wanted = [(f.first_step, max(f.last_step, f.first_step + 1)) for f in diagnosis.findings]
        np.testing.assert_allclose(bands, wanted)


def test_a_panel_draws_its_curve_and_what_was_not_logged_has_none() -> None:
    run = Run("run", Curve(np.arange(50), np.linspace(5, 2, 50)))
    (panel,) = panels_of(run)
    assert list(panel.curves) == ["training loss"]
    (line,) = draw_run(run, diagnose(run)).axes[0].get_lines()
    np.testing.assert_array_equal(line.get_ydata(), run.loss.value)


def test_a_loss_that_was_not_finite_is_a_cross_where_it_was() -> None:
    losses = np.append(np.linspace(5, 2, 50), [np.nan, np.inf])
    run = Run("run", Curve(np.arange(52), losses))
    crosses = [line for line in draw_run(run, diagnose(run)).axes[0].get_lines() if line.get_marker() == "x"]
    assert crosses[0].get_xdata().tolist() == [50, 51]


def test_a_clipped_norm_that_is_the_same_is_drawn_once() -> None:
    norms = Curve(np.arange(50), np.linspace(1, 2, 50))
    same = Run("run", norms, grad_norm=norms, clipped_grad_norm=norms)
    other = Run("run", norms, grad_norm=norms, clipped_grad_norm=Curve(norms.step, np.minimum(norms.value, 1.5)))
    assert [len(panels_of(run)[1].curves) for run in (same, other)] == [1, 2]
