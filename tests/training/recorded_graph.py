"""A CUDA graph that needs no GPU: records what is computed and computes it again on the same memory.

As on a GPU, recording computes nothing that stays: what was written to memory of before is put back, and what the
recording made holds no numbers before it is replayed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class RecordedGraph:
    """Stands for `torch.cuda.CUDAGraph`."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, Sequence[Any], Mapping[str, Any], Any]] = []

    def replay(self) -> None:
        with torch.no_grad():
            for func, args, kwargs, out in self.calls:
                again = func(*args, **kwargs)
                for kept, new in zip(tensors(out), tensors(again), strict=True):
                    if kept is not new and address(kept) not in {address(each) for each in tensors((args, kwargs))}:
                        kept.copy_(new)


class _Recorder(TorchDispatchMode):
    def __init__(self, graph: RecordedGraph) -> None:
        super().__init__()
        self.graph = graph
        self.made: dict[int, Tensor] = {}
        self.before: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func._schema.is_mutable:
            for each in tensors((args, kwargs)):
                if address(each) not in self.made and address(each) not in self.before:
                    whole = torch.empty(0, dtype=each.dtype).set_(each.untyped_storage())  # type: ignore[call-overload]
                    self.before[address(each)] = whole, whole.clone()
        out = func(*args, **kwargs)
        taken = {address(each) for each in tensors((args, kwargs))}
        for each in tensors(out):
            if address(each) not in taken:
                self.made[address(each)] = each
        self.graph.calls.append((func, args, kwargs, out))
        return out


@contextlib.contextmanager
def record(graph: RecordedGraph) -> Iterator[None]:
    """Stands for `torch.cuda.graph`."""
    with _Recorder(graph) as recorder:
        yield
    with torch.no_grad():
        for whole, values in recorder.before.values():
            whole.copy_(values)
        for each in recorder.made.values():
            if each.is_floating_point():
                each.fill_(torch.nan)


def tensors(tree: Any) -> list[Tensor]:
    return [each for each in tree_iter(tree) if isinstance(each, Tensor)]


def address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


class _Stream:
    def wait_stream(self, other: object) -> None:
        """Everything happens in order here."""


def without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let CUDA's graphs and streams be those above."""
    for name, fake in {
        "CUDAGraph": RecordedGraph,
        "graph": record,
        "Stream": _Stream,
        "current_stream": _Stream,
        "stream": lambda stream: contextlib.nullcontext(),
        "device": lambda device: contextlib.nullcontext(),
    }.items():
        monkeypatch.setattr(torch.cuda, name, fake)
