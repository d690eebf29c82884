"""What is shown while a sweep runs."""

from __future__ import annotations

import dataclasses
import io
import os
from pathlib import Path

import pytest
from rich.console import Console

from mutransfer.search.planned import cells
from mutransfer.sweep.loop import TrialsFailedError
from mutransfer.sweep.progress import LiveTable, PlainLines, Tally, describe, format_rate, format_seconds, watch

from .fake_training import FakeTrain, loss_of
from .fakes import small, sweep


def test_the_tally_agrees_with_the_sweep(tmp_path: Path) -> None:
    config = small(tmp_path, lrs=(2.0**-8, 2.0**-6, 2.0**-2))
    tally = Tally()
    sweep(dataclasses.replace(config, widths=(32,)), FakeTrain(os.devnull))
    sweep(config, FakeTrain(os.devnull), tally.update)
    assert (tally.done, tally.total, tally.diverged) == (12, 12, 4)
    assert tally.seconds_left() == 0
    for cell in cells(config):
        means = {
            lr: sum(loss_of(config.trial(cell.arm, cell.scale, lr, seed)) for seed in range(2)) / 2
            for lr in (2.0**-8, 2.0**-6)
        }
        best = tally.best(cell)
        assert best is not None
        assert best.lr == min(means, key=means.__getitem__)
        assert best.loss == pytest.approx(min(means.values()))


def test_plain_lines(tmp_path: Path) -> None:
    lines: list[str] = []
    clock = iter(range(0, 1000, 3))
    sweep(small(tmp_path), FakeTrain(os.devnull), PlainLines(lines.append, every=10, clock=lambda: next(clock)))
    assert lines[0] == f"{tmp_path}: 0/12 trials, 1 at once on cpu"
    assert lines[-1] == "12/12 trials"
    assert lines[-3].startswith("mup width 32: best so far lr 2^-")
    assert 5 <= len(lines) <= 9


def test_a_failure_is_shown_at_once(tmp_path: Path) -> None:
    lines: list[str] = []
    with pytest.raises(TrialsFailedError):
        sweep(small(tmp_path, seeds=1), FakeTrain(os.devnull, fails=(2.0**-6,)), PlainLines(lines.append))
    assert "failed: mup width 64 lr 2^-6 seed 0: RuntimeError: cannot train at 0.015625" in lines
    assert lines[-1] == "4/6 trials, 2 failed"


def test_the_live_table(tmp_path: Path) -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=100)
    listener = watch(console)
    assert isinstance(listener, LiveTable)
    sweep(small(tmp_path), FakeTrain(os.devnull), listener)
    assert "12/12 trials" in text.getvalue()
    assert "2^-6" in text.getvalue()
    assert isinstance(watch(Console(file=text)), PlainLines)


def test_words() -> None:
    assert describe(Tally()) == "0/0 trials"
    assert [format_rate(lr) for lr in (2.0**-7, 1.0, 0.003, 3 * 2.0**-7)] == ["2^-7", "2^0", "0.003", "0.0234"]
    assert [format_seconds(s) for s in (12.3, 600, 7200)] == ["12 s", "10 min", "2.0 h"]
