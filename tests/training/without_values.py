"""A GPU that needs no GPU: tensors on `cuda:0` that have a shape, a type and a device, and no values.

Torch's fake tensors obey torch's own rules of devices, so that what mixes the host's tensors with the device's raises.
On top of them stands `OnGPU`, which sees every operation below autograd: what the host would have to wait for, and how
many kernels it would launch.

Fused attention is not seen as the kernels that a GPU has for it, but as its formula.
"""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map

aten = torch.ops.aten
GPU = "cuda:0"

WAITING = {aten._linalg_eigh.default, aten._linalg_svd.default}
"""Torch's own documentation: on CUDA they synchronize the device with the CPU."""

NO_KERNEL = {
    aten.detach.default,
    aten.alias.default,
    aten._unsafe_view.default,
    aten._reshape_alias.default,
    aten.lift_fresh.default,
    aten.empty.memory_format,
    aten.empty_like.default,
    aten.empty_strided.default,
    aten.new_empty.default,
    aten.new_empty_strided.default,
}
"""Beside views: what only names or reserves memory."""


class WaitedError(AssertionError):
    """The host waits for the device where it must not."""


class OnGPU(TorchDispatchMode):
    """What the host did: `waits` in words, `kernels` by operation. A number that it asks for is `number`, False where
    it is a truth value, since there is none."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self.number = number
        self.may_wait = True
        self.waits: list[str] = []
        self.kernels: Counter[str] = Counter()

    @contextlib.contextmanager
    def nothing_waits(self) -> Iterator[None]:
        self.may_wait = False
        yield
        self.may_wait = True

    def wait(self, why: str) -> None:
        self.waits.append(why)
        if not self.may_wait:
            raise WaitedError(why)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is aten._local_scalar_dense.default:
            return self._fetch(func, args[0])
        if func is aten._fused_sgd_.default:  # has no shape function; all is in place
            self.kernels[str(func)] += 1
            return None
        out = func(*args, **kwargs)
        if func.namespace == "aten":
            self._look(func, args, kwargs, out)
        return out

    def _fetch(self, func: Any, scalar: Tensor) -> Any:
        if scalar.device.type == "cuda":
            self.wait("a number is fetched")
        else:
            with contextlib.suppress(DataDependentOutputException):
                return func(scalar)  # a constant of the host's
        if scalar.dtype == torch.bool:
            return False
        return self.number if scalar.is_floating_point() else int(self.number)

    def _look(self, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        given = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        made = [each for each in tree_leaves(out) if isinstance(each, Tensor)]
        if not any(each.device.type == "cuda" for each in given + made):
            return
        if func in WAITING:
            self.wait(str(func))
        if func in (aten._to_copy.default, aten.copy_.default):
            source = args[1] if func is aten.copy_.default else args[0]
            by_itself = getattr(source, "pinned", False) and "non_blocking" in kwargs and kwargs["non_blocking"]
            if isinstance(source, Tensor) and source.device.type != made[0].device.type and not by_itself:
                self.wait(f"{tuple(source.shape)} is copied from {source.device} to {made[0].device}")
        indexing = func in (aten.index.Tensor, aten.index_put_.default, aten.index_put.default)
        if indexing and any(each is not None and each.device.type == "cpu" for each in args[1]):
            self.wait("an index is copied to the device")
        if not func.is_view and func not in NO_KERNEL:
            self.kernels[str(func)] += 1


@contextlib.contextmanager
def on_the_host() -> Iterator[None]:
    """Within it tensors have values again, and there is no GPU."""
    with _disable_current_modes(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "Generator", _GENERATOR)
        patch.setattr(torch, "randn", _RANDN)
        yield


class Generator:
    """A generator of random numbers that are never drawn."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)

    def manual_seed(self, seed: int) -> Generator:
        return self


def _randn(*shape: Any, generator: Generator | None = None, **where: Any) -> Tensor:
    made = torch.zeros(*shape, **where)
    if generator is not None and generator.device.type != made.device.type:
        raise RuntimeError(f"Expected a {made.device.type} device type for generator but found {generator.device.type}")
    return made


def _real(tree: Any, number: float) -> Any:
    return tree_map(lambda x: torch.full(x.shape, number, dtype=x.dtype) if isinstance(x, FakeTensor) else x, tree)


def _pinned(tensor: Tensor) -> Tensor:
    copy = tensor.clone()
    copy.pinned = True  # type: ignore[attr-defined]
    return copy


def _numpy(tensor: Tensor, number: float) -> Any:
    if isinstance(tensor, FakeTensor):
        return np.full(tensor.shape, number, np.float32)
    with on_the_host():
        return _NUMPY(tensor)


def _deepcopy(tensor: Tensor, memo: dict[int, Any]) -> Tensor:
    if isinstance(tensor, FakeTensor):
        return tensor.detach().clone()
    with on_the_host():
        return _DEEPCOPY(tensor, memo)


_GENERATOR, _RANDN, _SAVE, _LOAD = torch.Generator, torch.randn, torch.save, torch.load
_DEEPCOPY, _NUMPY, _SWAP = Tensor.__deepcopy__, Tensor.numpy, torch.utils.swap_tensors


def _save(state: Any, file: io.BytesIO, number: float) -> None:
    with on_the_host():
        _SAVE(_real(state, number), file)


def _load(*args: Any, **kwargs: Any) -> Any:
    with on_the_host():
        return _LOAD(*args, **kwargs)


def _swap(one: Tensor, other: Tensor) -> None:
    if (one.device, one.dtype) != (other.device, other.dtype):
        _SWAP(one, other)


@contextlib.contextmanager
def on_a_gpu(number: float = 0.5) -> Iterator[OnGPU]:
    """Within it there is `cuda:0`."""
    from mutransfer.parametrization import build
    from mutransfer.training import own_model

    def with_values(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            with on_the_host():
                return function(*_real(args, 0), **_real(kwargs, 0))

        return call

    with pytest.MonkeyPatch.context() as patch, torch.autograd.set_multithreading_enabled(False):
        # both run models, one on `meta` and the other on the host, whatever the trial's device is
        patch.setattr(build, "_shapes", with_values(build._shapes))
        patch.setattr(own_model, "parametrize", with_values(own_model.parametrize))
        patch.setattr(Tensor, "pin_memory", _pinned)
        patch.setattr(Tensor, "numpy", lambda x: _numpy(x, number))
        patch.setattr(Tensor, "__deepcopy__", _deepcopy)
        patch.setattr(torch, "Generator", Generator)
        patch.setattr(torch.random, "fork_rng", lambda devices: contextlib.nullcontext())
        patch.setattr(torch, "randn", _randn)
        patch.setattr(torch, "save", lambda state, file: _save(state, file, number))
        patch.setattr(torch, "load", _load)
        patch.setattr(torch.utils, "swap_tensors", _swap)
        patch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
        patch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
        patch.setattr(torch.cuda, "get_device_name", lambda device=None: "none")
        for module in map(import_module, ("torch.optim.optimizer", "torch.utils._foreach_utils")):
            patch.setattr(module, "_foreach_supported_types", [*module._foreach_supported_types, FakeTensor])
        with FakeTensorMode(allow_non_fake_inputs=True), OnGPU(number) as host:
            yield host
