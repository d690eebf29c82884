"""For your own test suite: a coordinate check that fails a test and says why.

from mutransfer.testing import assert_coord_check

def test_my_model_is_mup():
    assert_coord_check(lambda width: my_model_and_groups(width), widths=(32, 64, 128))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from mutransfer.config import OptimizerConfig
from mutransfer.coordcheck.bench import next_token_loss
from mutransfer.coordcheck.check import coord_check
from mutransfer.coordcheck.result import CoordCheck, CoordSettings

if TYPE_CHECKING:
    from mutransfer.coordcheck.bench import Build, Loss, Scheduler


def assert_coord_check(
    build: Build,
    widths: Sequence[int] = CoordSettings.widths,
    *,
    optimizer: str | OptimizerConfig = OptimizerConfig.name,
    lr: float | None = None,
    steps: int = CoordSettings.steps,
    seeds: int = CoordSettings.seeds,
    batch: Callable[[int], Any] | None = None,
    loss: Loss = next_token_loss,
    scheduler: Scheduler | None = None,
    tolerance: float = CoordSettings.tolerance,
    device: str = "cpu",
) -> CoordCheck:
    """Run `mutransfer.coord_check`, which has the same arguments, and return what it found.

    Raises:
        AssertionError: unless it passes (too little seen is no pass), with the culprit, its likely cause, and the
            slopes of every module.
        ValueError: as `coord_check`.
    """
    check = coord_check(
        build,
        widths,
        optimizer=optimizer,
        lr=lr,
        steps=steps,
        seeds=seeds,
        batch=batch,
        loss=loss,
        scheduler=scheduler,
        tolerance=tolerance,
        device=device,
    )
    if not check.passed:
        raise AssertionError(check.report())
    return check
