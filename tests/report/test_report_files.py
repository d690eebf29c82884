"""Files are whole or absent, and the same input gives the same bytes."""

from __future__ import annotations

import subprocess
import sys

from mutransfer.report.figures import draw
from mutransfer.report.files import save_figures, svg
from report.planted import confirmation


def test_each_figure_is_saved_as_svg_and_png_and_nothing_else(two_arms, tmp_path):
    paths = save_figures(*two_arms, tmp_path / "figures")
    names = {f"{n}.{k}" for n in ("loss_curves", "optimal_lr", "regret", "wider_is_better") for k in ("svg", "png")}
    assert {path.name for path in paths} == {path.name for path in (tmp_path / "figures").iterdir()} == names
    assert all(path.stat().st_size > 1000 for path in paths)


def test_a_confirmation_is_drawn_into_the_saved_regret_and_nothing_else(two_arms, tmp_path):
    without = save_figures(*two_arms, tmp_path / "without")
    confirmed = save_figures(*two_arms, tmp_path / "with", [confirmation()])
    pairs = zip(without, confirmed, strict=True)
    differ = {one.stem for one, other in pairs if one.read_bytes() != other.read_bytes()}
    assert differ == {"regret"}


def test_the_same_input_gives_the_same_bytes(diverged, tmp_path):
    one, two = save_figures(*diverged, tmp_path / "one"), save_figures(*diverged, tmp_path / "two")
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


def test_an_svg_holds_no_date(two_arms):
    for name, figure in draw(*two_arms).items():
        assert b"date" not in svg(name, figure).lower()


def test_drawing_needs_no_gpu_stack():
    code = "import sys, mutransfer.report; print([m for m in ('torch', 'ray', 'optuna', 'mup') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
