"""A forward and backward recorded once as a CUDA graph: the host then launches all of it with one call.

Small models leave a GPU waiting for the host, which launches each of their hundreds of kernels by itself. A graph
launches the same kernels on the same memory, so that its numbers are those of the eager step. (torch.cuda.CUDAGraph;
how it is used here follows PyTorch's notes on CUDA semantics, section CUDA Graphs: warm up on another stream, record,
then only copy inputs into place and replay. Not measured on a GPU.)

K cohort, B batch, T time
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

WARM_UP, AGAIN = 3, 1
"""Runs before a cohort's first recording, in which libraries choose their kernels and set their workspaces up, and
before each later one, of which some kernels may still have to be loaded."""


class Graph:
    """Runs `differentiate` on tokens of one shape, by replaying it.

    What it reads (parameters) and writes (gradients) must stay where it was in memory, and what it does must be the
    same at every call: it must wait for nothing, and draw no random numbers.
    """

    def __init__(self, differentiate: Callable[[Tensor], Tensor], tokens_KBT1: Tensor, warm_up: int) -> None:
        """`differentiate` sets the gradients for tokens of this shape, and returns the losses (K); it is run `warm_up`
        times and then recorded."""
        self._tokens = tokens_KBT1.clone()
        with torch.cuda.device(self._tokens.device):
            beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            beside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(beside):
                for _ in range(warm_up):
                    differentiate(self._tokens)
            torch.cuda.current_stream().wait_stream(beside)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._losses_K = differentiate(self._tokens)

    def fits(self, tokens_KBT1: Tensor) -> bool:
        """Whether these tokens have the shape that was recorded."""
        return self._tokens.shape == tokens_KBT1.shape

    def __call__(self, tokens_KBT1: Tensor) -> Tensor:
        """Set the gradients, in the memory where they were when it was recorded; returns the losses (K)."""
        self._tokens.copy_(tokens_KBT1)
        self._graph.replay()
        return self._losses_K.clone()  # the next replay writes over them
