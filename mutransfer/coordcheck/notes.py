"""What one model shows in a coordinate check, as numbers: rows of the frame that `coordcheck.coordinates` describes."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mutransfer.coordcheck.observer import Call

ROUNDING = 64
"""Units in the last place that rounding may change."""

Row = tuple[str, str, int, int, int, float]
"""Module, quantity, step, width, seed, value."""


class Notes:
    """Rows of the frame, taken step by step from one model."""

    def __init__(self, model: nn.Module, width: int, seed: int) -> None:
        self.model, self.width, self.seed = model, width, seed
        self.rows: list[Row] = []
        self.initial: dict[str, dict[str, Tensor]] = {}
        self.main: dict[str, str] = {}
        self.ties: list[list[str]] = []
        self._start: dict[str, list[Tensor]] = {}
        self._owned: dict[str, dict[str, nn.Parameter]] = {}
        self._received: dict[str, float] = defaultdict(float)  # mean squares of gradients, summed over passes
        self._asked: dict[str, list[Tensor | None]] = {}  # each module's gradients at initialization
        self._pushes: dict[str, float] = {}  # sums of the sizes of the gradients of the pass before
        self._before: dict[str, dict[str, tuple[Tensor, Tensor | None]]] = {}  # parameters and gradients of that pass
        self.final = ""

    def take(self, step: int, calls: Sequence[Call], rates: Mapping[int, float], final: str = "") -> None:
        """Note a pass, the rates of the update before it (at step 0: as given), and whose output the loss gets."""
        self.final = final
        by_module: dict[str, list[Call]] = defaultdict(list)
        for call in calls:
            by_module[call.module].append(call)
        if step == 0:
            self._begin(by_module)
        counts, expected = ({name: len(each) for name, each in found.items()} for found in (by_module, self._start))
        if counts != expected:
            odd = next(name for name in {**counts, **expected} if counts.get(name) != expected.get(name))
            raise ValueError(f"found module {odd} not called alike in every pass; wanted one flow of data")
        if step == 0:
            self._asked = {module: [call.gradient for call in found] for module, found in by_module.items()}
        for module, found in by_module.items():
            for quantity, value in self._values(module, found, step, rates):
                self.rows.append((module, quantity, step, self.width, self.seed, value))
            for leaf, parameter in self._owned.get(module, {}).items():
                if leaf != _main(self._owned[module])[0] and parameter.requires_grad:
                    name = f"{module}.{leaf}" if module else leaf
                    for quantity, value in self._other(module, leaf, parameter, step, rates):
                        self.rows.append((name, quantity, step, self.width, self.seed, value))
        self._pushes = {
            module: sum(float(call.gradient.abs().double().sum()) for call in found if call.gradient is not None)
            for module, found in by_module.items()
        }
        self._before = {
            module: {
                leaf: (each.detach().clone(), None if each.grad is None else each.grad.detach().clone())
                for leaf, each in owned.items()
            }
            for module, owned in self._owned.items()
        }

    def _other(
        self, module: str, leaf: str, parameter: nn.Parameter, step: int, rates: Mapping[int, float]
    ) -> Iterator[tuple[str, float]]:
        """Of a parameter that does not say most of its module."""
        if id(parameter) in rates:
            yield "rate", rates[id(parameter)]
        if step == 0:
            yield "weight", root_mean_square([parameter.detach()])
            yield "weight_dims", float(parameter.ndim)
        elif (pull := self._pull(module, leaf)) is not None:
            yield "pull", pull

    def _pull(self, module: str, leaf: str) -> float | None:
        """How far the update of a parameter moved its module's output against the gradient that this received: the
        decrease of the loss that it makes to first order, over the sum of the gradient's sizes."""
        value, gradient = self._before[module][leaf]
        if gradient is None or self._pushes[module] == 0:
            return None
        moved = (self._owned[module][leaf].detach() - value).to(torch.promote_types(value.dtype, torch.float64))
        return max(0.0, -float((moved.conj() * gradient).real.sum())) / self._pushes[module]

    def _begin(self, by_module: Mapping[str, Sequence[Call]]) -> None:
        self._start = {module: [call.output for call in calls] for module, calls in by_module.items()}
        uses: dict[int, list[str]] = defaultdict(list)
        for name, parameter in self.model.named_parameters(remove_duplicate=False):
            path, _, inside = name.rpartition(".")
            while path and path not in by_module:  # a parameter is charged to the nearest module that is called
                path, _, last = path.rpartition(".")
                inside = f"{last}.{inside}"
            if path in by_module:
                self._owned.setdefault(path, {})[inside] = parameter
                uses[id(parameter)].append(path)
        kept = {id(parameter): name for name, parameter in self.model.named_parameters()}
        for path, owned in self._owned.items():
            self.main[path] = kept[id(_main(owned)[1])]
        self.initial = {
            module: {name: parameter.detach().clone() for name, parameter in owned.items()}
            for module, owned in self._owned.items()
        }
        self.ties = [paths for paths in uses.values() if len(paths) > 1]

    def _values(
        self, module: str, calls: Sequence[Call], step: int, rates: Mapping[int, float]
    ) -> Iterator[tuple[str, float]]:
        outputs, first = [call.output for call in calls], calls[0]
        size = root_mean_square(outputs)
        yield "size", size
        yield "l1", sum(float(x.abs().double().sum()) for x in outputs) / sum(x.numel() for x in outputs)
        yield "noise", ROUNDING * torch.finfo(first.output.dtype).eps * size
        yield "outer", abs(first.outer)
        yield "out_size", float(first.output.numel())
        if first.source is not None:
            yield "input", root_mean_square([call.source for call in calls if call.source is not None])
            yield "in_size", float(first.source.numel())
        if step > 0 and module in self._received:
            yield "gradient", math.sqrt(self._received[module])
        if first.gradient is not None:
            self._received[module] += (
                root_mean_square([call.gradient for call in calls if call.gradient is not None]) ** 2
            )
        if first.head_dim is not None and first.logit_scale is not None and first.aligned is not None:
            yield "head_dim", float(first.head_dim)
            yield "logit_scale", first.logit_scale
            yield "aligned", statistics.fmean(call.aligned for call in calls if call.aligned is not None)
        if step > 0:
            yield (
                "change",
                root_mean_square([now - before for now, before in zip(outputs, self._start[module], strict=True)]),
            )
            asked = [(now, gradient) for now, gradient in zip(outputs, self._asked[module], strict=True)]
            wanted = sum(float(gradient.abs().double().sum()) for _, gradient in asked if gradient is not None)
            if module == self.final and wanted > 0:
                gained = [
                    -float(((now - before).conj() * gradient).real.double().sum())
                    for (now, gradient), before in zip(asked, self._start[module], strict=True)
                    if gradient is not None
                ]
                yield "fit", max(0.0, sum(gained)) / wanted
        if module in self._owned:
            yield from self._parameter(module, first, step, rates)
        if step > 0 and first.effective is not None:
            yield "effective", root_mean_square([call.effective for call in calls if call.effective is not None])

    def _parameter(self, module: str, call: Call, step: int, rates: Mapping[int, float]) -> Iterator[tuple[str, float]]:
        name, parameter = _main(self._owned[module])
        if id(parameter) in rates:
            yield "rate", rates[id(parameter)]
        if step == 0:
            yield "weight", root_mean_square([parameter.detach()])
            yield "weight_dims", float(parameter.ndim)
            return
        if (pull := self._pull(module, name)) is not None:
            yield "pull", pull
        moved = parameter.detach() - self.initial[module][name]
        yield "update", root_mean_square([moved])
        if isinstance(self.model.get_submodule(module), nn.Linear) and name == "weight" and call.source is not None:
            plain = root_mean_square([F.linear(call.source, moved)])
            if plain > 0 and call.effective is not None:
                yield "inner", root_mean_square([call.effective]) / plain

    def changes(self) -> tuple[float, float]:
        """The largest over modules of the change after the last step over the initial size (as it is for what starts at
        0), and the median; not finite where one is not."""
        found = {(module, quantity, step): value for module, quantity, step, *_, value in self.rows}
        last = max(step for *_, step in found)
        ratios = [
            value / (found[module, "size", 0] or 1.0)
            for (module, quantity, step), value in found.items()
            if quantity == "change" and step == last
        ]
        if not all(math.isfinite(ratio) for ratio in ratios):
            return math.inf, math.inf
        return max(ratios, default=0.0), statistics.median(ratios) if ratios else 0.0


def _main(owned: Mapping[str, nn.Parameter]) -> tuple[str, nn.Parameter]:
    """Of a module's parameters the one that says most: that of most dimensions, and of these the largest."""
    return max(owned.items(), key=lambda item: (item[1].requires_grad, item[1].ndim, item[1].numel()))


def root_mean_square(found: Sequence[Tensor]) -> float:
    count = sum(x.numel() for x in found)
    return math.sqrt(sum(float(x.abs().double().square().sum()) for x in found) / count) if count else 0.0
