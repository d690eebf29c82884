"""Where the observations of a watched run go. A sink is any function of an observation: `list.append` is one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from mutransfer.toolbox.watch.observed import QUANTITIES, Observation, total

Sink = Callable[[Observation], object]


def json_lines(path: Path | str) -> Sink:
    """Appends each observation to a file as a line of JSON, which `read_observations` reads."""

    def write(observation: Observation) -> None:
        with Path(path).open("a") as file:
            file.write(json.dumps(asdict(observation), allow_nan=False) + "\n")

    return write


def tensorboard(folder: Path | str) -> Sink:
    """Writes each observation to TensorBoard as scalars `quantity/name`, the losses as `loss`.

    Raises ValueError where the extra `tensorboard` is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ValueError("found no tensorboard; wanted it to write to: pip install mutransfer[tensorboard]") from None
    writer = SummaryWriter(str(folder))

    def write(observation: Observation) -> None:
        scalars = [("loss", loss, step) for step, loss in observation.losses]
        scalars.append(("spike_score", observation.spike_score, observation.step))
        for name in ("grad_norm", "clipped_grad_norm"):
            scalars.append((f"total/{name}", total(getattr(observation, name)), observation.step))
        for quantity in QUANTITIES:
            values = getattr(observation, quantity).items()
            scalars += [(f"{quantity}/{name}", value, observation.step) for name, value in values]
        for tag, value, step in scalars:
            if value is not None:
                writer.add_scalar(tag, value, step)
        writer.flush()

    return write
