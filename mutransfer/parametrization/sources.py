"""The models that a parametrization compares, from each of the ways in which they can be given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from mutransfer.checks import positive
from mutransfer.parametrization.interchange import carried_base_shapes, read_base_shapes
from mutransfer.parametrization.rescale import MOST_DRAWS, SameDraws
from mutransfer.parametrization.roles import Sizes
from mutransfer.parametrization.shapes import compare_sizes

Build = Callable[[int], nn.Module]

DELTA = 2
"""Width of the delta model over the base width: a multiple, so that what divides one divides the other."""


@dataclass(frozen=True)
class Source:
    """The model to be trained, what grows in it, and what there is to compare it with."""

    target: nn.Module
    sizes: Sizes
    base: nn.Module | None = None
    delta: nn.Module | None = None
    build: Build | None = None
    base_width: int = 0
    carried: bool = False
    """`mup.set_base_shapes` has been here: the model is in Table 8's form already."""

    @property
    def traced(self) -> nn.Module:
        """The smallest model there is."""
        return self.target if self.base is None else self.base

    @property
    def named(self) -> dict[str, nn.Module]:
        """The models by what they are called."""
        known = {"base": self.base, "delta": self.delta, "target": self.target}
        return {label: model for label, model in known.items() if model is not None}

    @property
    def draws(self) -> int:
        """How many base and delta models there can be."""
        return 1 if self.build is None else MOST_DRAWS

    def draw(self, index: int) -> tuple[nn.Module, nn.Module]:
        """A base and a delta model; with a build function, each index draws other initial values."""
        assert self.base is not None
        assert self.delta is not None
        if self.build is None:
            return self.base, self.delta
        pair = []
        for width in (self.base_width, DELTA * self.base_width):
            with seeded(index), SameDraws(index):
                pair.append(self.build(width))
        return pair[0], pair[1]


def find_source(
    build: Build | None,
    width: int | None,
    base_width: int | None,
    base: nn.Module | str | Path | None,
    delta: nn.Module | None,
    target: nn.Module | None,
    seed: int,
    device: str | None,
) -> Source:
    """See `parametrize` for the arguments, and which of them go together. Raises ValueError where they do not."""
    given = {"build": build, "width": width, "base_width": base_width, "base": base, "delta": delta, "target": target}
    names = {name for name, value in given.items() if value is not None}
    if build is not None and width is not None and base_width is not None and len(names) == 3:
        return _from_build(build, width, base_width, seed, device)
    if target is not None and device is None and "build" not in names:
        if isinstance(base, nn.Module) and delta is not None and len(names) == 3:
            return Source(target, compare_sizes(base, delta, target), base, delta)
        if isinstance(base, str | Path) and len(names) == 2:
            return Source(target, read_base_shapes(base, target))
        if len(names) == 1:
            carried = carried_base_shapes(target)
            if carried is not None:
                return Source(target, carried, carried=True)
            raise ValueError(
                "found a target without base shapes; wanted a base to compare it with: give base and delta"
            )
    raise ValueError(
        f"found {', '.join(sorted(names)) or 'no model'}{'' if device is None else ' and device'}; wanted build, width "
        "and base_width (and device if you like), or base, delta and target, or a .bsh file as base and a target"
    )


def _from_build(build: Build, width: int, base_width: int, seed: int, device: str | None) -> Source:
    positive("width", width)
    positive("base_width", base_width)
    with seeded(0):
        base, delta = build(base_width), build(DELTA * base_width)
    with seeded(seed), nullcontext() if device is None else torch.device(device):
        target = build(width)
    for label, model in (("base", base), ("target", target)):
        if not isinstance(model, nn.Module):
            raise ValueError(f"found {type(model).__name__} from build for the {label} model; wanted a torch.nn.Module")
    return Source(target, compare_sizes(base, delta, target), base, delta, build, base_width)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's random numbers from `seed`, and as they were afterwards."""
    devices = range(torch.cuda.device_count())
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
