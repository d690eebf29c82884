"""What `mutransfer.Watch` wrote as lines of JSON."""

from __future__ import annotations

import math
from pathlib import Path

from mutransfer.toolbox.watch.observed import read_observations, total
from mutransfer.trials.logs.columns import put_together
from mutransfer.trials.logs.log import LAYERED, Log


def read_watched(path: Path) -> Log:
    """A run from the observations in a file. Raises ValueError on a corrupt line, and where no loss was told."""
    points: dict[str, list[tuple[int, float]]] = {"loss": [], "grad_norm": [], "clipped_grad_norm": []}
    for seen in read_observations(path):
        points["loss"] += [(int(step or 0), math.nan if loss is None else loss) for step, loss in seen.losses]
        for name in ("grad_norm", "clipped_grad_norm"):
            norm = total(getattr(seen, name))
            points[name] += [] if norm is None else [(seen.step, norm)]
        for quantity in LAYERED:
            for name, value in getattr(seen, quantity).items():
                points.setdefault(f"{quantity}:{name}", []).extend([] if value is None else [(seen.step, value)])
    return put_together(path, points, {name: name for name in points}, [])
