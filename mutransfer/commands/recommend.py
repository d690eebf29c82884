"""The learning rate to train a run to come with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import tyro

from mutransfer.arguments import parse


@dataclass(frozen=True)
class RecommendArguments:
    """Arguments of recommend. A size that is not given is that of all trials."""

    result: tyro.conf.Positional[str]
    """A result folder, such as results/width_transfer."""
    width: int | None = None
    """The width to train at."""
    depth: int | None = None
    """The depth to train at."""
    params: float | None = None
    """The number of parameters, where the trials know that in place of width and depth."""
    batch_size: int | None = None
    """Batch size of the run to come, in the unit of the trials."""
    steps: int | None = None
    """Steps of the run to come."""
    tokens: float | None = None
    """Tokens of the run to come, in place of steps."""
    arm: str | None = None
    """The arm to follow; None: the first whose verdict is that it transfers, else the last."""
    json: bool = False
    """Print JSON."""


def run(words: list[str]) -> None:
    """Print the learning rate of a run to come, with its interval, for each group of parameters."""
    from mutransfer.config.scale import DIMENSIONS, Scale
    from mutransfer.study.advice import advise, describe, refusal

    arguments = parse("recommend", RecommendArguments, words, switches=True)
    target = Scale(**{name: getattr(arguments, name) for name in DIMENSIONS})
    advice = advise(Path(arguments.result), target, arguments.arm)
    if arguments.json:
        print(json.dumps(advice.plain(), indent=1))
    elif not advice.recommendation.supported:
        raise ValueError(refusal(advice))
    else:
        print(describe(advice))
