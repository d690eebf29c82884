"""How trials of one shape are trained on a device: together or alone, and by which kind of step."""

from __future__ import annotations

from typing import NamedTuple

from mutransfer.checks import one_of
from mutransfer.config.trial import TrialConfig

MODES = ("eager", "graph", "compiled")
"""eager: torch runs each operation as the model asks for it. graph: what a forward and backward launch on a GPU is
recorded once and replayed, which costs the host one call (CUDA graphs). compiled: torch.compile of the model."""


class Execution(NamedTuple):
    """`cohort_size` trials are trained as one, at most; each step is of kind `mode`, one of MODES."""

    cohort_size: int = 1
    mode: str = "eager"


CPU_COHORT = 8
"""Trials trained as one on a CPU where that pays."""

CPU_LIMIT = 2**19
"""Tokens of a step times width squared up to which it pays on a CPU.

A step's time for each of 8 trials over a single one's, from results/bench/cohort.json (experiments/bench/cohort.py):

| tokens | width 32 | 64   | 128  | 256  |
|--------|----------|------|------|------|
| 64     | 0.64     | 0.81 | 1.19 | 1.20 |
| 256    | 0.86     | 0.95 | 0.98 | 1.06 |
| 512    | 0.96     | 1.04 | 1.03 | 1.02 |
| 1024   | 0.94     | 1.01 | 1.00 | 1.09 |

2 trials are always slower than one by one, and 4 hardly ever do better than 8. Beyond the limit a cohort saves hardly
more than a twentieth and soon nothing, while it rounds otherwise than a single trial: the default study, of 1024 tokens
a step, is trained trial by trial, so that its losses do not depend, in their last bits, on which trials were started
together.
"""


def on_cpu(trial: TrialConfig, mode: str = "eager") -> Execution:
    """The rule for a CPU, by steps of kind `mode`. Models of your own, whose cost nobody knows, are trained alone, and
    those that look at their curvature, which no cohort can."""
    work = trial.batch_size * trial.model.context * trial.model.width**2
    alone = mode != "eager" or trial.build or trial.optimizer.spec.curved
    pays = not alone and work <= CPU_LIMIT
    return Execution(CPU_COHORT if pays else 1, mode)


def validate_execution(execution: str, device: str, cohort_size: int | None) -> None:
    """Raises ValueError where a sweep asks for a kind of step that its device or its cohorts do not have."""
    one_of("execution", execution, ("auto", *MODES))
    if execution == "graph" and device == "cpu":
        raise ValueError(
            "found execution graph on the cpu; wanted a GPU, which alone has graphs: give compiled, or eager"
        )
    if execution == "compiled" and cohort_size is not None and cohort_size > 1:
        raise ValueError(
            f"found execution compiled with cohort_size {cohort_size}; wanted trials one by one: leave "
            "--cohort-size out"
        )
