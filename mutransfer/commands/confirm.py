"""Measure what the proxy's rate costs at another size."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import tyro

from mutransfer.arguments import parse, typed_command
from mutransfer.config.scale import SWEPT
from mutransfer.terminal import open_console


@dataclass(frozen=True)
class ConfirmArguments:
    """Arguments of confirm. Of width, depth, batch_size and steps those are given that the result's sweep varies."""

    result: tyro.conf.Positional[str]
    """A result folder, such as results/width_transfer."""
    width: int | None = None
    """The width to train at."""
    depth: int | None = None
    """The depth to train at."""
    batch_size: int | None = None
    """The batch size to train with."""
    steps: int | None = None
    """The number of steps to train for."""
    arm: str | None = None
    """The arm to follow; None: the first whose verdict is that it transfers, else the last."""
    seeds: int | None = None
    """Seeds for each of the three rates; None: as in the result."""
    executor: str | None = None
    """ray or inprocess; None: as in the result."""
    device: str | None = None
    """auto, cpu or cuda; None: as in the result."""
    gpus_per_trial: float | None = None
    """GPUs that a trial occupies on cuda; None: as in the result."""
    json: bool = False
    """Print JSON."""

    @property
    def sizes(self) -> dict[str, int]:
        """The sizes asked for, by dimension."""
        given = {name: getattr(self, name) for name in SWEPT}
        return {name: size for name, size in given.items() if size is not None}


def run(words: list[str]) -> None:
    """Train a size at the proxy's rate, half and double of it, and print what that rate costs there."""
    from rich.table import Table

    from mutransfer.study.confirm import confirm, plan_confirmation
    from mutransfer.study.result import read_swept, write_result
    from mutransfer.sweep.progress import watch

    arguments = parse("confirm", ConfirmArguments, words, switches=True)
    result = read_swept(Path(arguments.result))
    config = plan_confirmation(
        result,
        arguments.sizes,
        arguments.arm,
        arguments.seeds,
        arguments.executor,
        arguments.device,
        arguments.gpus_per_trial,
    )
    console = open_console(stderr=arguments.json)
    found = confirm(result, config, command=typed_command(["confirm", *words]), listener=watch(console))
    write_result(read_swept(result.folder))
    if arguments.json:
        print(json.dumps(dataclasses.asdict(found), indent=1))
        return
    table = Table("lr", "log2 lr", "loss")
    for log2_lr, loss in zip(found.rates, found.losses, strict=True):
        table.add_row(f"{2**log2_lr:.3g}", f"{log2_lr:.2f}", "diverged" if loss is None else f"{loss:.4f}")
    console.print(table)
    console.print(found.sentence, soft_wrap=True)
