"""The learning rate to train another size with."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import tyro

from mutransfer.arguments import parse


@dataclass(frozen=True)
class RecommendArguments:
    """Arguments of recommend."""

    result: tyro.conf.Positional[str]
    """A result folder, such as results/width_transfer."""
    width: int | None = None
    """The width to train at, where the result is a sweep of widths."""
    depth: int | None = None
    """The depth to train at, where it is a sweep of depths."""
    arm: str | None = None
    """The arm to follow; None: the first whose verdict is that it transfers."""
    steps: int | None = None
    """Steps of the run to come; None: as many as the rate was tuned at."""
    batch_size: int | None = None
    """Batch size of the run to come; None: the one that the rate was tuned at."""
    json: bool = False
    """Print JSON."""

    @property
    def sizes(self) -> dict[str, int]:
        """The size asked for, by its axis; more than one, or none, where the user gave so."""
        given = {"width": self.width, "depth": self.depth}
        return {axis: size for axis, size in given.items() if size is not None}


def run(words: list[str]) -> None:
    """Print the learning rate for another width, with its interval, for each group of parameters."""
    from mutransfer.study.advice import advise, describe

    arguments = parse("recommend", RecommendArguments, words, switches=True)
    advice = advise(Path(arguments.result), arguments.sizes, arguments.arm, arguments.steps, arguments.batch_size)
    print(json.dumps(dataclasses.asdict(advice), indent=1) if arguments.json else describe(advice))
