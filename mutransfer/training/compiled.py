"""A trial's model through torch.compile.

What it is worth depends on how much of a step is not matrix products. On one thread of a CPU, for the default study's
batch (16 x 64 tokens, 2 blocks), a compiled step over an eager one (`python experiments/bench/compiled.py`,
results/bench/compiled.json):

| width | eager  | compiled over eager | to compile | caught up after |
|-------|--------|---------------------|------------|-----------------|
| 32    | 5.1 ms | 0.91                | 12.3 s     | 28,000 steps    |
| 64    | 11 ms  | 0.96                | 4.0 s      | 6,100           |
| 128   | 33 ms  | 0.98                | 4.7 s      | 5,600           |
| 256   | 109 ms | 0.99                | 4.4 s      | 2,700           |

(The first of a process also loads the compiler.) So nothing is compiled on a CPU unless that is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

SHAPES = 256
"""Models of different shape that one process may compile. Torch's own limit is 8: it would refuse the ninth, or where
parts may be compiled run it eagerly without a word."""


def compile_model(model: nn.Module, whole: bool) -> Callable[[Tensor], Tensor]:
    """The model's forward, compiled with its backward at the first call for each shape of tokens.

    Args:
        model: on its device; it stays what it was, and shares its parameters.
        whole: raise an error where torch can compile parts of the model alone.
    """
    from torch._dynamo import config  # takes a second to load, which every worker would wait for

    compiled = torch.compile(model, fullgraph=whole)

    def call(tokens: Tensor) -> Tensor:
        with config.patch(recompile_limit=SHAPES):
            return cast(Tensor, compiled(tokens))

    return call
